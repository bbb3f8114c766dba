"""Shapes of what admins configure and everybody asks, as HTTP shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec


class MyGroup(msgspec.Struct):
    id: UUID
    name: str
    kind: str
    actions: list[str]


class Me(msgspec.Struct, omit_defaults=True):
    """`message` is set where no tag group reaches the caller: what is the matter and whom to ask."""

    userid: str
    name: str
    corp_id: str
    departments: list[int]
    leads: list[int]
    roles: list[str]
    modules: list[str]
    groups: list[MyGroup]
    ask: list[str]
    message: str | None = None


class DepartmentOut(msgspec.Struct):
    id: int
    name: str
    parent_id: int


class EmployeeOut(msgspec.Struct):
    userid: str
    name: str
    active: bool
    departments: list[int]
    leads: list[int]
    roles: list[str]
    modules: list[str]


class Departments(msgspec.Struct):
    items: list[DepartmentOut]


class Employees(msgspec.Struct):
    items: list[EmployeeOut]


class RolesIn(msgspec.Struct, forbid_unknown_fields=True):
    roles: Annotated[
        list[Literal["staff", "manager", "supervisor", "admin", "subadmin", "auditor", "service"]], msgspec.Meta(max_length=7)
    ]
    modules: Annotated[list[Literal["catalog", "policy", "members", "sync", "approvals"]], msgspec.Meta(max_length=5)] = []


class DecisionQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """`userid` left out asks for oneself; without a customer the question is about the group itself."""

    group_id: UUID
    action: Literal["view", "use", "manage"]
    external_userid: str | None = None
    follow_userid: str | None = None
    userid: str | None = None


class DecisionOut(msgspec.Struct, omit_defaults=True):
    allowed: bool
    step: str | None
    reason: str
    text: str
    obligation: str | None = None
    revision: int = 0
    epoch: int = 0
    nearest: str | None = None
    trace: list[dict[str, Any]] = []


class PolicyOut(msgspec.Struct):
    revision: int
    epoch: int
    capabilities: list[dict[str, Any]]
    approvals: dict[str, Any]
    grants: list[dict[str, Any]]


class Revision(msgspec.Struct):
    revision: int
    content_hash: str
    note: str
    published_by: str
    published_at: datetime
    grants: int


class Revisions(msgspec.Struct):
    items: list[Revision]


class CorpOut(msgspec.Struct):
    corp_id: str
    name: str
    state: str
    writes_suspended: bool
    time_zone: str
    org_mirrored_at: datetime | None
    activated_at: datetime | None
    missing: list[str]


class CredentialIn(msgspec.Struct, forbid_unknown_fields=True):
    secret: Annotated[str, msgspec.Meta(min_length=8, max_length=512)]
    agent_id: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)] | None = None
    token: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9]{1,32}$")] | None = None
    aes_key: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9]{43}$")] | None = None


class CredentialOut(msgspec.Struct):
    app: str
    state: str


class AuditPage(msgspec.Struct):
    items: list[dict[str, Any]]
    next_cursor: str | None
