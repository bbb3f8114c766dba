"""What applying a bundle would change, and what of it two people would have to sign. Pure.

It decides nothing twice: which effects are guarded says `catalog/protection.py`, what loosens `loosening.py`. A row of the
matrix is the same row when its place is, whatever its group was called when it got its id; so an export that is applied
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tagwarden.catalog import protection
from tagwarden.catalog.model import TagGroup
from tagwarden.governance import drift_file, mistakes
from tagwarden.governance.bundle import Bundle, GrantLine, PersonLine
from tagwarden.governance.cells import Place, place_of
from tagwarden.governance.loosening import loosened
from tagwarden.governance.mistakes import BundleInvalid, Mistake
from tagwarden.identity.model import Directory, Employee, RoleName, UseridAmbiguous
from tagwarden.policy.chains import SIGNING_ROLES, ApprovalRules, ChainRules, read_rules
from tagwarden.policy.drift import read_drift
from tagwarden.policy.model import Capability, Grant, Kind


@dataclass(frozen=True, slots=True)
class Standing:
    """A corp as it is: what a bundle is held against."""

    live: bool
    directory: Directory
    groups: Mapping[str, TagGroup]
    grants: Sequence[Grant]
    capabilities: Sequence[Capability]
    chain: Mapping[str, Any]
    drift: Mapping[str, Any]
    """By group id, as the revision keeps it."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that would be different. `part`: groups, people, grants, capabilities, chain, drift; `held`: two people
    sign it."""

    part: str
    change: str
    what: str
    before: str | None
    after: str | None
    held: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that would be different. `loosens` says why the revision would be held: grants, capabilities, chain, drift."""

    changes: tuple[Change, ...]
    loosens: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.changes

    @property
    def held(self) -> int:
        """How many of the changes would wait."""
        return sum(change.held for change in self.changes)


def by_accounts(bundle: Bundle, directory: Directory) -> Bundle:
    """The bundle with its people by the userids they have here; BundleInvalid where a name might be two people's."""
    found: list[Mistake] = []
    people: dict[str, PersonLine] = {}
    for number, line in enumerate(bundle.people, 1):
        where = f"people.toml #{number}: {line.userid}"
        try:
            here = directory.named(line.userid)
        except UseridAmbiguous as error:
            found.append(Mistake(error.code, where, error.text("zh"), error.text("en")))
            continue
        if here in people:
            zh = f"与“{people[here].userid}”是同一个账号，只写一次"
            found.append(Mistake("person_twice", where, zh, f"is the same account as “{people[here].userid}”: write it once"))
        people[here] = line
    if found:
        raise BundleInvalid(*found)
    return replace(bundle, people=tuple(replace(line, userid=here) for here, line in people.items()))


def require_known(bundle: Bundle, groups: Iterable[str], directory: Directory) -> Bundle:
    """The bundle by our own userids; BundleInvalid with every group and employee the corp does not have."""
    bundle = by_accounts(bundle, directory)
    names = set(groups)
    found: list[Mistake] = []
    for number, line in enumerate(bundle.groups, 1):
        if line.name not in names:
            found.append(mistakes.group_unknown(f"groups.toml #{number}: {line.name}", line.name, names))
    for number, person in enumerate(bundle.people, 1):
        if directory.known(person.userid) is None:
            where = f"people.toml #{number}: {person.userid}"
            found.append(mistakes.employee_unknown(where, person.userid, directory.employees))
    for number, grant in enumerate(bundle.grants, 1):
        if grant.group not in names:
            found.append(mistakes.group_unknown(f"grants.toml #{number}: {grant.id}", grant.group, names))
    for name in bundle.drift.get("groups", {}):
        if name not in names:
            found.append(mistakes.group_unknown(f"{drift_file.FILE} groups.{name}", name, names))
    if found:
        raise BundleInvalid(*found)
    return bundle


def aligned_rows(lines: Iterable[GrantLine], groups: Mapping[str, TagGroup], standing: Sequence[Grant]) -> list[Grant]:
    """The rows a bundle's matrix makes. A row keeps the id it has; rows of groups that are gone stay as they are."""
    known = {str(group.id) for group in groups.values()}
    there = {place_of(row): row.id for row in standing}
    rows = [row for row in standing if row.group not in known]
    taken = {row.id for row in standing}
    for line in lines:
        place = Place(line.department, str(groups[line.group].id), line.action, line.effect)
        id_ = there.get(place) or (line.id if line.id not in taken else f"{line.id}:{place.group}")
        rows.append(Grant(id_, *place, line.inherit, line.reach))
    return rows


def same_content(before: tuple[Sequence[Capability], Mapping[str, Any], Mapping[str, Any]], bundle: Bundle) -> bool:
    """Whether capabilities, chain and drift rule (by name) say the same, in whatever order and however explicitly."""
    alike = set(before[0]) == set(bundle.capabilities) and chain_of(before[1]) == chain_of(bundle.approvals)
    return alike and drift_file.said(before[2]) == drift_file.said(bundle.drift)


def as_written(employee: Employee, line: PersonLine) -> bool:
    """Whether somebody's roles are what the file says already."""
    if employee.roles != frozenset(line.roles):
        return False
    return RoleName.SUBADMIN not in employee.roles or employee.modules == frozenset(line.modules)


def kinds_counted(bundle: Bundle, groups: Mapping[str, TagGroup]) -> dict[str, Kind]:
    """Kinds by group id; a group that is a value group before or after counts as one."""
    wanted = {line.name: line.kind for line in bundle.groups}
    return {
        str(group.id): Kind.VALUE if Kind.VALUE in (group.kind, wanted.get(name, group.kind)) else group.kind
        for name, group in groups.items()
    }


def plan(standing: Standing, bundle: Bundle) -> Plan:
    """What applying the bundle would change; BundleInvalid where it names what there is not."""
    bundle = require_known(bundle, standing.groups, standing.directory)
    rows = aligned_rows(bundle.grants, standing.groups, standing.grants)
    loosens = _loosens(standing, bundle, rows)
    held = bool(loosens)
    changes = [*_groups(standing, bundle), *_people(standing, bundle), *_grants(standing, rows, held)]
    changes += [*_capabilities(standing, bundle, held), *_chain(standing, bundle, held)]
    changes += _drift(standing, bundle, held)
    return Plan(tuple(changes), loosens)


def _loosens(standing: Standing, bundle: Bundle, rows: Sequence[Grant]) -> tuple[str, ...]:
    if not standing.live:
        return ()
    ids = {name: str(group.id) for name, group in standing.groups.items()}
    before = standing.grants, standing.capabilities, read_rules(standing.chain), read_drift(standing.drift)
    drift = read_drift(drift_file.by_id(bundle.drift, ids))
    after = rows, bundle.capabilities, read_rules(bundle.approvals), drift
    return tuple(loosened(before, after, kinds_counted(bundle, standing.groups)))


def _groups(standing: Standing, bundle: Bundle) -> list[Change]:
    changes = []
    for line in sorted(bundle.groups, key=lambda line: line.name):
        group = standing.groups[line.name]
        before, after = f"{group.kind.value} {group.choice.value}", f"{line.kind.value} {line.choice.value}"
        if before != after:
            keys = protection.of_group(group, replace(group, kind=line.kind, choice=line.choice)) if standing.live else ()
            changes.append(Change("groups", "changed", line.name, before, after, bool(keys)))
    return changes


def _people(standing: Standing, bundle: Bundle) -> list[Change]:
    changes = []
    for line in sorted(bundle.people, key=lambda line: line.userid):
        employee = standing.directory.employees[line.userid]
        if as_written(employee, line):
            continue
        held = SIGNING_ROLES & (set(line.roles) - employee.roles) if standing.live else set()
        modules = employee.modules if RoleName.SUBADMIN in employee.roles else ()
        before, after = roles_said(employee.roles, modules), roles_said(line.roles, line.modules)
        changes.append(Change("people", "changed", line.userid, before, after, bool(held)))
    return changes


def roles_said(roles: Iterable[str], modules: Iterable[str]) -> str:
    """Roles as one text; a sub-admin's with its modules."""
    switches = f"({'+'.join(sorted(modules))})"
    return " ".join(f"{role}{switches}" if role == RoleName.SUBADMIN else str(role) for role in sorted(roles)) or "-"


def _grants(standing: Standing, rows: Sequence[Grant], held: bool) -> list[Change]:
    names = {str(group.id): name for name, group in standing.groups.items()}
    before, after = {place_of(row): row for row in standing.grants}, {place_of(row): row for row in rows}
    changes = []
    for place in before.keys() | after.keys():
        old, new = before.get(place), after.get(place)
        if old is None or new is None:
            word = "added" if old is None else "removed"
        elif (old.inherit, old.reach) == (new.inherit, new.reach):
            continue
        else:
            word = "changed"
        what = _what(place, names, standing.directory)
        changes.append(Change("grants", word, what, _said(old), _said(new), held))
    return sorted(changes, key=lambda change: change.what)


def _what(place: Place, names: Mapping[str, str], directory: Directory) -> str:
    department = directory.departments.get(place.department)
    shown = f"{place.department}({department.name})" if department else str(place.department)
    return f"{shown} {names.get(place.group, place.group)} {place.action.value} {place.effect.value}"


def _said(row: Grant | None) -> str | None:
    if row is None:
        return None
    return f"inherit={'true' if row.inherit else 'false'}" + (f" reach={row.reach.value}" if row.reach else "")


def _capabilities(standing: Standing, bundle: Bundle, held: bool) -> list[Change]:
    before, after = set(standing.capabilities), set(bundle.capabilities)
    changes = [Change("capabilities", "added", _capability(one), None, "", held) for one in after - before]
    changes += [Change("capabilities", "removed", _capability(one), "", None, held) for one in before - after]
    return sorted(changes, key=lambda change: (change.what, change.change))


def _capability(one: Capability) -> str:
    on = "+".join(sorted(one.relations)) or "group"
    return f"{one.role.value} {one.action.value} {one.kind.value} on {on}" + ("" if one.needs_grant else " grant=free")


def _chain(standing: Standing, bundle: Bundle, held: bool) -> list[Change]:
    return _fields("chain", chain_of(standing.chain), chain_of(bundle.approvals), held)


def _drift(standing: Standing, bundle: Bundle, held: bool) -> list[Change]:
    names = {str(group.id): name for name, group in standing.groups.items()}
    before = drift_file.said(drift_file.by_name(standing.drift, names))
    return _fields("drift", before, drift_file.said(bundle.drift), held)


def _fields(part: str, before: Mapping[str, Any], after: Mapping[str, Any], held: bool) -> list[Change]:
    return [
        Change(part, "changed", key, _value(before.get(key)), _value(after.get(key)), held)
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def _value(value: Any) -> str | None:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def chain_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a chain says, field by field and in one form: `expires_after_days`, `protected.…`, `kinds.NAME.…`."""
    rules: ApprovalRules = read_rules(content)
    said = {name: _plain(value) for name, value in fields_of(rules.default).items()}
    said |= {f"protected.{name}": _plain(value) for name, value in fields_of(rules.protected).items()}
    for kind, given in rules.kinds.items():
        said |= {f"kinds.{kind}.{name}": _plain(value) for name, value in given.items()}
    return said


def fields_of(rules: ChainRules) -> dict[str, Any]:
    """The rules by name."""
    return {name: getattr(rules, name) for name in ChainRules.__dataclass_fields__}


def _plain(value: Any) -> Any:
    """Lists and sets in one order; true and 1 told apart by what they are."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return sorted(getattr(one, "value", one) for one in value)
    return value
