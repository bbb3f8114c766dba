"""Checks of a corp's traffic with WeCom: what waits to go out, imports, and callbacks that came in."""

from __future__ import annotations

from typing import Any

from tagwarden.app.doctor import readings
from tagwarden.app.doctor.model import Finding, Text, attention, broken, listed, ok, span
from tagwarden.corps.credentials import CUSTOMER_APP
from tagwarden.kernel import clock
from tagwarden.sync import cards_rows, credential_checks, drift_reading
from tagwarden.sync import repository as sync
from tagwarden.sync.service import SILENT_AFTER
from tagwarden.wecom import pause
from tagwarden.wecom.pause import Pause

WAITED_TOO_LONG = 3_600.0
CALLBACKS_LATE = 3_600.0
CHECKED_TOO_LONG_AGO = 40 * 86_400.0


async def of_outbox(corp_id: str) -> list[Finding]:
    """What waits too long for WeCom, and what was given up."""
    found = await readings.outbox(corp_id)
    findings = [_given_up(corp_id, found)] if found.given_up else []
    if (paused := await pause.read(corp_id)) is not None:
        return [*findings, _paused(corp_id, paused, found.waiting)]
    if found.oldest <= WAITED_TOO_LONG:
        calm = Text("{waiting} 项等待同步，没有滞留", "{waiting} waiting for WeCom, none for long")
        return [*findings, ok("corp.outbox", calm, corp_id, waiting=found.waiting)]
    facts = {"waiting": found.waiting, "oldest": span(found.oldest), "moved": found.moved}
    if found.moved:
        text = Text(
            "{waiting} 项等待同步，最早的已等 {oldest}；仍在进行（十分钟内完成 {moved} 次调用）",
            "{waiting} wait for WeCom, the oldest for {oldest}; it moves ({moved} calls in ten minutes)",
        )
        return [
            *findings,
            attention(
                "corp.outbox", text, Text("等待；批量较大时属正常", "Wait: a large batch takes its time"), corp_id, **facts
            ),
        ]
    text = Text(
        "{waiting} 项等待同步，最早的已等 {oldest}，没有进展",
        "{waiting} wait for WeCom, the oldest for {oldest}, and nothing moves",
    )
    todo = Text(
        "查看 worker 是否运行、应用是否被停止，以及 GET /v1/sync/ledger 中最近的调用",
        "See whether a worker runs and no app is stopped, and what the last calls in GET /v1/sync/ledger say",
    )
    return [*findings, broken("corp.outbox", text, todo, corp_id, **facts)]


def _paused(corp_id: str, paused: Pause, waiting: int) -> Finding:
    return attention(
        "corp.paused",
        Text(
            "{by} 于 {since} 暂停了向企业微信同步（{reason}），{waiting} 项在等待",
            "{by} paused sending to WeCom at {since} ({reason}); {waiting} wait",
        ),
        Text(
            "原因消除后恢复：tagwarden sync resume，或 POST /v1/sync/resume",
            "When the reason is gone: `tagwarden sync resume`, or POST /v1/sync/resume",
        ),
        corp_id,
        by=paused.actor,
        since=f"{paused.since:%Y-%m-%d %H:%M} UTC",
        reason=paused.reason,
        waiting=waiting,
    )


async def of_cards(corp_id: str) -> list[Finding]:
    """Cards to signers that WeCom did not take."""
    counted = await cards_rows.counts(corp_id)
    if not await cards_rows.can_send(corp_id, CUSTOMER_APP):
        return [
            attention(
                "corp.cards",
                Text(
                    "没有保存 AgentId 或回调密钥：签批人收不到企业微信卡片",
                    "agent_id or the callback keys are not stored: signers get no cards in WeCom",
                ),
                Text(
                    "在企业微信设置该应用的回调地址，用 tagwarden corp credentials 补上 agent_id、token 与 aes_key",
                    "Set the app's callback URL in WeCom, and add agent_id, token and aes_key with `tagwarden corp credentials`",
                ),
                corp_id,
            )
        ]
    if counted["given_up"]:
        return [
            attention(
                "corp.cards",
                Text("{count} 张签批卡片未能发出", "{count} cards to signers could not be sent"),
                Text(
                    "明细与重试见 GET /v1/sync/ledger?state=given_up；签批人仍可在收件箱中处理",
                    "GET /v1/sync/ledger?state=given_up says why and tries again; signers find the requests in their inbox",
                ),
                corp_id,
                count=counted["given_up"],
            )
        ]
    return [ok("corp.cards", Text("签批卡片没有积压或失败", "No card to a signer failed"), corp_id, waiting=counted["waiting"])]


async def of_credential_checks(corp_id: str) -> list[Finding]:
    """How long ago WeCom was last asked whether it takes the credentials, and what it said."""
    kept = await credential_checks.last(corp_id)
    refused = [one for one in kept if not one.ok]
    if refused:
        text = Text("上次检查时企业微信拒绝：{what_zh}", "At the last check WeCom refused: {what_en}")
        todo = Text("运行 tagwarden doctor --probe 查看现在的情况", "Run `tagwarden doctor --probe` for how it is now")
        said = {
            "what_zh": listed(f"{one.app}（{one.problem_zh}）" for one in refused),
            "what_en": listed(f"{one.app} ({one.problem_en})" for one in refused),
        }
        return [attention("corp.credential_check", text, todo, corp_id, **said)]
    ages = [(clock.now() - one.checked_at).total_seconds() for one in kept if one.checked_at is not None]
    age = max(ages) if ages else await readings.activated_for(corp_id)
    if age <= CHECKED_TOO_LONG_AGO:
        calm = Text("凭据每月检查一次，上次在 {age} 前", "Credentials are checked monthly, last {age} ago")
        young = Text("启用满一个月后开始每月检查凭据", "Credentials are checked monthly, from a month after activation on")
        return [ok("corp.credential_check", calm if ages else young, corp_id, age=span(age))]
    return [
        attention(
            "corp.credential_check",
            Text("凭据已有 {age} 没有检查", "Credentials were not checked for {age}"),
            Text(
                "确认 worker 正在运行（每小时会补做到期的检查），或运行 tagwarden doctor --probe",
                "See that a worker runs (it makes up for what is due every hour), or run `tagwarden doctor --probe`",
            ),
            corp_id,
            age=span(age),
        )
    ]


def _given_up(corp_id: str, found: readings.Outbox) -> Finding:
    return attention(
        "corp.given_up",
        Text("{count} 项同步已放弃：{reasons}", "{count} given up on the way to WeCom: {reasons}"),
        Text(
            "按原因处理后重试：tagwarden sync retry，或 POST /v1/sync/ledger/retry；明细见 GET /v1/sync/ledger?state=given_up",
            "Mend what the reason says, then `tagwarden sync retry` or POST /v1/sync/ledger/retry; see"
            " GET /v1/sync/ledger?state=given_up",
        ),
        corp_id,
        count=found.given_up,
        reasons=listed(found.reasons),
    )


async def of_runs(corp_id: str) -> list[Finding]:
    """The last import of each kind."""
    failed = [run for run in await sync.last_runs(corp_id) if run["state"] == "failed"]
    if failed:
        return [
            attention(
                "corp.runs",
                Text("最近一次导入失败：{what}", "The last import failed: {what}"),
                Text(
                    "处理原因后重新运行：tagwarden import {kinds}",
                    "Mend the reason, then run it again: `tagwarden import {kinds}`",
                ),
                corp_id,
                what=listed(f"{run['kind']}（{run['problem']}）" for run in failed),
                kinds=" ".join(run["kind"] for run in failed),
            )
        ]
    if await sync.has_silent_run(corp_id, SILENT_AFTER):
        return [
            broken(
                "corp.runs",
                Text("有导入任务在等待，但没有 worker 在处理", "An import waits, and no worker is at it"),
                Text("确认 worker 正在运行；它会从中断处继续", "See that a worker runs; it goes on where the import stopped"),
                corp_id,
            )
        ]
    return [ok("corp.runs", Text("导入任务正常", "Imports are in order"), corp_id)]


async def of_callbacks(corp_id: str) -> list[Finding]:
    """Callbacks that came and were not worked on."""
    waiting, oldest = await readings.callbacks_waiting(corp_id)
    if oldest <= CALLBACKS_LATE:
        return [ok("corp.callbacks", Text("没有滞留的回调", "No callback has waited for long"), corp_id, waiting=waiting)]
    return [
        attention(
            "corp.callbacks",
            Text(
                "{waiting} 条企业微信回调尚未处理，最早的已等 {oldest}",
                "{waiting} of WeCom's callbacks are not worked on, the oldest for {oldest}",
            ),
            Text(
                "它们已验证并保存，不会丢失；确认 worker 正在运行，它会继续处理",
                "They are proved and kept, nothing is lost; see that a worker runs: it goes on with them",
            ),
            corp_id,
            waiting=waiting,
            oldest=span(oldest),
        )
    ]


async def of_drift(corp_id: str) -> list[Finding]:
    """Whether the drift guard goes on, and tags that are not sent."""
    guard, counts, held = await drift_reading.standing(corp_id)
    findings = [_stopped(corp_id, guard)] if guard["stopped"] else []
    findings += [_held_back(corp_id, [str(row["tag"]) for row in held])] if held else []
    if findings:
        return findings
    text = Text("偏差守护正常，{waiting} 处待处理", "The drift guard goes on; {waiting} cases wait")
    return [ok("corp.drift", text, corp_id, waiting=counts.get("open", 0) + counts.get("reported", 0))]


def _stopped(corp_id: str, guard: dict[str, Any]) -> Finding:
    return attention(
        "corp.drift",
        Text(
            "偏差守护已停下，等待确认（{reason}，{waiting} 位客户）",
            "The drift guard stopped and asks ({reason}, {waiting} customers)",
        ),
        Text(
            "查看 tagwarden sync drift list；确属企业微信内的批量改动，则运行 tagwarden sync drift confirm",
            "Look at `tagwarden sync drift list`; if that is what was done inside WeCom, run `tagwarden sync drift confirm`",
        ),
        corp_id,
        reason=guard["reason"],
        waiting=guard["waiting"],
    )


def _held_back(corp_id: str, tags: list[str]) -> Finding:
    return attention(
        "corp.library",
        Text(
            "企业微信改名或删除了这些标签，已停止发送：{tags}", "WeCom renamed or deleted these tags; they are not sent: {tags}"
        ),
        Text(
            "接受新名称：修改标签名；重建：POST /v1/tags/{{id}}/remake；或在企业微信中改回",
            "Accept a name by renaming the tag here, make a lost one anew with POST /v1/tags/{{id}}/remake, or undo it in WeCom",
        ),
        corp_id,
        tags=listed(tags),
    )
