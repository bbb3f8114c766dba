"""Cells of the matrix as somebody edits them, and what they make of the rows of a revision. Pure.

A cell is a place (department, group, action, effect); what stands there is one grant or none. An edited place that is
as the base has it is no edit: what is left is exactly what differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tagwarden.policy.matrix import Matrix
from tagwarden.policy.model import Action, Effect, Grant, Reach


class Place(NamedTuple):
    department: int
    group: str
    action: Action
    effect: Effect


@dataclass(frozen=True, slots=True)
class Cell:
    """What a place would hold. `present` false: nothing."""

    place: Place
    present: bool = True
    inherit: bool = True
    reach: Reach | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """What a revision would have that its base has not: rows that come (or take the place of one of their id), ids that go."""

    add: tuple[Grant, ...]
    remove: tuple[str, ...]

    @property
    def empty(self) -> bool:
        return not self.add and not self.remove

    def places(self, base: Matrix) -> dict[str, set[int]]:
        """The groups that anything is different about, and the departments in which it is."""
        replaced = (*self.remove, *(row.id for row in self.add))
        gone = (row for id_ in replaced if (row := base.get(id_)) is not None)
        found: dict[str, set[int]] = {}
        for row in (*self.add, *gone):
            found.setdefault(row.group, set()).add(row.department)
        return found


def place_of(row: Grant) -> Place:
    """Where a grant stands."""
    return Place(row.department, row.group, row.action, row.effect)


def standing(base: Matrix, groups: Iterable[str]) -> dict[Place, Grant]:
    """What the base has in all places of some groups."""
    return {place_of(row): row for group in groups for row in base.of_group(group)}


def merged(base: Matrix, cells: Iterable[Cell], edits: Iterable[Cell]) -> tuple[Cell, ...]:
    """Earlier cells with later edits over them, without those that are as the base has them; sorted by place."""
    found = {cell.place: cell for cell in (*cells, *edits)}
    there = standing(base, {place.group for place in found})
    return tuple(found[place] for place in sorted(found) if _differs(there.get(place), found[place]))


def _differs(row: Grant | None, cell: Cell) -> bool:
    if row is None or not cell.present:
        return (row is not None) != cell.present
    return (row.inherit, row.reach) != (cell.inherit, cell.reach)


def difference(base: Matrix, cells: Sequence[Cell], names: Mapping[str, str]) -> Difference:
    """What the cells make of the base; `names` are those of the groups. A row keeps its id, a new one gets a readable one."""
    there = standing(base, {cell.place.group for cell in cells})
    add, remove = [], []
    taken = set[str]()
    for cell in cells:
        row = there.get(cell.place)
        if not cell.present:
            remove += [row.id] if row else []
            continue
        id_ = row.id if row else _free_id(base, taken, cell.place, names)
        taken.add(id_)
        add.append(Grant(id_, *cell.place, cell.inherit, cell.reach))
    return Difference(tuple(add), tuple(sorted(remove)))


def _free_id(base: Matrix, taken: set[str], place: Place, names: Mapping[str, str]) -> str:
    id_ = readable_id(place, names[place.group])
    if base.get(id_) is None and id_ not in taken:
        return id_
    return f"{id_}:{place.group}"  # the name was another group's when that row was made


def readable_id(place: Place, name: str) -> str:
    """Stable and readable: the row an audit line names."""
    ending = "" if place.effect is Effect.ALLOW else ":deny"
    return f"{place.department}:{name}:{place.action.value}{ending}"


def rows_with(base: Iterable[Grant], made: Difference) -> Iterator[Grant]:
    """The rows of the base with the difference made."""
    gone = {*made.remove, *(row.id for row in made.add)}
    yield from (row for row in base if row.id not in gone)
    yield from made.add


def difference_to(base: Matrix, wanted: Sequence[Grant]) -> Difference:
    """What makes the base into these rows, by their ids."""
    kept = {row.id for row in wanted}
    return Difference(
        tuple(row for row in wanted if base.get(row.id) != row), tuple(sorted(row.id for row in base if row.id not in kept))
    )


def towards(base: Matrix, wanted: Iterable[Grant], known: Mapping[str, object]) -> tuple[tuple[Cell, ...], int]:
    """The cells that make the base into the wanted rows, and how many of those were left out: their group is gone."""
    found: dict[Place, Cell] = {}
    left_out = 0
    for row in wanted:
        if row.group not in known:
            left_out += 1
            continue
        found[place_of(row)] = Cell(place_of(row), True, row.inherit, row.reach)
    for row in base:
        found.setdefault(place_of(row), Cell(place_of(row), present=False))
    return merged(base, (), found.values()), left_out


def cell_out(cell: Cell) -> dict[str, Any]:
    """A cell as a draft's row keeps it."""
    return {
        "department": cell.place.department,
        "group_id": cell.place.group,
        "action": cell.place.action.value,
        "effect": cell.place.effect.value,
        "present": cell.present,
        "inherit": cell.inherit,
        "reach": cell.reach.value if cell.reach else None,
    }


def cell_in(row: Mapping[str, Any]) -> Cell:
    """The reverse of `cell_out`."""
    place = Place(row["department"], row["group_id"], Action(row["action"]), Effect(row["effect"]))
    return Cell(place, row["present"], row["inherit"], Reach(row["reach"]) if row["reach"] else None)
