"""Wake-ups between processes: heard after the commit of the rows they are about, and never needed to be right.

With Redis they go there after the commit; without it through PostgreSQL's NOTIFY, which takes a lock over all commits
of the database and is therefore the smaller installation's way. A lost notice costs one sweep.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from tagwarden.kernel import db
from tagwarden.kernel.redis import RELAY

PREFIX = "tagwarden_"


async def tell(channel: str, message: str) -> None:
    """Tells at the commit of the current transaction; at once where there is none."""
    if not RELAY.configured:
        await db.execute("select pg_notify($1, $2)", PREFIX + channel, message)
        return

    async def publish() -> None:
        await RELAY.publish(PREFIX + channel, message)

    await db.after_commit(publish)


async def listen(channel: str, heard: Callable[[], None], stop: asyncio.Event) -> None:
    """Calls `heard` at every notice until `stop`. Raises DatabaseUnavailable where PostgreSQL carries them and is away."""
    if RELAY.configured:
        await RELAY.listen(PREFIX + channel, heard, stop)
        return

    def woken(*_: object) -> None:
        heard()

    async with db.connection() as connection:
        await connection.add_listener(PREFIX + channel, woken)
        heard()
        while not stop.is_set() and not connection.is_closed():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1.0)
        if not connection.is_closed():
            await connection.remove_listener(PREFIX + channel, woken)
