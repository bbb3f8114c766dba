"""Access review: who holds what, since when, why. Every active employee, by one picture; it decides nothing and writes nothing.

What somebody may do with a group is asked of the engine, once for all people of one standing. A large corp is walked in
parts, with turns for others, and never stands in memory whole.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tagwarden.corps.model import Caller
from tagwarden.governance import review_rows
from tagwarden.governance.review_rows import InForce, RoleHeld, StandsFor
from tagwarden.identity.model import Employee, Module, ModuleMissing, RoleName
from tagwarden.kernel import clock
from tagwarden.policy.model import Action, Capability, DecisionRow, Grant, Relation, Standing
from tagwarden.policy.service import Picture

PART = 50
TURN_SECONDS = 0.005
REMEMBERED = 512
"""So many standings are remembered; people of one department and role share one."""
ON_GROUP = "group"


@dataclass(frozen=True, slots=True)
class Open:
    """A group somebody may do something with, the row that says so, and on whose customers (or the group itself)."""

    group_id: str
    action: Action
    row: DecisionRow
    on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """Everything one person holds."""

    employee: Employee
    roles: tuple[RoleHeld, ...]
    open: tuple[Open, ...]
    stands_for: tuple[StandsFor, ...]


@dataclass(slots=True)
class Review:
    """Walks people by userid; `since` fills with the grants met on the way."""

    picture: Picture
    since: dict[str, InForce] = field(default_factory=dict)
    drawn: dict[tuple[str, Standing], list[Any]] = field(default_factory=dict)
    """What was made of a standing's groups for readers; people of one standing share it."""
    _open: dict[Standing, tuple[Open, ...]] = field(default_factory=dict)

    async def part(self, people: Sequence[Employee]) -> list[Reviewed]:
        """Some people, whole."""
        corp_id, userids = self.picture.corp_id, [one.userid for one in people]
        roles = _by(await review_rows.roles_of(corp_id, userids), lambda one: one.userid)
        standing = _by(await review_rows.standing_in(corp_id, userids, clock.now()), lambda one: one.delegate)
        found = [
            # What the picture does not know was given or taken since: the review is of one moment.
            Reviewed(
                one,
                tuple(role for role in roles.get(one.userid, ()) if role.role in one.roles),
                await self._open_to(one),
                tuple(standing.get(one.userid, ())),
            )
            for one in people
        ]
        await self._learn(found)
        return found

    async def everybody(self) -> AsyncIterator[list[Reviewed]]:
        """Every active employee, part by part."""
        people = active(self.picture)
        for start in range(0, len(people), PART):
            yield await self.part(people[start : start + PART])

    async def _learn(self, found: Sequence[Reviewed]) -> None:
        met = {each.row.id for one in found for each in one.open if isinstance(each.row, Grant)} - self.since.keys()
        if met:
            self.since |= await review_rows.in_force(self.picture.corp_id, self.picture.revision, met)

    async def _open_to(self, employee: Employee) -> tuple[Open, ...]:
        standing = self.picture.subject(employee.userid).standing
        known = self._open.get(standing)
        if known is None:
            if len(self._open) >= REMEMBERED:
                self._open.clear()
                self.drawn.clear()
            known = self._open[standing] = tuple([one async for one in _in_turns(self._asked(employee.userid))])
        return known

    def _asked(self, userid: str) -> Iterator[Open | None]:
        """None where a cell is closed, so that others get their turn there too."""
        for group in sorted(self.picture.groups.values(), key=lambda group: (group.name, group.id)):
            for action in Action:
                rows: dict[DecisionRow, list[str]] = {}
                relations: tuple[Relation | None, ...] = (None, *Relation) if action is not Action.MANAGE else (None,)
                for relation in relations:
                    decision = self.picture.decide(userid, group.id, group.kind, action, relation)
                    if relation is None and not decision.allowed:
                        break
                    if decision.allowed and decision.row is not None:
                        rows.setdefault(decision.row, []).append(relation.value if relation else ON_GROUP)
                for row, on in rows.items():
                    yield Open(group.id, action, row, tuple(on))
                yield None


async def _in_turns(cells: Iterator[Open | None]) -> AsyncIterator[Open]:
    until = time.perf_counter() + TURN_SECONDS
    for cell in cells:
        if cell is not None:
            yield cell
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + TURN_SECONDS


def _by(rows: Sequence[Any], key: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def active(picture: Picture) -> list[Employee]:
    """Active employees by userid."""
    return sorted((one for one in picture.directory.employees.values() if one.active), key=lambda one: one.userid)


def require_reviewer(picture: Picture, caller: Caller) -> None:
    """Raises ModuleMissing unless admin, auditor, or a sub-admin with the policy or the members module."""
    employee = picture.directory.employee(caller.userid)
    if employee.holds(RoleName.ADMIN, RoleName.AUDITOR):
        return
    if employee.holds(RoleName.SUBADMIN) and not employee.modules.isdisjoint({Module.POLICY, Module.MEMBERS}):
        return
    raise ModuleMissing(module=Module.MEMBERS.value, ask=picture.directory.admins())


def row_name(row: DecisionRow) -> str:
    """How a row is named elsewhere too: `grant:…` or `capability:role:kind:action`."""
    if isinstance(row, Capability):
        return f"capability:{row.role.value}:{row.kind.value}:{row.action.value}"
    return f"grant:{row.id}"


def homes_through(picture: Picture, employee: Employee, row: DecisionRow) -> list[int]:
    """The employee's departments through which a grant reaches him: its own, or those below it."""
    if not isinstance(row, Grant):
        return []
    return sorted(
        home
        for home in employee.departments
        if home == row.department or (row.inherit and row.department in picture.directory.line(home))
    )
