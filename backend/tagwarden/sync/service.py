"""Use cases of sync: asking for a run, and writing what WeCom said into our mirror.

What an import writes is WeCom's word, not a decision: departments, members, names, and the marks it already holds.
Marks enter as assignments in `setup` only; once live, a mark made inside WeCom is drift and becomes no assignment here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from tagwarden.approvals import service as approvals
from tagwarden.assignments import repository as assignments
from tagwarden.catalog import naming
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.service import naming_rules
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import CorpState, Work
from tagwarden.customers import repository as customers
from tagwarden.customers.model import ContactSeen
from tagwarden.identity import repository as identity
from tagwarden.identity.model import Module
from tagwarden.kernel import clock, db, jobs
from tagwarden.kernel.ids import new_id
from tagwarden.policy import service as policy
from tagwarden.policy.model import Kind
from tagwarden.sync import repository
from tagwarden.sync.model import RunKind, RunNotOffered, RunUnderWay

RUN_JOB = "sync.run"
SILENT_AFTER = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class OrgSeen:
    """The organisation as one complete reading of WeCom shows it."""

    departments: tuple[tuple[int, str, int, int], ...]
    employees: tuple[tuple[str, str, str, int | None], ...]
    places: tuple[tuple[str, int, bool], ...]


@dataclass(slots=True)
class CatalogResult:
    groups_new: int = 0
    tags_new: int = 0
    renamed: int = 0
    marked: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@command(Epoch.SHARED)
async def request_run(work: Work, kind: RunKind) -> UUID:
    """Queues an import or reconciliation; admin, or sub-admin with the sync module."""
    picture = await policy.in_force(work)
    picture.directory.require_module(picture.directory.employee(work.caller.userid), Module.SYNC)
    if kind is RunKind.DRIFT:
        raise RunNotOffered(kind=kind.value)
    under_way = await repository.open_run(work.corp_id, kind.value)
    if under_way is not None:
        raise RunUnderWay(run_id=str(under_way))
    run_id = new_id()
    await repository.insert_run(work.corp_id, run_id, kind.value, work.caller.userid)
    await jobs.enqueue(RUN_JOB, {"corp_id": work.corp_id})
    work.record("sync.requested", f"sync_run:{run_id}", kind=kind)
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
        if due:
            await repository.insert_run(corp_id, new_id(), RunKind.ORG.value, approvals.SYSTEM)
            await jobs.enqueue(RUN_JOB, {"corp_id": corp_id})
    return due


@command(Epoch.EXCLUSIVE)
async def mirror_org(work: Work, seen: OrgSeen) -> dict[str, Any]:
    """Makes departments, members and leaders equal to WeCom; rights move when this commits."""
    await identity.replace_departments(work.corp_id, seen.departments)
    left = await identity.mirror_employees(work.corp_id, seen.employees)
    await identity.replace_places(work.corp_id, seen.places)
    await identity.set_mirrored(work.corp_id)
    for userid in left:
        await _stale_for(work, userid)
    result: dict[str, Any] = {"departments": len(seen.departments), "employees": len(seen.employees), "left": left}
    work.record("org.mirrored", f"corp:{work.corp_id}", **result)
    return result


async def _stale_for(work: Work, userid: str) -> None:
    rows = await db.fetch(
        "select id from approval where corp_id = $1 and state in ('pending_level1', 'pending_level2')"
        " and (about_userid = $2 or requester = $2) order by id",
        work.corp_id,
        userid,
    )
    for row in rows:
        await approvals.make_stale(work, row["id"], "owner_or_requester_left")


@command(Epoch.EXCLUSIVE)
async def mirror_catalog(work: Work, library: Sequence[dict[str, Any]]) -> CatalogResult:
    """Takes in WeCom's groups and tags; names that break our rules come in as they are, marked."""
    result = CatalogResult()
    known_groups = {group.wecom_id: group for group in await catalog.groups(work.corp_id)}
    known_tags = {tag.wecom_id: tag for tag in await catalog.all_tags(work.corp_id)}
    for seen in library:
        group = known_groups.get(seen["group_id"])
        if group is None:
            group_id, kind = await _take_in_group(work, seen, result), Kind.UNCLASSIFIED
        else:
            group_id, kind = group.id, group.kind
        for tag in seen.get("tag", ()):
            known = known_tags.get(tag["id"])
            if known is None:
                await _take_in_tag(work, group_id, tag, result)
            elif known.name != tag["name"]:
                await _follow_rename(work, known.id, known.name, tag["name"], kind, result)
    seen_ids = {tag["id"] for seen in library for tag in seen.get("tag", ())}
    result.missing = [tag.name for wecom_id, tag in known_tags.items() if wecom_id and wecom_id not in seen_ids]
    work.record(
        "catalog.mirrored",
        f"corp:{work.corp_id}",
        groups_new=result.groups_new,
        tags_new=result.tags_new,
        renamed=result.renamed,
        marked=len(result.marked),
        conflicts=len(result.conflicts),
        missing=len(result.missing),
    )
    return result


async def _take_in_group(work: Work, seen: dict[str, Any], result: CatalogResult) -> UUID:
    group_id, name = new_id(), str(seen["group_name"])
    marked = naming.fault(naming.normalised(name), naming_rules()) is not None
    if marked:
        result.marked.append(name)
    await catalog.insert_group(
        work.corp_id,
        {"id": group_id, "name": name, "sort": seen.get("order", 0), "wecom_id": seen["group_id"], "name_marked": marked},
    )
    result.groups_new += 1
    return group_id


async def _take_in_tag(work: Work, group_id: UUID, seen: dict[str, Any], result: CatalogResult) -> None:
    name = str(seen["name"])
    marked = naming.fault(naming.normalised(name), naming_rules()) is not None
    if marked:
        result.marked.append(name)
    row = {
        "id": new_id(),
        "group_id": group_id,
        "name": name,
        "sort": seen.get("order", 0),
        "wecom_id": seen["id"],
        "name_marked": marked,
    }
    await catalog.insert_tag(work.corp_id, row)
    result.tags_new += 1


async def _follow_rename(work: Work, tag_id: UUID, ours: str, theirs: str, kind: Kind, result: CatalogResult) -> None:
    if kind is Kind.VALUE and work.corp.state is CorpState.LIVE:
        result.conflicts.append(f"{ours} → {theirs}")
        return
    await catalog.rename_as_wecom(work.corp_id, tag_id, theirs)
    result.renamed += 1


@command(Epoch.SHARED)
async def mirror_contacts(work: Work, run_id: UUID, seen: Sequence[ContactSeen], cursor: dict[str, Any], done: int) -> int:
    """One page of follows with the marks WeCom holds, and the run's cursor, in one transaction; returns marks taken in."""
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
    await repository.observe(work.corp_id, observed)
    await repository.advance_run(work.corp_id, run_id, cursor, done, None)
    work.record("contacts.mirrored", f"sync_run:{run_id}", follows=len(seen), marks=taken)
    return taken


@command(Epoch.SHARED)
async def keep_wecom_ids(work: Work, tag_id: UUID, wecom_id: str, group_id: UUID, group_wecom_id: str) -> None:
    """Keeps the ids WeCom gave to a tag we made."""
    await catalog.set_wecom_ids(work.corp_id, tag_id, wecom_id, group_id, group_wecom_id)
    work.record("tag.bound", f"tag:{tag_id}", wecom_id=wecom_id)


async def retry(corp_id: str, follow_id: UUID) -> None:
    """Puts a given-up follow back into the queue."""
    await repository.mark_dirty(corp_id, follow_id, bulk=False)
