"""A worker process for the batch figure: the product's own `Worker`, with the minute of its budget scaled."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

import uvloop

from tagwarden.app import wiring
from tagwarden.app.worker import Worker
from tagwarden.kernel import db
from tagwarden.kernel.sealing import Sealer
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.client import WecomClient


async def work(wecom: str, calls: int, window: float, timeout: float) -> None:
    """Until SIGTERM."""
    wiring.wire()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await db.DB.open(os.environ["TAGWARDEN_DATABASE_URL"], size=10)
    budget = Budget(calls, window, timeout)
    client = WecomClient(wecom, Sealer(os.environ["TAGWARDEN_SECRET_KEY"]), budget, timeout=timeout)
    await client.start()
    try:
        await Worker(client, budget).run(stop)
    finally:
        await client.close()
        await db.DB.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(**json.loads(sys.argv[1])))
