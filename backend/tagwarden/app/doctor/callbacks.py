"""Whether WeCom could reach us: keys, an envelope made and opened by ourselves, and when callbacks came last.

Whether our address can be reached from outside is not ours to know; that nothing came for a week says it well enough.
"""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime

from tagwarden.app.doctor import readings
from tagwarden.app.doctor.model import Finding, Text, attention, broken, ok, span
from tagwarden.corps import credentials
from tagwarden.corps.credentials import CONTACTS_APP, CUSTOMER_APP, AppCredential, CredentialMissing
from tagwarden.kernel.sealing import SealBroken, Sealer
from tagwarden.wecom import callback
from tagwarden.wecom.callback import CallbackRefused
from tagwarden.wecom.envelope import BadEnvelope, CallbackKeys, CallbackQuery, encrypt, sign

QUIET = 7 * 86_400.0
ADDRESS = Text(
    "企业微信管理后台 → 应用管理 → 该应用 → 接收消息 → 设置API接收：URL 应为 <本服务地址>/callbacks/wecom/{corp}/{app}，"
    "保存时企业微信会校验；并确认外网可以访问该地址，且已勾选“外部联系人变更回调”",
    "In WeCom's admin console, 应用管理 → the app → 接收消息 → 设置API接收: the URL is"
    " <this service>/callbacks/wecom/{corp}/{app}; WeCom checks it when it is saved. See that"
    " the address can be reached from outside, and that 外部联系人变更回调 is ticked",
)


async def of_corp(sealer: Sealer, corp_id: str) -> list[Finding]:
    """Both apps; what has no credential is told elsewhere."""
    findings = []
    for app in (CUSTOMER_APP, CONTACTS_APP):
        try:
            credential = await credentials.load(sealer, corp_id, app)
        except (CredentialMissing, SealBroken):
            continue
        findings += await _of_app(credential)
    return findings


async def _of_app(credential: AppCredential) -> list[Finding]:
    corp_id, app = credential.corp_id, credential.app
    if not credential.token or not credential.aes_key:
        return []  # said by corp.credentials
    keys = CallbackKeys(credential.token, credential.aes_key, corp_id)
    if not opens_own_envelope(keys):
        text = Text("应用 {app} 的 EncodingAESKey 无法加解密", "The EncodingAESKey of app {app} neither seals nor opens")
        todo = Text("重新保存回调 Token 与 EncodingAESKey（43 位）", "Save token and EncodingAESKey (43 characters) again")
        return [broken("probe.callbacks", text, todo, corp_id, app=app)]
    findings = [ok("probe.callbacks", Text("应用 {app} 的回调密钥可用", "The callback keys of app {app} work"), corp_id, app=app)]
    silent = await readings.callbacks_silent_for(corp_id, app)
    facts = {"app": app, "corp": corp_id}
    if silent is None:
        text = Text("应用 {app} 从未收到企业微信的回调", "No callback of WeCom's ever came for app {app}")
        return [*findings, attention("probe.callbacks", text, ADDRESS, corp_id, **facts)]
    if silent > QUIET:
        text = Text("应用 {app} 已有 {silent} 没有收到回调", "For {silent} no callback came for app {app}")
        return [*findings, attention("probe.callbacks", text, ADDRESS, corp_id, **facts, silent=span(silent))]
    text = Text("应用 {app} 最近一次回调在 {silent} 前", "The last callback for app {app} came {silent} ago")
    return [*findings, ok("probe.callbacks", text, corp_id, app=app, silent=span(silent))]


def opens_own_envelope(keys: CallbackKeys) -> bool:
    """Whether an envelope sealed with these keys is proven and opened as one of WeCom's would be."""
    message = f"<xml><Event>probe</Event><Nonce>{secrets.token_hex(8)}</Nonce></xml>"
    try:
        encrypted, stamp = encrypt(keys, message), str(int(time.time()))
        query = CallbackQuery(sign(keys.token, stamp, "probe", encrypted), stamp, "probe")
        body = f"<xml><Encrypt>{encrypted}</Encrypt></xml>".encode()
        return callback.open_envelope(keys, query, body, datetime.now(UTC)).message == message
    except (BadEnvelope, CallbackRefused):
        return False
