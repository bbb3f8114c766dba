"""Every cell of the matrix: what a row opens or forbids, to whom, how far; written out rule by rule and walked whole.

row       view | use | manage   allow | deny   inherit or not   reach: none said, own, subordinate, collaborating, corp
stands in the asker's department, above it, above that, below it, beside it
question  view | use | manage   about the group itself, or own, subordinate, collaborating, none
"""

from __future__ import annotations

from itertools import product

import pytest

from tagwarden.policy.enforcer import PolicyEngine
from tagwarden.policy.model import (
    Action,
    Capability,
    Effect,
    Grant,
    Kind,
    Question,
    Reach,
    Relation,
    Role,
    Step,
    Subject,
)

from .test_brute_force import MODEL

HERE, ABOVE, TOP, BELOW, BESIDE = 11, 10, 1, 111, 12
PLACES = (HERE, ABOVE, TOP, BELOW, BESIDE)
ME = Subject("me", frozenset({Role.STAFF}), frozenset({HERE}), frozenset({ABOVE, TOP}))
EVERYWHERE = frozenset(Relation)
NARROW = frozenset({Relation.OWN, Relation.COLLABORATING})

# What each row opens, and what it forbids: use includes view, manage includes neither; who may not view may not use.
OPENS = {("view", "view"), ("use", "use"), ("use", "view"), ("manage", "manage")}
FORBIDS = {("view", "view"), ("view", "use"), ("use", "use"), ("manage", "manage")}
WITHIN = {
    None: {"own", "subordinate", "collaborating", "none"},
    "own": {"own"},
    "subordinate": {"own", "subordinate"},
    "collaborating": {"own", "subordinate", "collaborating"},
    "corp": {"own", "subordinate", "collaborating", "none"},
}
QUESTIONS = list(product(Action, (None, *Relation)))
ROWS = list(product(Action, (True, False), PLACES, (None, *Reach)))


def engine(capable: frozenset[Relation], *grants: Grant) -> PolicyEngine:
    return PolicyEngine([Capability(Role.STAFF, Kind.STANDARD, action, capable) for action in Action], grants, MODEL)


def row(action: Action, inherit: bool, place: int, reach: Reach | None, effect: Effect = Effect.ALLOW) -> Grant:
    return Grant(f"{effect}:{action}:{inherit}:{place}:{reach}", place, "g", action, effect, inherit, reach)


def touches(inherit: bool, place: int) -> bool:
    return place == HERE or (inherit and place in (ABOVE, TOP))


def asked(of: PolicyEngine, action: Action, relation: Relation | None) -> tuple[bool, Step | None]:
    decision = of.decide(Question(ME, "g", Kind.STANDARD, action, relation))
    return decision.allowed, decision.step


@pytest.mark.parametrize("capable", [EVERYWHERE, NARROW], ids=["any relation", "own and collaborating"])
def test_one_allowing_row_opens_exactly_its_cells(capable: frozenset[Relation]) -> None:
    for granted, inherit, place, reach in ROWS:
        of = engine(capable, row(granted, inherit, place, reach))
        for action, relation in QUESTIONS:
            opened = touches(inherit, place) and (granted.value, action.value) in OPENS
            near = relation is None or (relation in capable and relation.value in WITHIN[reach])
            widened = relation is not None and granted is Action.VIEW and reach is Reach.CORP
            want = (True, None) if opened and (near or widened) else (False, Step.RELATION if opened else Step.GRANT)
            assert asked(of, action, relation) == want, f"{granted} {inherit} {place} {reach}: {action} {relation}"


def test_a_denying_row_forbids_exactly_its_cells_whatever_is_allowed_elsewhere() -> None:
    everything = [row(action, True, place, None) for action in Action for place in (HERE, TOP)]
    for denied, inherit, place, reach in ROWS:
        of = engine(EVERYWHERE, *everything, row(denied, inherit, place, reach, Effect.DENY))
        for action, relation in QUESTIONS:
            forbidden = touches(inherit, place) and (denied.value, action.value) in FORBIDS
            want = (False, Step.GRANT) if forbidden else (True, None)
            assert asked(of, action, relation) == want, f"{denied} {inherit} {place} {reach}: {action} {relation}"


def test_the_order_of_rows_and_their_distance_never_matter() -> None:
    for granted, denied in product(PLACES, PLACES):
        allow, deny = row(Action.USE, True, granted, None), row(Action.USE, True, denied, None, Effect.DENY)
        wanted = touches(True, granted) and not touches(True, denied)
        for rows in ((allow, deny), (deny, allow)):
            assert asked(engine(EVERYWHERE, *rows), Action.USE, Relation.OWN)[0] is wanted, f"{granted} {denied}"


def test_reaches_of_two_rows_add_up() -> None:
    for one, other in product((None, *Reach), repeat=2):
        of = engine(EVERYWHERE, row(Action.USE, True, HERE, one), row(Action.USE, True, TOP, other))
        for relation in Relation:
            want = relation.value in WITHIN[one] | WITHIN[other]
            assert asked(of, Action.USE, relation)[0] is want, f"{one} {other} {relation}"


def test_a_row_opens_its_own_group_and_no_other() -> None:
    of = engine(EVERYWHERE, row(Action.USE, True, HERE, None))
    for action, relation in QUESTIONS:
        decision = of.decide(Question(ME, "another", Kind.STANDARD, action, relation))
        assert (decision.allowed, decision.step) == (False, Step.GRANT)
