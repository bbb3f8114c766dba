"""The worker: sends what is dirty, runs imports, and keeps time. Its jobs and its schedule are tables at the top.

Finds its work in PostgreSQL alone: dirty rows with a notice to wake it and a sweep in case a notice is lost; jobs and
schedules on pgqueuer. Any number of workers may run; every claim is a lease or a lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from importlib.metadata import version

import structlog

from tagwarden.approvals import service as approvals
from tagwarden.assignments import service as assignments
from tagwarden.corps import command, refusals, repository
from tagwarden.kernel import db, jobs
from tagwarden.kernel.errors import TagwardenError
from tagwarden.kernel.ids import new_id
from tagwarden.kernel.jobs import JobHandler, Payload, Scheduled
from tagwarden.sync import service as sync
from tagwarden.sync.importer import Importer
from tagwarden.sync.outbound import Outbound
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.client import WecomClient

log = structlog.get_logger(__name__)
SWEEP = 0.5
EVERY_MINUTE = "* * * * *"
EVERY_TEN_MINUTES = "*/10 * * * *"
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

    @property
    def jobs(self) -> Mapping[str, JobHandler]:
        """Job → handler."""
        return {sync.RUN_JOB: self._execute_run}

    @property
    def schedule(self) -> Sequence[Scheduled]:
        """When → what, once over all workers."""
        return (
            Scheduled("flush_refusals", EVERY_MINUTE, self._flush_refusals),
            Scheduled("expire_approvals", EVERY_MINUTE, self._expire_approvals),
            Scheduled("end_temporary_tags", EVERY_MINUTE, self._end_temporary_tags),
            Scheduled("resume_silent_runs", EVERY_MINUTE, self._resume_silent_runs),
            Scheduled("mirror_organisations", EVERY_TEN_MINUTES, self._mirror_organisations),
            Scheduled("drop_old_answers", EVERY_TEN_MINUTES, self._drop_old_answers),
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop`; an error of one round is logged and never ends the worker."""
        await asyncio.gather(
            *(self._send_until(stop) for _ in range(self._senders)),
            jobs.run(self.jobs, self.schedule, stop),
            self._listen(stop),
            self._beat_until(stop),
        )

    # -- dirty rows -----------------------------------------------------------------------------------------------------

    async def _send_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            async with _forgiving("send", stop):
                for corp_id in await repository.corp_ids():
                    await self._outbound.send_due(corp_id)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), SWEEP)
            self._wake.clear()

    async def _listen(self, stop: asyncio.Event) -> None:
        """Wakes the senders at a notice; without one they sweep."""
        while not stop.is_set():
            async with _forgiving("listen", stop), db.connection() as connection:
                await connection.add_listener(CHANNEL, self._woken)
                while not stop.is_set() and not connection.is_closed():
                    await _wait(stop, 1.0)
                if not connection.is_closed():
                    await connection.remove_listener(CHANNEL, self._woken)
        self._wake.set()

    def _woken(self, *_: object) -> None:
        self._wake.set()

    # -- jobs and schedule ----------------------------------------------------------------------------------------------

    async def _execute_run(self, payload: Payload) -> None:
        await self._importer.run_next(payload["corp_id"])

    async def _flush_refusals(self) -> None:
        for corp_id in await repository.corp_ids():
            await refusals.flush(corp_id)

    async def _expire_approvals(self) -> None:
        for corp_id in await repository.corp_ids():
            await approvals.expire_due(corp_id)

    async def _end_temporary_tags(self) -> None:
        for corp_id in await repository.corp_ids():
            await assignments.end_temporary_tags(corp_id)

    async def _resume_silent_runs(self) -> None:
        for corp_id in await repository.corp_ids():
            await sync.resume_silent_runs(corp_id)

    async def _mirror_organisations(self) -> None:
        for corp_id in await repository.corp_ids():
            await sync.refresh_organisation(corp_id, MIRROR_EVERY)

    async def _drop_old_answers(self) -> None:
        for corp_id in await repository.corp_ids():
            await command.drop_old_answers(corp_id)

    async def _beat_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            async with _forgiving("beat", stop):
                await repository.beat(self._id, "worker", socket.gethostname(), os.getpid(), version("tagwarden"))
            await _wait(stop, 20.0)


@contextlib.asynccontextmanager
async def _forgiving(work: str, stop: asyncio.Event) -> AsyncIterator[None]:
    """An error of one round is logged by type and followed by a pause; the loop goes on."""
    try:
        yield
    except (TagwardenError, *db.GONE) as error:
        log.warning("worker.round_failed", work=work, error=type(error).__name__)
        await _wait(stop, 1.0)
    except Exception as error:
        log.error("worker.round_failed", work=work, error=type(error).__name__, exc_info=error)
        await _wait(stop, 5.0)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
