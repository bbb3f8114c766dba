"""A town whose signers get cards: its app has callback keys, and the service takes the clicks WeCom reports."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from support.company import SEALER, Companies
from support.service import Service
from support.town import SECRET, Town, a_town
from tagwarden.corps import credentials
from tagwarden.corps.credentials import CUSTOMER_APP, AppCredential
from tagwarden.governance import issuers
from tagwarden.governance import service as governance
from tagwarden.kernel import db
from tagwarden.kernel.settings import CARD_ISSUER
from tagwarden.sync import inbox
from tagwarden.sync.cards_out import CardsOut
from tagwarden.sync.outbound import Outbound

TOKEN, AES_KEY = "QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
PAGE = "https://crm.example"

Shown = dict[str, Any]


@dataclass
class CardTown:
    """The town, and the cards in it."""

    town: Town
    outbound: Outbound

    async def ask(self, tag: str = "value/high", customer: str = "wmC1", reason: str = "three orders") -> UUID:
        """ann asks for a value tag; the request's id."""
        answer = await self.town.change("ann", customer, add=[tag], reason=reason)
        assert answer.approval_id is not None
        return answer.approval_id

    async def send(self) -> None:
        """Lets a worker do what is due: look at clicks, draw, send and close."""
        await db.execute("update approval_card set next_try_at = null where corp_id = $1", self.town.corp_id)
        while await self.outbound.send_one(self.town.corp_id):
            continue
        while await self.outbound.send_one(self.town.corp_id):  # the other one's turn came first
            continue

    async def shown(self, userid: str | None = None) -> list[Shown]:
        """Cards in WeCom, oldest first; of one person."""
        found = (await self.town.control.corp("GET", "/cards"))["cards"]
        return [card for card in found if userid is None or userid in card["receivers"]]

    async def open(self) -> dict[str, str]:
        """Who has an open card on his screen: userid → task id."""
        return {
            userid: card["task_id"]
            for card in await self.shown()
            for userid in card["receivers"]
            if userid not in card["closed_for"]
        }

    async def click(self, userid: str, task_id: str, key: str = "approve", *, forged: bool = False) -> str:
        """Somebody presses a button; what became of it here."""
        before = await self.handled()
        click = {"kind": "click_card", "userid": userid, "task_id": task_id, "key": key, "forged": forged}
        assert (await self.town.control.corp("POST", "/console", click))["callbacks"] == 1
        async with asyncio.timeout(90):
            while not await inbox.open_stored(SEALER, self.town.corp_id):
                await asyncio.sleep(0.02)
        await self.send()
        fresh = [row for row in await self.handled() if row not in before]
        assert len(fresh) == 1
        return str(fresh[0]["outcome"])

    async def handled(self) -> list[db.Row]:
        """Clicks that were looked at."""
        return await db.fetch(
            "select id, outcome from card_click where corp_id = $1 and handled_at is not null order by id", self.town.corp_id
        )

    async def state(self, approval_id: UUID) -> str:
        return str((await self.town.approval(approval_id)).state.value)

    async def cards(self) -> dict[str, str]:
        """userid → state of the newest card."""
        rows = await db.fetch("select userid, state from approval_card where corp_id = $1 order by id", self.town.corp_id)
        return {row["userid"]: row["state"] for row in rows}

    async def refusals(self) -> list[Any]:
        """Why clicks were refused, as the audit has it."""
        rows = await db.fetch("select convert_from(body, 'UTF8') as body from audit_line where corp_id = $1", self.town.corp_id)
        bodies = [json.loads(row["body"]) for row in rows]
        return [body for body in bodies if body.get("action") == "refused"]


@contextlib.asynccontextmanager
async def a_card_town(
    companies: Companies, simulator_url: str, service: Service, *, clicks_sign: bool = True, page: str | None = PAGE
) -> AsyncIterator[CardTown]:
    """A live town whose app is reachable."""
    async with a_town(companies, simulator_url, live=False) as town:
        async with db.transaction():
            await credentials.store(SEALER, AppCredential(town.corp_id, CUSTOMER_APP, 1, SECRET, TOKEN, AES_KEY))
        if clicks_sign:
            await issuers.put_issuer(town.as_("admin"), CARD_ISSUER, True, "", {CARD_ISSUER})
        await governance.activate(town.as_("admin"))
        address = {"url": f"{service.process.url}/callbacks/wecom/{town.corp_id}/crm", "token": TOKEN, "aes_key": AES_KEY}
        assert (await town.control.corp("PUT", "/apps/crm/callback", address))["verified"]
        cards = CardsOut(town.client, page)
        yield CardTown(town, Outbound(town.client, town.budget, cards))
