"""Where a simulated WeCom's callbacks arrive in tests: proven and stored by our own code, lost or doubled where wanted."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohttp import web

from support.company import SEALER
from support.town import ASSISTANT, SECRET, Town
from tagwarden.corps import credentials
from tagwarden.corps.credentials import CONTACTS_APP, CUSTOMER_APP, AppCredential
from tagwarden.kernel import clock, db
from tagwarden.kernel.errors import TagwardenError
from tagwarden.sync.inbound import Inbound
from tagwarden.wecom import callback
from tagwarden.wecom.envelope import CallbackQuery

TOKEN, AES_KEY = "QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
APPS = (CUSTOMER_APP, CONTACTS_APP)
Letter = tuple[str, CallbackQuery, bytes]


@dataclass
class Mailbox:
    """One town's callbacks. `letters` arrived; `held` are kept from us until `deliver`; `lose`, `twice`, `spoil` are chances."""

    town: Town
    url: str = ""
    letters: list[Letter] = field(default_factory=list)
    handled: int = 0
    """How many of them have been stored, held or lost."""
    holding: bool = False
    held: list[Letter] = field(default_factory=list)
    lose: float = 0.0
    twice: float = 0.0
    spoil: float = 0.0
    dice: random.Random = field(default_factory=random.Random)

    async def get(self, request: web.Request) -> web.Response:
        """The echo, as the service answers it."""
        keys = await callback.keys_of(SEALER, self.town.corp_id, request.match_info["app"])
        return web.Response(text=callback.verify_url(keys, _query(request), request.query["echostr"], clock.now()))

    async def post(self, request: web.Request) -> web.Response:
        """One callback."""
        letter = (request.match_info["app"], _query(request), await request.read())
        self.letters.append(letter)
        try:
            await self._take(letter)
        finally:
            self.handled += 1
        return web.Response()

    async def _take(self, letter: Letter) -> None:
        if self.dice.random() < self.lose:
            return
        if self.dice.random() < self.spoil:
            await self._refuse_spoilt(letter)
        if self.holding:
            self.held.append(letter)
        else:
            await self.store(letter)
        if self.dice.random() < self.twice:
            await self.store(letter)

    async def _refuse_spoilt(self, letter: Letter) -> None:
        """The same with one bit of its body turned comes too: refused, or no more than the letter itself."""
        app, query, body = letter
        at = self.dice.randrange(len(body) * 8)
        turned = bytearray(body)
        turned[at // 8] ^= 1 << at % 8
        if turned.strip() == body.strip():
            return
        with contextlib.suppress(TagwardenError):
            await self.store((app, query, bytes(turned)))

    async def store(self, letter: Letter) -> bool:
        """Proves and stores one, as the service does."""
        app, query, body = letter
        keys = await callback.keys_of(SEALER, self.town.corp_id, app)
        callback.open_envelope(keys, query, body, clock.now())
        return await callback.store(self.town.corp_id, app, query.signature, query.timestamp, query.nonce, body)

    async def deliver(self) -> None:
        """Lets what was held arrive, in any order; what has become too old meanwhile is refused, and so lost."""
        self.holding = False
        letters, self.held = self.held, []
        self.dice.shuffle(letters)
        for letter in letters:
            with contextlib.suppress(callback.CallbackRefused):
                await self.store(letter)

    async def arrived(self, count: int) -> None:
        """Returns when so many callbacks have come."""
        async with asyncio.timeout(90):
            while self.handled < count:
                await asyncio.sleep(0.02)

    async def edit(self, kind: str, **edit: object) -> None:
        """An edit inside WeCom; returns when what it causes has arrived here."""
        before = len(self.letters)
        answer = await self.town.control.corp("POST", "/console", {"kind": kind, **edit})
        await self.arrived(before + answer["callbacks"])

    async def work(self, inbound: Inbound | None = None) -> None:
        """Works until nothing waits any more; what waits for a time is let go at once."""
        hands = inbound or Inbound(self.town.client)
        async with asyncio.timeout(90):
            while await self.waiting():
                await self.hurry()
                await hands.work_once(self.town.corp_id)
                await self.town.hurry()
                await self.town.send_once()

    async def hurry(self) -> None:
        """Lets the time pass that readings wait for."""
        await db.execute("update wecom_refresh set due_at = now() where corp_id = $1 and due_at > now()", self.town.corp_id)

    async def waiting(self) -> int:
        """How many callbacks, readings, cases and changes wait."""
        inbound = await db.fetch_value(
            "select (select count(*) from wecom_callback where corp_id = $1 and processed_at is null)"
            " + (select count(*) from wecom_refresh where corp_id = $1 and given_up is null)"
            " + (select count(*) from drift_case where corp_id = $1 and state = 'open' and not exists"
            "    (select 1 from drift_guard g where g.corp_id = $1 and g.stopped_at is not null))",
            self.town.corp_id,
        )
        return int(inbound) + await self.town.waiting()


def _query(request: web.Request) -> CallbackQuery:
    return CallbackQuery(request.query["msg_signature"], request.query["timestamp"], request.query["nonce"])


@contextlib.asynccontextmanager
async def a_mailbox(town: Town) -> AsyncIterator[Mailbox]:
    """Callbacks of a town's app and of its contact assistant."""
    mailbox = Mailbox(town)
    for app, secret in zip(APPS, (SECRET, ASSISTANT), strict=True):
        await credentials.store(SEALER, AppCredential(town.corp_id, app, 1, secret, TOKEN, AES_KEY))
    server = web.Application()
    server.router.add_get("/{app}", mailbox.get)
    server.router.add_post("/{app}", mailbox.post)
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    mailbox.url = f"http://127.0.0.1:{port}"
    try:
        for app in APPS:
            address = {"url": f"{mailbox.url}/{app}", "token": TOKEN, "aes_key": AES_KEY}
            assert (await town.control.corp("PUT", f"/apps/{app}/callback", address))["verified"]
        yield mailbox
    finally:
        await runner.cleanup()
