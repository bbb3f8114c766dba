"""More than one serving process needs Redis: without it, inbound limits and live progress would differ by process.

A session lock in PostgreSQL says whether another one serves; it goes with its connection, so a killed process holds
nothing. When the database comes back after a restart, the lock is taken again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog

from tagwarden.kernel import db
from tagwarden.kernel.errors import Conflict
from tagwarden.kernel.redis import RELAY

log = structlog.get_logger(__name__)
SERVE_LOCK = 0x7461_6773
CHECK_SECONDS = 2.0


class RedisNeeded(Conflict):
    code = "redis_needed"
    zh = "已有另一个 serve 进程在运行；运行多个进程需要设置 TAGWARDEN_REDIS_URL"
    en = "Another `serve` process runs already; several of them need TAGWARDEN_REDIS_URL"


@contextlib.asynccontextmanager
async def serving(stop: asyncio.Event) -> AsyncIterator[None]:
    """Holds the place of the only serving process; RedisNeeded when it is taken. With Redis there is no such place."""
    if RELAY.configured:
        yield
        return
    taken = asyncio.Event()
    holder = asyncio.create_task(_hold(taken, stop))
    first = asyncio.create_task(taken.wait())
    await asyncio.wait({holder, first}, return_when=asyncio.FIRST_COMPLETED)
    first.cancel()
    try:
        if holder.done():
            holder.result()
        yield
    finally:
        holder.cancel()
        await asyncio.gather(holder, first, return_exceptions=True)


async def _hold(taken: asyncio.Event, stop: asyncio.Event) -> None:
    while True:
        try:
            async with db.connection() as connection:
                if not await connection.fetchval("select pg_try_advisory_lock($1)", SERVE_LOCK):
                    if taken.is_set():
                        log.error("serve.place_lost", reason="another process serves without Redis")
                        stop.set()
                    raise RedisNeeded()
                taken.set()
                while not connection.is_closed():
                    await asyncio.sleep(CHECK_SECONDS)
        except (db.DatabaseUnavailable, *db.GONE) as error:
            if not taken.is_set():
                raise
            log.warning("serve.place_waits", error=type(error).__name__)
            await asyncio.sleep(CHECK_SECONDS)
