"""Holds a moment still: one transaction keeps a lock until somebody is seen to wait for it."""

from __future__ import annotations

import asyncio

import asyncpg


async def until_somebody_waits(connection: asyncpg.Connection, how_many: int = 1) -> None:
    """Returns once so many backends of this server wait for a lock; fails after five seconds."""
    for _ in range(500):
        if await connection.fetchval("select count(distinct pid) from pg_locks where not granted") >= how_many:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")
