"""The mirrored organisation, roles, and what issuers of tokens may do.

Columns as the migrations make them; keys, guards and indexes stand there alone.
"""

from __future__ import annotations

from piccolo.columns import Array, BigInt, Boolean, Text, Timestamptz
from piccolo.table import Table

from tagwarden.kernel.db import DB


class IssuerRight(Table, tablename="issuer_right", db=DB):
    corp_id = Text()
    issuer = Text(primary_key=True)
    may_sign = Boolean()
    since = Timestamptz()


class Department(Table, tablename="department", db=DB):
    corp_id = Text()
    id = BigInt(primary_key=True)
    name = Text()
    parent_id = BigInt()
    sort = BigInt()


class Employee(Table, tablename="employee", db=DB):
    corp_id = Text()
    userid = Text(primary_key=True)
    name = Text()
    person = Text()
    status = Text()
    main_department = BigInt(null=True, default=None)
    updated_at = Timestamptz()
    wecom_userid = Text(null=True, default=None)
    name_reused = Boolean()


class EmployeeDepartment(Table, tablename="employee_department", db=DB):
    corp_id = Text()
    userid = Text()
    department_id = BigInt(primary_key=True)
    is_leader = Boolean()


class EmployeeRole(Table, tablename="employee_role", db=DB):
    corp_id = Text()
    userid = Text()
    role = Text(primary_key=True)
    modules = Array(base_column=Text())
    since = Timestamptz()
    given_by = Text()


class UseridRename(Table, tablename="userid_rename", db=DB):
    corp_id = Text()
    old_userid = Text(primary_key=True)
    new_userid = Text()
    sent_at = Timestamptz()
    seen_at = Timestamptz()
    applied_at = Timestamptz(null=True, default=None)


GOVERNED: tuple[type[Table], ...] = (IssuerRight, Department, Employee, EmployeeDepartment, EmployeeRole)
"""Rows of these change with an audit line in the same transaction, or not at all."""
