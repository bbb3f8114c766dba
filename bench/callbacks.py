"""WeCom's callbacks at 200 a second: signed and encrypted as WeCom does it, answered by one serving process.

WeCom waits five seconds for the answer to a message and one for the echo. Every message is another one, so each is proven,
decrypted and stored; afterwards the stored ones are counted. Signing is done before the load begins.
"""

from __future__ import annotations

import secrets
import time
from urllib.parse import urlencode

from bench.ground import AES_KEY, CALLBACK_TOKEN, Corp, Ground
from bench.load import Client, Load, put_on
from bench.report import Options, Row, Runs
from bench.team import shape
from bench.wecom import simulator
from tagwarden.kernel import db
from tagwarden.simulator import crypto

COMMAND = "python -m bench callbacks"
CONNECTIONS = 16
RATE = 200.0
SECONDS = 6.0
SPARE = 1.5
"""So many times more messages are made than are expected to be sent: none may be sent twice."""
MESSAGE = (
    "<xml><ToUserName><![CDATA[{corp_id}]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName>"
    "<CreateTime>{at}</CreateTime><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[change_external_contact]]></Event>"
    "<ChangeType><![CDATA[edit_external_contact]]></ChangeType><UserID><![CDATA[s0]]></UserID>"
    "<ExternalUserID><![CDATA[wm{number}]]></ExternalUserID></xml>"
)


def measure(ground: Ground, options: Options) -> list[Row]:
    """p50, p99, max of the answers: alone, then with a worker that opens what was stored and reads in WeCom again."""
    with simulator(ground, "callbacks", shape(1, 1)) as wecom:
        corp = ground.run(lambda: ground.company(shape(1, 1), corp_id=wecom.corp_id))
        with ground.serving() as (process,):
            rows = [
                _row(ground, options, corp, process.url, "message (POST)", posts=True),
                _row(ground, options, corp, process.url, "echo (GET)", posts=False),
            ]
            with ground.process("worker", WECOM_API_BASE=wecom.url):
                rows.append(_row(ground, options, corp, process.url, "message (POST), a worker opens them beside", posts=True))
    return rows


def _row(ground: Ground, options: Options, corp: Corp, url: str, name: str, *, posts: bool) -> Row:
    noise = Runs(options.runs)
    measured = [_answers(ground, corp, url, posts) for _ in noise]
    note = f"p50 / p99 / max; {CONNECTIONS} connections, {SECONDS:.0f} s a run, Poisson arrivals; {noise.note}"
    return Row(f"callback, {name}, at {RATE:.0f}/s", "", measured, COMMAND, note)


def _answers(ground: Ground, corp: Corp, url: str, posts: bool) -> str:
    load = Load([], SECONDS, rate=RATE)
    each = int(RATE * (load.seconds + load.warm) * SPARE / CONNECTIONS) * 2
    clients = [Client(url, [_request(corp.corp_id, posts) for _ in range(each)]) for _ in range(CONNECTIONS)]
    before = ground.run(lambda: _stored(corp))
    answered = put_on(Load(clients, SECONDS, rate=RATE)).require(200)
    stored = ground.run(lambda: _stored(corp)) - before
    if stored != (answered.sent if posts else 0):
        raise RuntimeError(f"{answered.sent} callbacks were answered, {stored} stored")
    return f"{answered.p50:.1f} / {answered.p99:.1f} / {answered.most:.1f} ms at {answered.per_second:.0f}/s"


def _request(corp_id: str, posts: bool) -> tuple[str, str, str]:
    """No token, the path with its signature, and the envelope where it is a message."""
    at, nonce = str(int(time.time())), secrets.token_hex(8)
    plain = MESSAGE.format(corp_id=corp_id, at=at, number=nonce) if posts else nonce
    encrypted = crypto.encrypt(AES_KEY, corp_id, plain)
    query = {"msg_signature": crypto.sign(CALLBACK_TOKEN, at, nonce, encrypted), "timestamp": at, "nonce": nonce}
    if not posts:
        query["echostr"] = encrypted
    body = f"<xml><ToUserName><![CDATA[{corp_id}]]></ToUserName><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>"
    return "", f"/callbacks/wecom/{corp_id}/crm?{urlencode(query)}", body if posts else ""


async def _stored(corp: Corp) -> int:
    return int(await db.fetch_value("select count(*) from wecom_callback where corp_id = $1", corp.corp_id))
