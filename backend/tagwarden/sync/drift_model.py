"""Where WeCom and our decision disagree about a follow, and what is to become of it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from tagwarden.kernel.errors import Conflict
from tagwarden.policy.drift import DriftRule
from tagwarden.policy.model import Kind

OFTEN = 3
OFTEN_IN_DAYS = 30
"""So many edits of one owner put back in so many days, and the admins are told his name."""


class AddedOrRemoved(StrEnum):
    ADDED = "added_in_wecom"
    REMOVED = "removed_in_wecom"


class Verdict(StrEnum):
    """What a case comes to, before the owner's right is asked where it is to be taken in."""

    PUT_BACK = "put_back"
    ASK = "ask"
    TAKE_IN = "take_in"
    REPORT = "report"


class GuardNotStopped(Conflict):
    code = "drift_guard_not_stopped"
    zh = "偏差守护没有停下，无需确认"
    en = "The drift guard has not stopped: there is nothing to confirm"


@dataclass(frozen=True, slots=True)
class Difference:
    follow_id: UUID
    tag_id: UUID
    kind: AddedOrRemoved


def differences(follow_id: UUID, held: Collection[UUID], wanted: Collection[UUID]) -> list[Difference]:
    """Tags WeCom holds that nobody decided, and decided ones it does not hold."""
    added = [Difference(follow_id, tag, AddedOrRemoved.ADDED) for tag in held if tag not in wanted]
    return added + [Difference(follow_id, tag, AddedOrRemoved.REMOVED) for tag in wanted if tag not in held]


def verdict_of(rule: DriftRule, kind: Kind, *, unconfirmed: bool, suspended: bool) -> tuple[Verdict, str | None]:
    """What the rule of a case's group comes to, and the reason where nothing is done."""
    if suspended:
        return Verdict.REPORT, "writes_suspended"
    if kind is Kind.UNCLASSIFIED:
        return Verdict.REPORT, "unclassified"
    if kind is Kind.VALUE and unconfirmed:
        return Verdict.REPORT, "unconfirmed_marks"
    by_rule: Mapping[DriftRule, Verdict] = {
        DriftRule.PUT_BACK: Verdict.PUT_BACK,
        DriftRule.ASK: Verdict.ASK,
        DriftRule.WECOM: Verdict.TAKE_IN,
        DriftRule.TAGWARDEN: Verdict.PUT_BACK,
    }
    return by_rule[rule], None
