"""Who am I, the mirror, roles, the policy, questions without doing, activation and the audit, over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, get, post, put
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from tagwarden.audit import service as audit
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.model import GroupUnknown
from tagwarden.corps.credentials import AppCredential
from tagwarden.corps.model import Caller
from tagwarden.corps.tables import Corp
from tagwarden.customers import repository as customers
from tagwarden.customers.model import CustomerUnknown, FollowUnknown
from tagwarden.governance import service
from tagwarden.governance.schemas import (
    AuditPage,
    CorpOut,
    CredentialIn,
    CredentialOut,
    DecisionOut,
    DecisionQuestion,
    DepartmentOut,
    Departments,
    EmployeeOut,
    Employees,
    Me,
    MyGroup,
    PolicyOut,
    Revision,
    Revisions,
    RolesIn,
)
from tagwarden.identity.model import Module, ModuleMissing, RoleName
from tagwarden.kernel.http import LARGEST_PAGE, CursorInvalid, decode_cursor, encode_cursor, problems
from tagwarden.policy import repository as policies
from tagwarden.policy.explain import explain, groups_of, trace
from tagwarden.policy.model import Action, Relation
from tagwarden.policy.service import Picture

Limit = Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE)]


def _employee(one: Any) -> EmployeeOut:
    return EmployeeOut(
        one.userid, one.name, one.active, sorted(one.departments), sorted(one.leads), sorted(one.roles), sorted(one.modules)
    )


class MeController(Controller):
    """The caller himself."""

    path = "/v1/me"
    tags = ("identity",)

    @get("/", operation_id="get_me", opt={"action": "self"}, responses=problems())
    async def me(self, picture: NamedDependency[Picture], caller: NamedDependency[Caller], language: NamedDependency[str]) -> Me:
        """Who am I, what may I do, and whom do I ask."""
        employee = picture.directory.employee(caller.userid)
        groups = await service.groups_overview(picture.corp_id, picture, caller.userid)
        ask = [one.userid for one in picture.directory.holders(RoleName.ADMIN)]
        nothing = not groups and not groups_of(picture, caller.userid)
        return Me(
            employee.userid,
            employee.name,
            picture.corp_id,
            sorted(employee.departments),
            sorted(employee.leads),
            sorted(employee.roles),
            sorted(employee.modules),
            [MyGroup(group.id, group.name, group.kind.value, [action.value for action in actions]) for group, actions in groups],
            ask,
            _nothing(language, ask) if nothing else None,
        )


def _nothing(language: str, ask: list[str]) -> str:
    if language == "zh":
        return f"您所在的部门还没有分配任何标签组，请联系管理员：{'、'.join(ask)}"
    return f"No tag group is assigned to your department yet; ask an admin: {', '.join(ask)}"


class OrganisationController(Controller):
    """The mirror of WeCom's organisation, and roles."""

    path = "/v1"
    tags = ("identity",)

    @get("/departments", operation_id="list_departments", opt={"action": "self"}, responses=problems())
    async def departments(self, picture: NamedDependency[Picture]) -> Departments:
        """Every department of the mirror."""
        found = sorted(picture.directory.departments.values(), key=lambda one: one.id)
        return Departments([DepartmentOut(one.id, one.name, one.parent_id) for one in found])

    @get("/employees", operation_id="list_employees", opt={"action": "members"}, responses=problems())
    async def employees(
        self, picture: NamedDependency[Picture], caller: NamedDependency[Caller], unassigned: FromQuery[bool] = False
    ) -> Employees:
        """Every employee with roles (members module, or auditor); `unassigned`: those whom no tag group reaches."""
        _require_members_or_auditor(picture, caller)
        found = sorted(picture.directory.employees.values(), key=lambda one: one.userid)
        if unassigned:
            found = [one for one in found if one.active and not groups_of(picture, one.userid)]
        return Employees([_employee(one) for one in found])

    @put(
        "/employees/{userid:str}/roles",
        operation_id="set_employee_roles",
        opt={"action": "members"},
        responses=problems(404, 409),
    )
    async def roles(self, caller: NamedDependency[Caller], userid: FromPath[str], data: JSONBody[RolesIn]) -> RolesIn:
        """Makes roles exactly these. What is taken is immediate; once live, giving a signing role is protected."""
        modules = [Module(name) for name in data.modules]
        roles = sorted({RoleName(name) for name in data.roles})
        await service.put_roles(caller, userid, roles, modules)
        kept = sorted(set(data.modules)) if RoleName.SUBADMIN in roles else []
        return RolesIn([role.value for role in roles], kept)


def _require_members_or_auditor(picture: Picture, caller: Caller) -> None:
    employee = picture.directory.employee(caller.userid)
    if not employee.holds(RoleName.AUDITOR):
        picture.directory.require_module(employee, Module.MEMBERS)


class DecisionController(Controller):
    """Questions without doing; not audited."""

    path = "/v1/decisions"
    tags = ("policy",)

    @post("/", operation_id="ask_decision", opt={"action": "ask"}, status_code=200, responses=problems(404))
    async def ask(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        data: JSONBody[DecisionQuestion],
        language: NamedDependency[str],
    ) -> DecisionOut:
        """May I (or, for admins and auditors: may somebody) do this?"""
        return await _answered(picture, caller, data, language, with_trace=False)

    @post("/explain", operation_id="explain_decision", opt={"action": "ask"}, status_code=200, responses=problems(404))
    async def explain(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        data: JSONBody[DecisionQuestion],
        language: NamedDependency[str],
    ) -> DecisionOut:
        """The same with every step and the row that decided it."""
        return await _answered(picture, caller, data, language, with_trace=True)


async def _answered(picture: Picture, caller: Caller, data: DecisionQuestion, language: str, *, with_trace: bool) -> DecisionOut:
    actor = data.userid or caller.userid
    if actor != caller.userid:
        employee = picture.directory.employee(caller.userid)
        if not employee.holds(RoleName.ADMIN, RoleName.AUDITOR):
            raise ModuleMissing(module=Module.POLICY.value, ask=picture.directory.admins())
    group = await catalog.group(picture.corp_id, data.group_id)
    if group is None:
        raise GroupUnknown()
    relation = await _relation(picture, actor, data)
    decision = picture.decide(actor, str(group.id), group.kind, Action(data.action), relation)
    why = explain(picture, decision, actor=actor, group_name=group.name, relation=relation)
    needs = "approve" if group.kind.value == "value" else "direct"
    return DecisionOut(
        decision.allowed,
        decision.step.value if decision.step else None,
        why.reason,
        why.zh if language == "zh" else why.en,
        needs if decision.allowed and data.action == "use" else None,
        picture.revision,
        picture.epoch,
        why.nearest_zh if language == "zh" else why.nearest_en,
        trace(decision) if with_trace else [],
    )


async def _relation(picture: Picture, actor: str, data: DecisionQuestion) -> Relation | None:
    if data.external_userid is None:
        return None
    follows = await customers.open_follows(picture.corp_id, data.external_userid)
    if not follows:
        raise CustomerUnknown()
    owners = [follow.userid for follow in follows]
    if data.follow_userid is not None:
        if data.follow_userid not in owners:
            raise FollowUnknown()
        owners = [data.follow_userid]
    relations = [picture.relation(actor, owner) for owner in owners]
    return next((relation for relation in Relation if relation in relations), Relation.NONE)


class PolicyController(Controller):
    """The published policy, for admins and auditors."""

    path = "/v1/policy"
    tags = ("policy",)

    @get("/", operation_id="get_policy", opt={"action": "policy"}, responses=problems())
    async def read(self, picture: NamedDependency[Picture], caller: NamedDependency[Caller]) -> PolicyOut:
        """The revision in force."""
        _require_policy_reader(picture, caller)
        row = await policies.current(picture.corp_id)
        content = msgspec.json.decode(row["content"]) if row else {}
        grants = [
            {
                "id": grant.id,
                "department": grant.department,
                "group_id": grant.group,
                "action": grant.action.value,
                "effect": grant.effect.value,
                "inherit": grant.inherit,
                "reach": grant.reach.value if grant.reach else None,
            }
            for grant in picture.grants
        ]
        return PolicyOut(picture.revision, picture.epoch, content.get("capabilities", []), content.get("approvals", {}), grants)

    @get("/revisions", operation_id="list_policy_revisions", opt={"action": "policy"}, responses=problems())
    async def revisions(self, picture: NamedDependency[Picture], caller: NamedDependency[Caller], limit: Limit = 50) -> Revisions:
        """Revisions, newest first."""
        _require_policy_reader(picture, caller)
        return Revisions([Revision(**row) for row in await policies.revisions(picture.corp_id, None, limit)])


def _require_policy_reader(picture: Picture, caller: Caller) -> None:
    employee = picture.directory.employee(caller.userid)
    if not employee.holds(RoleName.AUDITOR):
        picture.directory.require_module(employee, Module.POLICY)


class CorpController(Controller):
    """The tenant."""

    path = "/v1/corp"
    tags = ("corp",)

    @get("/", operation_id="get_corp", opt={"action": "corp"}, responses=problems())
    async def read(self, picture: NamedDependency[Picture], caller: NamedDependency[Caller]) -> CorpOut:
        """State, zone, and what stands between `setup` and `live`."""
        _require_policy_reader(picture, caller)
        row = await Corp.select().where(Corp.corp_id == picture.corp_id).first()
        missing = await service.missing_for_activation(picture.corp_id, picture)
        values = {name: row[name] for name in CorpOut.__struct_fields__ if name != "missing"} if row else {}
        return CorpOut(**values, missing=missing)

    @put("/credentials/{app:str}", operation_id="set_corp_credential", opt={"action": "corp"}, responses=problems(404))
    async def credentials(
        self,
        caller: NamedDependency[Caller],
        state: State,
        app: FromPath[Literal["crm", "contacts"]],
        data: JSONBody[CredentialIn],
    ) -> CredentialOut:
        """Replaces an app's WeCom credential and lifts a stop. The secret is never shown again."""
        credential = AppCredential(caller.corp_id, app, data.agent_id, data.secret, data.token, data.aes_key)
        return CredentialOut(await service.put_credentials(caller, state.sealer, credential), "stored")

    @post("/activate", operation_id="activate_corp", opt={"action": "corp"}, status_code=200, responses=problems(409))
    async def activate(self, caller: NamedDependency[Caller]) -> dict[str, Any]:
        """Leaves `setup` for good; 409 lists everything that is missing."""
        return await service.activate(caller)


class AuditController(Controller):
    """The audit chain, for admins and auditors."""

    path = "/v1/audit"
    tags = ("audit",)

    @get("/", operation_id="list_audit_lines", opt={"action": "audit"}, responses=problems())
    async def list(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        limit: Limit = 50,
        cursor: FromQuery[str | None] = None,
    ) -> AuditPage:
        """Lines, newest first."""
        employee = picture.directory.employee(caller.userid)
        if not employee.holds(RoleName.AUDITOR, RoleName.ADMIN):
            raise ModuleMissing(module="audit", ask=picture.directory.admins())
        before = decode_cursor(cursor)
        number = _seq(before)
        items = await audit.latest(picture.corp_id, before=number, limit=limit)
        following = encode_cursor(items[-1]["seq"]) if len(items) == limit else None
        return AuditPage(items, following)


def _seq(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise CursorInvalid()
    return int(cursor)
