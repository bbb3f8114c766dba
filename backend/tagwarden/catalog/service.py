"""Use cases of the tag library: who may shape it, which names it takes, and what waits for two people.

A change whose effects the database guards (`protection.py`) is held and made by its applier (`appliers.py`) with the
last signature; any other is made at once, by the same functions. WeCom hears of it only through the event the handler
turns into a dirty row.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from tagwarden.approvals import service as approvals
from tagwarden.approvals.model import Ask
from tagwarden.catalog import limits, naming, protection, repository, tree
from tagwarden.catalog.changes import KEEP, Changed, GroupChange, GroupDraft, TagChange, TagDraft
from tagwarden.catalog.events import TagGroupChanged, TagLibraryChanged
from tagwarden.catalog.model import CatalogRefused, GroupUnknown, Tag, TagGroup, TagOfAnotherApp, TagUnknown, require_etag
from tagwarden.catalog.names import checked_name, naming_rules
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import CorpState, Work
from tagwarden.identity.model import Module
from tagwarden.kernel.events import publish
from tagwarden.kernel.ids import new_id
from tagwarden.policy import service as policy
from tagwarden.policy.model import Action


@command(Epoch.EXCLUSIVE)
async def create_group(work: Work, draft: GroupDraft) -> UUID:
    """Makes a group; the admin or a sub-admin with the catalog module. WeCom hears of it with its first tag."""
    picture = await policy.in_force(work)
    picture.directory.require_module(picture.directory.employee(work.caller.userid), Module.CATALOG)
    name = checked_name(draft.name, await repository.group_names(work.corp_id))
    group_id = new_id()
    row = {"id": group_id, "name": name, "kind": draft.kind, "choice": draft.choice, "description": draft.description}
    await repository.insert_group(work.corp_id, {**row, "sort": draft.sort})
    work.record("tag_group.created", f"tag_group:{group_id}", kind=draft.kind, choice=draft.choice)
    return group_id


@command(Epoch.EXCLUSIVE)
async def change_group(work: Work, group_id: UUID, change: GroupChange, if_match: str | None) -> Changed:
    """Classifies, renames or describes a group. Once live, a kind to or from `value`, and a value group's choice, wait."""
    picture = await policy.in_force(work)
    picture.directory.require_module(picture.directory.employee(work.caller.userid), Module.CATALOG)
    group = await repository.group(work.corp_id, group_id, lock=True)
    if group is None:
        raise GroupUnknown()
    wanted = await changed_group(work.corp_id, group, change)
    if group.foreign and (wanted.name, wanted.sort) != (group.name, group.sort):
        raise TagOfAnotherApp(name=group.name)
    require_etag(if_match, group.etag)
    keys = protection.of_group(group, wanted) if work.corp.state is CorpState.LIVE else ()
    if keys:
        ask = Ask(protection.GROUP_CHANGE, protection.group_payload(group, change), keys, work.caller.userid, None, change.reason)
        return Changed(group_id, (await approvals.ask(work, picture, ask)).id)
    await write_group(work, group, wanted)
    return Changed(group_id)


async def changed_group(corp_id: str, group: TagGroup, change: GroupChange) -> TagGroup:
    """The group as it would be; NameRefused or NameTaken."""
    name = group.name
    if change.name is not None and naming.normalised(change.name) != group.name:
        name = checked_name(change.name, await repository.group_names(corp_id) - {group.name})
    return replace(
        group,
        name=name,
        kind=group.kind if change.kind is None else change.kind,
        choice=group.choice if change.choice is None else change.choice,
        description=group.description if change.description is None else change.description,
        sort=group.sort if change.sort is None else change.sort,
    )


async def write_group(work: Work, before: TagGroup, after: TagGroup, decision: dict[str, Any] | None = None) -> None:
    """Writes a group that was decided on; used by this room's use cases and appliers only."""
    await repository.update_group(work.corp_id, after, work.now)
    work.record(
        "tag_group.changed",
        f"tag_group:{after.id}",
        decision,
        kind=after.kind,
        kind_before=before.kind,
        choice=after.choice,
        renamed=after.name != before.name,
        version=before.version + 1,
    )
    if (after.name, after.sort) != (before.name, before.sort):
        await publish(TagGroupChanged(work.corp_id, after.id))


@command(Epoch.SHARED)
async def create_tag(work: Work, group_id: UUID, draft: TagDraft) -> UUID:
    """Makes a tag in a group the caller manages; it is created in WeCom before its first mark."""
    group, decision = await managed(work, group_id)
    siblings = await repository.tags_of_group(work.corp_id, group_id)
    name = checked_name(draft.name, {tag.name for tag in siblings})
    if draft.parent_id is not None:
        tree.require_new_place(siblings, group_id, draft.parent_id)
    tag_id = new_id()
    row = {
        "id": tag_id,
        "group_id": group.id,
        "name": name,
        "meaning": draft.meaning,
        "service_process": draft.service_process,
        "ends_on": draft.ends_on,
        "parent_id": draft.parent_id,
        "sort": draft.sort,
    }
    await write_new_tag(work, row, decision)
    return tag_id


@command(Epoch.SHARED)
async def change_tag(work: Work, tag_id: UUID, change: TagChange, if_match: str | None) -> Changed:
    """Renames, describes, moves in its tree, retires or restores a tag; of a value group, name and retirement wait."""
    tag, group, decision = await managed_tag(work, tag_id)
    wanted = await changed_tag(work.corp_id, tag, change)
    require_etag(if_match, tag.etag)
    keys = protection.of_tag(group.kind, tag, wanted) if work.corp.state is CorpState.LIVE else ()
    if tag.foreign and wanted.sort != tag.sort:
        raise TagOfAnotherApp(name=tag.name)
    if keys:
        picture = await policy.in_force(work)
        ask = Ask(protection.TAG_EDIT, protection.tag_payload(tag, change), keys, work.caller.userid, None, change.reason)
        return Changed(tag_id, (await approvals.ask(work, picture, ask)).id)
    if tag.foreign and wanted.name != tag.name:  # a value tag's record is ours to name, and two people sign that it differs
        raise TagOfAnotherApp(name=tag.name)
    await write_tag(work, tag, wanted, decision)
    return Changed(tag_id)


async def changed_tag(corp_id: str, tag: Tag, change: TagChange) -> Tag:
    """The tag as it would be; NameRefused, NameTaken, or what the tree refuses (`tree.py`)."""
    siblings = await repository.tags_of_group(corp_id, tag.group_id)
    name = tag.name
    if change.name is not None and naming.normalised(change.name) != tag.name:
        name = checked_name(change.name, {other.name for other in siblings if other.id != tag.id})
    wanted = replace(
        tag,
        name=name,
        meaning=tag.meaning if change.meaning is None else change.meaning,
        service_process=tag.service_process if change.service_process is None else change.service_process,
        retired=tag.retired if change.retired is None else change.retired,
        ends_on=tag.ends_on if change.ends_on is KEEP else change.ends_on,
        parent_id=tag.parent_id if change.parent_id is KEEP else change.parent_id,
        sort=tag.sort if change.sort is None else change.sort,
    )
    tree.require_place(siblings, tag, wanted)
    return wanted


async def write_tag(work: Work, before: Tag, after: Tag, decision: dict[str, Any] | None = None) -> None:
    """Writes a tag that was decided on; used by this room's use cases and appliers only."""
    await repository.update_tag(work.corp_id, after)
    renamed = after.name != before.name
    detail: dict[str, Any] = {"renamed": renamed, "retired": after.retired, "version": before.version + 1}
    if after.parent_id != before.parent_id:
        detail["parent"] = [str(one) if one else None for one in (before.parent_id, after.parent_id)]
    work.record("tag.changed", f"tag:{after.id}", decision, **detail)
    if renamed or after.sort != before.sort:
        await publish(TagLibraryChanged(work.corp_id, after.id))


async def write_new_tag(work: Work, row: dict[str, Any], decision: dict[str, Any] | None = None) -> None:
    """Writes a tag of ours and sends it on its way to WeCom, or LibraryFull; used by this room and the ones above."""
    await limits.require_room(work.corp_id)
    await repository.insert_tag(work.corp_id, {**row, "made_by_us": True})
    work.record("tag.created", f"tag:{row['id']}", decision, group=str(row["group_id"]))
    await publish(TagLibraryChanged(work.corp_id, row["id"]))


async def managed(work: Work, group_id: UUID, *, lock: bool = True) -> tuple[TagGroup, dict[str, Any]]:
    """The group, locked, and the decision that lets the caller manage it: module switch, capability, grant."""
    picture = await policy.in_force(work)
    group = await repository.group(work.corp_id, group_id, lock=lock)
    if group is None:
        raise GroupUnknown()
    employee = picture.directory.employee(work.caller.userid)
    picture.directory.require_module(employee, Module.CATALOG)
    decision = picture.decide(employee.userid, str(group.id), group.kind, Action.MANAGE, None)
    if not decision.allowed:
        step = decision.step.value if decision.step else "grant"
        raise CatalogRefused(
            step=step, ask=picture.directory.admins(), audit={"step": step, "object": f"tag_group:{group.id}", "action": "manage"}
        )
    return group, policy.decision_record(picture, decision)


async def managed_tag(work: Work, tag_id: UUID) -> tuple[Tag, TagGroup, dict[str, Any]]:
    """A tag of a group the caller manages, both locked, so that its tree holds still. Who may not, locks nothing."""
    seen = await repository.tag(work.corp_id, tag_id)
    if seen is None:
        raise TagUnknown()
    await managed(work, seen.group_id, lock=False)
    tag = await repository.tag(work.corp_id, tag_id, lock=True)
    if tag is None:
        raise TagUnknown()
    group, decision = await managed(work, tag.group_id)
    return tag, group, decision


async def library(corp_id: str) -> list[tuple[TagGroup, list[Tag]]]:
    """Every group with its tags; who may see which is asked by the caller's room."""
    tags = await repository.all_tags(corp_id)
    by_group: dict[UUID, list[Tag]] = {}
    for tag in tags:
        by_group.setdefault(tag.group_id, []).append(tag)
    return [(group, by_group.get(group.id, [])) for group in await repository.groups(corp_id)]


__all__ = [
    "KEEP",
    "Changed",
    "GroupChange",
    "GroupDraft",
    "TagChange",
    "TagDraft",
    "change_group",
    "change_tag",
    "changed_group",
    "changed_tag",
    "checked_name",
    "create_group",
    "create_tag",
    "library",
    "managed",
    "managed_tag",
    "naming_rules",
    "write_group",
    "write_new_tag",
    "write_tag",
]
