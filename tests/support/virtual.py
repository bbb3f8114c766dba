"""Virtual time for a whole installation in one process: an event loop that jumps to what is due next, and a database,
a service, a client and a simulated WeCom that all read the same clock.

Nothing of the product is replaced. `now()` and `clock_timestamp()` of a database of its own are functions over one row,
found before PostgreSQL's because `public` stands first in its search path; `time` and `clock.now` are the loop's. Time
stands still while anything is under way, so an hour of waiting takes no longer than what is done in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import selectors
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from tagwarden.app import wiring
from tagwarden.kernel import clock, db, ids, migrations
from tagwarden.kernel.embedded import EmbeddedPostgres, EmbeddedUrls

PATIENCE = 20.0
"""Real seconds after which a statement that is under way will not be answered any more."""
HOUR = 3600.0
DEAD = 20.0
"""Real seconds with nothing under way and nothing due, after which nothing will ever happen."""

CLOCK = """
create unlogged table public.virtual_clock (at timestamptz not null);
insert into public.virtual_clock values (pg_catalog.now());
grant select on public.virtual_clock to tagwarden_app;
create function public.now() returns timestamptz language sql stable as 'select at from public.virtual_clock';
create function public.transaction_timestamp() returns timestamptz language sql stable as 'select at from public.virtual_clock';
create function public.statement_timestamp() returns timestamptz language sql stable as 'select at from public.virtual_clock';
create sequence public.virtual_ids;
grant usage on sequence public.virtual_ids to tagwarden_app;
create function public.uuidv7() returns uuid language sql volatile as $$ select (lpad(to_hex((extract(epoch from at) * 1000)
  ::bigint), 12, '0') || '70008' || lpad(to_hex(nextval('public.virtual_ids')), 15, '0'))::uuid from public.virtual_clock $$;
create function public.clock_timestamp() returns timestamptz language sql volatile as 'select at from public.virtual_clock';
"""
# What pins PostgreSQL's own functions first would read another clock than its rows were written by.
UNPIN = """
do $$ declare one record; begin
  for one in select p.oid::regprocedure as name from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'public' and exists (select 1 from unnest(p.proconfig) c where c like 'search_path=%') loop
    execute format('alter function %s set search_path = public, pg_catalog, pg_temp', one.name);
  end loop; end $$
"""


class _Selector(selectors.DefaultSelector):
    """Says when nothing is under way any more, instead of waiting for the time to pass."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if not self.loop.jumps:
            began = time.perf_counter()
            found = super().select(timeout)
            self.loop.pass_by(time.perf_counter() - began)
            return found
        # PostgreSQL answers in real time. Its answers wait until all that is done here has been done, so that the order
        # of things does not hang on how quick it is.
        found = super().select(0)
        here = [one for one in found if one[0].fd not in self.loop.database]
        if here or timeout == 0:
            return here
        if found:
            return found
        if self.loop.moving:
            return super().select(DEAD)
        if self.loop.broken:
            raise self.loop.broken
        if self.loop.busy():
            if found := super().select(PATIENCE):
                return found
            raise RuntimeError("the database does not answer")
        if timeout is None:
            if found := super().select(DEAD):
                return found
            raise RuntimeError("nothing is under way and nothing is due")
        self.loop.move(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time moves only when nothing else can, to the moment of the next timer; the database's with it.

    `busy` says whether anything outside of this process is under way; `shift` is what the database's clock is off.
    """

    def __init__(self) -> None:
        selector = _Selector()
        self._now = 100_000.0
        self._began = datetime(2026, 1, 5, tzinfo=UTC)
        self.moving = False
        self.broken: BaseException | None = None
        self.shift = timedelta(0)
        self.busy: Callable[[], bool] = lambda: False
        self.jumps = False
        self.clock: asyncpg.Connection | None = None
        self.database: set[int] = set()
        self._ids = 0
        self._task: asyncio.Task[None] | None = None
        super().__init__(selector)
        selector.loop = self

    def time(self) -> float:
        return self._now

    def moment(self) -> datetime:
        """The wall clock of every process."""
        return self._began + timedelta(seconds=self._now)

    def _make_socket_transport(self, sock: socket.socket, *args: Any, **more: Any) -> Any:
        (self.database.add if sock.family == socket.AF_UNIX else self.database.discard)(sock.fileno())
        return super()._make_socket_transport(sock, *args, **more)  # type: ignore[misc]

    def new_id(self) -> UUID:
        """An id of this moment that sorts after the last one, as those of the database do."""
        self._ids += 1
        millisecond = int(self.moment().timestamp() * 1000)
        return UUID(f"{millisecond:012x}7000a{self._ids:015x}")

    def pass_by(self, seconds: float) -> None:
        """So much real time went by."""
        self._now += seconds

    def move(self, seconds: float) -> None:
        """To be called when nothing is under way: begins the jump to the next timer."""
        self.moving = True
        self.call_soon(self._move, self._now + seconds)

    def _move(self, to: float) -> None:
        self._task = self.create_task(self._move_all(to))

    async def _move_all(self, to: float) -> None:
        try:
            await self._set(to)
        except BaseException as error:
            self.broken = error
        self._now = to
        self.moving = False

    async def _set(self, to: float | None = None) -> None:
        assert self.clock is not None
        at = self._began + timedelta(seconds=self._now if to is None else to) + self.shift
        await self.clock.execute("update public.virtual_clock set at = $1", at)

    @contextlib.asynccontextmanager
    async def jumping(self, on: bool = True) -> AsyncIterator[None]:
        """Whether time jumps for the length of the block, or passes as everywhere: who opens a connection needs that."""
        was = self.jumps
        await self._turn(on)
        try:
            yield
        finally:
            await self._turn(was)

    async def jump(self, seconds: float) -> None:
        """Sets the database's clock forward or back, and nobody else's."""
        self.shift += timedelta(seconds=seconds)
        await self._turn(self.jumps)

    async def begin_an_hour(self) -> None:
        """From now on it is the beginning of an hour, whatever real time went by before."""
        self._now = math.ceil(self._now / HOUR) * HOUR
        await self._turn(self.jumps)

    async def _turn(self, jumps: bool) -> None:
        while self.moving:
            await asyncio.sleep(0)
        self.moving = True
        await self._set()
        self.jumps, self.moving = jumps, False


@contextlib.contextmanager
def _patched(loop: VirtualLoop) -> Any:
    kept = time.time, time.monotonic, time.monotonic_ns, clock.now, ids.uuid7
    time.time = lambda: loop.moment().timestamp()
    time.monotonic = loop.time
    time.monotonic_ns = lambda: int(loop.time() * 1_000_000_000)
    clock.now, ids.uuid7 = loop.moment, loop.new_id
    try:
        yield
    finally:
        time.time, time.monotonic, time.monotonic_ns, clock.now, ids.uuid7 = kept


def run(main: Callable[[VirtualLoop, EmbeddedUrls], Coroutine[Any, Any, None]], folder: Path) -> None:
    """Runs `main` under virtual time, with a migrated PostgreSQL of its own in the folder and the engine open on it."""
    server = EmbeddedPostgres(folder)
    try:
        urls = server.start()
        loop = VirtualLoop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner, _patched(loop):
            runner.run(_with_database(loop, urls, main))
    finally:
        server.stop()


async def _with_database(
    loop: VirtualLoop, urls: EmbeddedUrls, main: Callable[[VirtualLoop, EmbeddedUrls], Coroutine[Any, Any, None]]
) -> None:
    async with _clock_of(urls.owner) as connection:
        await _migrate(urls.owner)
        await connection.execute(UNPIN)
        wiring.wire()
        await db.DB.open(urls.application, size=20)
        loop.clock, loop.busy = connection, _in_use
        try:
            async with loop.jumping():
                await main(loop, urls)
        finally:
            await db.DB.close()


@contextlib.asynccontextmanager
async def _clock_of(owner: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(owner)
    try:
        name = await connection.fetchval("select quote_ident(current_database())")
        await connection.execute(CLOCK)
        await connection.execute(f"alter database {name} set search_path = public, pg_catalog")
        await connection.execute(f"alter database {name} set synchronous_commit = off")  # no game lets the server die
        yield connection
    finally:
        await connection.close()


async def _migrate(owner: str) -> None:
    await db.DB.open(owner, size=2)
    await migrations.upgrade("tagwarden_app")
    await db.DB.close()


def _in_use() -> bool:
    """Whether a statement may be under way: every one has a connection of the pool, and gives it back at once."""
    pool = db.DB.pool
    return pool is not None and pool._queue.qsize() < len(pool._holders)  # the public sizes leave out who is connecting
