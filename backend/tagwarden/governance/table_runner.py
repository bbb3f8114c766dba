"""Asks the engine what a decision table says must come out. In process, without a database, by the product's own picture.

It holds no rule: relation, decision and reason come from where every request gets them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tagwarden.governance.bundle import Bundle
from tagwarden.governance.decision_tables import Case, Cells, Table, WhoCan, Whole
from tagwarden.governance.lint_rows import as_grant
from tagwarden.identity.model import Directory
from tagwarden.policy.chains import read_rules
from tagwarden.policy.enforcer import PolicyEngine
from tagwarden.policy.explain import reason_of
from tagwarden.policy.matrix import Matrix
from tagwarden.policy.model import Action, Capability, Decision, Grant, Group, Kind, Relation
from tagwarden.policy.service import Picture

ANY_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
"""Agreements alone depend on the moment, and a bundle holds none."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell that came out otherwise."""

    where: str
    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What one table asked: how many cells, which came out otherwise, and which rows answered (by id)."""

    name: str
    title: str
    cells: int
    failures: tuple[Failure, ...]
    grants: frozenset[str] = field(default=frozenset(), repr=False)
    capabilities: frozenset[Capability] = field(default=frozenset(), repr=False)


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a policy its tables met: of the matrix, or of the capabilities where it has no grant."""

    of: str
    rows: int
    unmet: tuple[str, ...]

    @property
    def percent(self) -> int:
        """Rounded down, so that 100 means all."""
        return 100 if not self.rows else (self.rows - len(self.unmet)) * 100 // self.rows


def run(table: Table, model: str) -> Asked:
    """Asks every cell of a table."""
    desk = _Desk(picture_of(table.bundle, table.kinds, table.directory, model))
    failures = [failure for case in table.cases for failure in _case(desk, case)]
    failures += [failure for listed in table.who_can for failure in _who_can(desk, listed)]
    failures += _whole(desk, table.matrix) if table.matrix else []
    return Asked(table.name, table.title, desk.cells, tuple(failures), frozenset(desk.grants), frozenset(desk.capabilities))


def coverage(bundle: Bundle, asked: Iterable[Asked]) -> Coverage:
    """The rows of a bundle that no cell of any table was answered by."""
    done = list(asked)
    if bundle.grants:
        met = {row for one in done for row in one.grants}
        return Coverage("grants", len(bundle.grants), tuple(sorted(row.id for row in bundle.grants if row.id not in met)))
    answered = {row for one in done for row in one.capabilities}
    unmet = sorted(_named(row) for row in set(bundle.capabilities) - answered)
    return Coverage("capabilities", len(set(bundle.capabilities)), tuple(unmet))


def _named(row: Capability) -> str:
    return f"{row.role.value} {row.action.value} {row.kind.value} on {'+'.join(sorted(row.relations)) or 'group'}"


def picture_of(bundle: Bundle, kinds: Mapping[str, Kind], directory: Directory, model: str) -> Picture:
    """The picture a service would have of this bundle; groups go by their names."""
    matrix = Matrix(as_grant(row, row.group) for row in bundle.grants)
    groups = {name: Group(name, name, kind) for name, kind in kinds.items()}
    engine = PolicyEngine(bundle.capabilities, matrix, model)
    return Picture("", 0, 0, directory, engine, read_rules(bundle.approvals), matrix, groups)


class _Desk:
    """Asks, and notes which rows answered."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.cells = 0
        self.grants: set[str] = set()
        self.capabilities: set[Capability] = set()

    def ask(self, who: str, group: str, action: Action, relation: Relation | None) -> Decision:
        decision = self.picture.decide(who, group, self.picture.groups[group].kind, action, relation)
        self.cells += 1
        for row in (decision.row, *(step.row for step in decision.trace)):
            if isinstance(row, Grant):
                self.grants.add(row.id)
            elif row is not None:
                self.capabilities.add(row)
        return decision

    def each(self, cells: Cells) -> Iterator[tuple[str, str, Action, Relation | None, str]]:
        """Every cell, with the words for whose customer it is about."""
        for who in cells.who:
            for group in cells.groups:
                for action in cells.actions:
                    for relation in cells.on:
                        yield who, group, action, relation, relation.value if relation else "group"
                    for owner in cells.owners:
                        yield who, group, action, self.picture.relation(who, owner, group, ANY_MOMENT), f"customer of {owner}"

    def reason(self, who: str, decision: Decision) -> str:
        return reason_of(self.picture, who, decision)

    def came_out(self, decision: Decision) -> tuple[str, str]:
        if decision.allowed:
            row = f"（{decision.row.id}）" if isinstance(decision.row, Grant) else ""
            return f"被允许{row}", f"was allowed{row}"
        step = decision.step.value if decision.step else "?"
        row = f"，{decision.row.id}" if isinstance(decision.row, Grant) else ""
        return f"被拒绝（{step}{row}）", f"was refused ({step}{row})"


def _case(desk: _Desk, case: Case) -> Iterator[Failure]:
    for who, group, action, relation, on in desk.each(case.cells):
        decision = desk.ask(who, group, action, relation)
        zh, en = desk.came_out(decision)
        cell = f"{who} {action.value} {group} ({on})"
        if decision.allowed is not case.allowed:
            yield Failure(case.where, f"{cell}：{zh}", f"{cell} {en}")
        elif case.step is not None and decision.step is not case.step:
            yield Failure(case.where, f"{cell}：应在 {case.step.value} 被拒，实际{zh}", f"{cell} {en}, not at {case.step.value}")
        elif case.reason is not None and (reason := desk.reason(who, decision)) != case.reason:
            yield Failure(case.where, f"{cell}：原因应为 {case.reason}，实际 {reason}", f"{cell}: {reason}, not {case.reason}")


def _who_can(desk: _Desk, listed: WhoCan) -> Iterator[Failure]:
    found: dict[tuple[str, Action, str], set[str]] = {}
    for who, group, action, relation, on in desk.each(listed.cells):
        can = found.setdefault((group, action, on), set())
        if desk.ask(who, group, action, relation).allowed:
            can.add(who)
    for (group, action, on), can in found.items():
        cell = f"{action.value} {group} ({on})"
        if extra := sorted(can - listed.are):
            yield Failure(listed.where, f"{cell}：多了 {'、'.join(extra)}", f"{cell}: {', '.join(extra)} can as well")
        if missing := sorted(listed.are - can):
            yield Failure(listed.where, f"{cell}：少了 {'、'.join(missing)}", f"{cell}: {', '.join(missing)} cannot")


def _whole(desk: _Desk, whole: Whole) -> Iterator[Failure]:
    allowed = {cell[:4] for cells in whole.allow for cell in desk.each(cells)}
    every = {cell[:4]: cell[4] for cell in desk.each(whole.cells)}
    for cell in sorted(allowed - every.keys(), key=str):
        shown = f"{cell[0]} {cell[2].value} {cell[1]} ({cell[3]})"
        yield Failure(whole.where, f"{shown}：不在这个矩阵的范围内", f"{shown} lies outside this matrix")
    for (who, group, action, relation), on in every.items():
        expected = (who, group, action, relation) in allowed
        if not expected and not whole.complete:
            continue
        decision = desk.ask(who, group, action, relation)
        if decision.allowed is not expected:
            zh, en = desk.came_out(decision)
            shown = f"{who} {action.value} {group} ({on})"
            yield Failure(whole.where, f"{shown}：{zh}", f"{shown} {en}")
