"""Real workers, killed at random while people edit and WeCom fails: it ends as decided. Games by the hundred: simulated.py."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from support.company import Companies
from support.service import Process, environment
from support.town import Town, a_town
from tagwarden.kernel.embedded import EmbeddedUrls

FOLLOWS = [("ann", f"wmC{number}", ("value/high",) if number % 2 else ("activity/hot", "advice/keen")) for number in range(4)] + [
    ("bob", "wmC0", ("value/low", "advice/asked")),
    ("dan", "wmC9", ()),
]
BROKEN = ("reset", "slow", "empty", "html", "truncated", "http")
CODES = (-1, 45009, 45033, 45035, 40014, 42001, 6000)
APIS = ("mark_tag", "mark_tag", "mark_tag", "add_corp_tag", "edit_corp_tag", "gettoken", "get_corp_tag_list")


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


async def test_processes_killed_at_random(companies: Companies, simulator_url: str, database: EmbeddedUrls) -> None:
    dice = random.Random(1)
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
            async with asyncio.timeout(90):
                while await town.waiting():
                    await town.hurry()
                    await asyncio.sleep(0.2)
        finally:
            for process in workers:
                process.stop()
        assert not await town.different()
