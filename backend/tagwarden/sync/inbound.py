"""Works on what WeCom reported: opens callbacks, reads again what they were about, and lets the guard act.

Reads go through the budget as reads do, and yield to tag writes; nothing here is ever inside a transaction. A wish to
read is leased, and gone in the transaction that wrote what was read: a worker killed in between leaves it to the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, TypeVar

import structlog

from tagwarden.approvals.service import SYSTEM
from tagwarden.corps.model import Caller
from tagwarden.customers.model import ContactSeen
from tagwarden.identity import accounts
from tagwarden.kernel import db, jobs
from tagwarden.kernel.errors import TagwardenError
from tagwarden.kernel.ids import new_id
from tagwarden.sync import contacts_in, drift, inbox, org_in, refresh, repository, service, shapes
from tagwarden.sync.library_out import NOBODY_MAY_CALL
from tagwarden.sync.model import LONGEST_CALL, RUN_JOB, NothingSeen, RunKind, backoff, is_final, pause_after
from tagwarden.sync.refresh import Refresh
from tagwarden.sync.rereads import Kind, Reread
from tagwarden.wecom.client import WecomClient
from tagwarden.wecom.model import NO_RELATION, CallClass, NoAnswer, WecomRefused

log = structlog.get_logger(__name__)
REST = timedelta(seconds=30)
"""For how long a wish waits while the corp may not call at all, or another run stands in its way."""

YIELD_AT_MOST = 30.0
"""Seconds for which one reading lets tag writes go first; a backlog of them must not hide what WeCom reports."""

NOT_THERE = frozenset({60111, 40003})
"""WeCom knows no member of that name (90313)."""


T = TypeVar("T")


async def _in_time(call: Awaitable[T]) -> T:
    """The answer, or TimeoutError where the budget gave no slot for so long: the lease must outlast the reading."""
    async with asyncio.timeout(LONGEST_CALL):
        return await call


class Inbound:
    """Works for one corp at a time; safe to run in any number of processes."""

    def __init__(self, client: WecomClient) -> None:
        self._client = client

    async def work_once(self, corp_id: str) -> bool:
        """Opens what came, reads one thing again, acts on what was found; False when there was nothing to do."""
        opened = await inbox.open_stored(self._client.sealer, corp_id)
        await self._gather_employees(corp_id)
        read = await self.read_one(corp_id)
        acted = await drift.act_on_all(corp_id)
        return bool(opened or read or acted)

    async def read_one(self, corp_id: str) -> bool:
        """Reads what has been due for longest; False when nothing is."""
        claimed = await refresh.claim(corp_id)
        if claimed is None:
            return False
        try:
            await self._yield_to_writes(corp_id)
            await self._read(corp_id, claimed)
        except WecomRefused as refused:
            await self._refused(corp_id, claimed, refused)
        except NoAnswer:
            await refresh.postpone(corp_id, claimed, backoff(claimed.attempts))
        except (*NOBODY_MAY_CALL, TimeoutError):
            await refresh.postpone(corp_id, claimed, REST, counted=False)
        except refresh.LeaseLost:
            log.info("inbound.lease_lost", corp_id=corp_id, kind=claimed.kind)
        except NothingSeen as nothing:
            await refresh.give_up(corp_id, claimed, nothing.code)
        except db.DatabaseUnavailable:
            raise
        except TagwardenError as error:
            log.warning("inbound.refused", corp_id=corp_id, kind=claimed.kind, code=error.code)
            await refresh.postpone(corp_id, claimed, backoff(claimed.attempts))
        except (KeyError, TypeError, ValueError) as error:  # an answer that is not shaped as documented
            log.error("inbound.not_understood", corp_id=corp_id, kind=claimed.kind, error=type(error).__name__)
            await refresh.give_up(corp_id, claimed, f"not_understood:{type(error).__name__}")
        return True

    async def _refused(self, corp_id: str, claimed: Refresh, refused: WecomRefused) -> None:
        if is_final(refused.verdict, claimed.attempts):
            await refresh.give_up(corp_id, claimed, f"{refused.wecom_code} {refused.verdict.words_zh}")
        else:
            await refresh.postpone(corp_id, claimed, pause_after(refused.verdict, claimed.attempts))

    async def _yield_to_writes(self, corp_id: str) -> None:
        """Lets tag writes go first for a while; the lease outlasts the wait."""
        until = asyncio.get_running_loop().time() + YIELD_AT_MOST
        while asyncio.get_running_loop().time() < until and await repository.has_settled_writes(corp_id):
            await asyncio.sleep(0.1)

    async def _read(self, corp_id: str, claimed: Refresh) -> None:
        work: dict[Kind, Any] = {
            Kind.LIBRARY: self._library,
            Kind.DEPARTMENTS: self._departments,
            Kind.ORGANISATION: self._organisation,
            Kind.EMPLOYEE: self._employee,
            Kind.CONTACT: self._contact,
        }
        caller = Caller(corp_id, "", SYSTEM, request_id=str(new_id()))
        await work[claimed.kind](caller, claimed)

    async def _library(self, caller: Caller, claimed: Refresh) -> None:
        read_at = await repository.moment()
        library = await _in_time(self._client.tag_library(caller.corp_id))
        await service.mirror_catalog(caller, library, read_at, claimed)

    async def _departments(self, caller: Caller, claimed: Refresh) -> None:
        found = await _in_time(self._client.department_list(caller.corp_id))
        await org_in.mirror_departments(caller, claimed, [shapes.department(one) for one in found])

    async def _employee(self, caller: Caller, claimed: Refresh) -> None:
        named = next((str(note["userid"]) for note in reversed(claimed.notes) if "userid" in note), claimed.key)
        try:
            seen = shapes.member(await _in_time(self._client.user(caller.corp_id, named)))
        except WecomRefused as refused:
            if refused.wecom_code not in NOT_THERE:
                raise
            seen = None
        await org_in.mirror_employee(caller, claimed, seen)

    async def _contact(self, caller: Caller, claimed: Refresh) -> None:
        read_at = await repository.moment()
        seen: list[ContactSeen] = []
        pages = self._client.customer_pages(caller.corp_id, claimed.key, call_class=CallClass.READ)
        try:
            while (page := await _in_time(anext(pages, None))) is not None:
                seen += shapes.followers(page.contact, page.followers)
                await refresh.prolong(caller.corp_id, claimed)
        except WecomRefused as refused:
            if refused.wecom_code not in NO_RELATION:
                raise
        await contacts_in.mirror_customer(caller, claimed, seen, read_at)
        if any(label.kind == "strategy" for one in seen for label in one.labels or ()):
            await contacts_in.count_strategy_tags(caller.corp_id)

    # -- many members at once -------------------------------------------------------------------------------------------

    async def _gather_employees(self, corp_id: str) -> None:
        """Reads everybody once where single members would take more calls than that."""
        waiting = (await refresh.counts(corp_id))["employees"]
        if not waiting or waiting <= len(await accounts.departments(corp_id)) + 1:
            return
        async with db.transaction():
            await refresh.drop_employees(corp_id, await repository.moment())
            await refresh.want(corp_id, [Reread(Kind.ORGANISATION)])

    async def _organisation(self, caller: Caller, claimed: Refresh) -> None:
        """Asks for a run that begins after the events; one that is under way may have read what they changed before."""
        async with db.transaction():
            asked = await repository.insert_run(caller.corp_id, new_id(), RunKind.ORG.value, SYSTEM)
            if asked:
                await jobs.enqueue(RUN_JOB, {"corp_id": caller.corp_id})
                await refresh.settle(caller.corp_id, claimed)
        if not asked:
            await refresh.postpone(caller.corp_id, claimed, REST, counted=False)
