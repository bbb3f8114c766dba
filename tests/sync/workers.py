"""Worker processes as far as one event loop can hold them: each with a client, a budget and loops of its own.

One is killed at a statement: that one and all that would follow never reach the database, nor WeCom. And statements of
all processes come one after the other, a transaction being one, so that a game can be played again as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from support.town import Town, a_client
from tagwarden.kernel import db
from tagwarden.kernel.errors import TagwardenError
from tagwarden.sync.importer import Importer
from tagwarden.sync.inbound import Inbound
from tagwarden.sync.outbound import Outbound

SHORTEST_REST, LONGEST_REST = 0.5, 32.0
AFTER_ERROR = 1.0
Work = Callable[[], Awaitable[bool]]


class WorkerProcess:
    """Senders, a reader of reports and an executor of runs. `crashes` are errors nobody should see."""

    def __init__(self, town: Town, limits: tuple[int, float, float], crashes: list[BaseException]) -> None:
        self._corp_id = town.corp_id
        self._client, budget = a_client(town.control.url, *limits)
        self._outbound, self._inbound = Outbound(self._client, budget), Inbound(self._client)
        self._importer = Importer(self._client)
        self._crashes = crashes
        self._news = asyncio.Event()
        self.tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._loops: list[asyncio.Task[None]] = []
        self.dead = False
        self._fuse: int | None = None

    async def start(self) -> None:
        """Begins to work."""
        works: tuple[Work, ...] = (
            lambda: self._outbound.send_one(self._corp_id, bulk_too=False),
            lambda: self._outbound.send_one(self._corp_id),
            lambda: self._inbound.work_once(self._corp_id),
            lambda: self._importer.run_next(self._corp_id),
        )
        await self._client.start()
        context = contextvars.copy_context()
        context.run(_WITHIN.set, self)
        asyncio.get_running_loop().set_task_factory(_with_its_process)
        self._loops = [asyncio.create_task(self._work(one), context=context.copy()) for one in works]

    def wake(self) -> None:
        """Tells it that there may be something to do."""
        self._news.set()

    def light(self, statements: int) -> None:
        """kill -9, at its so-manieth statement from now."""
        self._fuse = statements

    def burn(self) -> bool:
        """One statement more; whether it is alive to make it."""
        if self._fuse is not None:
            self._fuse -= 1
            if self._fuse < 0:
                self._die()
        return not self.dead

    def _die(self) -> None:
        self.dead = True
        for task in sorted(self.tasks, key=lambda one: one.get_name()):
            task.cancel()

    async def bury(self) -> None:
        """Kills it where it is not dead, and lets go of its connections to WeCom."""
        self._die()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._client.close()

    async def _work(self, work: Work) -> None:
        rest = SHORTEST_REST
        while not self.dead:
            try:
                worked = await work()
            except (TagwardenError, *db.GONE):
                await asyncio.sleep(AFTER_ERROR)
                continue
            except Exception as error:
                self._crashes.append(error)
                raise
            rest = SHORTEST_REST if worked else min(rest * 4, LONGEST_REST)
            if not worked and await self._heard(rest):
                rest = SHORTEST_REST

    async def _heard(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)
            await asyncio.sleep(0)  # every loop hears it
            self._news.clear()
            return True
        return False


_WITHIN: contextvars.ContextVar[WorkerProcess | None] = contextvars.ContextVar("within", default=None)


def _with_its_process(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
    """A task of a process dies with it, whoever began it."""
    task = asyncio.Task(work, loop=loop, **more)
    process = (more.get("context") or contextvars.copy_context()).get(_WITHIN)
    if process is not None:
        process.tasks.add(task)
    return task


class Fence:
    """The pool as processes see it: one at a time, and a dead one reaches nothing."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._turn = asyncio.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def busy(self) -> bool:
        """Whether a statement is under way."""
        return self._turn.locked()

    async def fetch(self, *args: Any) -> Any:
        await _take(self._turn)
        try:
            return await self._pool.fetch(*args)
        finally:
            self._turn.release()

    def acquire(self) -> Turn:
        return Turn(self._pool, self._turn)

    async def release(self, connection: Any) -> None:
        try:
            await self._pool.release(connection)
        finally:
            self._turn.release()


class Turn:
    """A connection: awaited for a transaction, entered for a session."""

    def __init__(self, pool: asyncpg.Pool, turn: asyncio.Lock) -> None:
        self._pool, self._turn = pool, turn
        self._kept: Any = None

    def __await__(self) -> Any:
        return self._for_a_transaction().__await__()

    async def _for_a_transaction(self) -> Any:
        await _take(self._turn)
        try:
            return await self._pool.acquire()
        except BaseException:
            self._turn.release()
            raise

    async def __aenter__(self) -> Kept:
        await _take(self._turn)
        try:
            self._kept = await self._pool.acquire()
        finally:
            self._turn.release()
        return Kept(self._kept, self._turn)

    async def __aexit__(self, *_: object) -> None:
        async with self._turn:
            await self._pool.release(self._kept)


class Kept:
    """A connection that is kept, for a session lock: its statements wait for their turn as all do."""

    def __init__(self, connection: Any, turn: asyncio.Lock) -> None:
        self._connection, self._turn = connection, turn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def lend(self) -> None:
        self._connection.lend()

    async def fetchval(self, *args: Any) -> Any:
        await _take(self._turn)
        try:
            return await self._connection.fetchval(*args)
        finally:
            self._turn.release()

    async def execute(self, *args: Any) -> Any:
        await _take(self._turn)
        try:
            return await self._connection.execute(*args)
        finally:
            self._turn.release()


async def _take(turn: asyncio.Lock) -> None:
    """Takes the turn; whoever dies of it, or is dead, goes no further and holds nobody up."""
    await turn.acquire()
    process = _WITHIN.get()
    if process is None or process.burn():
        return
    turn.release()
    raise asyncio.CancelledError
