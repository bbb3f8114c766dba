"""Collaboration on record: people of one department may use a tag group on the customers of another. Pure.

An agreement gives a relation and nothing else: the group still has to be granted to the one who asks, and his role has to
reach `collaborating`. A department is meant with everything below it, on both sides. What one agreement says it says in
one direction and for itself: two of them are never joined into a third.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Agreement:
    """`department` may use `group` on customers of people in `partner`. No `since`: begun; no `until`: stays."""

    id: str
    department: int
    partner: int
    group: str
    since: datetime | None = None
    until: datetime | None = None

    def in_force(self, at: datetime) -> bool:
        """Whether it counts at that moment: from `since` on, and no more at `until`."""
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


class Agreements:
    """Those of one corp that were not ended, sorted for what is asked of them."""

    __slots__ = ("_by_group",)

    def __init__(self, rows: Iterable[Agreement] = ()) -> None:
        self._by_group: dict[str, dict[int, list[Agreement]]] = {}
        for row in rows:
            self._by_group.setdefault(row.group, {}).setdefault(row.department, []).append(row)

    def __bool__(self) -> bool:
        return bool(self._by_group)

    def about(self, group: str) -> bool:
        """Whether anything is agreed about a group at all, now or later."""
        return group in self._by_group

    def given(self, group: str, acting: Iterable[int], at: datetime) -> list[Agreement]:
        """What is in force for one of these departments about a group; `acting` are somebody's with all above them."""
        by_department = self._by_group.get(group)
        if by_department is None:
            return []
        return [row for number in acting for row in by_department.get(number, ()) if row.in_force(at)]

    def partners(self, group: str, acting: Iterable[int], at: datetime) -> set[int]:
        """Departments on whose customers the group may be used."""
        return {row.partner for row in self.given(group, acting, at)}
