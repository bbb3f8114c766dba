"""A stage for the call budget: a company on a PostgreSQL and a Redis of its own, and workers whose budget has a short window.

The workers are the product's, but for the size of their budget; see scaled_worker.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from support.company import Companies
from support.engine import engine_on
from support.installation import a_server, until
from support.redis import RedisServer
from support.service import Process, environment
from support.town import Town, a_town
from tagwarden.app import wiring
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedPostgres, EmbeddedUrls
from tagwarden.sync.model import LEASE

TAGS = ("advice/asked", "advice/cheap", "advice/keen")
SCALED_WORKER = ("-m", "support.scaled_worker")


@dataclass
class Stage:
    """Three workers on a budget of `limit` calls in `window` seconds, and everything below them that may fail."""

    limit: int
    window: float
    timeout: float
    server: EmbeddedPostgres
    urls: EmbeddedUrls
    redis: RedisServer
    town: Town
    customers: list[str]
    workers: list[Process] = field(default_factory=list)

    async def hire(self) -> None:
        """One more worker, at work when this returns."""
        before = await self._ever_at_work()
        env = environment(self.urls.application, WECOM_API_BASE=self.town.control.url, REDIS_URL=self.redis.url)
        words = [str(self.limit), str(self.window), str(self.timeout)]
        self.workers.append(Process(words, env, program=SCALED_WORKER).start())

        async def more() -> bool:
            return await self._ever_at_work() > before

        await until(more)

    async def _ever_at_work(self) -> int:
        return int(await db.fetch_value("select count(*) from process_heartbeat where role = 'worker'"))  # the killed ones too

    async def kill_one(self) -> None:
        """kill -9 of the oldest but one, and a successor; the oldest is the one whose clock jumps."""
        self.workers[1].kill()
        self.workers.pop(1).stop()
        await self.hire()

    def restart_postgres(self) -> None:
        """Every connection breaks, calls under way are answered while nobody can write it down."""
        self.server.stop()
        assert self.server.start() == self.urls, "the server has to come back where it was"

    def set_clock_back(self) -> None:
        """By 90 s, on one worker's machine."""
        self.workers[0].send(signal.SIGUSR2)

    def set_clock_ahead(self) -> None:
        """By 90 s, on the same."""
        self.workers[0].send(signal.SIGUSR1)

    async def bury(self) -> None:
        """Lets the time pass after which a dead worker's leases end; a living one's are younger than five windows."""
        await db.execute(
            "update follow_sync set leased_until = null where corp_id = $1 and leased_until < now() + $2::interval"
            " - make_interval(secs => $3)",
            self.town.corp_id,
            LEASE,
            5 * (self.window + self.timeout),
        )

    async def edit_for_ever(self, pause: float) -> None:
        """People's changes all along; one that PostgreSQL could not take is made again."""
        for customer, tag in itertools.cycle(itertools.product(self.customers, TAGS[1:])):
            with contextlib.suppress(db.DatabaseUnavailable):
                await self.town.change("ann", customer, **{random.choice(("add", "remove")): [tag]})
            await asyncio.sleep(pause)

    async def delivered(self, seconds: float) -> None:
        """Waits until everything arrived; TimeoutError after so many seconds."""
        async with asyncio.timeout(seconds):
            while await self.town.waiting():
                assert all(worker.running for worker in self.workers)
                await self.bury()
                await self.town.hurry()
                await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def a_stage(url: str, folder: Path, customers: int, limit: int, window: float, timeout: float) -> AsyncIterator[Stage]:
    """A live company on servers of its own, with three workers; the calls of its import have left the window."""
    names = [f"wmA{number:03d}" for number in range(customers)]
    wiring.wire()
    async with contextlib.AsyncExitStack() as stack:
        server, urls, _ = stack.enter_context(a_server())
        await stack.enter_async_context(engine_on(urls.application))
        town = await stack.enter_async_context(a_town(Companies(urls.owner), url, customers=[("ann", one, ()) for one in names]))
        redis = RedisServer(folder)
        redis.start()
        stack.callback(redis.stop)
        stage = Stage(limit, window, timeout, server, urls, redis, town, names)
        stack.callback(lambda: [worker.stop() for worker in stage.workers])
        await asyncio.sleep(window)
        town.control.since = time.monotonic_ns()
        for _ in range(3):
            await stage.hire()
        yield stage
