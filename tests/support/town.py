"""A live company whose WeCom is the simulator: imported by the real client, and ways to let its worker work.

A budget that is wide and short (window 2 s), so that tests need not wait for it; time that must pass before a retry or
before a dead worker's lease ends is made to pass in the rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from support.company import (
    DEPARTMENTS,
    GRANTS,
    GROUPS,
    ISSUER,
    PEOPLE,
    SEALER,
    Companies,
    Company,
    bundle_of,
)
from support.wecom import Control
from tagwarden.corps.credentials import CONTACTS_APP, CUSTOMER_APP, AppCredential
from tagwarden.governance import operator, publishing
from tagwarden.governance import service as governance
from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id
from tagwarden.sync import repository
from tagwarden.sync import service as sync
from tagwarden.sync.importer import Importer
from tagwarden.sync.model import RunKind
from tagwarden.sync.outbound import Outbound
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.client import WecomClient

SECRET, ASSISTANT = "secret-of-the-app", "secret-of-the-assistant"
TIMEOUT = 1.0
CUSTOMERS: tuple[tuple[str, str, Sequence[str]], ...] = (
    ("ann", "wmC1", ()),
    ("ann", "wmC2", ("activity/hot",)),
    ("bob", "wmC3", ("value/high", "advice/asked")),
    ("cat", "wmC4", ("value/low",)),
    ("dan", "wmC5", ()),
)


def a_client(url: str, limit: int = 1000, window: float = 2.0, timeout: float = TIMEOUT) -> tuple[WecomClient, Budget]:
    """A client and the budget it spends; `start` and `close` are the caller's."""
    budget = Budget(limit, window, timeout, monotonic=time.monotonic)
    return WecomClient(url, SEALER, budget, timeout=timeout), budget


def setup_of(
    corp_id: str, people: Mapping[str, tuple[int, bool, tuple[str, ...]]], customers: Sequence[tuple[str, str, Sequence[str]]]
) -> dict[str, Any]:
    """The corp as the simulator loads it; its tags are the console's own."""
    return {
        "corp_id": corp_id,
        "apps": [
            {"name": CUSTOMER_APP, "secret": SECRET, "agent_id": 1},
            {"name": CONTACTS_APP, "secret": ASSISTANT, "kind": "contacts"},
        ],
        "departments": [
            {"id": one, "name": name, "parentid": parent, "order": order} for one, name, parent, order in DEPARTMENTS
        ],
        "employees": [
            {"userid": userid, "name": f"name of {userid}", "department": [place[0]], "is_leader_in_dept": [int(place[1])]}
            for userid, place in people.items()
        ],
        "tag_groups": [{"name": name, "tags": list(tags)} for name, (_, _, tags) in GROUPS.items()],
        "follows": [
            {"userid": owner, "external_userid": customer, "tags": list(tags)} for owner, customer, tags in customers
        ],
    }  # fmt: skip


@dataclass
class Town(Company):
    """A company, its simulated WeCom and one process's client and sender."""

    control: Control = field(kw_only=True)
    client: WecomClient = field(kw_only=True)
    budget: Budget = field(kw_only=True)

    def __post_init__(self) -> None:
        self.outbound = Outbound(self.client, self.budget)

    # -- imports --------------------------------------------------------------------------------------------------------

    async def run(self, kind: RunKind, client: WecomClient | None = None) -> dict[str, Any]:
        """Asks for a run and executes it here; the run's row as it stands then."""
        run_id = await sync.request_run(self.as_("admin"), kind)
        assert await Importer(client or self.client).run_next(self.corp_id, run_id)
        row = await repository.run(self.corp_id, run_id)
        assert row is not None
        return row

    async def read_catalog(self) -> None:
        """Learns our ids of groups and tags."""
        self.tags.clear()
        self.wecom_tags.clear()
        for row in await db.fetch(
            "select g.id as group_id, g.name as group_name, t.id, t.name, t.wecom_id from tag_group g"
            " join tag t on t.group_id = g.id where g.corp_id = $1",
            self.corp_id,
        ):
            path = f"{row['group_name']}/{row['name']}"
            self.tags[path], self.groups[row["group_name"]] = row["id"], row["group_id"]
            self.wecom_tags[path] = row["wecom_id"]

    # -- what waits -----------------------------------------------------------------------------------------------------

    async def hurry(self) -> None:
        """Lets the time pass that anything waits for."""
        await db.execute(
            "update follow_sync set settle_at = least(settle_at, now()), next_try_at = null where follow_id in"
            " (select follow_id from follow_sync where corp_id = $1 order by follow_id for update)",
            self.corp_id,
        )
        for table in ("library_sync", "library_group_sync"):
            await db.execute(f"update {table} set next_try_at = null where corp_id = $1", self.corp_id)

    async def end_leases(self) -> None:
        """Lets the time pass after which the leases of dead workers end."""
        for table in ("follow_sync", "library_sync", "library_group_sync"):
            await db.execute(f"update {table} set leased_until = null where corp_id = $1", self.corp_id)

    async def send_once(self, outbound: Outbound | None = None) -> int:
        """Sends all that is due now; returns how many things were tried."""
        sent = 0
        while await (outbound or self.outbound).send_one(self.corp_id):
            sent += 1
        return sent

    async def waiting(self) -> int:
        """How many follows and tags are not settled, given up ones aside."""
        return int(
            await db.fetch_value(
                "select (select count(*) from follow_sync where corp_id = $1 and dirty and given_up is null)"
                " + (select count(*) from library_sync where corp_id = $1 and dirty and given_up is null)"
                " + (select count(*) from library_group_sync where corp_id = $1 and dirty and given_up is null)",
                self.corp_id,
            )
        )

    async def drain(self, seconds: float = 90.0) -> None:
        """Sends until nothing waits; what waits for a time is let go at once."""
        async with asyncio.timeout(seconds):
            while await self.waiting():
                await self.hurry()
                if not await self.send_once():
                    await asyncio.sleep(0.05)

    async def until_quiet(self, seconds: float = 90.0) -> None:
        """Waits until somebody else has sent everything."""
        async with asyncio.timeout(seconds):
            while await self.waiting():
                await asyncio.sleep(0.05)

    async def row(self, owner: str, customer: str) -> db.Row:
        """The dirty row of a follow."""
        found = await db.fetch_one("select * from follow_sync where follow_id = $1", await self.follow_id(owner, customer))
        assert found is not None
        return found

    # -- what WeCom saw -------------------------------------------------------------------------------------------------

    async def marks(self) -> list[dict[str, Any]]:
        """Bodies of the mark_tag calls that arrived, oldest first, with tags as "group/tag"."""
        await self.read_catalog()
        names = {wecom_id: path for path, wecom_id in self.wecom_tags.items()}
        return [
            {
                **call,
                "add": sorted(names.get(one, one) for one in call["body"]["add_tag"] or ()),
                "remove": sorted(names.get(one, one) for one in call["body"]["remove_tag"] or ()),
            }
            for call in await self.control.calls("mark_tag")
        ]

    async def different(self) -> dict[tuple[str, str], tuple[set[str], set[str]]]:
        """Follows whose tags in WeCom are not those decided here: (ours, WeCom's)."""
        found = (await self.control.corp("GET", "/follows"))["follows"]
        pairs = {(one["userid"], one["external_userid"]): set(one["tags"]) for one in found}
        ours = {pair: await self.carried(*pair) for pair in pairs}
        return {pair: (ours[pair], pairs[pair]) for pair in pairs if ours[pair] != pairs[pair]}


@contextlib.asynccontextmanager
async def a_town(
    companies: Companies,
    url: str,
    *,
    people: Mapping[str, tuple[int, bool, tuple[str, ...]]] = PEOPLE,
    customers: Sequence[tuple[str, str, Sequence[str]]] = CUSTOMERS,
    imports: bool = True,
    live: bool = True,
    budget: tuple[int, float, float] = (1000, 2.0, TIMEOUT),
) -> AsyncIterator[Town]:
    """A town of its own corp; with `imports` off only the corp and its first admin are there.

    `budget`: calls, in so many seconds, and how long one may take.
    """
    corp_id = f"corp-{new_id().hex}"
    client, spent = a_client(url, *budget)
    async with aiohttp.ClientSession() as session:
        control = Control(url, corp_id, session, {})
        before = await control.ask("GET", "/switches")
        control.tags = (await control.ask("POST", "/corps", setup_of(corp_id, people, customers)))["tags"]
        async with companies.as_owner():
            new = operator.NewCorp(corp_id, "a company", "admin", ISSUER, True)
            await operator.add_corp(SEALER, new, [AppCredential(corp_id, CUSTOMER_APP, 1, SECRET)])
        await client.start()
        town = Town(corp_id, control=control, client=client, budget=spent)
        try:
            if imports:
                await _settle_in(town, dict(people), live)
            yield town
        finally:
            await client.close()
            await control.ask("DELETE", "/bans")
            await control.switch(**before)


async def _settle_in(town: Town, people: dict[str, tuple[int, bool, tuple[str, ...]]], live: bool) -> None:
    for kind in (RunKind.ORG, RunKind.CATALOG, RunKind.CUSTOMERS):
        done = await town.run(kind)
        assert done["state"] == "done", done["problem"]
    await publishing.apply_bundle(town.as_("admin"), bundle_of(people, GROUPS, GRANTS), "test")
    if live:
        await governance.activate(town.as_("admin"))
    await town.read_catalog()
