"""Random edits, random faults, random deaths of workers: whatever happened, WeCom ends equal to what was decided.

`TAGWARDEN_SEED=n` plays one game again; a failing game prints its number.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import Any

import pytest

from support.company import Companies
from support.service import Process, environment
from support.town import Town, a_client, a_town
from tagwarden.catalog import service as catalog
from tagwarden.catalog.model import NameTaken
from tagwarden.catalog.service import TagChange, TagDraft
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.sync import outbox
from tagwarden.sync import service as sync
from tagwarden.sync.importer import Importer
from tagwarden.sync.model import RunKind
from tagwarden.sync.outbound import Outbound
from tagwarden.wecom.client import WecomClient

SEEDS = [int(os.environ["TAGWARDEN_SEED"])] if "TAGWARDEN_SEED" in os.environ else range(1, 4)
LIMIT, WINDOW = 60, 2.0
STEPS = 30
FOLLOWS = [("ann", f"wmC{number}", ("value/high",) if number % 2 else ("activity/hot", "advice/keen")) for number in range(4)] + [
    ("bob", "wmC0", ("value/low", "advice/asked")),
    ("dan", "wmC9", ()),
]
BROKEN = ("reset", "slow", "empty", "html", "truncated", "http")
CODES = (-1, 45009, 45033, 45035, 40014, 42001, 6000)
APIS = ("mark_tag", "mark_tag", "mark_tag", "add_corp_tag", "edit_corp_tag", "gettoken", "get_corp_tag_list")


class Hands:
    """One worker process as far as sending goes; `kill` lets go of everything in the middle of it."""

    def __init__(self, town: Town, client: WecomClient, outbound: Outbound) -> None:
        self._town, self.client, self._outbound = town, client, outbound
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._work(bulk_too=number > 0)) for number in range(3)]

    async def _work(self, *, bulk_too: bool) -> None:
        while True:
            if not await self._outbound.send_one(self._town.corp_id, bulk_too=bulk_too):
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            assert isinstance(outcome, asyncio.CancelledError), outcome


async def two_hands(town: Town) -> list[Hands]:
    hands = []
    for _ in range(2):
        client, budget = a_client(town.control.url, LIMIT, WINDOW)
        await client.start()
        hands.append(Hands(town, client, Outbound(client, budget)))
        hands[-1].start()
    return hands


def a_fault(dice: random.Random) -> dict[str, Any]:
    fault: dict[str, Any] = {"api": dice.choice(APIS), "times": dice.choice((1, 1, 2))}
    if fault["api"] == "gettoken" or dice.random() < 0.4:
        return {**fault, "kind": "errcode", "code": -1 if fault["api"] == "gettoken" else dice.choice(CODES)}
    return {**fault, "kind": dice.choice(BROKEN), "effect": dice.random() < 0.5, "seconds": dice.choice((0, 0, 0.3, 1.1))}


async def an_edit(town: Town, dice: random.Random) -> None:
    owner, customer, _ = dice.choice(FOLLOWS[:2] if dice.random() < 0.5 else FOLLOWS)  # some are edited over and over
    await town.read_catalog()
    free = [tag for tag in town.tags if tag.startswith("advice/")]
    held = await town.carried(owner, customer)
    add = [dice.choice(["activity/hot", "activity/warm", "activity/cold"])] if dice.random() < 0.5 else []
    some = dice.sample(free, dice.randint(0 if add else 1, 2))
    await town.change(owner, customer, add=[*add, *set(some) - held], remove=sorted(set(some) & held))


async def a_tag(town: Town, dice: random.Random) -> None:
    """A tag made or renamed; whoever marks it meanwhile has to wait for its id."""
    admin = town.as_("admin")
    try:
        if dice.random() < 0.6:
            await catalog.create_tag(admin, town.groups["advice"], TagDraft(f"made{dice.randint(0, 99)}"))
        else:
            mine = sorted(tag for tag in town.tags if tag.startswith("advice/made"))
            if mine:
                await catalog.change_tag(admin, town.tags[dice.choice(mine)], TagChange(name=f"named{dice.randint(0, 99)}"), "*")
    except NameTaken:
        return


async def play(town: Town, dice: random.Random) -> None:
    hands = await two_hands(town)
    for _ in range(STEPS):
        what = dice.random()
        if what < 0.60:
            await an_edit(town, dice)
        elif what < 0.68:
            await a_tag(town, dice)
        elif what < 0.88:
            await town.control.fault(**a_fault(dice))
        elif what < 0.92:
            await town.control.corp("DELETE", "/tokens")
        elif what < 0.95:
            for one in hands:
                await one.kill()
            await town.end_leases()
            for one in hands:
                one.start()
        else:
            await sync.request_run(town.as_("admin"), dice.choice((RunKind.CUSTOMERS, RunKind.CATALOG)))
            await Importer(hands[0].client).run_next(town.corp_id)
        if dice.random() < 0.5:
            await town.hurry()
        await asyncio.sleep(dice.choice((0, 0.01, 0.05)))
    await town.control.corp("DELETE", "/faults")
    async with asyncio.timeout(40):
        while await town.waiting():
            await town.hurry()
            await asyncio.sleep(0.1)
    for one in hands:
        await one.kill()
        await one.client.close()


async def check(town: Town) -> None:
    assert [row["given_up"] for row in await outbox.library_waiting(town.corp_id)] == []
    assert not await town.different()
    marks = await town.marks()
    assert not [call for call in marks if any(tag.startswith("value/") for tag in (*call["add"], *call["remove"]))]
    library = (await town.control.corp("GET", "/tags"))["tag_group"]
    theirs = {tag["id"]: tag["name"] for group in library for tag in group["tag"]}
    await town.read_catalog()
    ours = {wecom_id: path.partition("/")[2] for path, wecom_id in town.wecom_tags.items()}
    assert {wecom_id: theirs[wecom_id] for wecom_id in ours} == ours, "names are equal too"
    seen = await town.control.corp("GET", f"/window?seconds={WINDOW}&since={town.control.since}")
    assert seen["worst"] <= LIMIT


@pytest.mark.parametrize("seed", SEEDS)
async def test_wecom_ends_equal(companies: Companies, simulator_url: str, seed: int) -> None:
    print(f"seed {seed}")
    async with a_town(companies, simulator_url, customers=FOLLOWS) as town:
        await asyncio.sleep(WINDOW)  # the import was made on a wider budget
        town.control.since = time.monotonic_ns()
        await play(town, random.Random(seed))
        await check(town)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1000, 1200))
async def test_wecom_ends_equal_for_long(companies: Companies, simulator_url: str, seed: int) -> None:
    await test_wecom_ends_equal(companies, simulator_url, seed)


@pytest.mark.parametrize("seed", [1])
async def test_processes_killed_at_random(companies: Companies, simulator_url: str, database: EmbeddedUrls, seed: int) -> None:
    dice = random.Random(seed)
    env = environment(database.application, WECOM_API_BASE=simulator_url, WECOM_CALLS_PER_MINUTE="3000")
    async with a_town(companies, simulator_url, customers=FOLLOWS) as town:
        await town.control.switch(mark_seconds=0.1)
        workers = [Process(["worker"], env).start() for _ in range(2)]
        try:
            for round_number in range(3):
                for _ in range(12):
                    await an_edit(town, dice)
                    await town.hurry()
                    if dice.random() < 0.3:
                        await town.control.fault(**{**a_fault(dice), "api": "mark_tag"})
                    await asyncio.sleep(dice.uniform(0, 0.2))
                if round_number == 2:
                    break
                for process in workers:
                    process.kill()
                await town.end_leases()
                workers = [Process(["worker"], env).start() for _ in range(2)]
            await town.control.corp("DELETE", "/faults")
            async with asyncio.timeout(60):
                while await town.waiting():
                    await town.hurry()
                    await asyncio.sleep(0.2)
        finally:
            for process in workers:
                process.stop()
        assert not await town.different()
