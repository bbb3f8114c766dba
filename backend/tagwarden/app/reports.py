"""The worker's loop over what WeCom reported: each corp with something to do gets one task of its own, in no hurry.

What reports wait for stands in rows; a sweep finds it. A corp that could do nothing rests for a moment.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

from tagwarden.app.forgiving import forgiving, wait
from tagwarden.sync import refresh
from tagwarden.sync.inbound import Inbound

SWEEP = 0.5
REST = 3.0
"""Seconds for which a corp is left alone after it could do nothing: what it waits for is under way elsewhere."""
AT_ONCE = 16
LAST_READING = 3.0
"""Seconds for which `stop` waits for a reading under way; it is repeated after its lease."""


class Reports:
    """One process's share of the work on what WeCom reported."""

    def __init__(self, inbound: Inbound) -> None:
        self._inbound = inbound
        self._working: dict[str, asyncio.Task[None]] = {}
        self._resting: dict[str, float] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def work_until(self, stop: asyncio.Event) -> None:
        """Works until `stop`."""
        try:
            while not stop.is_set():
                async with forgiving("reports", stop):
                    for corp_id in await refresh.corps_waiting():
                        self._start(corp_id, stop)
                await wait(stop, SWEEP)
            if self._working:
                await asyncio.wait(self._working.values(), timeout=LAST_READING)
        finally:
            for task in self._working.values():
                task.cancel()
            await asyncio.gather(*self._working.values(), return_exceptions=True)

    def _start(self, corp_id: str, stop: asyncio.Event) -> None:
        if corp_id in self._working or self._resting.get(corp_id, 0.0) > time.monotonic():
            return
        task = asyncio.create_task(self._work(corp_id, stop))
        self._working[corp_id] = task
        task.add_done_callback(partial(self._done, corp_id))

    def _done(self, corp_id: str, _: asyncio.Task[None]) -> None:
        del self._working[corp_id]

    async def _work(self, corp_id: str, stop: asyncio.Event) -> None:
        more, worked = True, False
        while more and not stop.is_set():
            more = False
            async with forgiving("reports", stop), self._turns:
                more = await self._inbound.work_once(corp_id)
                worked = worked or more
        if not worked:
            self._resting[corp_id] = time.monotonic() + REST
