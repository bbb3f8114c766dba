"""Use cases of sync: asking for a run, and writing what WeCom said into our mirror.

What an import writes is WeCom's word, not a decision: departments, members, names, and the marks it already holds.
Marks enter as assignments in `setup` only; once live, a mark made inside WeCom is drift and becomes no assignment here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tagwarden.approvals import service as approvals
from tagwarden.assignments import queries
from tagwarden.assignments import repository as assignments
from tagwarden.catalog import repository as catalog
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import CorpState, Work
from tagwarden.customers import repository as customers
from tagwarden.customers.model import ContactSeen
from tagwarden.identity import repository as identity
from tagwarden.identity.model import Module
from tagwarden.kernel import clock, db, jobs
from tagwarden.kernel.ids import new_id
from tagwarden.policy import service as policy
from tagwarden.sync import outbox, repository
from tagwarden.sync.library_in import CatalogResult, mirror_catalog
from tagwarden.sync.model import NothingSeen, RunKind, RunNotOffered, RunUnderWay

RUN_JOB = "sync.run"
SILENT_AFTER = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class OrgSeen:
    """The organisation as one complete reading of WeCom shows it."""

    departments: tuple[tuple[int, str, int, int], ...]
    employees: tuple[tuple[str, str, str, int | None], ...]
    places: tuple[tuple[str, int, bool], ...]


@command(Epoch.SHARED)
async def request_run(work: Work, kind: RunKind) -> UUID:
    """Queues an import or reconciliation; admin, or sub-admin with the sync module."""
    picture = await policy.in_force(work)
    picture.directory.require_module(picture.directory.employee(work.caller.userid), Module.SYNC)
    if kind is RunKind.DRIFT:
        raise RunNotOffered(kind=kind.value)
    run_id = new_id()
    if not await repository.insert_run(work.corp_id, run_id, kind.value, work.caller.userid):
        run_id = await _silent_run(work, kind)
    await jobs.enqueue(RUN_JOB, {"corp_id": work.corp_id})
    work.record("sync.requested", f"sync_run:{run_id}", kind=kind)
    return run_id


async def _silent_run(work: Work, kind: RunKind) -> UUID:
    """The open run when nobody works on it any more: asking again goes on from its cursor. Else RunUnderWay."""
    found = await repository.open_run(work.corp_id, kind.value, SILENT_AFTER)
    if found is None:  # it ended between the two statements
        raise RunUnderWay(run_id="?")
    run_id, silent = found
    if not silent:
        raise RunUnderWay(run_id=str(run_id))
    return run_id


async def resume_silent_runs(corp_id: str) -> bool:
    """Queues a job where a run's worker fell silent; the run goes on from its cursor."""
    async with db.transaction():
        silent = await repository.has_silent_run(corp_id, SILENT_AFTER)
        if silent:
            await jobs.enqueue(RUN_JOB, {"corp_id": corp_id})
    return silent


async def refresh_organisation(corp_id: str, every: timedelta) -> bool:
    """Queues a mirror of the organisation of a live corp when the last one is older than `every`."""
    async with db.transaction():
        due = await repository.mirror_due(corp_id, clock.now() - every)
        due = due and await repository.insert_run(corp_id, new_id(), RunKind.ORG.value, approvals.SYSTEM)
        if due:
            await jobs.enqueue(RUN_JOB, {"corp_id": corp_id})
    return due


@command(Epoch.EXCLUSIVE)
async def mirror_org(work: Work, seen: OrgSeen) -> dict[str, Any]:
    """Makes departments, members and leaders equal to WeCom; rights move when this commits.

    NothingSeen when WeCom showed nothing at all: an app that lost its range must not make everybody leave.
    """
    if not seen.departments or not seen.employees:
        raise NothingSeen()
    known = await _known_userids(work.corp_id)
    employees = [(known.get(userid.lower(), userid), name, status, main) for userid, name, status, main in seen.employees]
    places = [(known.get(userid.lower(), userid), department, leads) for userid, department, leads in seen.places]
    await identity.replace_departments(work.corp_id, seen.departments)
    left = await identity.mirror_employees(work.corp_id, employees)
    await identity.replace_places(work.corp_id, places)
    await identity.set_mirrored(work.corp_id)
    for userid in left:
        await _stale_for(work, userid)
    result: dict[str, Any] = {"departments": len(seen.departments), "employees": len(seen.employees), "left": left}
    work.record("org.mirrored", f"corp:{work.corp_id}", **result)
    return result


async def _known_userids(corp_id: str) -> dict[str, str]:
    """Userids as we write them, by their small letters: WeCom tells no difference between large and small ones."""
    rows = await db.fetch("select userid from employee where corp_id = $1", corp_id)
    return {row["userid"].lower(): row["userid"] for row in rows}


async def _stale_for(work: Work, userid: str) -> None:
    rows = await db.fetch(
        "select id from approval where corp_id = $1 and state in ('pending_level1', 'pending_level2')"
        " and (about_userid = $2 or requester = $2) order by id",
        work.corp_id,
        userid,
    )
    for row in rows:
        await approvals.make_stale(work, row["id"], "owner_or_requester_left")


@command(Epoch.SHARED)
async def mirror_contacts(
    work: Work,
    run_id: UUID,
    seen: Sequence[ContactSeen],
    cursor: dict[str, Any],
    done: int,
    read_at: datetime | None = None,
) -> int:
    """One page of follows with the marks WeCom held at `read_at`, and the run's cursor, in one transaction.

    Returns how many marks were taken in; the cursor counts them under `marks`.
    """
    names = await _known_userids(work.corp_id)
    seen = [replace(contact, userid=names.get(contact.userid.lower(), contact.userid)) for contact in seen]
    follow_ids = await customers.mirror_contacts(work.corp_id, seen)
    tags = {tag.wecom_id: tag.id for tag in await catalog.all_tags(work.corp_id) if tag.wecom_id}
    marks: list[tuple[UUID, UUID, None]] = []
    observed: list[tuple[UUID, list[str]]] = []
    for contact in seen:
        follow_id = follow_ids[(contact.userid, contact.external_userid)]
        known = [wecom_id for wecom_id in contact.tag_ids if wecom_id in tags]
        observed.append((follow_id, known))
        marks.extend((follow_id, tags[wecom_id], None) for wecom_id in known)
    taken = 0
    if work.corp.state is CorpState.SETUP and marks:
        taken = await assignments.start(work.corp_id, marks, source="import", actor=work.caller.userid, since=work.now)
    await repository.observe(work.corp_id, observed, read_at)
    counted = {**cursor, "marks": cursor.get("marks", 0) + taken}
    await repository.advance_run(work.corp_id, run_id, counted, done, None)
    work.record("contacts.mirrored", f"sync_run:{run_id}", follows=len(seen), marks=taken)
    return taken


@command(Epoch.SHARED)
async def keep_wecom_ids(work: Work, tag_id: UUID, wecom_id: str, group_id: UUID, group_wecom_id: str) -> None:
    """Keeps the ids WeCom gave to a tag we made, and wakes the follows that waited for it."""
    await catalog.set_wecom_ids(work.corp_id, tag_id, wecom_id, group_id, group_wecom_id)
    await repository.wake_carriers(work.corp_id, tag_id)
    work.record("tag.bound", f"tag:{tag_id}", wecom_id=wecom_id)


async def retry(corp_id: str, follow_id: UUID) -> None:
    """Puts a given-up follow back into the queue, with the tags it waits for."""
    for row in await queries.desired_wecom_ids(corp_id, follow_id):
        if row["wecom_id"] is None:
            await outbox.mark_library_dirty(corp_id, row["tag_id"])
    await repository.mark_dirty(corp_id, follow_id, bulk=False)


__all__ = [
    "RUN_JOB",
    "SILENT_AFTER",
    "CatalogResult",
    "OrgSeen",
    "keep_wecom_ids",
    "mirror_catalog",
    "mirror_contacts",
    "mirror_org",
    "refresh_organisation",
    "request_run",
    "resume_silent_runs",
    "retry",
]
