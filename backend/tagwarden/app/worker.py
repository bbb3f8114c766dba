"""The worker: sends what is dirty, runs imports, and keeps time (expiry, month ends, refusal counts, the mirror's age).

Finds its work in PostgreSQL alone: dirty rows with a notice to wake it, and a sweep in case a notice is lost. Any number
of workers may run; every claim is a lease or a lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta
from importlib.metadata import version

import structlog

from tagwarden.approvals import service as approvals
from tagwarden.approvals.service import SYSTEM
from tagwarden.assignments import service as assignments
from tagwarden.corps import refusals
from tagwarden.kernel import clock, db
from tagwarden.kernel.errors import TagwardenError
from tagwarden.kernel.ids import new_id
from tagwarden.sync import repository as sync
from tagwarden.sync.importer import Importer
from tagwarden.sync.outbound import Outbound
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.client import WecomClient

log = structlog.get_logger(__name__)
SWEEP = 0.5
HOUSEKEEPING = 20.0
RUNS = 1.0
MIRROR_EVERY = timedelta(hours=6)
CHANNEL = "tagwarden_dirty"


class Worker:
    """One process's share of the work; `run` returns after `stop` was set and what was under way is done."""

    def __init__(self, client: WecomClient, budget: Budget, *, senders: int = 3) -> None:
        self._outbound = Outbound(client, budget)
        self._importer = Importer(client)
        self._senders = senders
        self._wake = asyncio.Event()
        self._id = new_id()

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop`; an error of one round is logged and never ends the worker."""
        loops = [self._loop(stop, self._send, SWEEP, wakes=True) for _ in range(self._senders)]
        loops += [
            self._loop(stop, self._import, RUNS),
            self._loop(stop, self._keep_house, HOUSEKEEPING),
            self._listen(stop),
        ]
        await asyncio.gather(*loops)

    async def _loop(
        self, stop: asyncio.Event, work: Callable[[str], Awaitable[object]], pause: float, *, wakes: bool = False
    ) -> None:
        while not stop.is_set():
            try:
                for corp_id in await self._corps():
                    await work(corp_id)
            except (TagwardenError, *db.GONE) as error:
                log.warning("worker.round_failed", work=work.__name__, error=type(error).__name__)
                await _wait(stop, 1.0)
            except Exception as error:
                log.error("worker.round_failed", work=work.__name__, error=type(error).__name__, exc_info=error)
                await _wait(stop, 5.0)
            if wakes:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)
                self._wake.clear()
            else:
                await _wait(stop, pause)

    async def _corps(self) -> list[str]:
        return [row["corp_id"] for row in await db.fetch("select corp_id from corp order by corp_id")]

    async def _send(self, corp_id: str) -> None:
        await self._outbound.send_due(corp_id)

    async def _import(self, corp_id: str) -> None:
        while await self._importer.run_next(corp_id):
            pass

    async def _keep_house(self, corp_id: str) -> None:
        await self._beat()
        await refusals.flush(corp_id)
        await approvals.expire_due(corp_id)
        await assignments.end_temporary_tags(corp_id)
        await db.execute("delete from idempotency where corp_id = $1 and created_at < now() - interval '24 hours'", corp_id)
        if await sync.mirror_due(corp_id, clock.now() - MIRROR_EVERY):
            await sync.insert_run(corp_id, new_id(), "org", SYSTEM)

    async def _beat(self) -> None:
        await db.execute(
            "insert into process_heartbeat (id, role, host, pid, version) values ($1, 'worker', $2, $3, $4)"
            " on conflict (id) do update set seen_at = now()",
            self._id,
            socket.gethostname(),
            os.getpid(),
            version("tagwarden"),
        )

    async def _listen(self, stop: asyncio.Event) -> None:
        """Wakes the senders at a notice; without one they sweep."""
        while not stop.is_set():
            try:
                async with db.connection() as connection:
                    await connection.add_listener(CHANNEL, self._woken)
                    while not stop.is_set() and not connection.is_closed():
                        await _wait(stop, 1.0)
                    if not connection.is_closed():
                        await connection.remove_listener(CHANNEL, self._woken)
            except (TagwardenError, *db.GONE):
                await _wait(stop, 1.0)
        self._wake.set()

    def _woken(self, *_: object) -> None:
        self._wake.set()


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
