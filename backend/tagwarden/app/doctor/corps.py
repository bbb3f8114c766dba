"""Checks of one corp: its state, its WeCom credentials, its audit chain, and who may call for it."""

from __future__ import annotations

from collections.abc import Collection

from tagwarden.app.doctor import readings, remedies
from tagwarden.app.doctor.model import Finding, Text, attention, broken, listed, ok
from tagwarden.corps import credentials
from tagwarden.corps.credentials import CONTACTS_APP, CUSTOMER_APP, AppCredential, CredentialMissing
from tagwarden.identity.model import Directory
from tagwarden.kernel.sealing import SealBroken, Sealer
from tagwarden.kernel.settings import CARD_ISSUER

AUDIT_LINES = 2_000
"""How many of the newest links are walked; `audit verify` walks all."""


def of_state(corp: readings.Corp) -> Finding:
    """Whether customers' tags may be changed."""
    if corp.suspended:
        return broken(
            "corp.state",
            Text("标签写入已暂停", "Tag writes are suspended"),
            Text(
                "补齐审批人后由管理员运行 tagwarden corp activate",
                "When its signers are complete, an admin runs `tagwarden corp activate`",
            ),
            corp.corp_id,
        )
    if not corp.live:
        return attention(
            "corp.state",
            Text("企业仍在配置中，还不能修改客户标签", "The corp is in setup: no customer's tag can be changed yet"),
            Text(
                "依次：tagwarden import、policy apply、corp activate；缺什么，activate 会列出",
                "In turn: `tagwarden import`, `policy apply`, `corp activate`, which lists what is missing",
            ),
            corp.corp_id,
        )
    return ok("corp.state", Text("企业已启用", "The corp is live"), corp.corp_id)


# -- credentials --------------------------------------------------------------------------------------------------------


async def of_credentials(sealer: Sealer, corp_id: str) -> list[Finding]:
    """Each app's secret and callback keys, and whether WeCom has refused them."""
    findings = []
    for app in (CUSTOMER_APP, CONTACTS_APP):
        try:
            findings += _credential(await credentials.load(sealer, corp_id, app))
        except SealBroken:
            findings.append(_sealed_otherwise(corp_id, app))
        except CredentialMissing:
            findings += [_no_credential(corp_id, app)] if app == CUSTOMER_APP else []
    return findings


def _no_credential(corp_id: str, app: str) -> Finding:
    return broken(
        "corp.credentials",
        Text("应用 {app} 没有凭据，无法调用企业微信", "App {app} has no credential: WeCom cannot be called"),
        remedies.SECRET + Text("然后运行 tagwarden corp credentials", "Then run `tagwarden corp credentials`"),
        corp_id,
        app=app,
    )


def _sealed_otherwise(corp_id: str, app: str) -> Finding:
    return broken(
        "corp.credentials",
        Text("应用 {app} 的凭据无法解密", "The credential of app {app} does not open"),
        Text(
            "TAGWARDEN_SECRET_KEY 不是保存凭据时的密钥：换回原来的密钥，或用 tagwarden corp credentials 重新保存凭据",
            "TAGWARDEN_SECRET_KEY is not the key that sealed it: set that one again, or save the credential anew with"
            " `tagwarden corp credentials`",
        ),
        corp_id,
        app=app,
    )


def _credential(credential: AppCredential) -> list[Finding]:
    corp_id, app = credential.corp_id, credential.app
    if credential.stopped_reason is not None:
        return [_stopped(corp_id, app, credential.stopped_reason)]
    if not credential.token or not credential.aes_key:
        return [
            attention(
                "corp.credentials",
                Text(
                    "应用 {app} 有 Secret，但没有回调 Token 或 EncodingAESKey：企业微信的回调会被拒绝",
                    "App {app} has its secret, but no callback token or aes key: WeCom's callbacks are refused",
                ),
                Text(
                    "企业微信管理后台 → 应用管理 → 该应用 → 接收消息 → 设置API接收，取得 Token 与 EncodingAESKey，"
                    "用 tagwarden corp credentials 保存",
                    "In WeCom's admin console, 应用管理 → the app → 接收消息 → 设置API接收: take token and EncodingAESKey, and"
                    " save them with `tagwarden corp credentials`",
                ),
                corp_id,
                app=app,
            )
        ]
    return [ok("corp.credentials", Text("应用 {app} 的凭据齐全", "App {app} has its secret and callback keys"), corp_id, app=app)]


def _stopped(corp_id: str, app: str, reason: str) -> Finding:
    code = remedies.code_in(reason)
    words = remedies.meaning(code) if code else Text(reason, reason)
    return broken(
        "corp.stopped",
        Text(
            "应用 {app} 已停止调用企业微信（{code}）：{words_zh}",
            "Calls of app {app} to WeCom are stopped ({code}): {words_en}",
        ),
        remedies.remedy(code) + remedies.SAVE,
        corp_id,
        app=app,
        code=code,
        words_zh=words.zh,
        words_en=words.en,
    )


# -- audit and issuers --------------------------------------------------------------------------------------------------


async def of_audit(corp_id: str) -> list[Finding]:
    """The newest links of the chain."""
    walked = await readings.audit_tail(corp_id, AUDIT_LINES)
    if walked.sound:
        text = Text(
            "审计链最近 {lines} 行完整（全部验证：audit verify）",
            "The newest {lines} audit lines hold (all of them: `audit verify`)",
        )
        return [ok("corp.audit", text, corp_id, lines=walked.lines)]
    return [
        broken(
            "corp.audit",
            Text("审计链第 {seq} 行起不可信（{reason}）", "The audit chain is not to be trusted from line {seq} on ({reason})"),
            Text(
                "有人绕过服务改动了数据库。停止写入，保留现状，运行 tagwarden audit verify 与 audit export，与备份比对",
                "Somebody changed the database around the service. Stop writing, keep everything as it is, run"
                " `tagwarden audit verify` and `audit export`, and compare with a backup",
            ),
            corp_id,
            seq=walked.first_bad,
            reason=walked.reason,
        )
    ]


def of_issuers(corp: readings.Corp, directory: Directory, named: Collection[str]) -> list[Finding]:
    """Issuers with a row in the corp beside those with keys in the settings."""
    usable = directory.issuers & set(named)
    findings = []
    if keyless := sorted(directory.issuers - set(named) - {CARD_ISSUER}):
        findings.append(
            attention(
                "corp.issuers",
                Text("企业登记的签发方在配置中没有密钥：{who}", "Issuers bound to the corp have no key in the settings: {who}"),
                Text(
                    "在 TAGWARDEN_ISSUERS 中加入其公钥；不再使用的可忽略",
                    "Add their keys to TAGWARDEN_ISSUERS, unless they are out of use",
                ),
                corp.corp_id,
                who=listed(keyless),
            )
        )
    if not usable:
        return [*findings, _nobody_may_call(corp.corp_id)]
    if corp.live and not usable & directory.signing_issuers:
        findings.append(
            attention(
                "corp.issuers",
                Text("没有可签批的签发方：审批无法完成", "No issuer here may sign: no approval can be finished"),
                Text(
                    "添加企业时使用 --may-sign；启用后属受保护的更改",
                    "`corp add --may-sign`; once live this is a protected change",
                ),
                corp.corp_id,
            )
        )
    return findings or [ok("corp.issuers", Text("签发方：{who}", "Issuers: {who}"), corp.corp_id, who=listed(sorted(usable)))]


def _nobody_may_call(corp_id: str) -> Finding:
    return broken(
        "corp.issuers",
        Text("没有任何签发方可用于该企业：所有令牌都会被拒绝", "No issuer is good for this corp: every token is refused"),
        Text(
            "让 TAGWARDEN_ISSUERS 中的 issuer 与添加企业时的 --issuer 一致",
            "Let an `issuer` in TAGWARDEN_ISSUERS be the one that `corp add --issuer` named",
        ),
        corp_id,
    )
