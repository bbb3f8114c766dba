"""A policy bundle: a folder of small TOML files a non-programmer can read. Pure parsing; knows no database.

`groups.toml` classifies tag groups, `people.toml` gives roles, `grants.toml` is the matrix; `roles.toml`, `approvals.toml`
and `drift.toml` are optional and replace the shipped defaults. All mistakes are told at once (`mistakes.py`); what is
readable and still worth a second look is `lint.py`'s.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from tagwarden.catalog.model import Choice
from tagwarden.governance import drift_file, mistakes
from tagwarden.governance.mistakes import BundleInvalid, Mistake
from tagwarden.identity.model import Module, RoleName
from tagwarden.policy.model import Action, Capability, Effect, InvalidPolicy, Kind, Reach, read_capabilities

FILES = ("groups.toml", "people.toml", "grants.toml", "roles.toml", "approvals.toml", drift_file.FILE)
BESIDE = "organisation.toml"
"""May lie in the folder and is never applied."""
Form = TypeVar("Form", bound=msgspec.Struct)
Line = TypeVar("Line")

__all__ = ["FILES", "Bundle", "BundleInvalid", "GrantLine", "GroupLine", "PersonLine", "read_bundle"]


@dataclass(frozen=True, slots=True)
class GroupLine:
    name: str
    kind: Kind
    choice: Choice


@dataclass(frozen=True, slots=True)
class PersonLine:
    userid: str
    roles: tuple[RoleName, ...]
    modules: tuple[Module, ...] = ()


@dataclass(frozen=True, slots=True)
class GrantLine:
    """A cell of the matrix, with the group's name as people write it."""

    department: int
    group: str
    action: Action
    effect: Effect = Effect.ALLOW
    inherit: bool = True
    reach: Reach | None = None

    @property
    def id(self) -> str:
        """Stable and readable: the row an audit line names."""
        ending = "" if self.effect is Effect.ALLOW else ":deny"
        return f"{self.department}:{self.group}:{self.action.value}{ending}"


@dataclass(frozen=True, slots=True)
class Bundle:
    groups: tuple[GroupLine, ...]
    people: tuple[PersonLine, ...]
    grants: tuple[GrantLine, ...]
    capabilities: tuple[Capability, ...]
    approvals: Mapping[str, Any]
    drift: Mapping[str, Any]


def read_bundle(files: Mapping[str, str], defaults: Mapping[str, str]) -> Bundle:
    """From texts by file name; `defaults` holds the shipped `roles.toml`, `approvals.toml` and `drift.toml`.

    Raises BundleInvalid with all mistakes.
    """
    reading = Reading(files)
    reading.found += [
        mistakes.unknown_file(name, FILES) for name in files if name.endswith(".toml") and name not in (*FILES, BESIDE)
    ]
    groups = reading.lines("groups.toml", "group", _group)
    people = reading.lines("people.toml", "person", _person)
    grants = reading.lines("grants.toml", "grant", _grant)
    reading.require_unique("groups.toml", [group.name for group in groups])
    reading.require_unique("people.toml", [person.userid for person in people])
    reading.require_unique("grants.toml", [grant.id for grant in grants])
    capabilities = reading.whole("roles.toml", defaults, _capabilities) or ()
    approvals = reading.whole("approvals.toml", defaults, _approvals) or {}
    drift = reading.whole(drift_file.FILE, defaults, drift_file.read) or {}
    reading.require_readable()
    return Bundle(tuple(groups), tuple(people), tuple(grants), capabilities, approvals, drift)


def read_lines(reading: Reading, tables: Mapping[str, Any], where: str) -> tuple[list[GroupLine], list[GrantLine]]:
    """Groups and grants among the tables of another file; mistakes are left in `reading`."""
    groups = reading.read_each(reading.entries(tables, where, "group"), f"{where} group #", _group)
    return groups, reading.read_each(reading.entries(tables, where, "grant"), f"{where} grant #", _grant)


class Reading:
    """Reads the files of a folder and keeps every mistake met on the way."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files
        self.found: list[Mistake] = []

    def lines(self, name: str, key: str, read: Callable[[dict[str, Any], str], Line]) -> list[Line]:
        """The readable entries of one file, each as `read` makes it of the entry and its place."""
        entries = self.entries(self.tables(name, (key,)), name, key)
        return self.read_each(entries, f"{name} #", read)

    def read_each(self, entries: Iterable[dict[str, Any]], where: str, read: Callable[[dict[str, Any], str], Line]) -> list[Line]:
        """The readable ones of some entries; the others' mistakes are kept."""
        done: list[Line] = []
        for number, entry in enumerate(entries, 1):
            try:
                done.append(read(entry, f"{where}{number}"))
            except BundleInvalid as error:
                self.found += error.mistakes
        return done

    def whole(self, name: str, defaults: Mapping[str, str], read: Callable[[str], Line]) -> Line | None:
        """A file that is read in one piece, the shipped one where the folder has none."""
        try:
            return read(self._files.get(name, defaults[name]))
        except BundleInvalid as error:
            self.found += error.mistakes
            return None

    def require_unique(self, where: str, ids: Iterable[str]) -> None:
        """Notes what stands more than once."""
        self.found += [mistakes.stands_twice(where, id_) for id_, count in Counter(ids).items() if count > 1]

    def require_readable(self) -> None:
        """Raises BundleInvalid with all that was found, if anything was."""
        if self.found:
            raise BundleInvalid(*self.found)

    def tables(self, name: str, keys: Sequence[str]) -> dict[str, Any]:
        """A file's top level; what is not one of the keys is noted."""
        try:
            table = tomllib.loads(self._files.get(name, ""))
        except tomllib.TOMLDecodeError as error:
            self.found.append(mistakes.not_toml(name, error))
            return {}
        self.found += [mistakes.only_here(name, keys, found) for found in sorted(table.keys() - set(keys))]
        return table

    def entries(self, tables: Mapping[str, Any], name: str, key: str) -> list[dict[str, Any]]:
        """The `[[key]]` of a file."""
        entries = tables.get(key, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            self.found.append(mistakes.two_brackets(name, key))
            return []
        return entries


class _GroupEntry(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    kind: Kind
    choice: Choice


class _PersonEntry(msgspec.Struct, forbid_unknown_fields=True):
    userid: str
    roles: list[RoleName]
    modules: list[Module] = []


class _GrantEntry(msgspec.Struct, forbid_unknown_fields=True):
    department: int
    group: str
    action: Action
    effect: Effect = Effect.ALLOW
    inherit: bool = True
    reach: Reach | None = None


Days = Annotated[int, msgspec.Meta(ge=1, le=90)]
Hours = Annotated[int, msgspec.Meta(ge=1, le=24 * 30)]
SigningRoles = Annotated[list[Literal["manager", "supervisor"]], msgspec.Meta(min_length=1, max_length=2)]


class _ChainEntry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What differs; left out means as for everything."""

    asking_is_level1: bool | msgspec.UnsetType = msgspec.UNSET
    expires_after_days: Days | msgspec.UnsetType = msgspec.UNSET
    remind_after_hours: Hours | msgspec.UnsetType = msgspec.UNSET
    escalate_after_hours: Hours | msgspec.UnsetType = msgspec.UNSET
    level1_roles: SigningRoles | msgspec.UnsetType = msgspec.UNSET
    level2_departments: list[int] | msgspec.UnsetType = msgspec.UNSET


class _ApprovalsEntry(_ChainEntry, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    asking_is_level1: bool
    expires_after_days: Days
    protected: _ChainEntry | msgspec.UnsetType = msgspec.UNSET
    kinds: dict[str, _ChainEntry] | msgspec.UnsetType = msgspec.UNSET


def read_entry(entry: dict[str, Any], form: type[Form], where: str) -> Form:
    """One entry in its form, or BundleInvalid that says what to write instead."""
    try:
        return msgspec.convert(entry, form)
    except msgspec.ValidationError as error:
        raise BundleInvalid(mistakes.misread(where, form.__struct_fields__, error)) from error


def _group(entry: dict[str, Any], where: str) -> GroupLine:
    read = read_entry(entry, _GroupEntry, f"{where}: {entry.get('name', '?')}")
    return GroupLine(read.name, read.kind, read.choice)


def _person(entry: dict[str, Any], where: str) -> PersonLine:
    read = read_entry(entry, _PersonEntry, f"{where}: {entry.get('userid', '?')}")
    return PersonLine(read.userid, tuple(read.roles), tuple(read.modules))


def _grant(entry: dict[str, Any], where: str) -> GrantLine:
    where = f"{where}: {entry.get('department', '?')} {entry.get('group', '?')}"
    read = read_entry(entry, _GrantEntry, where)
    if read.effect is Effect.DENY and read.reach is not None:
        raise BundleInvalid(mistakes.deny_with_reach(where))
    return GrantLine(read.department, read.group, read.action, read.effect, read.inherit, read.reach)


def _capabilities(text: str) -> tuple[Capability, ...]:
    try:
        return read_capabilities(text)
    except InvalidPolicy as error:
        en = str(error.facts["mistake"])
        raise BundleInvalid(Mistake("roles_invalid", "roles.toml", str(error.facts.get("mistake_zh", en)), en)) from error


def _approvals(text: str) -> dict[str, Any]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BundleInvalid(mistakes.not_toml("approvals.toml", error)) from error
    return approvals_content(table, "approvals.toml")


def approvals_content(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The chain in the one form in which a revision keeps it; BundleInvalid naming `where`."""
    try:
        return msgspec.to_builtins(msgspec.convert(table, _ApprovalsEntry))  # type: ignore[no-any-return]
    except msgspec.ValidationError as error:
        raise BundleInvalid(mistakes.misread(where, _ApprovalsEntry.__struct_fields__, error)) from error
