"""The rules of the policy once more, as plainly as possible, to compare the product with on random organisations.

It shares the value types with the product and nothing else: no table of relations, no order of rows, no ancestors
worked out beforehand. It walks the department tree itself. It must never be made fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tagwarden.policy.agreements import Agreement
from tagwarden.policy.model import (
    Action,
    Capability,
    DecisionRow,
    Effect,
    Grant,
    Question,
    Reach,
    Relation,
    Step,
)

LADDER = ["own", "subordinate", "collaborating", "none"]


@dataclass(frozen=True)
class Expected:
    """What must come out, and the rows that may be named for it (none: no row may be named)."""

    allowed: bool
    step: Step | None
    rows: tuple[DecisionRow, ...]


def expected(
    capabilities: Sequence[Capability],
    grants: Sequence[Grant],
    parents: Mapping[int, int | None],
    question: Question,
) -> Expected:
    subject = question.subject
    if subject.userid == "" or not subject.roles:
        return Expected(False, Step.IDENTITY, ())

    of_roles = [each for each in capabilities if each.role in subject.roles]
    mine = [each for each in of_roles if each.kind == question.kind and each.action == question.action]
    if not mine:
        return Expected(False, Step.CAPABILITY, ())

    free = [each for each in mine if not each.needs_grant]
    bound = [each for each in mine if each.needs_grant]
    sufficient = [each for each in free if question.relation is None or question.relation in each.relations]
    if sufficient:
        return Expected(True, None, tuple(sufficient))
    if not bound:
        return Expected(False, Step.RELATION, tuple(free))

    about = [row for row in grants if row.group == question.group and is_under(subject.home, row, parents)]
    denying = [row for row in about if row.effect == Effect.DENY and denies(row.action, question.action)]
    allowing = [row for row in about if row.effect == Effect.ALLOW and allows(row.action, question.action)]
    if denying:
        return Expected(False, Step.GRANT, tuple(denying))
    if not allowing:
        return Expected(False, Step.GRANT, ())
    if question.relation is None:
        return Expected(True, None, tuple(allowing))

    listing = [each for each in bound if question.relation in each.relations]
    good = [row for row in allowing if row.action == Action.VIEW and row.reach == Reach.CORP]
    if listing:
        good += [row for row in allowing if reaches(row.reach, question.relation)]
    if good:
        return Expected(True, None, tuple(good))
    return Expected(False, Step.RELATION, tuple(allowing) if listing else tuple(bound))


def is_under(home: frozenset[int], row: Grant, parents: Mapping[int, int | None]) -> bool:
    for department in home:
        if department == row.department:
            return True
        above = parents[department]
        while above is not None and row.inherit:
            if above == row.department:
                return True
            above = parents[above]
    return False


def allows(granted: Action, asked: Action) -> bool:
    return granted == asked or (granted == Action.USE and asked == Action.VIEW)


def denies(denied: Action, asked: Action) -> bool:
    return denied == asked or (denied == Action.VIEW and asked == Action.USE)


def reaches(reach: Reach | None, relation: Relation) -> bool:
    if reach is None or reach == Reach.CORP:
        return True
    return LADDER.index(relation.value) <= LADDER.index(reach.value)


@dataclass(frozen=True)
class Person:
    """Somebody who asks, or who owns a follow."""

    userid: str
    home: frozenset[int]
    leads: frozenset[int]


def related(
    actor: Person,
    owner: Person,
    group: str,
    at: datetime,
    agreements: Sequence[Agreement],
    parents: Mapping[int, int | None],
) -> Relation:
    """How one stands to the customers of the other, as far as the group goes."""
    if actor.userid == owner.userid:
        return Relation.OWN
    if any(lies_in(owner.home, led, parents) for led in actor.leads):
        return Relation.SUBORDINATE
    for each in agreements:
        if each.group != group or (each.since is not None and at < each.since) or (each.until is not None and at >= each.until):
            continue
        if lies_in(actor.home, each.department, parents) and lies_in(owner.home, each.partner, parents):
            return Relation.COLLABORATING
    return Relation.NONE


def lies_in(home: frozenset[int], department: int, parents: Mapping[int, int | None]) -> bool:
    """Whether one of somebody's departments is this one or lies below it; a department that is gone holds nobody."""
    for at in home:
        here: int | None = at
        while here is not None and here in parents:
            if here == department:
                return True
            here = parents[here]
    return False
