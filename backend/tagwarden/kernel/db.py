"""The one door to PostgreSQL: Piccolo's engine with a pool that cannot leak, and plain SQL beside its query builder.

Piccolo loses a pooled connection when COMMIT fails or a task is cancelled around BEGIN; `SafeTransaction` gives every
connection back whatever happens. A transaction is opened by a use case and never spans a network call; it is not
nested, because Piccolo would join the outer one in silence.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any

import asyncpg
from piccolo.engine.postgres import PostgresEngine, PostgresTransaction

from tagwarden.kernel.errors import Invalid, Unavailable

Row = dict[str, Any]


class ValueRefused(Invalid):
    code = "value_invalid"
    zh = "内容包含无法保存的字符或数值"
    en = "A value holds characters or numbers that cannot be stored"


class DatabaseUnavailable(Unavailable):
    code = "database_unavailable"
    zh = "数据库暂时不可用，未做任何更改，请稍后再试"
    en = "The database is not available; nothing was changed, try again later"


class OutcomeUnknown(DatabaseUnavailable):
    code = "outcome_unknown"
    zh = "数据库在提交时中断，更改可能已经生效；请用同一 Idempotency-Key 重试，或刷新查看后再操作"
    en = "The database went away while committing; the change may have been made: use the same Idempotency-Key, or look first"


GONE = (
    asyncpg.exceptions.PostgresConnectionError,
    asyncpg.exceptions.InterfaceError,
    asyncpg.exceptions.InternalClientError,
    asyncpg.exceptions.AdminShutdownError,
    asyncpg.exceptions.CannotConnectNowError,
    asyncpg.exceptions.TooManyConnectionsError,
    ConnectionError,
    OSError,
    TimeoutError,
)
"""What asyncpg raises when the server is gone, going or not yet there."""


class Session(asyncpg.Connection):
    """A pooled connection. What a statement or a transaction sets ends with it, so giving the connection back asks nothing
    of the server; only a session that was lent, or listened in, may hold something, and that one is reset."""

    lent = False

    def lend(self) -> None:
        """From now on somebody may leave a lock, a listener or a setting in it."""
        self.lent = True

    async def add_listener(self, channel: str, callback: Callable[..., Any]) -> None:
        self.lend()
        await super().add_listener(channel, callback)

    def get_reset_query(self) -> str:
        return str(super().get_reset_query()) if self.lent else ""

    async def reset(self, *, timeout: float | None = None) -> None:
        await super().reset(timeout=timeout)
        self.lent = False


class SafeTransaction(PostgresTransaction):
    """Piccolo's transaction, minus the ways in which it forgets to give the connection back."""

    __slots__ = ("_pool",)
    connection: Any

    async def __aenter__(self) -> PostgresTransaction:
        if self._parent is not None:
            return self._parent
        self._pool = self.engine.pool  # the engine may have another one, or none, when this ends
        self.connection = await self.get_connection()  # type: ignore[no-untyped-call]
        try:
            self.transaction = self.connection.transaction()
            await self.begin()  # type: ignore[no-untyped-call]
        except BaseException:
            await self._give_back()
            raise
        self.context = self.engine.current_transaction.set(self)
        return self

    async def __aexit__(
        self, exception_type: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self._parent is not None:
            return False
        try:
            if exception is not None:
                await self._undo()
            else:
                await self._keep()
        finally:
            self.engine.current_transaction.reset(self.context)
            await self._give_back()
        return False

    async def _keep(self) -> None:
        # COMMIT was sent and its answer is lost: nobody here can say whether it was made.
        try:
            await self.commit()  # type: ignore[no-untyped-call]
        except GONE as error:
            raise OutcomeUnknown() from error

    async def _undo(self) -> None:
        # The first error is the one to tell; a connection that cannot even roll back is reset by the pool.
        with contextlib.suppress(*GONE):
            await self.rollback()  # type: ignore[no-untyped-call]

    async def _give_back(self) -> None:
        if self._pool is None:
            await self.connection.close()
            return
        with contextlib.suppress(asyncpg.InterfaceError):  # the pool was ended meanwhile, and its connections with it
            await self._pool.release(self.connection)


class Database(PostgresEngine):
    """The engine of every table of ours; connects at `open`, never at import."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(config={}, extensions=())

    async def get_version(self) -> float:
        return 0.0  # not asked at import: there is no server yet

    async def open(self, url: str, *, size: int = 10) -> None:
        """Starts the pool, or raises DatabaseUnavailable."""
        self.config = {"dsn": url}
        try:
            await self.start_connection_pool(
                dsn=url,
                min_size=1,
                max_size=size,
                timeout=5,
                command_timeout=60,
                max_inactive_connection_lifetime=300,
                connection_class=Session,
                # A page is read in milliseconds: other processes to help would take longer to start.
                server_settings={"max_parallel_workers_per_gather": "0"},
            )
        except GONE as error:
            raise DatabaseUnavailable() from error

    async def close(self) -> None:
        """Ends the pool; calls under way get five seconds."""
        if not self.pool:
            return
        try:
            await asyncio.wait_for(self.pool.close(), 5)
        except TimeoutError:
            self.pool.terminate()
        self.pool = None

    def transaction(self, allow_nested: bool = True) -> SafeTransaction:
        return SafeTransaction(engine=self, allow_nested=allow_nested)  # Piccolo's migrations nest; ours never do


DB = Database()
AfterCommit = Callable[[], Awaitable[None]]
_after_commit: ContextVar[list[AfterCommit]] = ContextVar("after_commit")


@contextlib.asynccontextmanager
async def transaction(isolation: str | None = None) -> AsyncIterator[None]:
    """One transaction; everything awaited inside, in this task, is part of it. What waits for its commit follows it."""
    waiting: list[AfterCommit] = []
    mark = _after_commit.set(waiting)
    try:
        async with DB.transaction(allow_nested=False):
            if isolation:
                await execute(f"set transaction isolation level {isolation}")
            yield
    except GONE as error:
        if isinstance(error, ValueError):
            raise ValueRefused() from error
        raise DatabaseUnavailable() from error
    finally:
        _after_commit.reset(mark)
    for act in waiting:
        await act()


class _Rehearsed(Exception):
    """Ends a rehearsal."""


@contextlib.asynccontextmanager
async def rehearsal() -> AsyncIterator[None]:
    """A transaction in which everything is done and checked, what is checked at commit too, and nothing is kept."""
    with contextlib.suppress(_Rehearsed):
        async with transaction():
            yield
            await execute("set constraints all immediate")
            raise _Rehearsed


async def after_commit(act: AfterCommit) -> None:
    """Runs `act` once the current transaction has committed, never when it rolls back; at once outside of one.

    `act` must not raise: what it was about is committed already.
    """
    if in_transaction():
        _after_commit.get().append(act)
        return
    await act()


def in_transaction() -> bool:
    """Whether this task is inside a transaction: work with a network in it asks, and refuses."""
    return DB.transaction_exists()


async def fetch(sql: str, *args: Any) -> list[Row]:
    """Runs one statement (`$1` placeholders) in the current transaction, or on a pooled connection."""
    try:
        current = DB.current_transaction.get()
        if current is not None:
            return [dict(row) for row in await current.connection.fetch(sql, *args)]
        if DB.pool is None:
            raise DatabaseUnavailable()
        return [dict(row) for row in await DB.pool.fetch(sql, *args)]
    except asyncpg.DataError as error:
        raise ValueRefused() from error
    except GONE as error:
        if isinstance(error, ValueError):  # asyncpg's own word for an argument that fits no column
            raise ValueRefused() from error
        raise DatabaseUnavailable() from error


async def fetch_one(sql: str, *args: Any) -> Row | None:
    """The first row, or None."""
    rows = await fetch(sql, *args)
    return rows[0] if rows else None


async def fetch_value(sql: str, *args: Any) -> Any:
    """The first column of the first row, or None."""
    row = await fetch_one(sql, *args)
    return next(iter(row.values())) if row else None


async def execute(sql: str, *args: Any) -> None:
    """Runs one statement for its effect."""
    await fetch(sql, *args)


async def pages(sql: str, *args: Any, size: int = 1_000) -> AsyncIterator[list[Any]]:
    """The rows of one statement inside the current transaction, so many at a time; between two pages others have a turn."""
    current = DB.current_transaction.get()
    if current is None:
        raise RuntimeError("pages are read inside a transaction")
    cursor = await current.connection.cursor(sql, *args)
    while page := await cursor.fetch(size):
        yield page


async def execute_script(sql: str) -> None:
    """Runs several statements without parameters inside the current transaction (migrations only)."""
    current = DB.current_transaction.get()
    if current is None:
        raise RuntimeError("a script runs inside a transaction")
    await current.connection.execute(sql)


@contextlib.asynccontextmanager
async def connection() -> AsyncIterator[Any]:
    """A pooled connection outside any transaction, for session locks and LISTEN; its session is reset on return."""
    try:
        if DB.pool is None:
            raise DatabaseUnavailable()
        async with DB.pool.acquire() as pooled:
            pooled.lend()
            yield pooled
    except GONE as error:
        raise DatabaseUnavailable() from error


def columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Turns rows into the column arrays that `unnest` takes; `width` speaks for the empty case."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
