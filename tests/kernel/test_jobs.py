"""Jobs on the real engine: enqueued with their rows, run once, held when they fail, picked up when their worker dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import asyncpg
import pytest
import structlog

from tagwarden.kernel import db, jobs
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.kernel.ids import new_id
from tagwarden.kernel.jobs import JobHandler, Payload, Scheduled

PROCESS = Path(__file__).with_name("jobs_process.py")


@pytest.fixture
def name() -> str:
    """A kind of job that no other test has."""
    return f"test-{new_id().hex}"


async def add(name: str, *numbers: int) -> None:
    async with db.transaction():
        for number in numbers:
            await jobs.enqueue(name, {"n": str(number)})


async def states(name: str) -> Counter[str]:
    """How many jobs of this kind stand in which state; those done are gone."""
    rows = await db.fetch("select status::text as state from pgqueuer where entrypoint = $1", name)
    return Counter(row["state"] for row in rows)


@contextlib.asynccontextmanager
async def engines(
    count: int, handlers: Mapping[str, JobHandler], schedule: Sequence[Scheduled] = ()
) -> AsyncIterator[asyncio.Event]:
    """Several engines, as in several workers."""
    stop = asyncio.Event()
    running = [asyncio.create_task(jobs.run(handlers, schedule, stop)) for _ in range(count)]
    try:
        yield stop
    finally:
        stop.set()
        async with asyncio.timeout(90):
            await asyncio.gather(*running)


async def until(condition: str, *args: object, seconds: float = 90) -> None:
    async with asyncio.timeout(seconds):
        while not await db.fetch_value(f"select {condition} as met", *args):
            await asyncio.sleep(0.05)


NONE_LEFT = "not exists (select 1 from pgqueuer where entrypoint = $1)"


async def test_a_job_needs_the_transaction_of_its_rows(database: EmbeddedUrls, name: str) -> None:
    with pytest.raises(RuntimeError):
        await jobs.enqueue(name, {})


async def test_a_job_rolls_back_with_its_rows(database: EmbeddedUrls, name: str) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with db.transaction():
            await jobs.enqueue(name, {})
            raise ZeroDivisionError
    assert await states(name) == Counter()
    await add(name, 1)
    assert await states(name) == Counter(queued=1)
    await db.execute("delete from pgqueuer where entrypoint = $1", name)


async def test_each_job_runs_once_over_two_workers(database: EmbeddedUrls, name: str) -> None:
    seen: list[str] = []

    async def work(payload: Payload) -> None:
        seen.append(payload["n"])
        await asyncio.sleep(0.01)

    async with engines(2, {name: work}):
        for start in range(0, 60, 20):
            await add(name, *range(start, start + 20))
            await asyncio.sleep(0.1)
        await until(NONE_LEFT, name)
    assert sorted(map(int, seen)) == list(range(60))


async def test_an_engine_does_not_take_itself_for_deaf(database: EmbeddedUrls, name: str) -> None:
    async def work(_: Payload) -> None: ...

    with structlog.testing.capture_logs() as told:
        async with engines(5, {name: work}):
            await asyncio.sleep(11.5)  # its first look at its own listener is given up after ten seconds
    assert [line["event"] for line in told] == []


async def test_a_failure_is_held_and_stops_nobody(database: EmbeddedUrls, name: str) -> None:
    seen: list[str] = []

    async def work(payload: Payload) -> None:
        seen.append(payload["n"])
        if payload["n"] == "2":
            raise ValueError("no")

    async with engines(1, {name: work}):
        await add(name, 1, 2, 3)
        await until("(select count(*) from pgqueuer where entrypoint = $1 and status = 'failed') = 1", name)
        await add(name, 4)
        await until("(select count(*) from pgqueuer where entrypoint = $1) = 1", name)
        await asyncio.sleep(0.5)
    assert sorted(seen) == ["1", "2", "3", "4"]
    assert await states(name) == Counter(failed=1)


async def test_the_job_of_a_killed_worker_is_picked_up(database: EmbeddedUrls, name: str) -> None:
    seen: list[str] = []

    async def work(payload: Payload) -> None:
        seen.append(payload["n"])

    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROCESS), database.application, name, "60", stdout=asyncio.subprocess.PIPE, env=environment()
    )
    try:
        await add(name, 7)
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 90) == b"begun 7\n"
    finally:
        process.kill()
        await process.wait()
    assert await states(name) == Counter(picked=1)
    async with engines(1, {name: work}):
        await until(NONE_LEFT, name)
    assert seen == ["7"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


async def test_a_long_job_is_not_taken_from_a_living_worker(database: EmbeddedUrls, name: str) -> None:
    seen: list[str] = []

    async def work(payload: Payload) -> None:
        seen.append(payload["n"])
        await asyncio.sleep(jobs.HEARTBEAT.total_seconds() + 2)

    async with engines(2, {name: work}):
        await add(name, 1)
        await until(NONE_LEFT, name)
    assert seen == ["1"]


async def test_stop_cuts_a_long_job_off(database: EmbeddedUrls, name: str) -> None:
    ends: list[str] = []

    async def work(payload: Payload) -> None:
        ends.append("begun")
        try:
            await asyncio.sleep(60)
        finally:
            ends.append("cut off")

    async with engines(1, {name: work}) as stop:
        await add(name, 1)
        async with asyncio.timeout(90):
            while not ends:
                await asyncio.sleep(0.05)
        began = time.monotonic()
        stop.set()
    assert time.monotonic() - began < 5
    assert ends == ["begun", "cut off"]


async def test_a_line_of_the_schedule_runs_in_one_process_of_all(database: EmbeddedUrls, name: str) -> None:
    ran: list[float] = []

    async def tick() -> None:
        ran.append(time.monotonic())

    await db.execute("delete from pgqueuer_schedules")
    async with engines(2, {}, [Scheduled(name, "* * * * *", tick)]):
        await until("exists (select 1 from pgqueuer_schedules where entrypoint = $1)", name)
        await db.execute("update pgqueuer_schedules set next_run = now() where entrypoint = $1", name)
        async with asyncio.timeout(90):
            while not ran:
                await asyncio.sleep(0.1)
        await asyncio.sleep(1.5)
    assert len(ran) == 1


async def test_an_engine_comes_back_after_losing_its_connections(
    database: EmbeddedUrls, name: str, sql: asyncpg.Connection
) -> None:
    mark = f"jobs-{name[-8:]}"
    dsn = database.application + ("&" if "?" in database.application else "?") + f"application_name={mark}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROCESS), dsn, name, "0", stdout=asyncio.subprocess.PIPE, env=environment()
    )
    assert process.stdout is not None
    try:
        await add(name, 1)
        assert await asyncio.wait_for(process.stdout.readline(), 90) == b"begun 1\n"
        cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = $1"
        assert await sql.fetchval(cut, mark) >= 1
        await asyncio.sleep(0.2)
        await add(name, 2)
        said = b""
        while b"begun 2" not in said:
            said = await asyncio.wait_for(process.stdout.readline(), 90)
    finally:
        process.kill()
        await process.wait()
