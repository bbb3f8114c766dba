"""Decision tables: what a policy must answer, written by the people who answer for it. Pure reading; `table_runner.py` asks.

A table is TOML like the bundle beside it. It names people, groups and actions, and lists make cross products:

    [[case]]                            [[who_can]]                     [matrix]
    who = ["li.na", "wang.wei"]         action = "use"                  complete = true
    may = ["view", "use"]               group = "客户价值"               on = "own"
    group = "客户价值"                   on = "own"                      [[matrix.allow]]
    on = "own"                          are = ["li.na", "wang.wei"]     who = "li.na" …
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tagwarden.governance import mistakes
from tagwarden.governance.bundle import Bundle, BundleInvalid, Reading, read_entry, read_lines
from tagwarden.governance.mistakes import Mistake
from tagwarden.governance.organisation import note_places, organisation_in, with_roles
from tagwarden.identity.model import Directory
from tagwarden.policy.model import Action, Kind, Relation, Step

EVERYBODY = "*"
ITSELF = "group"
"""On nobody's customer: the tag group itself."""
KEYS = ("title", "case", "who_can", "matrix", "group", "grant", "department", "employee")
Names = str | list[str]


@dataclass(frozen=True, slots=True)
class Cells:
    """A cross product. `on` holds relations, None for the group itself; `owners` people whose customers are meant."""

    who: tuple[str, ...]
    groups: tuple[str, ...]
    actions: tuple[Action, ...]
    on: tuple[Relation | None, ...] = ()
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """These cells come out so; a refusal at this step, for this reason, where they are named."""

    where: str
    cells: Cells
    allowed: bool
    step: Step | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class WhoCan:
    """Exactly these people, and nobody else."""

    where: str
    cells: Cells
    are: frozenset[str]


@dataclass(frozen=True, slots=True)
class Whole:
    """Every cell of a cross product; with `complete`, what no allow names must be refused."""

    where: str
    cells: Cells
    complete: bool
    allow: tuple[Cells, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One file: the policy it asks (the bundle's, with rows of its own), the organisation, and what must come out."""

    name: str
    title: str
    bundle: Bundle
    directory: Directory
    kinds: Mapping[str, Kind]
    cases: tuple[Case, ...]
    who_can: tuple[WhoCan, ...]
    matrix: Whole | None


class _CellsEntry(msgspec.Struct, forbid_unknown_fields=True):
    who: Names = EVERYBODY
    group: Names = EVERYBODY
    on: Names | None = None
    customer_of: Names | None = None


class _CaseEntry(_CellsEntry, forbid_unknown_fields=True):
    may: Names = []
    may_not: Names = []
    step: Step | None = None
    reason: str | None = None
    title: str = ""


class _WhoCanEntry(msgspec.Struct, forbid_unknown_fields=True):
    action: Names
    group: Names
    are: list[str]
    on: Names | None = None
    customer_of: Names | None = None
    title: str = ""


class _AllowEntry(_CellsEntry, forbid_unknown_fields=True):
    may: Names = []


class _MatrixEntry(_CellsEntry, forbid_unknown_fields=True):
    complete: bool = True
    action: Names = EVERYBODY
    allow: list[dict[str, Any]] = []


def read_table(name: str, text: str, bundle: Bundle, base: Directory) -> Table:
    """A table over a bundle and the organisation beside it. Raises BundleInvalid with all mistakes."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BundleInvalid(mistakes.not_toml(name, error)) from error
    reading = Reading({})
    reading.found += [mistakes.only_here(name, KEYS, found) for found in sorted(tables.keys() - set(KEYS))]
    own = organisation_in(reading, tables, name)
    groups, grants = read_lines(reading, tables, name)
    told = with_roles(base, bundle.people)
    directory = Directory({**told.departments, **own.departments}, {**told.employees, **own.employees})
    note_places(reading, own.employees.values(), directory, name)
    whole = replace(bundle, groups=(*bundle.groups, *groups), grants=(*bundle.grants, *grants))
    reading.require_unique(name, [grant.id for grant in whole.grants])
    kinds = {**{grant.group: Kind.UNCLASSIFIED for grant in whole.grants}, **{line.name: line.kind for line in whole.groups}}
    reader = _Reader(directory, kinds)
    cases = reading.read_each(reading.entries(tables, name, "case"), f"{name} case #", reader.cases)
    who_can = reading.read_each(reading.entries(tables, name, "who_can"), f"{name} who_can #", reader.who_can)
    matrix = reading.read_each([tables["matrix"]] if "matrix" in tables else [], f"{name} matrix ", reader.matrix)
    reading.require_readable()
    every = tuple(case for found in cases for case in found)
    title = str(tables.get("title", name))
    return Table(name, title, whole, directory, kinds, every, tuple(who_can), matrix[0] if matrix else None)


class _Reader:
    """Turns entries into cells; a name nobody has is a mistake, never a refusal that happens to be right."""

    def __init__(self, directory: Directory, kinds: Mapping[str, Kind]) -> None:
        self._people = sorted(userid for userid, one in directory.employees.items() if one.active)
        self._known = directory.employees
        self._groups = sorted(kinds)

    def cases(self, entry: dict[str, Any], where: str) -> list[Case]:
        """One or two: what may be done, and what may not."""
        read = read_entry(entry, _CaseEntry, where)
        where = f"{where}{f' “{read.title}”' if read.title else ''}"
        if not read.may and not read.may_not:
            raise BundleInvalid(Mistake("case_empty", where, "写上 may 或 may_not", "say what he may or may_not do"))
        if (read.step or read.reason) and not read.may_not:
            zh, en = (
                "step 和 reason 是拒绝的原因，只能和 may_not 一起写",
                "step and reason tell of a refusal: write them with may_not",
            )
            raise BundleInvalid(Mistake("step_without_refusal", where, zh, en))
        found = []
        if read.may:
            found.append(Case(where, self._cells(read, self._actions(read.may, where), where), True))
        if read.may_not:
            cells = self._cells(read, self._actions(read.may_not, where), where)
            found.append(Case(where, cells, False, read.step, read.reason))
        return found

    def who_can(self, entry: dict[str, Any], where: str) -> WhoCan:
        """The exact list of people."""
        read = read_entry(entry, _WhoCanEntry, where)
        named = _CellsEntry(EVERYBODY, read.group, read.on, read.customer_of)
        are = frozenset(self._names(read.are, self._people, self._known, where, "person_unknown"))
        return WhoCan(where, self._cells(named, self._actions(read.action, where), where), are)

    def matrix(self, entry: dict[str, Any], where: str) -> Whole:
        """The whole of a cross product."""
        read = read_entry(entry, _MatrixEntry, where)
        cells = self._cells(read, self._actions(read.action, where), where)
        allow = []
        for number, one in enumerate(read.allow, 1):
            place = f"{where} allow #{number}"
            given = read_entry(one, _AllowEntry, place)
            on = given.on if given.on is not None or given.customer_of is not None else read.on
            named = _CellsEntry(given.who, given.group, on, given.customer_of)
            allow.append(self._cells(named, self._actions(given.may or read.action, place), place))
        return Whole(where, cells, read.complete, tuple(allow))

    def _cells(self, read: _CellsEntry, actions: tuple[Action, ...], where: str) -> Cells:
        who = self._names(read.who, self._people, self._known, where, "person_unknown")
        groups = self._names(read.group, self._groups, self._groups, where, "group_unknown")
        if read.customer_of is not None:
            if read.on is not None:
                zh, en = "on 和 customer_of 只写一个", "write on or customer_of, not both"
                raise BundleInvalid(Mistake("relation_twice", where, zh, en))
            owners = self._names(read.customer_of, self._people, self._known, where, "person_unknown")
            return Cells(who, groups, actions, owners=owners)
        words = [one.value for one in Relation]
        on = self._names(ITSELF if read.on is None else read.on, words, [*words, ITSELF], where, "relation_unknown")
        return Cells(who, groups, actions, tuple(None if one == ITSELF else Relation(one) for one in on))

    def _actions(self, given: Names, where: str) -> tuple[Action, ...]:
        words = [one.value for one in Action]
        return tuple(Action(one) for one in self._names(given, words, words, where, "action_unknown"))

    @staticmethod
    def _names(given: Names, everything: Iterable[str], known: Iterable[str], where: str, code: str) -> tuple[str, ...]:
        listed = [given] if isinstance(given, str) else given
        if listed == [EVERYBODY]:
            return tuple(everything)
        unknown = [name for name in listed if name not in known]
        if unknown:
            zh, en = mistakes.nearest(unknown[0], known)
            raise BundleInvalid(Mistake(code, where, f"不认识“{unknown[0]}”{zh}", f"“{unknown[0]}” is not known here{en}"))
        return tuple(dict.fromkeys(listed))
