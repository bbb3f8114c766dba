"""A policy bundle: a folder of small TOML files a non-programmer can read. Pure parsing; knows no database.

`groups.toml` classifies tag groups, `people.toml` gives roles, `grants.toml` is the matrix; `roles.toml` and
`approvals.toml` are optional and replace the shipped defaults.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec

from tagwarden.catalog.model import Choice
from tagwarden.identity.model import Module, RoleName
from tagwarden.kernel.errors import Invalid
from tagwarden.policy.model import Action, Capability, Effect, Kind, Reach, read_capabilities

FILES = ("groups.toml", "people.toml", "grants.toml", "roles.toml", "approvals.toml")
Form = TypeVar("Form", bound=msgspec.Struct)


class BundleInvalid(Invalid):
    code = "bundle_invalid"
    zh = "策略文件有误：{where}：{why}"
    en = "The policy bundle is not valid: {where}: {why}"


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


def read_bundle(files: Mapping[str, str], defaults: Mapping[str, str]) -> Bundle:
    """From texts by file name; `defaults` holds the shipped `roles.toml` and `approvals.toml`. Raises BundleInvalid."""
    unknown = [name for name in files if name.endswith(".toml") and name not in FILES]
    if unknown:
        raise BundleInvalid(where=unknown[0], why="unknown file")
    try:
        capabilities = read_capabilities(files.get("roles.toml", defaults["roles.toml"]))
    except Invalid as error:
        raise BundleInvalid(where="roles.toml", why=str(error)) from error
    groups = tuple(_group(entry) for entry in _entries(files, "groups.toml", "group"))
    people = tuple(_person(entry) for entry in _entries(files, "people.toml", "person"))
    grants = tuple(_grant(entry) for entry in _entries(files, "grants.toml", "grant"))
    _require_unique([group.name for group in groups], "groups.toml")
    _require_unique([person.userid for person in people], "people.toml")
    _require_unique([grant.id for grant in grants], "grants.toml")
    return Bundle(
        groups,
        people,
        grants,
        capabilities,
        _approvals(files.get("approvals.toml", defaults["approvals.toml"])),
    )


def _table(files: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(files.get(name, ""))
    except tomllib.TOMLDecodeError as error:
        raise BundleInvalid(where=name, why=str(error)) from error


def _entries(files: Mapping[str, str], name: str, key: str) -> list[dict[str, Any]]:
    table = _table(files, name)
    if table.keys() - {key}:
        raise BundleInvalid(where=name, why=f"only [[{key}]] stands here")
    entries = table.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BundleInvalid(where=name, why=f"write [[{key}]], with two brackets")
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


class _ApprovalsEntry(msgspec.Struct, forbid_unknown_fields=True):
    asking_is_level1: bool
    expires_after_days: Annotated[int, msgspec.Meta(ge=1, le=90)]


def _read(entry: dict[str, Any], form: type[Form], where: str) -> Form:
    try:
        return msgspec.convert(entry, form)
    except msgspec.ValidationError as error:
        raise BundleInvalid(where=where, why=str(error)) from error


def _group(entry: dict[str, Any]) -> GroupLine:
    read = _read(entry, _GroupEntry, f"groups.toml {entry.get('name')}")
    return GroupLine(read.name, read.kind, read.choice)


def _person(entry: dict[str, Any]) -> PersonLine:
    read = _read(entry, _PersonEntry, f"people.toml {entry.get('userid')}")
    return PersonLine(read.userid, tuple(read.roles), tuple(read.modules))


def _grant(entry: dict[str, Any]) -> GrantLine:
    where = f"grants.toml {entry.get('department')} {entry.get('group')}"
    read = _read(entry, _GrantEntry, where)
    if read.effect is Effect.DENY and read.reach is not None:
        raise BundleInvalid(where=where, why="a deny forbids everywhere and has no reach")
    return GrantLine(read.department, read.group, read.action, read.effect, read.inherit, read.reach)


def _approvals(text: str) -> dict[str, Any]:
    try:
        table = tomllib.loads(text)
        return msgspec.to_builtins(msgspec.convert(table, _ApprovalsEntry))  # type: ignore[no-any-return]
    except tomllib.TOMLDecodeError as error:
        raise BundleInvalid(where="approvals.toml", why=str(error)) from error
    except msgspec.ValidationError as error:
        needs = "needs asking_is_level1 (true or false) and expires_after_days (1 to 90)"
        raise BundleInvalid(where="approvals.toml", why=f"{error}; {needs}") from error


def _require_unique(ids: list[str], where: str) -> None:
    for id_ in ids:
        if ids.count(id_) > 1:
            raise BundleInvalid(where=where, why=f"{id_} stands twice")


def lint(bundle: Bundle, departments: Mapping[int, Any], groups: set[str]) -> list[str]:
    """What an admin should look at twice; nothing here refuses."""
    warnings = [
        f"根部门的授权会继承到全公司：{grant.id}"
        for grant in bundle.grants
        if grant.department == 1 and grant.inherit and grant.effect is Effect.ALLOW
    ]
    warnings += [f"部门不存在：{grant.id}" for grant in bundle.grants if grant.department not in departments]
    warnings += [f"标签组不存在：{grant.id}" for grant in bundle.grants if grant.group not in groups]
    used = {grant.group for grant in bundle.grants if grant.effect is Effect.ALLOW and grant.action is Action.USE}
    warnings += [f"没有任何部门可以使用：{group}" for group in sorted(groups - used)]
    return warnings
