"""Whether a new revision would let more people, or fewer signatures, change value tags. Pure.

Only value groups count: of other kinds an admin decides alone. An allowed view lets nobody change a tag, a denied one
denies the use as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tagwarden.policy.chains import ApprovalRules, loosens
from tagwarden.policy.drift import DriftRules, loosens_drift
from tagwarden.policy.model import RELATIONS_WITHIN, Action, Capability, Effect, Grant, Kind, Reach, Relation

Cell = tuple[int, str, Action]


Rules = tuple[Sequence[Grant], Sequence[Capability], ApprovalRules, DriftRules]
"""What a revision says, as far as it can loosen."""


def loosened(before: Rules, after: Rules, kinds: Mapping[str, Kind]) -> list[str]:
    """What would loosen, as words an admin reads: `grants`, `capabilities`, `chain`, `drift`; empty when nothing does."""
    found = []
    if grants_loosened(before[0], after[0], kinds):
        found.append("grants")
    if _reaches(after[1]) - _reaches(before[1]):
        found.append("capabilities")
    if loosens(before[2], after[2]):
        found.append("chain")
    if loosens_drift(before[3], after[3], kinds):
        found.append("drift")
    return found


def grants_loosened(before: Sequence[Grant], after: Sequence[Grant], kinds: Mapping[str, Kind]) -> bool:
    """Allows of a value group may shrink and its denies grow; the reverse loosens."""
    allowed, allowed_before = _allows(after, kinds), _allows(before, kinds)
    denied, denied_before = _denies(after, kinds), _denies(before, kinds)
    return bool(allowed - allowed_before) or bool(denied_before - denied)


def _of_value(rows: Sequence[Grant], kinds: Mapping[str, Kind], effect: Effect) -> Iterable[Grant]:
    return (row for row in rows if row.effect is effect and kinds.get(row.group) is Kind.VALUE)


def _allows(rows: Sequence[Grant], kinds: Mapping[str, Kind]) -> set[tuple[Cell, bool, Relation]]:
    """Each cell once for the department itself and once for those below, and for each relation it reaches."""
    return {
        ((row.department, row.group, row.action), below, relation)
        for row in _of_value(rows, kinds, Effect.ALLOW)
        if row.action is not Action.VIEW
        for below in ((False, True) if row.inherit else (False,))
        for relation in RELATIONS_WITHIN[row.reach or Reach.CORP]
    }


def _denies(rows: Sequence[Grant], kinds: Mapping[str, Kind]) -> set[tuple[Cell, bool]]:
    return {
        ((row.department, row.group, row.action), below)
        for row in _of_value(rows, kinds, Effect.DENY)
        for below in ((False, True) if row.inherit else (False,))
    }


def _reaches(rows: Sequence[Capability]) -> set[tuple[str, str, Relation | None, bool]]:
    """What a role may do with value groups: in each relation, and (False) without a grant."""
    found: set[tuple[str, str, Relation | None, bool]] = set()
    for row in rows:
        if row.kind is not Kind.VALUE or row.action is Action.VIEW:
            continue
        relations: tuple[Relation | None, ...] = tuple(row.relations) or (None,)
        for relation in relations:
            found.add((row.role.value, row.action.value, relation, True))
            if not row.needs_grant:
                found.add((row.role.value, row.action.value, relation, False))
    return found
