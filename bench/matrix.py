"""Organisations with a matrix of 1,000, 11,000 or 110,000 grants, always the same ones; no database.

One grant a cell of departments × groups. Departments form a tree with five children each; every department has staff and
a manager. One grant in seven forbids, one in five is not passed on, half of the rest is narrowed by a reach.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from bench.ground import Person, Shape
from tagwarden.governance.bundle import GrantLine
from tagwarden.policy.model import Action, Effect, Kind, Reach

SEED = 20_261_121
CHILDREN = 5
KINDS = (Kind.STANDARD, Kind.TEMPORARY, Kind.VALUE)


@dataclass(frozen=True, slots=True)
class Size:
    departments: int
    groups: int

    @property
    def grants(self) -> int:
        return self.departments * self.groups


SIZES = (Size(40, 25), Size(200, 55), Size(1_000, 110))
LARGEST = SIZES[-1]


def shape(size: Size, *, tags: int = 1, follows_each: int = 0) -> Shape:
    """The organisation of a size; `follows_each` customers for every tenth member of staff."""
    # Not for secrets: the same organisation every time.
    chance = random.Random(SEED + size.grants)  # noqa: S311
    parents = {number: (number + CHILDREN - 2) // CHILDREN if number > 1 else 0 for number in range(1, size.departments + 1)}
    groups = {f"g{number}": (KINDS[number % len(KINDS)], tags) for number in range(size.groups)}
    grants = [_grant(chance, department, group) for department in parents for group in groups]
    people = _people(parents)
    owners = [one.userid for one in people if one.userid.startswith("s") and one.department % 10 == 0]
    follows = [(owner, f"wm-{owner}-{number}") for owner in owners for number in range(follows_each)]
    return Shape(parents, people, groups, grants, follows)


def _people(parents: dict[int, int]) -> list[Person]:
    people = [Person("boss", 1, ("supervisor",), True), Person("hq", 1, ("supervisor",)), Person("admin", 1, ("admin",))]
    for department in parents:
        people.append(Person(f"m{department}", department, ("manager",), True))
        people.append(Person(f"s{department}", department, ("staff",)))
        people.append(Person(f"b{department}", department, ("staff", "manager")))
    return people


def _grant(chance: random.Random, department: int, group: str) -> GrantLine:
    action = chance.choices((Action.USE, Action.VIEW, Action.MANAGE), (6, 3, 1))[0]
    effect = Effect.DENY if chance.random() < 1 / 7 else Effect.ALLOW
    reach = chance.choice((None, *Reach)) if chance.random() < 0.5 else None
    return GrantLine(department, group, action, effect, chance.random() >= 0.2, reach)
