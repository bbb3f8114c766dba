"""Jobs and schedules on an existing engine, pgqueuer: enqueued in the transaction of the rows that need them.

A job says which row to look at, never what to do to WeCom: that is drawn from dirty rows. pgqueuer's own traps are met
here: no dedupe keys (they would abort the caller's transaction), failures are held and not deleted, the listener is
made anew after a lost connection, and a short dequeue time-out sweeps up lost notices.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import structlog
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job, Schedule
from pgqueuer.queries import Queries

from tagwarden.kernel import db

log = structlog.get_logger(__name__)
Payload = dict[str, str]
JobHandler = Callable[[Payload], Coroutine[Any, Any, None]]
ScheduledHandler = Callable[[], Awaitable[None]]
SWEEP = timedelta(seconds=2)
HEARTBEAT = timedelta(seconds=5)
PAUSE_AFTER_FAILURE = 1.0


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A cron line (five fields, UTC) and what runs then, in one process of all."""

    name: str
    cron: str
    run: ScheduledHandler


async def enqueue(name: str, payload: Payload) -> None:
    """Adds a job to the current transaction: rolled back with it, visible when it commits."""
    current = db.DB.current_transaction.get()
    if current is None:
        raise RuntimeError("a job is enqueued in the transaction of the rows that need it")
    await Queries(AsyncpgDriver(current.connection)).enqueue(name, msgspec.json.encode(payload))


async def run(handlers: Mapping[str, JobHandler], schedule: Sequence[Scheduled], stop: asyncio.Event) -> None:
    """Works on jobs and schedules until `stop`; after a lost connection it begins anew."""
    while not stop.is_set():
        engine = _engine(handlers, schedule, stop)
        working = asyncio.create_task(_work(engine))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:  # cancelled too: an engine of its own task would go on without us
            stopping.cancel()
            engine.shutdown.set()
        outcome = (await asyncio.gather(working, return_exceptions=True))[0]
        if stop.is_set():
            return
        if isinstance(outcome, Exception):
            log.warning("jobs.restarted", error=type(outcome).__name__)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), PAUSE_AFTER_FAILURE)


async def _work(engine: PgQueuer) -> None:
    # Listened before it runs: its first look at its own listener is sent beside the LISTEN, and where it comes first
    # the engine would take itself for deaf and end ten seconds later.
    async with engine.connection as driver:
        await driver.add_listener(engine.channel, lambda _: None)
        await engine.run(dequeue_timeout=SWEEP, heartbeat_timeout=HEARTBEAT, shutdown_on_listener_failure=True)


def _engine(handlers: Mapping[str, JobHandler], schedule: Sequence[Scheduled], stop: asyncio.Event) -> PgQueuer:
    if db.DB.pool is None:
        raise db.DatabaseUnavailable()
    engine = PgQueuer.from_asyncpg_pool(db.DB.pool)
    for name, handler in handlers.items():
        engine.entrypoint(name, on_failure="hold", accepts_context=False)(_job(handler, stop))
    for line in schedule:
        engine.schedule(line.name, line.cron, accepts_context=False)(_scheduled(line))
    return engine


def _job(handler: JobHandler, stop: asyncio.Event) -> Callable[[Job], Awaitable[None]]:
    """The handler as the engine calls it, cut off at `stop`.

    Cut off it counts as done: a job only names rows, and the rows tell a later one where to go on.
    """

    async def work(job: Job) -> None:
        working = asyncio.create_task(handler(msgspec.json.decode(job.payload or b"{}", type=Payload)))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not working.done():
                working.cancel()
                await asyncio.wait({working})
        if not working.cancelled():
            await working

    return work


def _scheduled(line: Scheduled) -> Callable[[Schedule], Awaitable[None]]:
    async def work(_: Schedule) -> None:
        await line.run()

    return work
