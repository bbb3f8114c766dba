"""This process's engine on another database, or as another role, for the length of a block."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from tagwarden.kernel import db

PATIENCE = 30.0


@contextlib.asynccontextmanager
async def engine_on(url: str, size: int = 4, **settings: Any) -> AsyncIterator[None]:
    """The engine with a pool of its own; whoever keeps a connection of it past the end fails the test, and is not waited for."""
    mine = db.DB.pool
    pool = db.DB.pool = await asyncpg.create_pool(url, min_size=1, max_size=size, connection_class=db.Session, **settings)
    try:
        yield
    finally:
        db.DB.pool = mine
        await _end(pool)


async def _end(pool: asyncpg.Pool) -> None:
    try:
        await asyncio.wait_for(pool.close(), PATIENCE)
    except TimeoutError:
        pool.terminate()
        raise AssertionError("a connection was never given back") from None
