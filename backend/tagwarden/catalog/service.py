"""Use cases of the tag library: who may shape it, which names it takes, and what is too protected for one person.

Changes that loosen a value group or touch its tags belong to two signatures; here they are refused with
`protected_change`, never done. WeCom hears of a change only through the event the handler turns into a dirty row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any
from uuid import UUID

from tagwarden.catalog import naming, repository
from tagwarden.catalog.events import TagLibraryChanged
from tagwarden.catalog.model import (
    CatalogRefused,
    Choice,
    GroupUnknown,
    NameRefused,
    NameTaken,
    ProtectedChange,
    Tag,
    TagGroup,
    TagUnknown,
    require_etag,
)
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import CorpState, Work
from tagwarden.identity.model import Module
from tagwarden.kernel.events import publish
from tagwarden.kernel.ids import new_id
from tagwarden.kernel.resources import folder
from tagwarden.policy import service as policy
from tagwarden.policy.model import Action, Kind


@dataclass(frozen=True, slots=True)
class GroupDraft:
    name: str
    kind: Kind = Kind.UNCLASSIFIED
    choice: Choice = Choice.MULTIPLE
    description: str = ""


@dataclass(frozen=True, slots=True)
class GroupChange:
    """None leaves a column as it is."""

    name: str | None = None
    kind: Kind | None = None
    choice: Choice | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class TagDraft:
    name: str
    meaning: str = ""
    service_process: str = ""
    ends_on: date | None = None
    parent_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class TagChange:
    """None leaves a column as it is."""

    name: str | None = None
    meaning: str | None = None
    service_process: str | None = None
    retired: bool | None = None


@cache
def naming_rules() -> naming.NamingRules:
    """The shipped house rules."""
    return naming.NamingRules.read((folder("policies") / "naming.toml").read_text(encoding="utf-8"))


def checked_name(name: str, taken: set[str]) -> str:
    """The normalised name, or NameRefused / NameTaken with a cleaned name that is free."""
    wanted, rules = naming.normalised(name), naming_rules()
    found = naming.fault(wanted, rules)
    if found:
        suggestion = found.suggestion
        if suggestion.casefold() in {known.casefold() for known in taken}:
            suggestion = naming.without_twin(suggestion, taken, rules)
        raise NameRefused(reason=found.reason, what=found.what, suggestion=suggestion)
    folded = {known.casefold(): known for known in taken}
    twin = folded.get(wanted.casefold())
    if twin is not None:
        raise NameTaken(twin=twin, suggestion=naming.without_twin(wanted, taken, rules))
    return wanted


@command(Epoch.EXCLUSIVE)
async def create_group(work: Work, draft: GroupDraft) -> UUID:
    """Makes a group; the admin or a sub-admin with the catalog module. WeCom hears of it with its first tag."""
    picture = await policy.in_force(work)
    picture.directory.require_module(picture.directory.employee(work.caller.userid), Module.CATALOG)
    name = checked_name(draft.name, await repository.group_names(work.corp_id))
    group_id = new_id()
    row = {"id": group_id, "name": name, "kind": draft.kind, "choice": draft.choice, "description": draft.description}
    await repository.insert_group(work.corp_id, row)
    work.record("tag_group.created", f"tag_group:{group_id}", name=name, kind=draft.kind, choice=draft.choice)
    return group_id


@command(Epoch.EXCLUSIVE)
async def change_group(work: Work, group_id: UUID, change: GroupChange, if_match: str | None) -> UUID:
    """Classifies, renames or describes a group. Once live, a kind to or from `value` is a protected change."""
    picture = await policy.in_force(work)
    picture.directory.require_module(picture.directory.employee(work.caller.userid), Module.CATALOG)
    group = await repository.group(work.corp_id, group_id, lock=True)
    if group is None:
        raise GroupUnknown()
    kind = group.kind if change.kind is None else change.kind
    live = work.corp.state is CorpState.LIVE
    if live and kind != group.kind and Kind.VALUE in (kind, group.kind):
        raise ProtectedChange(what=f"kind {group.kind.value} → {kind.value}")
    if live and group.kind is Kind.VALUE and change.choice not in (None, group.choice):
        raise ProtectedChange(what="choice")
    require_etag(if_match, group.etag)
    name = group.name
    if change.name is not None and naming.normalised(change.name) != group.name:
        name = checked_name(change.name, await repository.group_names(work.corp_id) - {group.name})
    choice = group.choice if change.choice is None else change.choice
    description = group.description if change.description is None else change.description
    await repository.update_group(work.corp_id, group_id, name=name, kind=kind, choice=choice, description=description)
    work.record("tag_group.changed", f"tag_group:{group_id}", name=name, kind=kind, choice=choice, kind_before=group.kind)
    return group_id


@command(Epoch.SHARED)
async def create_tag(work: Work, group_id: UUID, draft: TagDraft) -> UUID:
    """Makes a tag in a group the caller manages; it is created in WeCom before its first mark."""
    group, decision = await _managed(work, group_id)
    taken = {tag.name for tag in await repository.tags_of_group(work.corp_id, group_id)}
    name = checked_name(draft.name, taken)
    if draft.parent_id is not None:
        await _require_room_below(work.corp_id, group_id, draft.parent_id)
    tag_id = new_id()
    row = {
        "id": tag_id,
        "group_id": group.id,
        "name": name,
        "meaning": draft.meaning,
        "service_process": draft.service_process,
        "ends_on": draft.ends_on,
        "parent_id": draft.parent_id,
        "made_by_us": True,
    }
    await repository.insert_tag(work.corp_id, row)
    work.record("tag.created", f"tag:{tag_id}", decision, group=str(group.id), name=name)
    await publish(TagLibraryChanged(work.corp_id, tag_id))
    return tag_id


@command(Epoch.SHARED)
async def change_tag(work: Work, tag_id: UUID, change: TagChange, if_match: str | None) -> UUID:
    """Renames, describes, retires or restores a tag; of a value group, name and retirement are protected."""
    tag = await repository.tag(work.corp_id, tag_id, lock=True)
    if tag is None:
        raise TagUnknown()
    group, decision = await _managed(work, tag.group_id)
    renamed = change.name is not None and naming.normalised(change.name) != tag.name
    retired = tag.retired if change.retired is None else change.retired
    if work.corp.state is CorpState.LIVE and group.kind is Kind.VALUE and (renamed or retired != tag.retired):
        raise ProtectedChange(what="rename" if renamed else "retire")
    require_etag(if_match, tag.etag)
    name = tag.name
    if renamed:
        taken = {other.name for other in await repository.tags_of_group(work.corp_id, group.id)} - {tag.name}
        name = checked_name(str(change.name), taken)
    await repository.update_tag(
        work.corp_id,
        tag_id,
        name=name,
        meaning=tag.meaning if change.meaning is None else change.meaning,
        service_process=tag.service_process if change.service_process is None else change.service_process,
        ends_on=tag.ends_on,
        retired=retired,
    )
    work.record("tag.changed", f"tag:{tag_id}", decision, name=name, retired=retired)
    if renamed:
        await publish(TagLibraryChanged(work.corp_id, tag_id))
    return tag_id


async def _managed(work: Work, group_id: UUID) -> tuple[TagGroup, dict[str, Any]]:
    """The group and the decision that lets the caller manage it: module switch, capability, grant."""
    picture = await policy.in_force(work)
    group = await repository.group(work.corp_id, group_id, lock=True)
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


async def _require_room_below(corp_id: str, group_id: UUID, parent_id: UUID) -> None:
    """A tree has at most three levels, and a parent lies in the same group."""
    depth, at = 1, await repository.tag(corp_id, parent_id)
    if at is None or at.group_id != group_id:
        raise TagUnknown()
    while at is not None and at.parent_id is not None:
        depth, at = depth + 1, await repository.tag(corp_id, at.parent_id)
    if depth >= 3:
        raise NameRefused(reason="too_deep", what="3", suggestion="")


async def library(corp_id: str) -> list[tuple[TagGroup, list[Tag]]]:
    """Every group with its tags; who may see which is asked by the caller's room."""
    tags = await repository.all_tags(corp_id)
    by_group: dict[UUID, list[Tag]] = {}
    for tag in tags:
        by_group.setdefault(tag.group_id, []).append(tag)
    return [(group, by_group.get(group.id, [])) for group in await repository.groups(corp_id)]
