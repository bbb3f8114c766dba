"""Use cases that start together on one request, or on one base, round after round: over pools and over processes, under
READ COMMITTED and SERIALIZABLE, with deadlocks and serialisation failures thrown in. What is asked of every round stands in
`soundness.py`, the rounds in `races.py`; nothing that happens may be an error of ours, or a 500.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import asyncpg
import httpx
import pytest

from corps.waiting import until_somebody_waits
from support import soak
from support.company import Companies
from support.engine import engine_on
from support.servers import as_operator, command, own_postgres
from support.service import client_of, serving
from tagwarden.audit import service as audit
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls

from . import soundness
from .arena import LEVELS, Arena, an_arena, at_level, havoc, strikes
from .desk import DONE, Desk, Outcome, WebDesk
from .races import HIGH, SCENARIOS, Call, Scenario

OVERTAKEN = "overtaken"
JITTER = 0.006


@dataclass
class Tally:
    """What was seen, for the report of a long run."""

    rounds: int = 0
    said: Counter[str] = field(default_factory=Counter)
    ends: Counter[tuple[str, tuple[str, ...]]] = field(default_factory=Counter)


async def _started(call: Call, after: float) -> Outcome:
    await asyncio.sleep(after)
    return await call()


async def play(arena: Arena, desk: Desk, scenario: Scenario, tally: Tally) -> None:
    """One round: made ready alone, run at once, judged."""
    dice, corp_id = arena.dice, arena.company.corp_id
    customer = await arena.customer()
    since = await soundness.mark(corp_id)
    race = await scenario(arena, desk, customer)
    refused = await soundness.refusals(corp_id)
    calls = dice.sample(list(race.calls), len(race.calls))
    together = dice.random() < 0.5
    outcomes = await asyncio.gather(*(_started(call, 0 if together else dice.random() * JITTER) for call in calls))
    said = Counter(one.said for one in outcomes)
    seen = f"{scenario.__name__}: {dict(said)}"
    assert said.keys() <= {DONE, *race.said, OVERTAKEN}, seen
    states = await soundness.require_sound(since, [await arena.company.follow_id("ann", customer)])
    ends = tuple(sorted(states[one] for one in race.about))
    if OVERTAKEN not in said:
        assert ends in race.ends, f"{seen}: {ends}"
        assert said[DONE], seen
        assert await soundness.refusals(corp_id) - refused == sum(one.refused for one in outcomes), (
            f"{seen}: refusals are recorded"
        )
    tally.rounds += 1
    tally.said.update(said)
    tally.ends[scenario.__name__, ends] += 1
    await arena.restore()


async def play_all(arena: Arena, desk: Desk, rounds: int, tally: Tally) -> None:
    """Every scenario in turn, until the rounds or the company's spare things are used up; then the whole chain."""
    order = itertools.cycle(arena.dice.sample(SCENARIOS, len(SCENARIOS)))
    for scenario in itertools.islice(order, rounds):
        await play(arena, desk, scenario, tally)
        if arena.used_up:
            break
    assert (await audit.verify(arena.company.corp_id)).sound


@pytest.fixture(scope="module")
async def ground(database: EmbeddedUrls) -> AsyncIterator[EmbeddedUrls]:
    """A migrated database on a server that nobody else uses."""
    with own_postgres() as found:
        await command(as_operator(found), "db", "upgrade")
        yield found


@pytest.mark.parametrize("level", LEVELS)
async def test_everything_that_starts_together(ground: EmbeddedUrls, level: str) -> None:
    """Left alone: one lock order for every command, so nobody ever waits for whoever waits for him."""
    tally, before = Tally(), await _deadlocks(ground)
    async with engine_on(at_level(ground.application, level), 12):
        assert await db.fetch_value("show transaction_isolation") == level
        arena = await an_arena(Companies(ground.owner), random.Random(soak.seed()))
        await play_all(arena, Desk(arena.company), 2 * len(SCENARIOS), tally)
    assert await _deadlocks(ground) == before
    assert level == "serializable" or OVERTAKEN not in tally.said, tally.said


async def _deadlocks(urls: EmbeddedUrls) -> int:
    """How many this database has seen; a connection tells it when it ends, at the latest."""
    sql = await asyncpg.connect(urls.owner)
    try:
        return int(await sql.fetchval("select deadlocks from pg_stat_database where datname = current_database()"))
    finally:
        await sql.close()


@pytest.mark.parametrize("level", LEVELS)
async def test_everything_that_starts_together_in_havoc(companies: Companies, database: EmbeddedUrls, level: str) -> None:
    """Deadlocks and serialisation failures on a share of all writes, some at COMMIT: begun again, and nobody hears of it."""
    arena, tally = await an_arena(companies, random.Random(soak.seed())), Tally()
    async with engine_on(at_level(database.application, level), 12), havoc(database.owner, arena.company.corp_id) as sql:
        await play_all(arena, Desk(arena.company), 2 * len(SCENARIOS), tally)
        assert await strikes(sql, arena.company.corp_id), "the loop was gone round"


async def test_a_refusal_in_havoc_is_told_and_recorded(companies: Companies, database: EmbeddedUrls) -> None:
    arena = await an_arena(companies, random.Random(soak.seed()))
    approval_id, desk = await arena.asked(await arena.customer(), HIGH), Desk(arena.company)
    async with havoc(database.owner, arena.company.corp_id, share=0.2):
        said = [(await desk.sign("dan", approval_id)).said for _ in range(25)]
    assert said == ["not_a_signer"] * 25
    assert await soundness.refusals(arena.company.corp_id) == 25


@pytest.mark.parametrize("level", LEVELS)
async def test_a_deadlock_with_somebody_else(companies: Companies, database: EmbeddedUrls, level: str) -> None:
    """Somebody outside takes the follow, then the request: crosswise to every signature. The signature begins again."""
    arena = await an_arena(companies, random.Random(soak.seed()))
    outside = await asyncpg.connect(database.owner)
    try:
        async with engine_on(at_level(database.application, level), 12):
            overtaken = [await _crosswise(arena, outside) for _ in range(2)]
    finally:
        await outside.close()
    assert any(overtaken), "PostgreSQL chose whoever waited longest, which is the service"


async def _crosswise(arena: Arena, outside: asyncpg.Connection) -> bool:
    """One signature against one crosswise lock; whether the signature's transaction was the one that had to go."""
    customer = await arena.customer()
    since = await soundness.mark(arena.company.corp_id)
    approval_id, follow_id = await arena.signed(customer, HIGH), await arena.company.follow_id("ann", customer)
    chosen = False
    with contextlib.suppress(asyncpg.DeadlockDetectedError):
        async with outside.transaction():
            await outside.execute("select 1 from follow where id = $1 for update", follow_id)
            signing = asyncio.create_task(arena.company.sign("hq", approval_id))
            await until_somebody_waits(outside)
            await outside.execute("select 1 from approval where id = $1 for update", approval_id)
            chosen = not signing.done()
    assert (await signing).state == "applied"
    assert await soundness.require_sound(since, [follow_id]) == {approval_id: "applied"}
    return chosen


# -- over HTTP, on two serving processes ---------------------------------------------------------------------------------


@dataclass
class Served:
    """Two serving processes on one database, each with connections of its own isolation level."""

    urls: EmbeddedUrls
    levels: Sequence[str]
    servers: Sequence[httpx.AsyncClient]


@pytest.fixture(scope="module")
async def served(request: pytest.FixtureRequest, ground: EmbeddedUrls, redis_url: str) -> AsyncIterator[Served]:
    """Two serving processes, of either level unless a test says otherwise; this process is their worker."""
    levels = getattr(request, "param", LEVELS)
    async with contextlib.AsyncExitStack() as stack:
        processes = [stack.enter_context(serving(at_level(ground.application, level), REDIS_URL=redis_url)) for level in levels]
        yield Served(ground, levels, [await stack.enter_async_context(client_of(process)) for process in processes])


async def _at(served: Served, rounds: int, dice: random.Random, tally: Tally, *, web: bool, struck: bool) -> None:
    """One company's rounds."""
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(engine_on(at_level(served.urls.application, dice.choice(served.levels)), 12))
        arena = await an_arena(Companies(served.urls.owner), dice)
        if struck:
            await stack.enter_async_context(havoc(served.urls.owner, arena.company.corp_id))
        desk = WebDesk(arena.company, served.servers) if web else Desk(arena.company)
        await play_all(arena, desk, rounds, tally)


@pytest.mark.parametrize("struck", [False, True], ids=["calm", "havoc"])
async def test_everything_that_starts_together_over_http(served: Served, struck: bool) -> None:
    await _at(served, len(SCENARIOS), random.Random(soak.seed()), Tally(), web=True, struck=struck)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("served", [(one, other) for one in LEVELS for other in LEVELS], indirect=True)
async def test_races_for_long(served: Served) -> None:
    """A round is one scenario. Half of the companies are asked over HTTP, half of them in havoc."""
    dice, tally, wanted = random.Random(soak.seed()), Tally(), soak.rounds(10_000) // len(LEVELS) ** 2
    for web, struck in itertools.cycle(itertools.product((True, False), repeat=2)):
        if tally.rounds >= wanted:
            break
        await _at(served, wanted - tally.rounds, dice, tally, web=web, struck=struck)
    print(served.levels, tally.rounds, dict(tally.said))
    for (name, ends), many in sorted(tally.ends.items()):
        print(f"{many:6} {name}: {' '.join(ends)}")
