"""Rows of the matrix that do nothing, or not what they seem to, found by asking the engine itself. Pure.

No rule of decisions is written here: two people are made up, one in a row's department and one below it, and the engine
says what they may do with the row and without it. Only rows that share group and line with another are asked about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tagwarden.governance.bundle import GrantLine
from tagwarden.identity.model import Directory, RoleName
from tagwarden.policy.enforcer import PolicyEngine
from tagwarden.policy.model import Action, Capability, Decision, Effect, Grant, Kind, Question, Relation, Step, Subject

BELOW = -1
"""A department that no corp has: WeCom counts from 1."""

# One whose role reaches every relation, and one whose role reaches own customers alone: a grant may widen that.
_WIDE, _NARROW = RoleName.MANAGER, RoleName.STAFF
_PROBES = tuple(
    Capability(role, Kind.STANDARD, action, frozenset(relations))
    for role, relations in ((_WIDE, tuple(Relation)), (_NARROW, (Relation.OWN,)))
    for action in Action
)


@dataclass(frozen=True, slots=True)
class Dead:
    """A row that changes nothing. `by` is the row that forbids what it allows; None where others say the same already."""

    row: GrantLine
    by: GrantLine | None


class Rows:
    """The matrix of a bundle with the lines of its departments, ready to be asked."""

    def __init__(self, rows: Sequence[GrantLine], directory: Directory, model: str) -> None:
        self._directory = directory
        self._model = model
        self._of_group: dict[str, list[GrantLine]] = {}
        for row in rows:
            self._of_group.setdefault(row.group, []).append(row)
        self.engines = {group: self._engine(of) for group, of in self._of_group.items()}

    def dead(self) -> Iterator[Dead]:
        """Rows that never win, and rows without which nothing would change."""
        for rows in self._of_group.values():
            there = Counter(row.department for row in rows)
            for row in rows:
                if self._meets_another(row, there) and (found := self._judged(row, rows)) is not None:
                    yield found

    def opens(self, row: GrantLine) -> set[Action]:
        """What somebody in the row's department, or below it, may do by the whole matrix."""
        engine = self.engines[row.group]
        return {action for action in Action for place in self._places(row) if self._ask(engine, row, place, action).allowed}

    def _judged(self, row: GrantLine, rows: Sequence[GrantLine]) -> Dead | None:
        engine = self.engines[row.group]
        if row.effect is Effect.ALLOW:
            refused = [self._ask(engine, row, place, row.action) for place in self._places(row)]
            if all(one.step is Step.GRANT and one.row is not None for one in refused):
                by = next(other for other in rows if isinstance(refused[0].row, Grant) and other.id == refused[0].row.id)
                return Dead(row, by)
        without = self._engine([other for other in rows if other is not row])
        same = all(
            one.allowed == other.allowed for one, other in zip(self._all(engine, row), self._all(without, row), strict=True)
        )
        return Dead(row, None) if same else None

    def _meets_another(self, row: GrantLine, there: Counter[int]) -> bool:
        return there[row.department] > 1 or any(up in there for up in self._directory.line(row.department)[1:])

    def _all(self, engine: PolicyEngine, row: GrantLine) -> Iterator[Decision]:
        for place in (row.department, BELOW):
            for role in (_WIDE, _NARROW):
                for action in Action:
                    for relation in (None, *Relation):
                        yield self._ask(engine, row, place, action, relation, role)

    def _ask(
        self,
        engine: PolicyEngine,
        row: GrantLine,
        place: int,
        action: Action,
        relation: Relation | None = None,
        role: RoleName = _WIDE,
    ) -> Decision:
        line = self._directory.line(row.department) or (row.department,)
        above = line if place == BELOW else line[1:]
        subject = Subject("probe", frozenset({role}), frozenset({place}), frozenset(above))
        return engine.decide(Question(subject, row.group, Kind.STANDARD, action, relation))

    @staticmethod
    def _places(row: GrantLine) -> tuple[int, ...]:
        return (row.department, BELOW) if row.inherit else (row.department,)

    def _engine(self, rows: Iterable[GrantLine]) -> PolicyEngine:
        return PolicyEngine(_PROBES, [as_grant(row, row.group) for row in rows], self._model)


def as_grant(row: GrantLine, group: str) -> Grant:
    """A bundle's row as the engine takes it."""
    return Grant(row.id, row.department, group, row.action, row.effect, row.inherit, row.reach)


def roles_at(directory: Directory) -> Mapping[int, set[frozenset[RoleName]]]:
    """Which sets of roles people hold in each department or below it."""
    found: dict[int, set[frozenset[RoleName]]] = {}
    for one in directory.employees.values():
        for home in one.departments if one.active else ():
            for up in directory.line(home):
                found.setdefault(up, set()).add(one.roles)
    return found


def roles_in(directory: Directory) -> Mapping[int, set[frozenset[RoleName]]]:
    """The same of each department alone."""
    found: dict[int, set[frozenset[RoleName]]] = {}
    for one in directory.employees.values():
        for home in one.departments if one.active else ():
            found.setdefault(home, set()).add(one.roles)
    return found
