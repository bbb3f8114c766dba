"""What happens to a tag together with the marks that carry it: moving, merging, deleting.

WeCom cannot move a tag between groups, so a moved tag is a new one: every follow gets the new mark for the old in one
change, and the old tag is retired. Nothing is deleted while somebody carries it. Where a value group has a part in it,
two people sign first; the same functions make it then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tagwarden.approvals import service as approvals
from tagwarden.approvals.model import Ask
from tagwarden.assignments import queries
from tagwarden.assignments.migrating import Migration, migrate, migration_effects, migration_payload
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.events import TagLibraryChanged
from tagwarden.catalog.model import GroupUnclassified, InUse, Tag, TagGroup, TagUnknown, require_etag
from tagwarden.catalog.service import checked_name, managed, managed_tag
from tagwarden.catalog.tree import Tree, require_no_children
from tagwarden.corps.command import BeginAgain, Epoch, command
from tagwarden.corps.model import CorpState, Work
from tagwarden.customers import repository as customers
from tagwarden.kernel.errors import Conflict, Invalid
from tagwarden.kernel.events import publish
from tagwarden.kernel.ids import new_id
from tagwarden.policy import service as policy
from tagwarden.policy.model import Kind

TAG_MIGRATION = "tag_migration"
TAG_DELETE = "tag_delete"
GROUP_DELETE = "tag_group_delete"
LARGEST_MIGRATION = 5000


class SameTag(Invalid):
    code = "same_tag"
    zh = "标签不能移动或合并到它自己所在的位置"
    en = "A tag cannot be moved or merged to where it is"


class TargetRetired(Conflict):
    code = "tag_retired"
    zh = "目标标签已停用"
    en = "The tag to merge into is retired"


class TooManyMarks(Conflict):
    code = "too_many_marks"
    zh = "该标签有 {marks} 处标记，一次最多处理 {limit} 处"
    en = "{marks} follows carry this tag; at most {limit} are moved at once"


@dataclass(frozen=True, slots=True)
class Done:
    """The tag that is carried from now on (or was deleted); `approval_id` where it waits for two signatures."""

    id: UUID
    moved: int = 0
    approval_id: UUID | None = None


@command(Epoch.SHARED)
async def move_tag(work: Work, tag_id: UUID, group_id: UUID, reason: str, if_match: str | None) -> Done:
    """Moves a tag to another group: a new tag there, every mark carried over, the old one retired."""
    await _lock(work, tag_id, group_id=group_id)
    source, source_group, _ = await managed_tag(work, tag_id)
    target_group, _ = await managed(work, group_id)
    if target_group.id == source_group.id:
        raise SameTag()
    name = checked_name(source.name, {tag.name for tag in await catalog.tags_of_group(work.corp_id, group_id)})
    return await _migrate_or_hold(work, Migration(source, source_group, new_id(), target_group, name), reason, if_match)


@command(Epoch.SHARED)
async def merge_tag(work: Work, tag_id: UUID, into: UUID, reason: str, if_match: str | None) -> Done:
    """Merges a tag into another: whoever carries it carries the other from then on; it is retired."""
    await _lock(work, tag_id, into=into)
    source, source_group, _ = await managed_tag(work, tag_id)
    target, target_group, _ = await managed_tag(work, into)
    if target.id == source.id:
        raise SameTag()
    if target.retired:
        raise TargetRetired()
    return await _migrate_or_hold(work, Migration(source, source_group, target.id, target_group, None), reason, if_match)


async def _lock(work: Work, tag_id: UUID, *, into: UUID | None = None, group_id: UUID | None = None) -> None:
    """Locks what a migration touches in the order of every command: follows, tags, groups. Who may not, locks nothing."""
    source = await catalog.tag(work.corp_id, tag_id)
    if source is None:
        raise TagUnknown()
    await managed(work, source.group_id, lock=False)
    known = await _carriers(work.corp_id, tag_id)
    await customers.lock_follows(work.corp_id, list(known))
    tags = await catalog.lock_tags(work.corp_id, [tag_id, *([into] if into else [])])
    await catalog.lock_groups(work.corp_id, [*(tag.group_id for tag in tags), *([group_id] if group_id else [])])
    if await _carriers(work.corp_id, tag_id) - known:
        raise BeginAgain


async def _carriers(corp_id: str, tag_id: UUID) -> set[UUID]:
    found = {mark["follow_id"] for mark in await queries.carriers(corp_id, tag_id)}
    if len(found) > LARGEST_MIGRATION:
        raise TooManyMarks(marks=len(found), limit=LARGEST_MIGRATION)
    return found


async def _migrate_or_hold(work: Work, migration: Migration, reason: str, if_match: str | None) -> Done:
    await require_childless(work.corp_id, migration.source)
    marks = await queries.carriers(work.corp_id, migration.source.id)
    if marks:
        _require_movable(work, migration)
    require_etag(if_match, migration.source.etag)
    follow_ids = [mark["follow_id"] for mark in marks]
    live, groups = work.corp.state is CorpState.LIVE, (migration.source_group, migration.target_group)
    if live and any(group.kind is Kind.VALUE for group in groups):
        picture = await policy.in_force(work)
        payload = migration_payload(migration, marks)
        keys = await migration_effects(work.corp_id, migration, follow_ids)
        wanted = Ask(TAG_MIGRATION, payload, keys, work.caller.userid, None, reason)
        return Done(migration.target_id, len(marks), (await approvals.ask(work, picture, wanted)).id)
    moved = await migrate(work, migration, follow_ids, approval_id=None)
    return Done(migration.target_id, moved)


async def require_childless(corp_id: str, tag: Tag) -> None:
    """HasChildren while living tags stand below one that is to be retired with its marks gone."""
    require_no_children(Tree(await catalog.tags_of_group(corp_id, tag.group_id)).living_below(tag.id), tag)


def _require_movable(work: Work, migration: Migration) -> None:
    """Customers' tags change in a live corp, while they are not suspended, and in groups that have a kind."""
    work.corp.require_live()
    for group in (migration.source_group, migration.target_group):
        if group.kind is Kind.UNCLASSIFIED:
            raise GroupUnclassified(name=group.name)


@command(Epoch.SHARED)
async def delete_tag(work: Work, tag_id: UUID, reason: str, if_match: str | None) -> Done:
    """Deletes a tag nobody carries (InUse otherwise: retire it) and nothing stands below; of a value group, once signed."""
    tag, group, _ = await managed_tag(work, tag_id)
    await require_deletable(work.corp_id, tag)
    require_etag(if_match, tag.etag)
    if group.kind is Kind.VALUE and work.corp.state is CorpState.LIVE:
        picture = await policy.in_force(work)
        payload = {"tag_id": str(tag_id)}
        wanted = Ask(TAG_DELETE, payload, (f"tag:{tag_id}:delete",), work.caller.userid, None, reason)
        return Done(tag_id, 0, (await approvals.ask(work, picture, wanted)).id)
    await delete(work, [tag])
    return Done(tag_id)


@command(Epoch.EXCLUSIVE)
async def delete_group(work: Work, group_id: UUID, reason: str, if_match: str | None) -> Done:
    """Deletes a group with its tags, which nobody may carry; a value group after two signatures."""
    group, _ = await managed(work, group_id)
    tags = await catalog.tags_of_group(work.corp_id, group_id)
    await require_unused(work.corp_id, [tag.id for tag in tags], f"/v1/tag-groups/{group_id}/usage")
    require_etag(if_match, group.etag)
    if group.kind is Kind.VALUE and work.corp.state is CorpState.LIVE:
        picture = await policy.in_force(work)
        payload = {"group_id": str(group_id), "tags": sorted(str(tag.id) for tag in tags)}
        wanted = Ask(GROUP_DELETE, payload, group_delete_effects(payload), work.caller.userid, None, reason)
        return Done(group_id, 0, (await approvals.ask(work, picture, wanted)).id)
    await delete(work, tags, group)
    return Done(group_id)


def group_delete_effects(payload: dict[str, Any]) -> tuple[str, ...]:
    """The keys under which the database lets a group and its tags go."""
    return (f"group:{payload['group_id']}:delete", *(f"tag:{tag_id}:delete" for tag_id in payload["tags"]))


async def require_deletable(corp_id: str, tag: Tag) -> None:
    """InUse while somebody carries the tag or asks for it; HasChildren while a tag, retired or not, stands below it."""
    await require_unused(corp_id, [tag.id], f"/v1/tags/{tag.id}/usage")
    require_no_children(Tree(await catalog.tags_of_group(corp_id, tag.group_id)).children(tag.id), tag)


async def require_unused(corp_id: str, tag_ids: Sequence[UUID], usage: str) -> None:
    """Raises InUse while a follow carries one of the tags, or an open request would put one on."""
    carried, requested = await queries.uses(corp_id, tag_ids)
    if carried or requested:
        raise InUse(assignments=carried, approvals=requested, usage=usage)


async def delete(work: Work, tags: Sequence[Tag], group: TagGroup | None = None) -> None:
    """Deletes what was decided on, inside the caller's command; rows stay for the history, WeCom is told."""
    for tag in tags:
        await catalog.mark_deleted(work.corp_id, tag.id)
        work.record("tag.deleted", f"tag:{tag.id}", group=str(tag.group_id))
        await publish(TagLibraryChanged(work.corp_id, tag.id))
    for group_id in {tag.group_id for tag in tags}:
        await catalog.leave_wecom_group(work.corp_id, group_id)
    if group is not None:
        await catalog.mark_group_deleted(work.corp_id, group.id)
        work.record("tag_group.deleted", f"tag_group:{group.id}", tags=len(tags))
