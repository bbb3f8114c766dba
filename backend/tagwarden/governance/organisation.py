"""`organisation.toml`: a small picture of the departments and who stands where, for checks that ask no corp. Pure.

It is never applied: departments and members are WeCom's. `policy export` writes one beside the bundle, so that `policy lint`
and `policy test` know names and lines of departments in a place that has only the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from tagwarden.governance.bundle import BESIDE, PersonLine, Reading, read_entry
from tagwarden.governance.bundle_out import entry, headed
from tagwarden.governance.mistakes import Mistake
from tagwarden.identity.model import Department, Directory, Employee, RoleName

FILE = BESIDE
_ABOUT = """\
# 部门和员工的位置，只供检查和测试使用，不会被应用：组织架构以企业微信为准。
# Departments and who stands where, for checks and tests only. It is never applied: WeCom's organisation counts.
"""


class _DepartmentEntry(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    name: str = ""
    parent: int = 0


class _EmployeeEntry(msgspec.Struct, forbid_unknown_fields=True):
    userid: str
    departments: list[int] = []
    leads: list[int] = []
    active: bool = True
    roles: list[RoleName] = []


def read_organisation(text: str, where: str = FILE) -> Directory:
    """The departments and employees of a file. Raises BundleInvalid with all mistakes."""
    reading = Reading({where: text})
    directory = organisation_in(reading, reading.tables(where, ("department", "employee")), where)
    note_places(reading, directory.employees.values(), directory, where)
    reading.require_readable()
    return directory


def organisation_in(reading: Reading, tables: Mapping[str, Any], where: str) -> Directory:
    """The departments and employees among the tables of a file; mistakes are left in `reading`."""
    departments = reading.read_each(reading.entries(tables, where, "department"), f"{where} department #", _department)
    employees = reading.read_each(reading.entries(tables, where, "employee"), f"{where} employee #", _employee)
    reading.require_unique(where, [str(one.id) for one in departments])
    reading.require_unique(where, [one.userid for one in employees])
    return Directory({one.id: one for one in departments}, {one.userid: one for one in employees})


def _department(entry: dict[str, Any], where: str) -> Department:
    read = read_entry(entry, _DepartmentEntry, f"{where}: {entry.get('id', '?')}")
    return Department(read.id, read.name or str(read.id), read.parent)


def _employee(entry: dict[str, Any], where: str) -> Employee:
    read = read_entry(entry, _EmployeeEntry, f"{where}: {entry.get('userid', '?')}")
    homes = frozenset({*read.departments, *read.leads})
    return Employee(
        read.userid, read.userid, read.userid.lower(), read.active, homes, frozenset(read.leads), frozenset(read.roles)
    )


def note_places(reading: Reading, employees: Iterable[Employee], directory: Directory, where: str) -> None:
    """Notes who stands in a department that is not there."""
    for one in employees:
        missing = sorted(one.departments - directory.departments.keys())
        reading.found += [_no_department(where, one.userid, home) for home in missing]


def _no_department(where: str, userid: str, department: int) -> Mistake:
    return Mistake(
        "department_unknown",
        where,
        f"{userid} 所在的部门 {department} 不在这个文件里，请加一条 [[department]]",
        f"department {department} of {userid} does not stand in this file; add a [[department]]",
    )


def with_roles(directory: Directory, people: Iterable[PersonLine]) -> Directory:
    """The organisation with the roles a bundle gives; whoever it does not name stays as he is."""
    employees = dict(directory.employees)
    for line in people:
        known = employees.get(line.userid)
        if known is not None:
            modules = frozenset(line.modules) if RoleName.SUBADMIN in line.roles else frozenset()
            employees[line.userid] = replace(known, roles=frozenset(line.roles), modules=modules)
    return Directory(directory.departments, employees, directory.signing_issuers, directory.issuers)


def organisation_text(directory: Directory) -> str:
    """The file of an organisation: ids, lines and places; of people the userid alone."""
    departments = [
        entry("department", _fields({"id": one.id, "name": one.name, "parent": one.parent_id}, directory.departments))
        for one in sorted(directory.departments.values(), key=lambda one: one.id)
    ]
    employees = [
        entry("employee", {"userid": one.userid, "departments": sorted(one.departments), **_leads(one)})
        for one in sorted(directory.employees.values(), key=lambda one: one.userid)
        if one.active
    ]
    return headed(_ABOUT, [*departments, *employees])


def _fields(fields: dict[str, Any], departments: Mapping[int, Department]) -> dict[str, Any]:
    return fields if fields["parent"] in departments else {name: fields[name] for name in ("id", "name")}


def _leads(one: Employee) -> dict[str, Any]:
    return {"leads": sorted(one.leads)} if one.leads else {}
