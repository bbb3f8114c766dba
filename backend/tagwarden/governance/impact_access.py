"""Who would gain or lose what if another policy were in force. Asks the engine; decides nothing itself.

Two people of one standing get one answer, and of a standing only those departments matter that some row of the group
names: so thousands of people cost a few questions a group. It lets the event loop breathe between questions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tagwarden.policy.enforcer import PolicyEngine
from tagwarden.policy.matrix import Matrix
from tagwarden.policy.model import Action, Group, Relation, Standing
from tagwarden.policy.service import Picture

ITSELF = "group"
"""Open to him at all: the group itself, nobody's customer."""
QUESTIONS_AT_ONCE = 8

Extent = tuple[str, ...]
"""How far an action is open: `group`, and each relation in which it is."""


@dataclass(frozen=True, slots=True)
class AccessChange:
    """What one person may do with one group, before and after; empty where he may not at all."""

    userid: str
    group_id: str
    action: Action
    before: Extent
    after: Extent

    @property
    def gained(self) -> Extent:
        return tuple(word for word in self.after if word not in self.before)

    @property
    def lost(self) -> Extent:
        return tuple(word for word in self.before if word not in self.after)


class Side(NamedTuple):
    """A policy to be asked: the one in force, or the one that would be."""

    engine: PolicyEngine
    matrix: Matrix


class _Extents:
    """How far each action of a group is open to a standing, by one engine."""

    def __init__(self, engine: PolicyEngine) -> None:
        self._engine = engine
        self._known: dict[tuple[str, Action, Standing], Extent] = {}
        self._asked = 0

    async def of(self, group: Group, action: Action, standing: Standing) -> Extent:
        key = (group.id, action, standing)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = await self._ask(group, action, standing)
        return known

    async def _ask(self, group: Group, action: Action, standing: Standing) -> Extent:
        place = self._engine.place(standing)
        if not self._engine.answer(place, group.id, group.kind, action, None).allowed:
            return ()
        found = [ITSELF]
        for relation in Relation if action is not Action.MANAGE else ():
            if self._engine.answer(place, group.id, group.kind, action, relation).allowed:
                found.append(relation.value)
            self._asked += 1
            if self._asked % QUESTIONS_AT_ONCE == 0:
                await asyncio.sleep(0)
        return tuple(found)


async def access_changes(
    people: Picture, touched: Mapping[Group, frozenset[int] | None], before: Side, after: Side
) -> list[AccessChange]:
    """Every difference for every active employee, by group and userid.

    `people`: the picture that says who stands where; `touched`: the groups to ask about, each with the departments whose
    cells differ (None: whoever it is, the answer may differ).
    """
    standings = _standings(people)
    known_before, known_after = _Extents(before.engine), _Extents(after.engine)
    found: list[AccessChange] = []
    for group, departments in touched.items():
        named = {row.department for side in (before, after) for row in side.matrix.of_group(group.id)}
        for standing, userids in standings.items():
            if departments is not None and departments.isdisjoint(standing.home) and departments.isdisjoint(standing.above):
                continue
            reduced = Standing(standing.roles, standing.home & named, standing.above & named)
            for action in Action:
                was = await known_before.of(group, action, reduced)
                will_be = await known_after.of(group, action, reduced)
                if was != will_be:
                    found += [AccessChange(userid, group.id, action, was, will_be) for userid in userids]
        await asyncio.sleep(0)
    return sorted(found, key=lambda change: (change.group_id, change.userid, change.action))


def _standings(picture: Picture) -> Mapping[Standing, list[str]]:
    found: dict[Standing, list[str]] = {}
    for employee in picture.directory.employees.values():
        if employee.active:
            found.setdefault(picture.subject(employee.userid).standing, []).append(employee.userid)
    return found
