"""The one write path. Every change of a customer's tags is decided, written and audited here, in one transaction.

Screen, API, batch, import, rule, transfer, callback: all come through `change_tags`, or through an applier that runs
inside the last signature's transaction (`appliers.py`). WeCom is reached only from the rows this leaves behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tagwarden.approvals import service as approvals
from tagwarden.approvals.model import Ask
from tagwarden.assignments import repository
from tagwarden.assignments.choosing import Chosen, choose_follow
from tagwarden.assignments.events import TagsChanged
from tagwarden.assignments.model import (
    ChangeAnswer,
    Held,
    Item,
    ItemAnswer,
    Op,
    Outcome,
    TagChangeRefused,
    effects,
    end_of_month,
    payload,
    plan,
    require_room,
    rule_against,
)
from tagwarden.assignments.sight import Sight
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.limits import TAGS_ON_ONE
from tagwarden.catalog.model import TagGroup
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import Caller, Work
from tagwarden.customers import repository as customers
from tagwarden.customers.model import Follow, FollowUnknown
from tagwarden.kernel import clock
from tagwarden.kernel.events import publish
from tagwarden.policy import service as policy
from tagwarden.policy.explain import Explanation, change_out, explain
from tagwarden.policy.model import Action, Decision, Group, Kind, Relation
from tagwarden.policy.service import Picture

TAG_CHANGE = "tag_change"
RULE_WORDS = {
    "tag_retired": ("标签“{name}”已停用", "The tag “{name}” is retired"),
    "tag_ended": ("标签“{name}”已过有效期", "The tag “{name}” has ended"),
}


@dataclass(frozen=True, slots=True)
class TagChange:
    """One request to add and remove tags on one follow."""

    external_userid: str
    add: tuple[UUID, ...] = ()
    remove: tuple[UUID, ...] = ()
    follow_userid: str | None = None
    reason: str = ""
    partial: bool = True


@command(Epoch.SHARED)
async def change_tags(work: Work, change: TagChange) -> ChangeAnswer:
    """Decides and makes one tag change; what needs two signatures is held. Any refused item refuses all (403)."""
    work.corp.require_live()
    picture = await policy.in_force(work)
    chosen = await _chosen(work, picture, change)
    follow = await _locked(work, chosen)
    held = await repository.held(work.corp_id, follow.id) if follow is not None else []
    items = await _planned(work, picture, chosen.userid, held, change)
    decisions = _decide(work, picture, chosen, items)
    if follow is None:
        raise FollowUnknown()
    require_room(held, items, TAGS_ON_ONE)
    waiting = [item for item in items if item.needs_approval]
    direct = [item for item in items if not item.needs_approval and not item.unchanged]
    if waiting and not change.partial:
        waiting, direct = [*waiting, *direct], []
    await _apply_direct(work, picture, follow, direct, decisions)
    approval_id = await _hold(work, picture, change, follow, waiting, held) if waiting else None
    return ChangeAnswer(tuple(_answer(item, waiting) for item in items), follow.userid, approval_id)


async def _chosen(work: Work, picture: Picture, change: TagChange) -> Chosen:
    """The follow that is meant: the named one, else the caller's own, else the only one he can mean."""
    actor, follows = work.caller.userid, await customers.open_follows(work.corp_id, change.external_userid)
    named = picture.directory.named(change.follow_userid) if change.follow_userid else None
    if (named or actor) in (follow.userid for follow in follows):  # it tells nothing, and is the usual case
        return choose_follow(actor, follows, named, lambda _: False, lambda _: False)
    tags = await catalog.tags_by_id(work.corp_id, [*change.add, *change.remove])
    groups = list((await catalog.groups_by_id(work.corp_id, list({tag.group_id for tag in tags.values()}))).values())
    sight = Sight(picture, actor, work.now)
    return choose_follow(actor, follows, named, sight.sees, lambda owner: _serves(picture, work, owner, groups))


def _serves(picture: Picture, work: Work, owner: str, groups: Sequence[TagGroup]) -> bool:
    """Whether he leads this owner, or works on his customers by an agreement that serves here."""
    actor = work.caller.userid
    for group in groups:
        relation = picture.relation(actor, owner, str(group.id), work.now)
        if relation is Relation.SUBORDINATE:
            return True
        if relation is Relation.COLLABORATING and picture.may(actor, str(group.id), group.kind, Action.USE, relation):
            return True
    return False


async def _locked(work: Work, chosen: Chosen) -> Follow | None:
    if chosen.follow is None:
        return None
    locked = await customers.lock_follows(work.corp_id, [chosen.follow.id])
    work.now = clock.now()  # after the wait for the follow: no mark ends before it began
    return locked[0] if locked else None


async def _planned(work: Work, picture: Picture, owner: str, held: Sequence[Held], change: TagChange) -> list[Item]:
    """The items of the change. What is held in a group that is refused stays out: a refusal must not tell it."""
    named = {*change.add, *change.remove, *(one.tag_id for one in held)}
    tags = await catalog.tags_by_id(work.corp_id, list(named), lock=True)
    groups = await catalog.groups_by_id(work.corp_id, list({tag.group_id for tag in tags.values()}))
    actor = work.caller.userid
    open_to_him = {
        group.id
        for group in groups.values()
        if picture.may(actor, str(group.id), group.kind, Action.USE, picture.relation(actor, owner, str(group.id), work.now))
    }
    known = [one for one in held if one.tag_id in tags and one.group_id in open_to_him]
    return plan(known, tags, groups, change.add, change.remove)


def _decide(work: Work, picture: Picture, chosen: Chosen, items: Sequence[Item]) -> dict[UUID, Decision]:
    """One decision a group; raises TagChangeRefused with every refused item's reason."""
    actor = work.caller.userid
    decisions: dict[UUID, Decision] = {}
    refused: list[dict[str, Any]] = []
    for item in items:
        group = item.group
        relation = picture.relation(actor, chosen.userid, str(group.id), work.now)
        if group.id not in decisions:
            decisions[group.id] = picture.decide(actor, str(group.id), group.kind, Action.USE, relation)
        why = _why_refused(picture, decisions[group.id], actor, relation, item, work)
        if why is not None:
            refused.append(_refused_item(picture, item, why))
    if refused:
        raise TagChangeRefused(
            items=refused,
            step=refused[0]["step"],
            summary_zh=refused[0]["zh"],
            summary_en=refused[0]["en"],
            audit={
                "object": f"follow:{chosen.follow.id if chosen.follow else 'unknown'}",
                "step": refused[0]["step"],
                "tags": sorted({one["tag_id"] for one in refused}),
                "revision": picture.revision,
                "epoch": picture.epoch,
            },
        )
    return decisions


def _why_refused(
    picture: Picture, decision: Decision, actor: str, relation: Relation, item: Item, work: Work
) -> Explanation | None:
    if not decision.allowed:
        group = Group(str(item.group.id), item.group.name, item.group.kind)
        return explain(picture, decision, actor=actor, group=group, action=Action.USE, relation=relation)
    rule = rule_against(item, work.now, work.corp.time_zone)
    if rule is None:
        return None
    zh, en = (text.format(name=item.tag.name) for text in RULE_WORDS[rule])
    return Explanation("group_rules", rule, zh, en)


def _refused_item(picture: Picture, item: Item, why: Explanation) -> dict[str, Any]:
    return {
        "tag_id": str(item.tag.id),
        "op": item.op.value,
        "outcome": "refused",
        "step": why.step,
        "reason": why.reason,
        "zh": why.zh,
        "en": why.en,
        "nearest_zh": why.nearest_zh,
        "nearest_en": why.nearest_en,
        "refusal": why.refusal.value if why.refusal else None,
        "changes": [change_out(picture, change, with_row=False) for change in why.changes],
    }


async def _apply_direct(
    work: Work, picture: Picture, follow: Follow, items: Sequence[Item], decisions: dict[UUID, Decision]
) -> None:
    if not items:
        return
    await write_items(work, follow.id, items, source="manual", approval_id=None)
    rows = {policy.decision_record(picture, decisions[item.group.id])["row"] for item in items}
    used = _agreements_used(work, picture, follow, items)
    work.record(
        "tags.changed",
        f"follow:{follow.id}",
        {"row": sorted(used.union(filter(None, rows))), "revision": picture.revision, "epoch": picture.epoch},
        customer=follow.external_userid,
        add=sorted(str(item.tag.id) for item in items if item.op is Op.ADD),
        remove=sorted(str(item.tag.id) for item in items if item.op is Op.REMOVE),
    )


def _agreements_used(work: Work, picture: Picture, follow: Follow, items: Sequence[Item]) -> set[str]:
    """The agreements by which this was the caller's to do: the line names them beside the grants."""
    actor, owner = work.caller.userid, follow.userid
    groups = {str(item.group.id) for item in items}
    joined = {one for one in groups if picture.relation(actor, owner, one, work.now) is Relation.COLLABORATING}
    found = (picture.agreement(actor, owner, group, work.now) for group in joined)
    return {f"agreement:{one.id}" for one in found if one is not None}


async def write_items(
    work: Work, follow_id: UUID, items: Sequence[Item], *, source: str, approval_id: UUID | None, actor: str | None = None
) -> None:
    """Writes the rows of a decided change and tells that the follow changed; used by this path, its applier and what
    comes from WeCom (`from_wecom.py`) only. `actor`: who is decided on, where it is not the caller."""
    actor = work.caller.userid if actor is None else actor
    removed = [item.tag.id for item in items if item.op is Op.REMOVE]
    if removed:
        await repository.end(work.corp_id, follow_id, removed, source=source, actor=actor, at=work.now, approval_id=approval_id)
    added = [(follow_id, item.tag.id, _until(work, item)) for item in items if item.op is Op.ADD]
    if added:
        await repository.start(work.corp_id, added, source=source, actor=actor, since=work.now, approval_id=approval_id)
    await publish(TagsChanged(work.corp_id, follow_id))


def _until(work: Work, item: Item) -> Any:
    return end_of_month(work.now, work.corp.time_zone) if item.group.kind is Kind.TEMPORARY else None


async def _hold(
    work: Work, picture: Picture, change: TagChange, follow: Follow, items: Sequence[Item], held: Sequence[Held]
) -> UUID:
    wanted = Ask(
        TAG_CHANGE,
        payload(follow.external_userid, follow.id, follow.userid, items, held),
        effects(follow.id, [item for item in items if item.group.kind is Kind.VALUE]),
        follow.userid,
        follow.external_userid,
        change.reason,
    )
    return (await approvals.ask(work, picture, wanted)).id


def _answer(item: Item, waiting: Sequence[Item]) -> ItemAnswer:
    outcome = Outcome.UNCHANGED if item.unchanged else Outcome.PENDING if item in waiting else Outcome.APPLIED
    return ItemAnswer(item.tag.id, item.op, outcome, item.reason)


@command(Epoch.SHARED)
async def end_due(work: Work) -> int:
    """Ends temporary tags whose month is over, at most 500 at a time; the worker's own use case."""
    rows = await repository.due(work.corp_id, work.now)
    by_follow: dict[UUID, list[UUID]] = {}
    for row in rows:
        by_follow.setdefault(row["follow_id"], []).append(row["tag_id"])
    await customers.lock_follows(work.corp_id, list(by_follow))
    await catalog.tags_by_id(work.corp_id, list({row["tag_id"] for row in rows}), lock=True)
    work.now = clock.now()
    for follow_id, tag_ids in by_follow.items():
        await repository.end(work.corp_id, follow_id, tag_ids, source="rule", actor="", at=work.now)
        work.record("tags.ended", f"follow:{follow_id}", remove=sorted(map(str, tag_ids)), reason="end_of_month")
        await publish(TagsChanged(work.corp_id, follow_id, bulk=True))
    return len(rows)


async def end_temporary_tags(corp_id: str) -> int:
    """Ends everything that is due, chunk by chunk; returns how many assignments."""
    ended = 0
    while await repository.due(corp_id, clock.now(), 1):
        ended += await end_due(Caller(corp_id, "", approvals.SYSTEM))
    return ended
