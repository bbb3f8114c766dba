"""Callbacks as the simulator sends them: proven, stored once, and read again later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web

from tagwarden.corps import credentials
from tagwarden.corps.credentials import CUSTOMER_APP, AppCredential
from tagwarden.kernel import db
from tagwarden.wecom import callback
from tagwarden.wecom.callback import CallbackRefused
from tagwarden.wecom.envelope import CallbackKeys, CallbackQuery, xml_fields

from .conftest import SECRET, Control, sealer

TOKEN = "QDG6eK"
AES_KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"


class Receiver:
    """What the web layer will do with these functions, in its shortest form; keeps what came and what was answered."""

    def __init__(self, corp_id: str) -> None:
        self.corp_id = corp_id
        self.opened: list[callback.OpenedCallback] = []
        self.stored: list[bool] = []
        self.came = asyncio.Event()
        self.url = ""

    async def verify(self, request: web.Request) -> web.Response:
        keys = await callback.keys_of(sealer(), self.corp_id, CUSTOMER_APP)
        return web.Response(text=callback.verify_url(keys, query_of(request), request.query["echostr"], now()))

    async def receive(self, request: web.Request) -> web.Response:
        keys = await callback.keys_of(sealer(), self.corp_id, CUSTOMER_APP)
        opened = callback.open_envelope(keys, query_of(request), await request.read(), now())
        q = opened.query
        stored = await callback.store(self.corp_id, CUSTOMER_APP, q.signature, q.timestamp, q.nonce, opened.envelope)
        self.opened.append(opened)
        self.stored.append(stored)
        self.came.set()
        return web.Response()


def now() -> datetime:
    return datetime.now(UTC)


def query_of(request: web.Request) -> CallbackQuery:
    return CallbackQuery(request.query["msg_signature"], request.query["timestamp"], request.query["nonce"])


@pytest.fixture
async def receiver(control: Control) -> AsyncIterator[Receiver]:
    await credentials.store(sealer(), AppCredential(control.corp_id, CUSTOMER_APP, 1000002, SECRET, token=TOKEN, aes_key=AES_KEY))
    receiver = Receiver(control.corp_id)
    app = web.Application()
    app.add_routes([web.get("/", receiver.verify), web.post("/", receiver.receive)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    # The simulator saves the address only if the echo comes back right: that is the verification's test.
    receiver.url = f"http://127.0.0.1:{port}/"
    setup = {"url": receiver.url, "token": TOKEN, "aes_key": AES_KEY}
    assert await control.corp("PUT", f"/apps/{CUSTOMER_APP}/callback", setup) == {"verified": True}
    yield receiver
    await control.corp("PUT", f"/apps/{CUSTOMER_APP}/callback")
    await runner.cleanup()


async def first_of(receiver: Receiver) -> callback.OpenedCallback:
    async with asyncio.timeout(90):
        await receiver.came.wait()
    return receiver.opened[0]


async def test_edit_in_wecom_arrives_and_is_stored_encrypted(receiver: Receiver, control: Control) -> None:
    edit = {"kind": "mark", "userid": "li", "external_userid": "wmCustomer001", "add": ["意向/高"]}
    await control.corp("POST", "/console", edit)
    first = await first_of(receiver)
    event = xml_fields(first.message.encode())
    assert (event["Event"], event["ChangeType"]) == ("change_external_contact", "edit_external_contact")
    assert (event["UserID"], event["ExternalUserID"]) == ("li", "wmCustomer001")
    row = await db.fetch_one("select * from wecom_callback where corp_id = $1", control.corp_id)
    assert row is not None
    assert b"wmCustomer001" not in row["envelope"]
    assert row["processed_at"] is None
    assert abs((row["received_at"] - row["sent_at"]).total_seconds()) < 5
    keys = await callback.keys_of(sealer(), control.corp_id, CUSTOMER_APP)
    assert callback.reopen(keys, row["envelope"]) == first.message


async def test_replayed_request_is_answered_and_stored_once(receiver: Receiver, control: Control) -> None:
    edit = {"kind": "mark", "userid": "li", "external_userid": "wmCustomer002", "add": ["意向/高"]}
    await control.corp("POST", "/console", edit)
    first = await first_of(receiver)
    query = {"msg_signature": first.query.signature, "timestamp": first.query.timestamp, "nonce": first.query.nonce}
    for _ in range(2):
        async with control.session.post(receiver.url, params=query, data=first.envelope) as response:
            assert response.status == 200
    assert receiver.stored == [True, False, False]
    assert await db.fetch_value("select count(*) from wecom_callback where corp_id = $1", control.corp_id) == 1


async def test_replay_is_stored_once_but_per_app(control: Control) -> None:
    for app, expected in (("crm", True), ("crm", False), ("contacts", True), ("contacts", False)):
        assert await callback.store(control.corp_id, app, "a" * 40, "1409659813", "n", b"<xml/>") is expected


async def test_hundred_at_once_store_one(control: Control) -> None:
    stored = await asyncio.gather(
        *(callback.store(control.corp_id, "crm", "b" * 40, "1409659813", "n", b"<xml/>") for _ in range(100))
    )
    assert stored.count(True) == 1


async def test_callback_without_keys_or_corp_is_refused(control: Control) -> None:
    for corp_id in (control.corp_id, "ww_nobody"):
        with pytest.raises(CallbackRefused):
            await callback.keys_of(sealer(), corp_id, CUSTOMER_APP)


async def test_other_keys_are_refused(receiver: Receiver, control: Control) -> None:
    await control.corp("POST", "/console", {"kind": "create_tag", "group": "意向", "name": "新"})
    opened = await first_of(receiver)
    for keys in (
        CallbackKeys("other", AES_KEY, control.corp_id),
        CallbackKeys(TOKEN, AES_KEY[::-1], control.corp_id),
        CallbackKeys(TOKEN, AES_KEY, "ww_other"),
    ):
        with pytest.raises(CallbackRefused):
            callback.open_envelope(keys, opened.query, opened.envelope, now())
