"""How held changes of the library are made: by the functions that make the others, in the last signature's transaction."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, ClassVar
from uuid import UUID

import rfc8785

from tagwarden.approvals.applier import ProtectedApplier
from tagwarden.approvals.model import Approval, Ask, NotStanding
from tagwarden.catalog import counts, protection, repository
from tagwarden.catalog.changes import read_group_change, read_tag_change
from tagwarden.catalog.model import TagGroup
from tagwarden.catalog.service import changed_group, changed_tag, write_group, write_tag
from tagwarden.corps.command import Epoch
from tagwarden.corps.model import Work
from tagwarden.identity.model import Module, ModuleMissing
from tagwarden.kernel.errors import TagwardenError
from tagwarden.policy.model import Action, Kind
from tagwarden.policy.service import Picture


def digest(base: Any) -> str:
    """The fingerprint of what a request was made on."""
    return hashlib.sha256(rfc8785.dumps(base)).hexdigest()


def holds_module(picture: Picture, userid: str, module: Module) -> bool:
    """Whether somebody still is an admin, or a sub-admin with this switch."""
    employee = picture.directory.known(userid)
    if employee is None or not employee.active:
        return False
    try:
        picture.directory.require_module(employee, module)
    except ModuleMissing:
        return False
    return True


def may_manage(picture: Picture, userid: str, group: TagGroup) -> bool:
    """Whether somebody still may shape this group's tags."""
    if not holds_module(picture, userid, Module.CATALOG):
        return False
    return picture.may(userid, str(group.id), group.kind, Action.MANAGE, None)


class GroupChangeApplier(ProtectedApplier):
    """A value group's kind or choice, or a group that becomes one."""

    kind: ClassVar[str] = protection.GROUP_CHANGE

    async def fingerprint(self, corp_id: str, payload: dict[str, Any]) -> str:
        """The group's name, kind and choice, and whatever else the change would overwrite."""
        group = await repository.group(corp_id, UUID(payload["group_id"]))
        return digest([protection.as_is(group, {"name", "kind", "choice", *payload["change"]})] if group else None)

    async def check(self, work: Work, picture: Picture, approval: Approval) -> str | None:
        """The group is there, the name still free, and the requester still configures the library."""
        if not holds_module(picture, approval.requester, Module.CATALOG):
            return "requester_lost_right"
        group = await repository.group(work.corp_id, UUID(approval.payload["group_id"]))
        if group is None:
            return "tag_group_unknown"
        try:
            await changed_group(work.corp_id, group, read_group_change(approval.payload["change"]))
        except TagwardenError as error:
            return error.code
        return None

    async def revise(self, work: Work, approval: Approval, change: dict[str, Any] | None) -> Ask:
        """The same change on today's group."""
        asked = await super().revise(work, approval, change)
        group = await repository.group(work.corp_id, UUID(approval.payload["group_id"]))
        if group is None:
            raise NotStanding(why="tag_group_unknown")
        wanted = read_group_change(approval.payload["change"])
        keys = protection.of_group(group, await changed_group(work.corp_id, group, wanted))
        if not keys:
            raise NotStanding(why="nothing_to_change")
        return replace(asked, payload=protection.group_payload(group, wanted), effects=keys)

    def effects(self, payload: dict[str, Any]) -> tuple[str, ...]:
        """Formed from today's group in `revise`."""
        return ()

    async def describe(self, corp_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The group, the columns that change, and of a group that becomes `value` how many marks nobody approved."""
        group_id = UUID(payload["group_id"])
        group = (await repository.groups_by_id(corp_id, [group_id])).get(group_id)
        shown = {"tag_group": group.name if group else None, "before": payload["before"], "after": payload["change"]}
        if payload["change"].get("kind") == Kind.VALUE.value:
            shown["unconfirmed_marks"] = await counts.unbacked_of(corp_id, group_id)
        return shown

    async def apply(self, work: Work, picture: Picture, approval: Approval) -> None:
        """Writes the group; the database lets kind and choice through once."""
        group = await repository.group(work.corp_id, UUID(approval.payload["group_id"]), lock=True)
        if group is None:
            raise NotStanding(why="tag_group_unknown")
        after = await changed_group(work.corp_id, group, read_group_change(approval.payload["change"]))
        await write_group(work, group, after, decided_by(picture, approval))


class TagEditApplier(ProtectedApplier):
    """Name or retirement of a value tag."""

    kind: ClassVar[str] = protection.TAG_EDIT
    epoch_lock: ClassVar[Epoch] = Epoch.SHARED

    async def fingerprint(self, corp_id: str, payload: dict[str, Any]) -> str:
        """The tag's group, its kind, name and retirement, and whatever else the change would overwrite."""
        tag = await repository.tag(corp_id, UUID(payload["tag_id"]))
        group = await repository.group(corp_id, tag.group_id) if tag else None
        if tag is None or group is None:
            return digest(None)
        return digest([str(tag.group_id), group.kind.value, protection.as_is(tag, {"name", "retired", *payload["change"]})])

    async def lock(self, corp_id: str, payload: dict[str, Any]) -> None:
        """The tag, and its group, so that tree and names hold still, until the transaction ends."""
        await repository.lock_tag_in_group(corp_id, UUID(payload["tag_id"]))

    async def check(self, work: Work, picture: Picture, approval: Approval) -> str | None:
        """The tag is there, the name still free, and the requester still manages its group."""
        tag = await repository.tag(work.corp_id, UUID(approval.payload["tag_id"]))
        group = await repository.group(work.corp_id, tag.group_id) if tag else None
        if tag is None or group is None:
            return "tag_unknown"
        if not may_manage(picture, approval.requester, group):
            return "requester_lost_right"
        try:
            await changed_tag(work.corp_id, tag, read_tag_change(approval.payload["change"]))
        except TagwardenError as error:
            return error.code
        return None

    async def revise(self, work: Work, approval: Approval, change: dict[str, Any] | None) -> Ask:
        """The same change on today's tag."""
        asked = await super().revise(work, approval, change)
        tag = await repository.tag(work.corp_id, UUID(approval.payload["tag_id"]))
        group = await repository.group(work.corp_id, tag.group_id) if tag else None
        if tag is None or group is None:
            raise NotStanding(why="tag_unknown")
        wanted = read_tag_change(approval.payload["change"])
        keys = protection.of_tag(group.kind, tag, await changed_tag(work.corp_id, tag, wanted))
        if not keys:
            raise NotStanding(why="nothing_to_change")
        return replace(asked, payload=protection.tag_payload(tag, wanted), effects=keys)

    def effects(self, payload: dict[str, Any]) -> tuple[str, ...]:
        """Formed from today's tag in `revise`."""
        return ()

    async def describe(self, corp_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The tag, and the columns that change."""
        tag = (await repository.tags_by_id(corp_id, [UUID(payload["tag_id"])])).get(UUID(payload["tag_id"]))
        shown = {"tag": tag.name if tag else None, "before": payload["before"], "after": payload["change"]}
        # Said before anybody signs: WeCom lets nobody but its maker rename a tag, so there the old name stays.
        keeps = tag is not None and tag.foreign and "name" in payload["change"]
        return {**shown, "wecom_keeps_name": tag.name} if keeps and tag else shown

    async def apply(self, work: Work, picture: Picture, approval: Approval) -> None:
        """Writes the tag; the database lets name and retirement through once."""
        tag = await repository.tag(work.corp_id, UUID(approval.payload["tag_id"]), lock=True)
        if tag is None:
            raise NotStanding(why="tag_unknown")
        after = await changed_tag(work.corp_id, tag, read_tag_change(approval.payload["change"]))
        await write_tag(work, tag, after, decided_by(picture, approval))


def decided_by(picture: Picture, approval: Approval) -> dict[str, Any]:
    """How the line of an applied change names what decided it."""
    return {"row": f"approval:{approval.id}", "revision": picture.revision, "epoch": picture.epoch}
