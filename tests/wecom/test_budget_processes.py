"""Four worker processes, killed and started again on a bad road: what the receiver counted, by its monotonic clock."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from .conftest import SECRET_KEY, Control
from .road import Road

LIMIT, WINDOW, TIMEOUT = 30, 1.5, 1.0
WORKER = Path(__file__).with_name("worker.py")


async def start_worker(postgres: str, url: str, corp_id: str, number: int, call_class: str) -> asyncio.subprocess.Process:
    settings = (postgres, url, SECRET_KEY, corp_id, str(number), call_class, str(LIMIT), str(WINDOW), str(TIMEOUT))
    return await asyncio.create_subprocess_exec(sys.executable, str(WORKER), *settings, env=dict(os.environ))


async def test_no_window_at_the_receiver_exceeds_the_limit(postgres_application: str, control: Control) -> None:
    road = Road(control.url, delay=0.6)
    url = await road.start()
    classes = ["interactive", "bulk", "bulk", "read"]
    workers = [
        await start_worker(postgres_application, url, control.corp_id, number, call_class)
        for number, call_class in enumerate(classes)
    ]
    try:
        deadline = time.monotonic() + 90
        while len(await control.calls()) < LIMIT:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        road.open.clear()  # everything under way stands still and arrives together
        await asyncio.sleep(0.6)
        road.open.set()
        await asyncio.sleep(1)
        for number in (0, 1):
            workers[number].kill()
            await workers[number].wait()
            workers[number] = await start_worker(postgres_application, url, control.corp_id, number, classes[number])
        await control.fault(kind="slow", api="mark_tag", seconds=0.7, times=20)
        await control.fault(kind="slow", api="mark_tag", seconds=1.6, times=10)
        await asyncio.sleep(4)
    finally:
        for worker in workers:
            worker.kill()
            await worker.wait()
        await road.close()
    measured = await control.corp("GET", f"/window?seconds={WINDOW}&since={control.since}")
    assert measured["worst"] <= LIMIT
    assert measured["worst"] >= LIMIT * 0.6, "the budget was used"
    assert measured["calls"] >= 3 * LIMIT
    assert {call["code"] for call in await control.calls("gettoken")} == {0}
