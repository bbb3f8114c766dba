"""Use cases of sync: asking for a run, what the schedule asks for, and what outbound learns.

What an import writes is WeCom's word, not a decision; it stands in `org_in.py`, `library_in.py` and `contacts_in.py`, and
is offered from here.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from tagwarden.approvals import service as approvals
from tagwarden.catalog import library_rows
from tagwarden.catalog import repository as catalog
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import Work
from tagwarden.identity.model import Module
from tagwarden.kernel import clock, db, jobs
from tagwarden.kernel.ids import new_id
from tagwarden.policy import service as policy
from tagwarden.sync import repository
from tagwarden.sync.contacts_in import mirror_contacts
from tagwarden.sync.library_in import CatalogResult, mirror_catalog
from tagwarden.sync.model import RUN_JOB, RunKind, RunUnderWay
from tagwarden.sync.org_in import OrgSeen, mirror_org

SILENT_AFTER = timedelta(seconds=60)


@command(Epoch.SHARED)
async def request_run(work: Work, kind: RunKind) -> UUID:
    """Queues an import or reconciliation; admin, or sub-admin with the sync module."""
    picture = await policy.in_force(work)
    picture.directory.require_module(picture.directory.employee(work.caller.userid), Module.SYNC)
    if kind is RunKind.DRIFT:
        work.corp.require_live(suspended_too=True)
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


@command(Epoch.SHARED)
async def keep_wecom_ids(
    work: Work, tag_id: UUID, wecom_id: str, group_id: UUID, group_wecom_id: str, group_ours: bool = False
) -> None:
    """Keeps the ids WeCom gave to a tag we made, and wakes the follows that waited for it."""
    await catalog.set_wecom_ids(work.corp_id, tag_id, wecom_id, group_id, group_wecom_id, group_ours=group_ours)
    await repository.wake_carriers(work.corp_id, tag_id)
    work.record("tag.bound", f"tag:{tag_id}", wecom_id=wecom_id)


@command(Epoch.SHARED)
async def disown(work: Work, tag_id: UUID | None, group_id: UUID | None) -> None:
    """WeCom says that another app made a tag or a group: it is used from now on and never edited, and that is shown."""
    if tag_id is not None:
        await catalog.disown_tag(work.corp_id, tag_id)
        work.record("tag.of_another_app", f"tag:{tag_id}")
    if group_id is not None:
        await catalog.disown_group(work.corp_id, group_id)
        work.record("tag_group.of_another_app", f"tag_group:{group_id}")


@command(Epoch.SHARED)
async def own(work: Work, tag_id: UUID | None, group_id: UUID | None) -> None:
    """WeCom took an edit of a tag or a group: this app made it, and its name and place are decided here from now on."""
    if tag_id is not None:
        await library_rows.own_tag(work.corp_id, tag_id)
        work.record("tag.found_ours", f"tag:{tag_id}")
    if group_id is not None:
        await library_rows.made_here(work.corp_id, [group_id])
        work.record("tag_group.found_ours", f"tag_group:{group_id}")


__all__ = [
    "RUN_JOB",
    "SILENT_AFTER",
    "CatalogResult",
    "OrgSeen",
    "disown",
    "keep_wecom_ids",
    "mirror_catalog",
    "mirror_contacts",
    "mirror_org",
    "own",
    "refresh_organisation",
    "request_run",
    "resume_silent_runs",
]
