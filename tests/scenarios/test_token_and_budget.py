"""Three worker processes and one WeCom: one token for all of them, a wrong secret that stops one corp and no other, a new
one that needs no restart, and a budget that holds whatever dies, restarts, is flushed or jumps.

What counts is what the simulator heard, by its monotonic log of arrivals.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support import leftovers
from support.company import Companies
from support.installation import until
from support.redis import RedisServer, program
from support.scaled import TAGS, Stage, a_stage
from support.service import Process, Service, environment, simulating
from support.town import Town, a_town
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls

MANY = [("ann", f"wmA{number:03d}", ()) for number in range(60)]
TRIES_AN_HOUR = 3


@pytest.fixture(scope="module")
def simulator_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A WeCom of this file's own: its clock is moved."""
    with simulating(tmp_path_factory.mktemp("simulator") / "state.sqlite") as process:
        yield process.url


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that may be flushed and killed."""
    if program() is None:
        pytest.skip("no redis-server on this machine")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
async def towns(companies: Companies, simulator_url: str) -> AsyncIterator[list[Town]]:
    """One for each test and one more, made before there are workers: their imports are done here."""
    async with contextlib.AsyncExitStack() as stack:
        made = [await stack.enter_async_context(a_town(companies, simulator_url, customers=MANY)) for _ in range(7)]
        await leftovers.set_aside()
        await made[0].control.switch(mark_seconds=0.1)  # so that all workers have a part in a run
        yield made


@pytest.fixture(scope="module")
async def workers(
    towns: list[Town], database: EmbeddedUrls, simulator_url: str, redis: RedisServer
) -> AsyncIterator[list[Process]]:
    """Three times `tagwarden worker`; at the end each must still be the process it was."""
    more = {"WECOM_API_BASE": simulator_url, "WECOM_CALLS_PER_MINUTE": "3000", "REDIS_URL": redis.url}
    processes = [Process(["worker"], environment(database.application, **more)).start() for _ in range(3)]
    yield processes
    running = [process.running for process in processes]
    for process in processes:
        process.stop()
    assert running == [True] * 3


@pytest.fixture
def town(towns: list[Town], workers: list[Process]) -> Town:
    """ann and her many customers."""
    return towns.pop()


async def edit(town: Town, tag: str, count: int = len(MANY), start: int = 0) -> None:
    """Gives a tag to so many customers, to be sent at once."""
    for owner, customer, _ in MANY[start : start + count]:
        await town.change(owner, customer, add=[tag])
    await town.hurry()


async def arrive(town: Town, seconds: float = 60) -> None:
    """Waits until the workers have sent everything, and WeCom holds what was decided."""
    async with asyncio.timeout(seconds):
        while await town.waiting():
            await town.hurry()
            await asyncio.sleep(0.2)
    assert not await town.different()


async def heard(town: Town, count: int) -> None:
    """Returns when WeCom has heard so many marks."""

    async def enough() -> bool:
        return (await codes(town, "mark_tag")).total() >= count

    await until(enough)


async def codes(town: Town, api: str) -> Counter[int]:
    """How often WeCom answered which code."""
    return Counter(call["code"] for call in await town.control.calls(api))


async def stopped_reason(town: Town) -> str | None:
    return await db.fetch_value("select stopped_reason from corp_credential where corp_id = $1", town.corp_id)  # type: ignore[no-any-return]


# -- the token ----------------------------------------------------------------------------------------------------------


async def test_a_token_that_wecom_ends_in_the_middle_of_a_run_is_renewed_once(town: Town) -> None:
    before = await codes(town, "gettoken")
    await edit(town, TAGS[0])
    await heard(town, 20)
    await town.control.ask("POST", "/clock", {"shift_seconds": 7300})  # ours still believes in it
    try:
        await edit(town, TAGS[1])
        await arrive(town)
    finally:
        await town.control.ask("POST", "/clock", {"shift_seconds": -7300})
    assert await codes(town, "gettoken") - before == {0: 1}
    assert set(await codes(town, "mark_tag")) == {0, 42001}


async def test_a_token_that_runs_out_in_the_middle_of_a_run_is_renewed_once(town: Town, redis: RedisServer) -> None:
    before = await codes(town, "gettoken")
    await edit(town, TAGS[0])
    await heard(town, 20)
    await db.execute("update wecom_token set expires_at = clock_timestamp() where corp_id = $1", town.corp_id)
    redis.flush()  # its copy ends at the same moment
    await edit(town, TAGS[1])
    await arrive(town)
    assert await codes(town, "gettoken") - before == {0: 1}
    assert set(await codes(town, "mark_tag")) == {0}, "before it ran out, not after a refusal"


@pytest.mark.parametrize("code", [40014, 42001])
async def test_a_lasting_refusal_is_two_calls_an_attempt(town: Town, code: int) -> None:
    await town.control.fault(kind="errcode", api="mark_tag", code=code, times=-1)
    before = sum((await codes(town, "gettoken")).values())
    await edit(town, TAGS[0], 5)
    async with asyncio.timeout(90):
        while await fewest_attempts(town) < 3:
            await asyncio.sleep(0.1)
            await hurry_who_is_behind(town)
    await town.control.corp("DELETE", "/faults")
    await arrive(town)
    tries = await calls_by_attempt(town)
    assert max(tries.values()) == 2
    assert len(await town.control.calls("mark_tag")) == sum(tries.values()), "and the ledger knows each"
    assert sum((await codes(town, "gettoken")).values()) - before <= len(tries), "at most one renewal an attempt"


async def fewest_attempts(town: Town) -> int:
    sql = "select coalesce(min(attempts), 0) from follow_sync where corp_id = $1 and dirty"
    return int(await db.fetch_value(sql, town.corp_id))


async def hurry_who_is_behind(town: Town) -> None:
    """Lets the time pass for follows with fewer than three attempts: if others went on meanwhile, the hour's tokens would go."""
    sql = "update follow_sync set settle_at = now(), next_try_at = null where corp_id = $1 and dirty and attempts < 3"
    await db.execute(sql, town.corp_id)


async def calls_by_attempt(town: Town) -> dict[tuple[Any, int], int]:
    rows = await db.fetch(
        "select follow_id, attempt, count(*) as calls from wecom_call where corp_id = $1 and follow_id is not null"
        " group by follow_id, attempt",
        town.corp_id,
    )
    return {(row["follow_id"], row["attempt"]): row["calls"] for row in rows}


# -- the secret ---------------------------------------------------------------------------------------------------------


async def put_secret(service: Service, town: Town, secret: str) -> None:
    body = {"secret": secret, "agent_id": 1}
    answer = await service.web(town).call("admin", "PUT", "/v1/corp/credentials/crm", body)
    assert answer.status_code == 200, answer.text


async def test_a_wrong_secret_stops_its_corp_alone_until_the_right_one_is_put(
    town: Town, towns: list[Town], service: Service, workers: list[Process]
) -> None:
    other = towns.pop()
    await town.control.corp("PUT", "/apps/crm/secret", {"secret": "another secret"})
    await edit(town, TAGS[0], 40)
    await until(lambda: is_stopped(town))
    await edit(other, TAGS[0], 40)
    await arrive(other)
    await put_secret(service, town, "a mistyped secret")
    await until(lambda: is_stopped(town))
    await edit(town, TAGS[1], 40)
    await edit(other, TAGS[1], 40)
    await arrive(other)
    assert (await codes(town, "gettoken"))[40001] == 2, "one for each wrong secret, whoever else wanted to try"
    assert await town.waiting() == 40
    await put_secret(service, town, "another secret")
    await arrive(town)
    assert (await codes(town, "gettoken"))[40001] <= TRIES_AN_HOUR
    assert set(await codes(other, "gettoken")) == {0}
    assert [process.running for process in workers] == [True] * 3


async def is_stopped(town: Town) -> bool:
    return "40001" in (await stopped_reason(town) or "")


async def test_secrets_changed_in_the_middle_of_a_run_lose_no_mark(town: Town, service: Service) -> None:
    for number, tag in enumerate(TAGS):
        await edit(town, tag)
        await heard(town, 20 * (number + 1))
        await town.control.corp("PUT", "/apps/crm/secret", {"secret": f"secret number {number}"})
        await put_secret(service, town, f"secret number {number}")
    await arrive(town)
    assert (await codes(town, "gettoken"))[40001] <= TRIES_AN_HOUR
    assert set(await codes(town, "mark_tag")) <= {0, 40014}
    for owner, customer, _ in MANY:
        assert await town.control.held(owner, customer) == set(TAGS)


# -- the budget ---------------------------------------------------------------------------------------------------------


async def everything_happens(stage: Stage, pause: float) -> None:
    """What may befall three workers and what they stand on, one thing after the other."""
    control, late, lost = stage.town.control, stage.timeout * 0.7, stage.timeout * 1.4
    for happens in (
        stage.kill_one,
        stage.redis.flush,
        partial(control.fault, kind="slow", api="mark_tag", seconds=late, times=stage.limit // 3),
        stage.set_clock_back,
        stage.restart_postgres,
        partial(control.fault, kind="slow", api="mark_tag", seconds=lost, times=stage.limit // 4),
        stage.kill_one,
        stage.set_clock_ahead,
        stage.redis.stop,
        partial(control.corp, "DELETE", "/tokens"),
        stage.kill_one,
        stage.redis.start,
    ):
        await asyncio.sleep(pause)
        done: Any = happens()
        if done is not None:
            await done


async def play(stage: Stage, pause: float, patience: float) -> None:
    """Half of the customers wait for a batch, others change again and again, and meanwhile everything happens."""
    town = stage.town
    for customer in stage.customers:
        await town.change("ann", customer, add=[TAGS[0]])
    await db.execute(
        "update follow_sync set class = 'bulk' where corp_id = $1 and hashtext(follow_id::text) % 2 = 0", town.corp_id
    )
    await town.hurry()
    editing = asyncio.create_task(stage.edit_for_ever(pause / 10))
    await everything_happens(stage, pause)
    editing.cancel()
    await asyncio.gather(editing, return_exceptions=True)
    await stage.delivered(patience)


async def check(stage: Stage) -> None:
    town = stage.town
    assert not await town.different()
    measured = await town.control.corp("GET", f"/window?seconds={stage.window}&since={town.control.since}")
    assert measured["worst"] <= stage.limit
    assert measured["worst"] >= stage.limit * 0.6, "the budget was used, not only kept"
    assert measured["calls"] >= len(stage.customers)
    assert (await codes(town, "gettoken")).total() <= 4
    assert [row["given_up"] for row in await db.fetch("select given_up from follow_sync where given_up is not null")] == []


async def test_the_budget_holds_whatever_happens(simulator_url: str, redis: RedisServer, tmp_path: Path) -> None:
    async with a_stage(simulator_url, tmp_path, customers=60, limit=20, window=2.0, timeout=1.0) as stage:
        await play(stage, pause=1.0, patience=60)
        await check(stage)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_the_budget_holds_at_its_real_size(simulator_url: str, redis: RedisServer, tmp_path: Path) -> None:
    async with a_stage(simulator_url, tmp_path, customers=150, limit=60, window=60.0, timeout=10.0) as stage:
        await play(stage, pause=12.0, patience=1200)
        await check(stage)
