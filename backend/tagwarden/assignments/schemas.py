"""Shapes of customers, tags and tag changes as HTTP shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from tagwarden.assignments.model import ChangeAnswer

MOST_TAGS = 100
Tags = Annotated[list[UUID], msgspec.Meta(max_length=MOST_TAGS)]
WecomId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class TagChangeIn(msgspec.Struct, forbid_unknown_fields=True):
    """`follow_userid` left out means the caller's own follow, else the only one."""

    add: Tags = []
    remove: Tags = []
    follow_userid: WecomId | None = None
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""
    partial: bool = True


class TagChangeItem(msgspec.Struct, omit_defaults=True):
    tag_id: UUID
    op: str
    outcome: str
    reason: str | None = None


class TagChangeOut(msgspec.Struct, omit_defaults=True):
    outcome: str
    follow_userid: str
    items: list[TagChangeItem]
    approval_id: UUID | None = None


class TagOut(msgspec.Struct):
    tag_id: UUID
    tag: str
    group_id: UUID
    group_name: str
    kind: str
    since: datetime
    until: datetime | None
    source: str
    approval_id: UUID | None
    unconfirmed: bool


class LabelOut(msgspec.Struct):
    """A tag of WeCom's that is none of ours: an employee's `personal` one, or one of a `strategy`. Read-only."""

    kind: str
    name: str | None
    group_name: str | None
    wecom_id: str | None


class FollowTags(msgspec.Struct):
    """`labels` are shown as WeCom has them: nobody decides on them here. `customer_left_at`: the customer deleted the
    employee then, and WeCom keeps the employee's side."""

    follow_userid: str
    since: datetime
    tags: list[TagOut]
    labels: list[LabelOut]
    customer_left_at: datetime | None


class CustomerTags(msgspec.Struct):
    """Tags are kept per follow; `conflicts` names the single-choice groups in which followers hold different values."""

    external_userid: str
    follows: list[FollowTags]
    conflicts: list[str]


class CustomerOut(msgspec.Struct):
    external_userid: str
    name: str
    followers: list[str]


class CustomerPage(msgspec.Struct):
    items: list[CustomerOut]
    next_cursor: str | None


class HistoryItem(msgspec.Struct):
    id: UUID
    userid: str
    tag_id: UUID
    tag: str
    group_id: UUID
    group_name: str
    kind: str
    source: str
    actor: str
    approval_id: UUID | None
    since: datetime
    until: datetime | None
    ended_at: datetime | None
    ended_by: str | None
    ended_source: str | None


class HistoryOut(msgspec.Struct):
    items: list[HistoryItem]
    next_cursor: str | None


class AdoptionIn(msgspec.Struct, forbid_unknown_fields=True):
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class AdoptionOut(msgspec.Struct):
    approval_ids: list[UUID]


class UnconfirmedOut(msgspec.Struct):
    """Value marks nobody here approved, by owner."""

    total: int
    by_owner: dict[str, int]


def change_out(answer: ChangeAnswer) -> TagChangeOut:
    """The answer to a tag change as HTTP shows it."""
    items = [TagChangeItem(item.tag_id, item.op.value, item.outcome.value, item.reason) for item in answer.items]
    outcome = "pending_approval" if answer.approval_id else "applied"
    return TagChangeOut(outcome, answer.follow_userid, items, answer.approval_id)


def tags_out(external_userid: str, follows: list[dict[str, Any]]) -> CustomerTags:
    """Tags per follow, with the conflicts between followers."""
    values: dict[str, set[frozenset[UUID]]] = {}
    for follow in follows:
        by_group: dict[str, set[UUID]] = {}
        for tag in follow["tags"]:
            if tag["choice"] == "single":
                by_group.setdefault(tag["group_name"], set()).add(tag["tag_id"])
        for group, held in by_group.items():
            values.setdefault(group, set()).add(frozenset(held))
    return CustomerTags(
        external_userid,
        [
            FollowTags(
                follow["follow_userid"],
                follow["since"],
                [TagOut(**{name: tag[name] for name in TagOut.__struct_fields__}) for tag in follow["tags"]],
                [LabelOut(**{name: label[name] for name in LabelOut.__struct_fields__}) for label in follow["labels"]],
                follow["customer_left_at"],
            )
            for follow in follows
        ],
        sorted(group for group, different in values.items() if len(different) > 1),
    )


class MoveIn(msgspec.Struct, forbid_unknown_fields=True):
    """`reason` is read by the signers of what has to wait."""

    group_id: UUID
    reason: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class MergeIn(msgspec.Struct, forbid_unknown_fields=True):
    """`into`: the tag that is carried from then on."""

    into: UUID
    reason: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class MigrationOut(msgspec.Struct):
    """`tag_id` is what is carried from now on, or will be once two people have signed (`approval_id`)."""

    outcome: Literal["applied", "pending_approval"]
    tag_id: UUID
    follows: int
    approval_id: UUID | None
