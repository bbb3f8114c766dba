"""Which processes live: each keeps a row fresh and takes it away when it ends well; a row gone silent counts as dead.

It tells an operator that something is missing. Nothing may be decided by it: a process can live and not reach the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from importlib.metadata import version
from uuid import UUID

import structlog

from tagwarden.corps import repository
from tagwarden.kernel import db
from tagwarden.kernel.errors import TagwardenError
from tagwarden.kernel.ids import new_id

log = structlog.get_logger(__name__)
BEAT_EVERY = 20.0
"""Seconds between beats."""
DEAD_AFTER = 120.0
"""Seconds of silence after which a process counts as dead."""
FAREWELL = 2.0
"""Seconds that taking the row away may cost a stopping process."""


async def beat_until(stop: asyncio.Event, role: str) -> None:
    """Beats until `stop` (or cancelled), then removes the row; a database that is away is waited for."""
    process_id = new_id()
    await _beat(process_id, role)
    await _go_on(stop, process_id, role)


async def _go_on(stop: asyncio.Event, process_id: UUID, role: str) -> None:
    try:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), BEAT_EVERY)
            if not stop.is_set():
                await _beat(process_id, role)
    finally:
        with contextlib.suppress(TagwardenError, *db.GONE):
            await asyncio.wait_for(_leave(process_id), FAREWELL)


async def _beat(process_id: UUID, role: str) -> None:
    try:
        await repository.beat(process_id, role, socket.gethostname(), os.getpid(), version("tagwarden"))
    except (TagwardenError, *db.GONE) as error:
        log.warning("heartbeat.missed", role=role, error=type(error).__name__)


async def _leave(process_id: object) -> None:
    # Rows of processes that were killed go with the next one that ends well, a day later.
    await db.execute("delete from process_heartbeat where id = $1 or seen_at < clock_timestamp() - interval '1 day'", process_id)


@contextlib.asynccontextmanager
async def beating(role: str) -> AsyncIterator[None]:
    """Beats for the length of the block, the first time before it begins; the database is open around it."""
    stop, process_id = asyncio.Event(), new_id()
    await _beat(process_id, role)
    task = asyncio.create_task(_go_on(stop, process_id, role))
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)
