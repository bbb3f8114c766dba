"""Processes and PostgreSQL killed at random under a stream of writes: what was answered is true, once, and whole.

TAGWARDEN_SOAK_SEED chooses the dice of both games, TAGWARDEN_SOAK_ROUNDS how many deaths the long one has.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from support import soak
from support.installation import Installation, an_installation, until
from support.service import Web
from support.stream import LEVEL1, Lane, Stubborn
from support.town import Town
from tagwarden.audit import service as audit
from tagwarden.kernel import db
from tagwarden.sync import repository
from tagwarden.sync import service as sync
from tagwarden.sync.model import LEASE, RunKind

REPLAYED = 20
BETWEEN_CHECKS = 25
FOLLOWS = [(owner, f"wm{owner}{number}", ("value/low",) if number == 0 else ()) for owner in LEVEL1 for number in range(4)]


@pytest.fixture
async def installation() -> AsyncIterator[Installation]:
    async with an_installation(FOLLOWS) as running:
        yield running


def was_interrupted(lanes: list[Lane]) -> bool:
    """Whether the game was one: some write needed more than one request."""
    return any(answer.tries > 1 for lane in lanes for answer in lane.answers)


@pytest.fixture
async def lanes(installation: Installation) -> AsyncIterator[list[Lane]]:
    """One for each follow: so many requests are always under way."""
    async with httpx.AsyncClient(base_url=installation.url, trust_env=False, timeout=20) as http:
        client = Stubborn(Web(http, installation.town.corp_id))
        yield [await a_lane(installation.town, client, owner, customer) for owner, customer, _ in FOLLOWS]


async def a_lane(town: Town, client: Stubborn, owner: str, customer: str) -> Lane:
    version = (await town.row(owner, customer))["version"]
    return Lane(town, client, owner, customer, random.Random(), await town.carried(owner, customer), version)


@contextlib.asynccontextmanager
async def writing(lanes: list[Lane], dice: random.Random) -> AsyncIterator[None]:
    """All of them write until the block ends."""
    goes_on = asyncio.Event()
    goes_on.set()
    for lane in lanes:
        lane.dice.seed(dice.random())
    tasks = [asyncio.create_task(lane.run(goes_on.is_set)) for lane in lanes]
    try:
        yield
    finally:
        goes_on.clear()
        await asyncio.gather(*tasks)


async def kill_somebody(installation: Installation, dice: random.Random) -> None:
    """At a random moment; most often when the service has come up and is writing."""
    if dice.random() < 0.8:
        await installation.until_ready()
    await asyncio.sleep(dice.uniform(0, 0.7))
    what = dice.random()
    if what < 0.25:
        await installation.kill_postgres(dice.choice((0.0, 0.1, 0.6)))
    elif what < 0.70:
        installation.kill(installation.service)
    else:
        installation.kill(dice.choice(installation.workers))


# -- what must be so ----------------------------------------------------------------------------------------------------


async def check_everything(installation: Installation, lanes: list[Lane]) -> None:
    lines = await lines_of(installation.town.corp_id)
    for lane in lanes:
        await check_follow(lane, lines)
    await check_approvals(installation.town.corp_id, lanes, lines)
    await check_answers(installation.town.corp_id, lanes)
    await check_outside(installation)
    assert installation.unplanned == []


async def lines_of(corp_id: str) -> list[dict[str, Any]]:
    """The whole audit chain, as it was stored."""
    return [audit.decoded(row) async for row in audit.stream(corp_id)]


async def check_follow(lane: Lane, lines: list[dict[str, Any]]) -> None:
    """Rows, lines and dirty marks of one follow are those of the answers: each once, none without the others."""
    town = lane.town
    assert await town.carried(lane.owner, lane.customer) == lane.carried
    follow_id = await town.follow_id(lane.owner, lane.customer)
    changed = [line["detail"] for line in lines if (line["action"], line["object"]) == ("tags.changed", f"follow:{follow_id}")]
    assert len(changed) == lane.changes
    assert (await town.row(lane.owner, lane.customer))["version"] - lane.version == lane.changes
    rows = await db.fetch("select tag_id, source, ended_at from assignment where follow_id = $1", follow_id)
    begun = Counter(str(row["tag_id"]) for row in rows if row["source"] != "import")
    ended = Counter(str(row["tag_id"]) for row in rows if row["ended_at"])
    assert begun == Counter(tag for detail in changed for tag in detail["add"])
    assert ended == Counter(tag for detail in changed for tag in detail["remove"])


async def check_approvals(corp_id: str, lanes: list[Lane], lines: list[dict[str, Any]]) -> None:
    """As many requests, signatures and outcomes as were answered, in the rows and in the chain."""
    asked, signed, applied, refused = (
        sum(getattr(lane, name) for lane in lanes) for name in ("asked", "signed", "applied", "refused")
    )
    rows = await db.fetch("select state, count(*) as n from approval where corp_id = $1 group by state", corp_id)
    states = Counter({row["state"]: row["n"] for row in rows})
    assert (states.total(), states["applied"], states["rejected"]) == (asked, applied, refused)
    assert await db.fetch_value("select count(*) from approval_signature where corp_id = $1", corp_id) == signed
    actions = Counter(line["action"] for line in lines)
    said = [actions[f"approval.{what}"] for what in ("asked", "signed", "applied", "rejected")]
    assert said == [asked, signed - refused, applied, refused]


async def check_answers(corp_id: str, lanes: list[Lane]) -> None:
    """One answer is kept for each write, and asking again has no effect."""
    writes = sum(len(lane.answers) + lane.signed for lane in lanes)
    assert await db.fetch_value("select count(*) from idempotency where corp_id = $1", corp_id) == writes
    head = await db.fetch_value("select seq from audit_head where corp_id = $1", corp_id)
    for lane in lanes:
        for answer in lane.dice.sample(lane.answers, min(REPLAYED, len(lane.answers))):
            await lane.replay(answer)
    assert await db.fetch_value("select seq from audit_head where corp_id = $1", corp_id) == head


async def check_outside(installation: Installation) -> None:
    """WeCom ends equal, the workers have taken up all their work again, and the chain holds for the operator too."""
    town = installation.town
    await town.until_quiet(LEASE.total_seconds() + 60)
    assert not await town.different()
    run_id = await sync.request_run(town.as_("admin"), RunKind.CATALOG)

    async def done() -> bool:
        row = await repository.run(town.corp_id, run_id)
        return row is not None and row["state"] == "done"

    await until(done)
    verified = await asyncio.to_thread(installation.run, "audit", "verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr


# -- the games ----------------------------------------------------------------------------------------------------------


async def deaths(installation: Installation, lanes: list[Lane], dice: random.Random, how_many: int) -> None:
    """So many, while everybody writes; then the service is there again."""
    async with writing(lanes, dice):
        for _ in range(how_many):
            await kill_somebody(installation, dice)
        await installation.until_ready()


async def test_deaths_at_random_moments(installation: Installation, lanes: list[Lane]) -> None:
    await deaths(installation, lanes, random.Random(soak.seed()), 6)
    assert was_interrupted(lanes)
    await installation.end_leases()
    await check_everything(installation, lanes)


@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_deaths_at_random_moments_for_long(installation: Installation, lanes: list[Lane]) -> None:
    dice, left = random.Random(soak.seed()), soak.rounds(400)
    while left > 0:
        await deaths(installation, lanes, dice, min(left, BETWEEN_CHECKS))
        left -= BETWEEN_CHECKS
        await check_everything(installation, lanes)  # leases of dead workers end by themselves here
    assert was_interrupted(lanes)
