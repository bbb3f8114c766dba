"""One round of a worker's loop: an error is logged and followed by a pause, and never ends the loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog

from tagwarden.kernel import db
from tagwarden.kernel.errors import TagwardenError

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def forgiving(work: str, stop: asyncio.Event) -> AsyncIterator[None]:
    """An error of one round is logged by type and followed by a pause; the loop goes on."""
    try:
        yield
    except (TagwardenError, *db.GONE) as error:
        log.warning("worker.round_failed", work=work, error=type(error).__name__)
        await wait(stop, 1.0)
    except Exception as error:
        log.error("worker.round_failed", work=work, error=type(error).__name__, exc_info=error)
        await wait(stop, 5.0)


async def wait(stop: asyncio.Event, seconds: float) -> None:
    """Sleeps, unless the worker is asked to stop."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
