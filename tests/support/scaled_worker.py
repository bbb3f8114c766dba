"""The product's own worker on a budget with a short window, and with a clock that jumps when it is told to.

SIGUSR1 sets its clocks 90 s ahead, SIGUSR2 sets them 90 s back: the wall clock, and the monotonic one by which the
budget judges the database's.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from datetime import datetime, timedelta, tzinfo

from tagwarden.app import wiring
from tagwarden.app.asgi import sealer_of
from tagwarden.app.server import stop_on_signals
from tagwarden.app.worker import Worker
from tagwarden.kernel import clock, db, settings
from tagwarden.kernel.redis import RELAY
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.client import WecomClient

JUMP = 90.0
_shift = 0.0


class MovedDatetime(datetime):
    """The wall clock of a machine whose time was set."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(seconds=_shift)


def _move(seconds: float) -> None:
    global _shift
    _shift += seconds


async def main(limit: int, window: float, timeout: float) -> None:
    """Works as `tagwarden worker` does, until SIGTERM."""
    found = settings.load()
    clock.datetime = MovedDatetime  # type: ignore[attr-defined]
    stop = asyncio.Event()
    stop_on_signals(stop)
    for number, seconds in ((signal.SIGUSR1, JUMP), (signal.SIGUSR2, -JUMP)):
        asyncio.get_running_loop().add_signal_handler(number, _move, seconds)
    assert found.database_url is not None
    wiring.wire()
    await db.DB.open(found.database_url.get_secret_value(), size=8)
    RELAY.open(found.redis_url.get_secret_value() if found.redis_url else None)
    budget = Budget(limit, window, timeout, monotonic=lambda: time.monotonic() + _shift)
    client = WecomClient(found.wecom_api_base, sealer_of(found), budget, timeout=timeout)
    await client.start()
    try:
        await Worker(client, budget).run(stop)
    finally:
        await client.close()
        await RELAY.close()
        await db.DB.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
