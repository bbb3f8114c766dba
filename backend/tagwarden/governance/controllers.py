"""Who am I, the mirror, roles, the policy, questions without doing, activation and the audit, over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from litestar import Controller, Response, delete, get, post, put
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, PathParameter, QueryParameter

from tagwarden.approvals.schemas import WAITS
from tagwarden.corps.credentials import AppCredential
from tagwarden.corps.model import Caller, PolicySource
from tagwarden.corps.tables import Corp
from tagwarden.governance import issuers, readiness, roles, service
from tagwarden.governance.corp_settings import CorpChange, put_corp
from tagwarden.governance.policy_controllers import require_policy_reader
from tagwarden.governance.readiness import Point
from tagwarden.governance.schemas import (
    ActivatedOut,
    CorpIn,
    CorpOut,
    CredentialIn,
    CredentialOut,
    DepartmentOut,
    Departments,
    EmployeeOut,
    Employees,
    IssuerIn,
    IssuerOut,
    Issuers,
    Me,
    MyGroup,
    PersonIn,
    PersonOut,
    PointOut,
    RolesIn,
    RolesOut,
)
from tagwarden.identity.model import Module, RoleName
from tagwarden.kernel.http import LARGEST_PAGE, answers, problems
from tagwarden.kernel.settings import CARD_ISSUER
from tagwarden.policy import service as policy
from tagwarden.policy.explain import groups_of
from tagwarden.policy.service import Picture

Limit = Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE)]
IssuerName = Annotated[str, PathParameter(min_length=1, max_length=200)]


def _employee(one: Any) -> EmployeeOut:
    return EmployeeOut(
        one.userid,
        one.name,
        one.active,
        sorted(one.departments),
        sorted(one.leads),
        sorted(one.roles),
        sorted(one.modules),
        one.wecom_userid,
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
            picture.epoch,
            caller.may_sign and caller.act is None,
            caller.act,
            _nothing(language, ask) if nothing else None,
            picture.unclassified if picture.directory.has_module(employee, Module.CATALOG) else None,
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
        responses={202: answers(RolesOut, "A signing role waits for two signatures; the rest is done."), **problems(404, 409)},
    )
    async def roles(self, caller: NamedDependency[Caller], userid: FromPath[str], data: JSONBody[RolesIn]) -> Response[RolesOut]:
        """Makes roles exactly these. What is taken is immediate; once live, a signing role waits for two signatures."""
        modules = [Module(name) for name in data.modules]
        wanted = sorted({RoleName(name) for name in data.roles})
        done = await roles.put_roles(caller, userid, wanted, modules, data.reason)
        kept: list[str] = sorted(set(data.modules)) if RoleName.SUBADMIN in done.roles else []
        answer = RolesOut([role.value for role in done.roles], kept, done.approval_id)
        return Response(answer, status_code=202 if done.approval_id else 200)

    @put(
        "/employees/{userid:str}/person",
        operation_id="join_employee",
        opt={"action": "members"},
        responses=problems(404, 409),
    )
    async def person(self, caller: NamedDependency[Caller], userid: FromPath[str], data: JSONBody[PersonIn]) -> PersonOut:
        """Says that this account is one more of a person known already: the two never sign as two. Never taken back."""
        return PersonOut(await roles.join_persons(caller, userid, data.same_as), data.same_as)


def _require_members_or_auditor(picture: Picture, caller: Caller) -> None:
    employee = picture.directory.employee(caller.userid)
    if not employee.holds(RoleName.AUDITOR):
        picture.directory.require_module(employee, Module.MEMBERS)


class CorpController(Controller):
    """The tenant."""

    path = "/v1/corp"
    tags = ("corp",)

    @get("/", operation_id="get_corp", opt={"action": "corp"}, responses=problems())
    async def read(
        self, picture: NamedDependency[Picture], caller: NamedDependency[Caller], language: NamedDependency[str]
    ) -> CorpOut:
        """State, zone, where the policy is written, what stands between `setup` and `live`, and what is worth knowing."""
        require_policy_reader(picture, caller)
        return await _corp(picture, language)

    @put("/", operation_id="set_corp", opt={"action": "corp"}, responses=problems())
    async def change(self, caller: NamedDependency[Caller], data: JSONBody[CorpIn], language: NamedDependency[str]) -> CorpOut:
        """Name, time zone, and whether files are the policy's truth; an admin's alone. What is left out stays as it is."""
        source = PolicySource(data.policy_source) if data.policy_source else None
        await put_corp(caller, CorpChange(data.name, data.time_zone, source))
        return await _corp(await policy.current(caller.corp_id), language)

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

    @get("/issuers", operation_id="list_issuers", opt={"action": "corp"}, responses=problems())
    async def list_issuers(self, picture: NamedDependency[Picture], caller: NamedDependency[Caller]) -> Issuers:
        """Whose tokens count here, and whether they may sign."""
        require_policy_reader(picture, caller)
        return Issuers([IssuerOut(one, picture.directory.may_sign(one)) for one in sorted(picture.directory.issuers)])

    @put(
        "/issuers/{issuer:str}",
        operation_id="set_issuer",
        opt={"action": "corp"},
        responses={202: answers(IssuerOut, WAITS), **problems(404, 409)},
    )
    async def put_issuer(
        self, caller: NamedDependency[Caller], state: State, issuer: IssuerName, data: JSONBody[IssuerIn]
    ) -> Response[IssuerOut]:
        """Binds an issuer of tokens or changes its right; once live, what widens waits for two signatures.

        `wecom-card` stands for clicks on WeCom's cards: only where it may sign does a click sign.
        """
        done = await issuers.put_issuer(caller, issuer, data.may_sign, data.reason, {*state.issuers, CARD_ISSUER})
        return Response(IssuerOut(issuer, done.may_sign, done.approval_id), status_code=202 if done.approval_id else 200)

    @delete(
        "/issuers/{issuer:str}",
        operation_id="remove_issuer",
        opt={"action": "corp"},
        status_code=204,
        responses=problems(404, 409),
    )
    async def remove_issuer(self, caller: NamedDependency[Caller], issuer: IssuerName) -> None:
        """Unbinds an issuer: from the next request on its tokens are nobody's here."""
        await issuers.remove_issuer(caller, issuer)

    @post("/activate", operation_id="activate_corp", opt={"action": "corp"}, status_code=200, responses=problems(409))
    async def activate(self, caller: NamedDependency[Caller], language: NamedDependency[str]) -> ActivatedOut:
        """Leaves `setup` for good; 409 lists everything that is missing, each with its code."""
        done = await service.activate(caller)
        warnings = [_point(Point(**one), language) for one in done["warnings"]]
        return ActivatedOut(done["state"], done["revision"], done["unclassified"], warnings)


async def _corp(picture: Picture, language: str) -> CorpOut:
    row = await Corp.select().where(Corp.corp_id == picture.corp_id).first()
    found = await readiness.points(picture.corp_id, picture)
    missing = [_point(one, language) for one in found if one.blocking]
    warnings = [_point(one, language) for one in found if not one.blocking]
    values = {name: row[name] for name in CorpOut.__struct_fields__ if name in row} if row else {}
    return CorpOut(**values, missing=missing, warnings=warnings, unclassified_groups=picture.unclassified)


def _point(point: Point, language: str) -> PointOut:
    return PointOut(point.code, point.zh if language == "zh" else point.en, point.facts)
