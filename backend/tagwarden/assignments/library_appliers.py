"""How held migrations and deletions of the library are made, with the last signature."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar
from uuid import UUID

from tagwarden.approvals.applier import ProtectedApplier
from tagwarden.approvals.model import Approval, Ask, NotStanding
from tagwarden.assignments import library, migrating, queries
from tagwarden.assignments.migrating import Migration
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.appliers import digest, may_manage
from tagwarden.catalog.model import HasChildren, InUse
from tagwarden.catalog.service import checked_name
from tagwarden.corps.command import Epoch
from tagwarden.corps.model import Work
from tagwarden.customers import repository as customers
from tagwarden.kernel.ids import new_id
from tagwarden.policy.service import Picture


async def _migration(corp_id: str, payload: dict[str, Any]) -> Migration | None:
    """The migration on today's library; None where a tag or group is gone."""
    source = await catalog.tag(corp_id, UUID(payload["tag_id"]))
    source_group = await catalog.group(corp_id, source.group_id) if source else None
    target_group = await catalog.group(corp_id, UUID(payload["group_id"]))
    if source is None or source_group is None or target_group is None:
        return None
    if payload["name"] is None:
        target = await catalog.tag(corp_id, UUID(payload["target_id"]))
        if target is None or target.retired or target.group_id != target_group.id:
            return None
    return Migration(source, source_group, UUID(payload["target_id"]), target_group, payload["name"])


class MigrationApplier(ProtectedApplier):
    """Moving or merging a tag where a value group has a part in it."""

    kind: ClassVar[str] = library.TAG_MIGRATION
    epoch_lock: ClassVar[Epoch] = Epoch.SHARED
    writes_tags: ClassVar[bool] = True

    async def fingerprint(self, corp_id: str, payload: dict[str, Any]) -> str:
        """Both tags, groups, and exactly which marks there are, with what single choice would take along."""
        found = await _migration(corp_id, payload)
        marks = await queries.carriers(corp_id, UUID(payload["tag_id"]))
        if found is None:
            return digest(None)
        keys = await migrating.migration_effects(corp_id, found, [mark["follow_id"] for mark in marks])
        groups = [[str(group.id), group.kind.value, group.choice.value] for group in (found.source_group, found.target_group)]
        target = await catalog.tag(corp_id, found.target_id) if found.name is None else None
        ends = [found.source.name, found.source.retired, target.name if target else found.name]
        return digest([ends, groups, sorted(str(mark["id"]) for mark in marks), sorted(keys)])

    async def lock(self, corp_id: str, payload: dict[str, Any]) -> None:
        """Every follow that carries the first tag, then both tags, then their groups."""
        await customers.lock_follows(corp_id, [UUID(follow_id) for follow_id in payload["follows"]])
        tags = await catalog.lock_tags(corp_id, [UUID(payload["tag_id"]), UUID(payload["target_id"])])
        await catalog.lock_groups(corp_id, [UUID(payload["group_id"]), *(tag.group_id for tag in tags)])

    async def check(self, work: Work, picture: Picture, approval: Approval) -> str | None:
        """Both ends are there, the name free, and the requester still manages both groups."""
        found = await _migration(work.corp_id, approval.payload)
        if found is None:
            return "tag_unknown"
        if not all(may_manage(picture, approval.requester, group) for group in (found.source_group, found.target_group)):
            return "requester_lost_right"
        try:
            await library.require_childless(work.corp_id, found.source)
        except HasChildren as error:
            return error.code
        taken = {tag.name for tag in await catalog.tags_of_group(work.corp_id, found.target_group.id)}
        return "name_taken" if found.name in taken else None

    async def revise(self, work: Work, approval: Approval, change: dict[str, Any] | None) -> Ask:
        """The same migration of the marks there are today, under today's name; asked anew, it makes a tag of its own."""
        asked = await super().revise(work, approval, change)
        found = await _migration(work.corp_id, approval.payload)
        if found is None:
            raise NotStanding(why="tag_unknown")
        if found.name is not None:
            taken = {tag.name for tag in await catalog.tags_of_group(work.corp_id, found.target_group.id)}
            made = found.target_id if approval.pending else new_id()
            found = replace(found, target_id=made, name=checked_name(found.source.name, taken))
        marks = await queries.carriers(work.corp_id, found.source.id)
        keys = await migrating.migration_effects(work.corp_id, found, [mark["follow_id"] for mark in marks])
        return Ask(asked.kind, migrating.migration_payload(found, marks), keys, asked.about_userid, None, asked.reason)

    def effects(self, payload: dict[str, Any]) -> tuple[str, ...]:
        """Formed from today's marks in `revise`."""
        return ()

    async def describe(self, corp_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Where the tag is and where it goes, and how many follows carry it."""
        tags = await catalog.tags_by_id(corp_id, [UUID(payload["tag_id"]), UUID(payload["target_id"])])
        groups = await catalog.groups_by_id(corp_id, [UUID(payload["group_id"]), *(tag.group_id for tag in tags.values())])
        source, target = tags.get(UUID(payload["tag_id"])), tags.get(UUID(payload["target_id"]))
        goal = groups.get(UUID(payload["group_id"]))
        return {
            "before": {"tag": source.name, "tag_group": groups[source.group_id].name} if source else None,
            "after": {"tag": payload["name"] or (target.name if target else None), "tag_group": goal.name if goal else None},
            "follows": len(payload["follows"]),
        }

    async def apply(self, work: Work, picture: Picture, approval: Approval) -> None:
        """Carries the marks over; the database lets each through once."""
        found = await _migration(work.corp_id, approval.payload)
        if found is None:
            raise NotStanding(why="tag_unknown")
        follow_ids = [UUID(follow_id) for follow_id in approval.payload["follows"]]
        await migrating.migrate(work, found, follow_ids, approval_id=approval.id)


class TagDeleteApplier(ProtectedApplier):
    """A value tag nobody carries."""

    kind: ClassVar[str] = library.TAG_DELETE
    epoch_lock: ClassVar[Epoch] = Epoch.SHARED

    def effects(self, payload: dict[str, Any]) -> tuple[str, ...]:
        """The one key."""
        return (f"tag:{payload['tag_id']}:delete",)

    async def fingerprint(self, corp_id: str, payload: dict[str, Any]) -> str:
        """The tag's name, its group and that group's kind."""
        tag = await catalog.tag(corp_id, UUID(payload["tag_id"]))
        group = await catalog.group(corp_id, tag.group_id) if tag else None
        return digest([str(group.id), group.kind.value, tag.name] if tag and group else None)

    async def lock(self, corp_id: str, payload: dict[str, Any]) -> None:
        """Its group and the tag, until the transaction ends: nobody gets it, and nothing is put below it meanwhile."""
        await catalog.lock_tag_in_group(corp_id, UUID(payload["tag_id"]))

    async def check(self, work: Work, picture: Picture, approval: Approval) -> str | None:
        """Still unused, and the requester still manages its group."""
        tag = await catalog.tag(work.corp_id, UUID(approval.payload["tag_id"]))
        group = await catalog.group(work.corp_id, tag.group_id) if tag else None
        if tag is None or group is None:
            return "tag_unknown"
        if not may_manage(picture, approval.requester, group):
            return "requester_lost_right"
        try:
            await library.require_deletable(work.corp_id, tag)
        except (InUse, HasChildren) as error:
            return error.code
        return None

    async def describe(self, corp_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The tag that goes."""
        tag_id = UUID(payload["tag_id"])
        tag = await catalog.tag(corp_id, tag_id) or await catalog.deleted_tag(corp_id, tag_id)
        return {"before": tag.name if tag else None, "after": None}

    async def apply(self, work: Work, picture: Picture, approval: Approval) -> None:
        """Deletes it."""
        tag = await catalog.tag(work.corp_id, UUID(approval.payload["tag_id"]), lock=True)
        if tag is None:
            raise NotStanding(why="tag_unknown")
        await library.delete(work, [tag])


class GroupDeleteApplier(ProtectedApplier):
    """A value group whose tags nobody carries."""

    kind: ClassVar[str] = library.GROUP_DELETE

    def effects(self, payload: dict[str, Any]) -> tuple[str, ...]:
        """One key for the group and one a tag."""
        return library.group_delete_effects(payload)

    async def fingerprint(self, corp_id: str, payload: dict[str, Any]) -> str:
        """The group as it is, and the tags in it."""
        group = await catalog.group(corp_id, UUID(payload["group_id"]))
        tags = await catalog.tags_of_group(corp_id, UUID(payload["group_id"]))
        return digest([group.name, group.kind.value, group.choice.value, sorted(str(tag.id) for tag in tags)] if group else None)

    async def revise(self, work: Work, approval: Approval, change: dict[str, Any] | None) -> Ask:
        """The group with the tags it has today."""
        asked = await super().revise(work, approval, change)
        tags = await catalog.tags_of_group(work.corp_id, UUID(asked.payload["group_id"]))
        payload = {**asked.payload, "tags": sorted(str(tag.id) for tag in tags)}
        return replace(asked, payload=payload, effects=self.effects(payload))

    async def check(self, work: Work, picture: Picture, approval: Approval) -> str | None:
        """Still unused, and the requester still manages it."""
        group = await catalog.group(work.corp_id, UUID(approval.payload["group_id"]))
        if group is None:
            return "tag_group_unknown"
        if not may_manage(picture, approval.requester, group):
            return "requester_lost_right"
        try:
            await library.require_unused(work.corp_id, [UUID(tag_id) for tag_id in approval.payload["tags"]], "")
        except InUse as error:
            return error.code
        return None

    async def describe(self, corp_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The group that goes, with its tags."""
        group_id = UUID(payload["group_id"])
        group = (await catalog.groups_by_id(corp_id, [group_id])).get(group_id)
        return {"before": group.name if group else None, "after": None, "tags": len(payload["tags"])}

    async def apply(self, work: Work, picture: Picture, approval: Approval) -> None:
        """Deletes it with its tags."""
        group = await catalog.group(work.corp_id, UUID(approval.payload["group_id"]), lock=True)
        if group is None:
            raise NotStanding(why="tag_group_unknown")
        await library.delete(work, await catalog.tags_of_group(work.corp_id, group.id), group)
