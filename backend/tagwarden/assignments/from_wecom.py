"""Tags changed inside WeCom, brought before the one write path: decided as the owner of the follow who made the edit.

What the owner might have done here is written with source `wecom`; what he might not is refused tag by tag, and its
caller puts it back. A value tag never comes in this way: at most it is asked for, in the owner's name. Inside the
caller's command, with the follow locked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from tagwarden.approvals import repository as approval_rows
from tagwarden.approvals import service as approvals
from tagwarden.approvals.model import Ask
from tagwarden.assignments import repository
from tagwarden.assignments.model import Held, Item, Op, effects, payload, plan, rule_against
from tagwarden.assignments.service import TAG_CHANGE, write_items
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.model import Choice, Tag, TagGroup
from tagwarden.corps.model import Caller, Work
from tagwarden.customers.model import Follow
from tagwarden.identity.model import IdentityRefused
from tagwarden.kernel.errors import Refused
from tagwarden.policy import service as policy
from tagwarden.policy.model import Action, Kind, Relation
from tagwarden.policy.service import Picture

WECOM = "wecom"
Refusals = dict[UUID, str]


async def take_in(work: Work, picture: Picture, follow: Follow, add: Collection[UUID], remove: Collection[UUID]) -> Refusals:
    """Writes what the owner of the follow may do; returns the tags that were refused, each with the reason."""
    held, tags, groups = await _library(work.corp_id, follow.id, [*add, *remove])
    refused: Refusals = {tag_id: "tag_unknown" for tag_id in (*add, *remove) if tag_id not in tags}
    for tag_id in (*add, *remove):
        if tag_id in tags and (why := _refusal(picture, follow.userid, groups[tags[tag_id].group_id])):
            refused[tag_id] = why
    refused |= _chosen_twice(tags, groups, [one for one in add if one not in refused], remove)
    items = _plan(held, tags, groups, [t for t in add if t not in refused], [t for t in remove if t not in refused])
    for item in items:
        if (rule := rule_against(item, work.now, work.corp.time_zone)) is not None:
            refused[item.tag.id] = rule
    items = _plan(held, tags, groups, [t for t in add if t not in refused], [t for t in remove if t not in refused])
    changed = [item for item in items if not item.unchanged]
    if changed:
        await write_items(work, follow.id, changed, source=WECOM, approval_id=None, actor=follow.userid)
        _record(work, picture, follow, changed)
    return refused


async def ask_for(work: Work, picture: Picture, follow: Follow, add: Collection[UUID], remove: Collection[UUID]) -> UUID | str:
    """Asks for value tags in the owner's name; the request, or why none could be made. One that is open already stands."""
    held, tags, groups = await _library(work.corp_id, follow.id, [*add, *remove])
    try:
        for group in groups.values():
            if (why := _refusal(picture, follow.userid, group)) is not None:
                return why
        items = [item for item in _plan(held, tags, groups, add, remove) if not item.unchanged]
        if why := next((rule for item in items if (rule := rule_against(item, work.now, work.corp.time_zone))), None):
            return why
        items = [item for item in items if item.group.kind is Kind.VALUE]
        keys = effects(follow.id, items)
        if not keys:
            return "nothing_to_change"
        if (open_already := await approval_rows.open_with_effects(work.corp_id, keys)) is not None:
            return open_already
        wanted = payload(follow.external_userid, follow.id, follow.userid, items, held)
        asking = replace(work, caller=Caller(work.corp_id, follow.userid, WECOM, request_id=work.caller.request_id))
        ask = Ask(TAG_CHANGE, wanted, keys, follow.userid, follow.external_userid, "")
        return (await approvals.ask(asking, picture, ask)).id
    except Refused as refusal:
        return refusal.code


async def _library(
    corp_id: str, follow_id: UUID, named: Sequence[UUID]
) -> tuple[list[Held], dict[UUID, Tag], dict[UUID, TagGroup]]:
    held = await repository.held(corp_id, follow_id)
    tags = await catalog.tags_by_id(corp_id, list({*named, *(one.tag_id for one in held)}), lock=True)
    groups = await catalog.groups_by_id(corp_id, list({tag.group_id for tag in tags.values()}))
    return [one for one in held if one.tag_id in tags], tags, groups


def _refusal(picture: Picture, owner: str, group: TagGroup) -> str | None:
    """The step at which the owner's own change would fail."""
    try:
        decision = picture.decide(owner, str(group.id), group.kind, Action.USE, Relation.OWN)
    except IdentityRefused:
        return "identity"
    return None if decision.allowed else decision.step.value if decision.step else "grant"


def _chosen_twice(
    tags: Mapping[UUID, Tag], groups: Mapping[UUID, TagGroup], add: Sequence[UUID], remove: Collection[UUID]
) -> Refusals:
    """WeCom knows no single choice: where two were put on, nobody can say which was meant, and the group is put back."""
    by_group: dict[UUID, list[UUID]] = {}
    for tag_id in add:
        if groups[tags[tag_id].group_id].choice is Choice.SINGLE:
            by_group.setdefault(tags[tag_id].group_id, []).append(tag_id)
    twice = {group_id for group_id, chosen in by_group.items() if len(chosen) > 1}
    return {tag_id: "single_choice" for tag_id in (*add, *remove) if tag_id in tags and tags[tag_id].group_id in twice}


def _plan(
    held: Sequence[Held],
    tags: Mapping[UUID, Tag],
    groups: Mapping[UUID, TagGroup],
    add: Collection[UUID],
    remove: Collection[UUID],
) -> list[Item]:
    return plan(held, tags, groups, list(add), list(remove)) if add or remove else []


def _record(work: Work, picture: Picture, follow: Follow, items: Sequence[Item]) -> None:
    decisions = (picture.decide(follow.userid, str(item.group.id), item.group.kind, Action.USE, Relation.OWN) for item in items)
    rows = {policy.decision_record(picture, decision)["row"] for decision in decisions}
    work.record(
        "tags.changed",
        f"follow:{follow.id}",
        {"row": sorted(filter(None, rows)), "revision": picture.revision, "epoch": picture.epoch},
        customer=follow.external_userid,
        owner=follow.userid,
        source=WECOM,
        add=sorted(str(item.tag.id) for item in items if item.op is Op.ADD),
        remove=sorted(str(item.tag.id) for item in items if item.op is Op.REMOVE),
    )
