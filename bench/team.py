"""A small sales team with customers: for figures in which the size of the matrix plays no part."""

from __future__ import annotations

from bench.ground import Person, Shape
from tagwarden.governance.bundle import GrantLine
from tagwarden.policy.model import Action, Kind

GROUP = "advice"
TAGS = 3


def shape(staff: int, customers_each: int) -> Shape:
    """HQ, one region, one city with staff s0, s1, ...; customers wm-s0-0, wm-s0-1, ..."""
    people = [
        Person("boss", 1, ("supervisor",), True),
        Person("hq", 1, ("supervisor",)),
        Person("admin", 1, ("admin",)),
        Person("east", 10, ("manager",), True),
        *(Person(f"s{number}", 11, ("staff",)) for number in range(staff)),
    ]
    follows = [(f"s{one}", f"wm-s{one}-{number}") for one in range(staff) for number in range(customers_each)]
    grants = [GrantLine(1, GROUP, Action.USE)]
    return Shape({1: 0, 10: 1, 11: 10}, people, {GROUP: (Kind.STANDARD, TAGS)}, grants, follows)
