"""A whole installation of its own, for tests that kill parts of it: PostgreSQL, WeCom, one service and two workers.

What ends is started again as systemd would (`Restart=always`), and nothing else is done for it. An end that nobody
caused is kept for the test to look at.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from support.company import Companies
from support.engine import engine_on
from support.service import Process, environment, free_port, simulating
from support.town import CUSTOMERS, Town, a_town
from tagwarden.app import wiring
from tagwarden.kernel.embedded import EmbeddedPostgres, EmbeddedUrls

RESTART_SECONDS = 0.2
STARTED_TOO_EARLY = ("[database_unavailable]", "[redis_needed]")
"""How a process ends, with a sentence, whose database or whose killed predecessor's place is not yet free."""


async def until(ask: Callable[[], Awaitable[bool]], seconds: float = 120) -> None:
    """Returns when the answer is yes; AssertionError when it never is."""
    end = time.monotonic() + seconds
    while not await ask():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.1)


def migrate(urls: EmbeddedUrls) -> None:
    """`tagwarden db upgrade`."""
    env = environment(urls.application, MIGRATION_DATABASE_URL=urls.owner)
    subprocess.run([sys.executable, "-m", "tagwarden", "db", "upgrade"], env=env, check=True, capture_output=True)


@contextlib.contextmanager
def a_server() -> Iterator[tuple[EmbeddedPostgres, EmbeddedUrls, Path]]:
    """A migrated PostgreSQL in a folder whose short path holds the socket, so that it comes back at the same address."""
    with tempfile.TemporaryDirectory(prefix="tw-own-", dir="/tmp") as made:
        server = EmbeddedPostgres(Path(made))
        try:
            urls = server.start()
            migrate(urls)
            yield server, urls, Path(made)
        finally:
            server.stop()


@dataclass
class Installation:
    """The parts, and the ways to kill them."""

    server: EmbeddedPostgres
    urls: EmbeddedUrls
    folder: Path
    town: Town
    service: Process
    workers: list[Process]
    unplanned: list[str] = field(default_factory=list)
    _killed: set[int] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where the service answers."""
        return f"http://127.0.0.1:{self.service.words[-1]}"

    def kill(self, process: Process) -> None:
        """Ends a process at once (SIGKILL); it is started again a moment later."""
        self._killed.add(id(process))
        process.kill()

    async def keep(self, process: Process) -> None:
        """Starts a process whenever it does not run."""
        while True:
            if not process.running:
                self._note(process)
                process.stop()
                process.start()
            await asyncio.sleep(RESTART_SECONDS)

    def _note(self, process: Process) -> None:
        if id(process) not in self._killed and not any(code in process.log for code in STARTED_TOO_EARLY):
            self.unplanned.append(process.log[-3000:])
        self._killed.discard(id(process))

    async def kill_postgres(self, away: float) -> None:
        """Kills PostgreSQL (SIGKILL to its first process) and starts it again after so many seconds."""
        os.kill(int((self.folder / "pg" / "postmaster.pid").read_text().split()[0]), 9)
        await asyncio.sleep(away)
        self.server.stop()
        assert self.server.start() == self.urls, "the server has to come back where it was"

    async def is_ready(self) -> bool:
        """Whether the service answers and has its database."""
        async with httpx.AsyncClient(trust_env=False, timeout=2) as http:
            with contextlib.suppress(httpx.HTTPError):
                return (await http.get(f"{self.url}/health/ready")).status_code == 200
        return False

    async def until_ready(self) -> None:
        """Returns when it is; AssertionError with what the service wrote when it never is."""
        try:
            await until(self.is_ready)
        except AssertionError as error:
            error.add_note("\n".join([*self.unplanned, self.service.log[-3000:]]))
            raise

    async def end_leases(self) -> None:
        """Kills all workers, so that every lease is a dead one's, and lets the time pass until it ends."""
        for worker in self.workers:
            self.kill(worker)
        await self.town.end_leases()

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """`tagwarden …` beside the running installation."""
        env = environment(self.urls.application)
        return subprocess.run([sys.executable, "-m", "tagwarden", *words], env=env, capture_output=True, timeout=600)


@contextlib.asynccontextmanager
async def an_installation(customers: Sequence[tuple[str, str, Sequence[str]]] = CUSTOMERS) -> AsyncIterator[Installation]:
    """A live company on an installation of its own; this process's engine is on its database meanwhile."""
    wiring.wire()
    async with contextlib.AsyncExitStack() as stack:
        server, urls, folder = stack.enter_context(a_server())
        simulator = stack.enter_context(simulating(folder / "wecom.sqlite"))
        await stack.enter_async_context(engine_on(urls.application))
        town = await stack.enter_async_context(a_town(Companies(urls.owner), simulator.url, customers=customers))
        env = environment(urls.application, WECOM_API_BASE=simulator.url, WECOM_CALLS_PER_MINUTE="3000")
        service, *workers = (Process(words, env) for words in (["serve", "--port", str(free_port())], ["worker"], ["worker"]))
        installation = Installation(server, urls, folder, town, service, workers)
        keepers = [asyncio.create_task(installation.keep(process.start())) for process in (service, *workers)]
        try:
            await installation.until_ready()
            yield installation
        finally:
            for keeper in keepers:
                keeper.cancel()
            outcomes = await asyncio.gather(*keepers, return_exceptions=True)
            for process in (service, *workers):
                process.stop()
            assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes
