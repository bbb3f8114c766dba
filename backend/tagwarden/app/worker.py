"""The worker: sends what is dirty, runs imports, and keeps time. Its jobs and its schedule are tables at the top.

Finds its work in PostgreSQL alone: dirty rows with a notice to wake it and a sweep in case a notice is lost; jobs and
schedules on pgqueuer. Any number of workers may run; every claim is a lease or a lock.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial

import structlog

from tagwarden.app import heartbeat
from tagwarden.app.credential_health import CredentialHealth
from tagwarden.app.forgiving import forgiving
from tagwarden.app.reports import Reports
from tagwarden.app.witness import Witness
from tagwarden.approvals import timekeeping as approvals
from tagwarden.assignments import service as assignments
from tagwarden.catalog import counts
from tagwarden.corps import command, refusals, repository
from tagwarden.kernel import clock, db, jobs, notices
from tagwarden.kernel.jobs import JobHandler, Payload, Scheduled
from tagwarden.sync import cards_rows, inbox, passes
from tagwarden.sync import repository as sync_repository
from tagwarden.sync import service as sync
from tagwarden.sync.cards_out import CardsOut
from tagwarden.sync.importer import Importer
from tagwarden.sync.inbound import Inbound
from tagwarden.sync.model import DIRTY
from tagwarden.sync.outbound import Outbound
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.client import WecomClient

log = structlog.get_logger(__name__)
SWEEP = 0.5
SENDING_AT_ONCE = 32
LAST_CALLS = 15.0
"""Seconds for which `stop` waits for calls under way; what is cut off then is repeated after its lease."""
EVERY_MINUTE = "* * * * *"
EVERY_HOUR = "17 * * * *"
EVERY_TEN_MINUTES = "*/10 * * * *"
MIRROR_EVERY = timedelta(hours=6)


class Worker:
    """One process's share of the work; `run` returns after `stop` was set and what was under way is done."""

    def __init__(
        self,
        client: WecomClient,
        budget: Budget,
        *,
        public_url: str | None = None,
        senders: int = 3,
        witness: Witness | None = None,
        nightly: tuple[int, int] = (2, 0),
    ) -> None:
        """`nightly`: the hour, by each corp's clock, and the calls of a night's reading of customers (0: none)."""
        self._outbound = Outbound(client, budget, CardsOut(client, public_url))
        self._health = CredentialHealth(client)
        self._importer = Importer(client)
        self._reports = Reports(Inbound(client))
        self._senders = senders
        self._witness = witness
        self._nightly = nightly
        self._sending: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(SENDING_AT_ONCE)
        self._wake = asyncio.Event()

    @property
    def jobs(self) -> Mapping[str, JobHandler]:
        """Job → handler."""
        return {sync.RUN_JOB: self._execute_run}

    @property
    def schedule(self) -> Sequence[Scheduled]:
        """When → what, once over all workers."""
        return (
            Scheduled("flush_refusals", EVERY_MINUTE, self._flush_refusals),
            Scheduled("keep_time_of_approvals", EVERY_MINUTE, self._keep_time),
            Scheduled("end_temporary_tags", EVERY_MINUTE, self._end_temporary_tags),
            Scheduled("fold_tag_counts", EVERY_MINUTE, self._fold_tag_counts),
            Scheduled("redraw_cards", EVERY_MINUTE, self._redraw_cards),
            Scheduled("check_credentials", EVERY_HOUR, self._check_credentials),
            Scheduled("resume_silent_runs", EVERY_MINUTE, self._resume_silent_runs),
            Scheduled("mirror_organisations", EVERY_TEN_MINUTES, self._mirror_organisations),
            Scheduled("begin_nightly_slices", EVERY_TEN_MINUTES, self._begin_nightly_slices),
            Scheduled("drop_old_callbacks", EVERY_TEN_MINUTES, self._drop_old_callbacks),
            Scheduled("drop_old_answers", EVERY_TEN_MINUTES, self._drop_old_answers),
            Scheduled("witness_audit", EVERY_TEN_MINUTES, self._witness_audit),
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop`; an error of one round is logged and never ends the worker."""
        await asyncio.gather(
            self._send_until(stop),
            jobs.run(self.jobs, self.schedule, stop),
            self._listen(stop),
            self._reports.work_until(stop),
            heartbeat.beat_until(stop, "worker"),
        )

    # -- dirty rows -----------------------------------------------------------------------------------------------------

    async def _send_until(self, stop: asyncio.Event) -> None:
        """Gives each corp with something due senders of its own: none waits for another's backlog or outage."""
        try:
            while not stop.is_set():
                async with forgiving("send", stop):
                    for corp_id in await sync_repository.corps_due():
                        self._start_senders(corp_id, stop)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), SWEEP)
                self._wake.clear()
            if self._sending:
                await asyncio.wait(self._sending.values(), timeout=LAST_CALLS)
        finally:
            for task in self._sending.values():
                task.cancel()
            await asyncio.gather(*self._sending.values(), return_exceptions=True)

    def _start_senders(self, corp_id: str, stop: asyncio.Event) -> None:
        if self._outbound.rests(corp_id):
            return
        for number in range(self._senders):
            key = (corp_id, number)
            if key not in self._sending:
                # One of several never takes a batch's follow: a person must not wait until one has had its turn.
                task = asyncio.create_task(self._send(corp_id, stop, bulk_too=number > 0 or self._senders == 1))
                self._sending[key] = task
                task.add_done_callback(partial(self._sent, key))

    def _sent(self, key: tuple[str, int], _: asyncio.Task[None]) -> None:
        del self._sending[key]

    async def _send(self, corp_id: str, stop: asyncio.Event, *, bulk_too: bool) -> None:
        """Sends until nothing of the corp is due, one at a time, in turn with other corps when they are many."""
        more = True
        while more and not stop.is_set():
            more = False
            async with forgiving("send", stop), self._turns:
                more = await self._outbound.send_one(corp_id, bulk_too=bulk_too)

    async def _listen(self, stop: asyncio.Event) -> None:
        """Wakes the senders at a notice; without one they sweep."""
        while not stop.is_set():
            async with forgiving("listen", stop):
                await notices.listen(DIRTY, self._wake.set, stop)
        self._wake.set()

    # -- jobs and schedule ----------------------------------------------------------------------------------------------

    async def _execute_run(self, payload: Payload) -> None:
        """Every run of the corp that waits, in the order in which they were asked for."""
        while await self._importer.run_next(payload["corp_id"]):
            continue

    async def _flush_refusals(self) -> None:
        await _for_every_corp(refusals.flush)

    async def _keep_time(self) -> None:
        await _for_every_corp(approvals.keep_time)

    async def _end_temporary_tags(self) -> None:
        await _for_every_corp(assignments.end_temporary_tags)

    async def _fold_tag_counts(self) -> None:
        await _for_every_corp(counts.fold)

    async def _redraw_cards(self) -> None:
        await _for_every_corp(cards_rows.redraw_moved)

    async def _check_credentials(self) -> None:
        await _for_every_corp(self._health.check_if_due)

    async def _resume_silent_runs(self) -> None:
        await _for_every_corp(sync.resume_silent_runs)

    async def _mirror_organisations(self) -> None:
        await _for_every_corp(lambda corp_id: sync.refresh_organisation(corp_id, MIRROR_EVERY))

    async def _witness_audit(self) -> None:
        if self._witness is not None:
            await self._witness.witness()

    async def _begin_nightly_slices(self) -> None:
        hour, calls = self._nightly
        await _for_every_corp(lambda corp_id: passes.begin_slice(corp_id, clock.now(), hour=hour, calls=calls))

    async def _drop_old_callbacks(self) -> None:
        await _for_every_corp(inbox.drop_old)

    async def _drop_old_answers(self) -> None:
        await _for_every_corp(command.drop_old_answers)


async def _for_every_corp(act: Callable[[str], Awaitable[object]]) -> None:
    """Does one thing for each corp; what fails for one is logged and keeps no other from its turn."""
    for corp_id in await repository.corp_ids():
        try:
            await act(corp_id)
        except db.DatabaseUnavailable:
            raise
        except Exception as error:
            log.error("worker.schedule_failed", corp_id=corp_id, error=type(error).__name__, exc_info=error)
