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
    """`message` is set where no tag group reaches the caller: what is the matter and whom to ask. `may_sign`: whether the
    issuer of this token may; `act`: the machine that acts for him; `epoch`: of what is answered.

    `unclassified_groups`: for whoever has the catalog module, how many groups wait for a kind
    (`GET /v1/tag-groups?kind=unclassified`).
    """

    userid: str
    name: str
    corp_id: str
    departments: list[int]
    leads: list[int]
    roles: list[str]
    modules: list[str]
    groups: list[MyGroup]
    ask: list[str]
    epoch: int
    may_sign: bool
    act: str | None = None
    message: str | None = None
    unclassified_groups: int | None = None


class DepartmentOut(msgspec.Struct):
    id: int
    name: str
    parent_id: int


class EmployeeOut(msgspec.Struct):
    """`wecom_userid`: what WeCom calls the account now, where it was renamed there; here it keeps its first userid."""

    userid: str
    name: str
    active: bool
    departments: list[int]
    leads: list[int]
    roles: list[str]
    modules: list[str]
    wecom_userid: str | None


class Departments(msgspec.Struct):
    items: list[DepartmentOut]


class Employees(msgspec.Struct):
    items: list[EmployeeOut]


class RolesIn(msgspec.Struct, forbid_unknown_fields=True):
    roles: Annotated[
        list[Literal["staff", "manager", "supervisor", "admin", "subadmin", "auditor", "service"]], msgspec.Meta(max_length=7)
    ]
    modules: Annotated[list[Literal["catalog", "policy", "members", "sync", "approvals"]], msgspec.Meta(max_length=5)] = []
    reason: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class RolesOut(msgspec.Struct, omit_defaults=True):
    """The roles held from now on; a signing role that was asked for waits under `approval_id`."""

    roles: list[str]
    modules: list[str]
    approval_id: UUID | None = None


class PersonIn(msgspec.Struct, forbid_unknown_fields=True):
    """The account that is known already; the two are one person from then on, for good."""

    same_as: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class PersonOut(msgspec.Struct):
    userid: str
    same_as: str


class IssuerIn(msgspec.Struct, forbid_unknown_fields=True):
    may_sign: bool
    reason: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class IssuerOut(msgspec.Struct):
    """`may_sign` is null where the issuer is not bound (yet)."""

    issuer: str
    may_sign: bool | None
    approval_id: UUID | None = None


class Issuers(msgspec.Struct):
    items: list[IssuerOut]


ActionName = Literal["view", "use", "manage"]
WecomId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
MOST_CELLS = 10_000
Place = Annotated[int, msgspec.Meta(ge=0, lt=MOST_CELLS)]


class DecisionQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """`userid` left out asks for oneself; without a customer the question is about the group itself. Of a customer with
    several followers the nearest to that person counts, unless `follow_userid` names one."""

    group_id: UUID
    action: ActionName
    external_userid: WecomId | None = None
    follow_userid: WecomId | None = None
    userid: WecomId | None = None


class NearestChange(msgspec.Struct, omit_defaults=True):
    """One change that is needed before it is allowed, and who can make it: keepers of the module. `department` is that of
    the row; `row` is shown to who may read the policy."""

    kind: Literal["give_role", "classify_group", "lift_deny", "add_grant", "widen_grant", "record_agreement"]
    module: str
    who: list[str]
    role: str | None = None
    department: int | None = None
    action: str | None = None
    reach: str | None = None
    row: str | None = None


class DecisionOut(msgspec.Struct, omit_defaults=True):
    """`refusal` tells a row that forbids it (`explicit`) from no row that allows it (`implicit`). `nearest` says in words
    what would allow it, `changes` the same step by step. The trace is for admins, auditors and sub-admins of the policy."""

    allowed: bool
    step: str | None
    reason: str
    text: str
    refusal: Literal["explicit", "implicit"] | None = None
    obligation: Literal["direct", "approve"] | None = None
    revision: int = 0
    epoch: int = 0
    nearest: str | None = None
    changes: list[NearestChange] = []
    trace: list[dict[str, Any]] = []


class DecisionCell(msgspec.Struct, forbid_unknown_fields=True):
    """One question, by places in the lists, counted from 0. Without `customer` it is about the group itself."""

    group: Place
    user: Place = 0
    action: Place = 0
    customer: Place | None = None


class DecisionBatch(msgspec.Struct, forbid_unknown_fields=True):
    """Up to 10,000 questions. Each value stands once, in its list; `cells` pick combinations. Without `cells` every
    combination is asked, users first and customers turning fastest. `userids` left out is the caller alone, `actions` left
    out is `use` alone, and without `customers` the questions are about the groups themselves."""

    group_ids: Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=MOST_CELLS)]
    userids: Annotated[list[WecomId], msgspec.Meta(min_length=1, max_length=MOST_CELLS)] | None = None
    actions: Annotated[list[ActionName], msgspec.Meta(min_length=1, max_length=3)] | None = None
    customers: Annotated[list[WecomId], msgspec.Meta(max_length=MOST_CELLS)] = []
    cells: Annotated[list[DecisionCell], msgspec.Meta(min_length=1, max_length=MOST_CELLS)] | None = None


class DecisionCellOut(msgspec.Struct, omit_defaults=True):
    """`reason` is the code that a single question gives; `tag_group_unknown` and `customer_unknown` where that is 404."""

    allowed: bool
    reason: str
    step: str | None = None
    refusal: Literal["explicit", "implicit"] | None = None
    obligation: Literal["direct", "approve"] | None = None


class DecisionBatchOut(msgspec.Struct):
    """An answer a question, in order, all by one epoch."""

    epoch: int
    revision: int
    items: list[DecisionCellOut]


class AbleOut(msgspec.Struct, omit_defaults=True):
    """Somebody who could. `relation` to the customer's nearest follow, `row` the one that allows it."""

    userid: str
    name: str
    departments: list[int]
    roles: list[str]
    relation: str | None = None
    row: str | None = None


class WhoCan(msgspec.Struct):
    """`obligation`: what using it asks of them. `rule` forbids adding the tag to anybody: `tag_retired`, `tag_ended`."""

    epoch: int
    group_id: UUID
    action: str
    obligation: Literal["direct", "approve"] | None
    rule: str | None
    items: list[AbleOut]
    next_cursor: str | None


class PolicyOut(msgspec.Struct):
    revision: int
    epoch: int
    capabilities: list[dict[str, Any]]
    approvals: dict[str, Any]
    drift: dict[str, Any]
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
    next_cursor: str | None


class AgreementIn(msgspec.Struct, forbid_unknown_fields=True):
    """People of `department` may use the group on customers of people in `partner_department`; both with all below them.
    `since` left out: at once; `until` left out: until somebody ends it."""

    department: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    partner_department: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    group_id: UUID
    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    note: Annotated[str, msgspec.Meta(max_length=500)] = ""


class AgreementOut(msgspec.Struct):
    """`state` is `planned`, `in_force`, `over` or `ended`; `missing` names what it speaks of and is there no more."""

    id: UUID
    department: int
    partner_department: int
    group_id: UUID
    note: str
    state: str
    made_by: str
    approval_id: UUID | None
    since: datetime
    until: datetime | None
    ended_at: datetime | None
    ended_by: str | None
    missing: list[str]


class AgreementPage(msgspec.Struct):
    items: list[AgreementOut]
    next_cursor: str | None


class PointOut(msgspec.Struct):
    """One thing that stands between the corp and `live` (`missing`), or that an admin should know (`warnings`)."""

    code: str
    text: str
    facts: dict[str, Any]


class CorpOut(msgspec.Struct):
    corp_id: str
    name: str
    state: str
    writes_suspended: bool
    time_zone: str
    policy_source: str
    org_mirrored_at: datetime | None
    activated_at: datetime | None
    missing: list[PointOut]
    warnings: list[PointOut]
    unclassified_groups: int


class CorpIn(msgspec.Struct, forbid_unknown_fields=True):
    """What is left out stays as it is. `files`: the policy is written in files and read-only here."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = None
    time_zone: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    policy_source: Literal["console", "files"] | None = None


class ActivatedOut(msgspec.Struct):
    """What the corp was activated with, and what an admin should still look at."""

    state: str
    revision: int
    unclassified: list[str]
    warnings: list[PointOut]


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
