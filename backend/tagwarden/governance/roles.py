"""Who holds which role. What is taken is immediate; a signing role that is given once the corp is live waits for two
people above the employee concerned. Two accounts may be found to be one person, for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from uuid import UUID

from tagwarden.approvals import service as approvals
from tagwarden.approvals.applier import ProtectedApplier
from tagwarden.approvals.model import Approval, Ask, NotStanding
from tagwarden.catalog.appliers import decided_by, digest, holds_module
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import CorpState, Work
from tagwarden.identity import repository as identity
from tagwarden.identity.model import Directory, Employee, Module, RoleName
from tagwarden.kernel import db
from tagwarden.kernel.errors import Conflict, Invalid, NotFound
from tagwarden.policy import service as policy
from tagwarden.policy.chains import SIGNING_ROLES
from tagwarden.policy.service import Picture

ROLES_GIVE = "roles_give"


class EmployeeUnknown(NotFound):
    code = "employee_unknown"
    zh = "找不到该员工"
    en = "No such employee"


class LastAdmin(Invalid):
    code = "last_admin"
    zh = "不能移除最后一位管理员"
    en = "The last admin cannot be removed"


class PersonsApart(Conflict):
    code = "persons_apart"
    zh = "无法把这两个账号认定为同一人：{why}"
    en = "These two accounts cannot be joined into one person: {why}"


@dataclass(frozen=True, slots=True)
class RolesChanged:
    """The roles held from now on; what else was asked for waits under `approval_id`."""

    roles: list[RoleName]
    approval_id: UUID | None = None


@command(Epoch.EXCLUSIVE)
async def put_roles(
    work: Work, userid: str, roles: Sequence[RoleName], modules: Sequence[Module], reason: str = ""
) -> RolesChanged:
    """Makes an employee's roles exactly these. What it takes is immediate; giving a signing role once live is held."""
    picture = await policy.in_force(work)
    caller = picture.directory.employee(work.caller.userid)
    picture.directory.require_module(caller, Module.MEMBERS)
    employee = picture.directory.known(picture.directory.named(userid))
    if employee is None:
        raise EmployeeUnknown()
    done = await set_roles(work, picture, employee, roles, [module.value for module in modules], reason)
    await require_an_admin(work.corp_id)
    return done


async def require_an_admin(corp_id: str) -> None:
    """Asked after roles were taken, inside the caller's command; LastAdmin takes everything back."""
    if not (await identity.load_directory(corp_id)).holders(RoleName.ADMIN):
        raise LastAdmin()


async def set_roles(
    work: Work, picture: Picture, employee: Employee, roles: Sequence[RoleName], modules: Sequence[str], reason: str
) -> RolesChanged:
    """Inside the caller's command: takes and gives what may be at once, and asks for the rest."""
    _require_admin_for_admins(work, picture, employee, roles, modules)
    for asked in await _asked_otherwise(work.corp_id, employee.userid, roles):
        await approvals.make_stale(work, asked, "roles_put_since")
    given, taken = set(roles) - employee.roles, employee.roles - set(roles)
    held = given & SIGNING_ROLES if work.corp.state is CorpState.LIVE else set()
    await _write_roles(work, employee, given - held, taken, roles, modules)
    approval_id = await _hold(work, picture, employee, held, set(roles) - held, reason) if held else None
    if not work.entries:
        work.record("roles.confirmed", f"employee:{employee.userid}")
    return RolesChanged(sorted(set(roles) - held), approval_id)


async def _asked_otherwise(corp_id: str, userid: str, roles: Sequence[RoleName]) -> list[UUID]:
    """Open requests that would give what is left out now."""
    rows = await db.fetch(
        "select id from approval where corp_id = $1 and about_userid = $2 and kind = $3"
        " and state in ('pending_level1', 'pending_level2') and not payload -> 'give' <@ to_jsonb($4::text[]) order by id",
        corp_id,
        userid,
        ROLES_GIVE,
        [role.value for role in roles],
    )
    return [row["id"] for row in rows]


def _require_admin_for_admins(
    work: Work, picture: Picture, employee: Employee, roles: Sequence[RoleName], modules: Sequence[str]
) -> None:
    """Who configures is made and unmade by admins alone, on whatever way."""
    caller = picture.directory.employee(work.caller.userid)
    switches = {module.value for module in employee.modules}
    moves = set(roles) != employee.roles or (RoleName.SUBADMIN in roles and set(modules) != switches)
    configures = {RoleName.ADMIN, RoleName.SUBADMIN}
    if moves and not configures.isdisjoint(employee.roles | set(roles)):
        picture.directory.require_role(caller, RoleName.ADMIN)


async def _write_roles(
    work: Work,
    employee: Employee,
    given: set[RoleName],
    taken: set[RoleName] | frozenset[RoleName],
    roles: Sequence[RoleName],
    modules: Sequence[str],
) -> None:
    switches_moved = RoleName.SUBADMIN in roles and set(modules) != {module.value for module in employee.modules}
    if not given and not taken and not switches_moved:
        return
    for role in sorted(taken):
        await identity.take_role(work.corp_id, employee.userid, role)
    for role in sorted(given | ({RoleName.SUBADMIN} if switches_moved else set())):
        switches = modules if role is RoleName.SUBADMIN else ()
        await identity.give_role(work.corp_id, employee.userid, role, switches, work.caller.userid)
    detail = {"given": sorted(given), "taken": sorted(taken), "modules": sorted(modules)}
    work.record("roles.changed", f"employee:{employee.userid}", None, **detail)


async def _hold(work: Work, picture: Picture, employee: Employee, held: set[RoleName], kept: set[RoleName], reason: str) -> UUID:
    payload = _payload(employee.userid, held, kept)
    wanted = Ask(ROLES_GIVE, payload, RolesApplier().effects(payload), employee.userid, None, reason)
    return (await approvals.ask(work, picture, wanted)).id


def _payload(userid: str, give: Iterable[RoleName], before: Iterable[RoleName]) -> dict[str, Any]:
    """What an approval of roles holds: what is given, and for readers what is held besides."""
    return {"userid": userid, "give": sorted(role.value for role in give), "before": sorted(role.value for role in before)}


class RolesApplier(ProtectedApplier):
    """A signing role for somebody: signed above him, never by him."""

    kind: ClassVar[str] = ROLES_GIVE

    def effects(self, payload: dict[str, Any]) -> tuple[str, ...]:
        """One key a role."""
        return tuple(f"role:{payload['userid']}:{role}:give" for role in payload["give"])

    async def fingerprint(self, corp_id: str, payload: dict[str, Any]) -> str:
        """Who he is, what he signs already, and where he stands in the organisation."""
        one = (await identity.load_directory(corp_id)).known(payload["userid"])
        if one is None:
            return digest(None)
        return digest(
            [one.userid, one.person, one.active, sorted(one.roles & SIGNING_ROLES), sorted(one.departments | one.leads)]
        )

    async def check(self, work: Work, picture: Picture, approval: Approval) -> str | None:
        """The requester still gives roles, and the employee is there."""
        if not holds_module(picture, approval.requester, Module.MEMBERS):
            return "requester_lost_right"
        one = picture.directory.known(approval.payload["userid"])
        if one is None or not one.active:
            return "employee_gone"
        return "nothing_to_change" if set(approval.payload["give"]) <= {role.value for role in one.roles} else None

    async def revise(self, work: Work, approval: Approval, change: dict[str, Any] | None) -> Ask:
        """The same roles for the employee as he is today."""
        asked = await super().revise(work, approval, change)
        one = (await identity.load_directory(work.corp_id)).known(asked.payload["userid"])
        give = {RoleName(role) for role in asked.payload["give"]} - (one.roles if one else set())
        if one is None or not give:
            raise NotStanding(why="nothing_to_change" if one else "employee_gone")
        payload = _payload(one.userid, give, one.roles)
        return replace(asked, payload=payload, effects=self.effects(payload))

    async def describe(self, corp_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The roles before and after, as they were when it was asked."""
        before = payload["before"]
        return {"employee": payload["userid"], "before": before, "after": sorted({*before, *payload["give"]})}

    async def apply(self, work: Work, picture: Picture, approval: Approval) -> None:
        """Gives them; the database lets each through once."""
        userid, give = approval.payload["userid"], approval.payload["give"]
        for role in give:
            await identity.give_role(work.corp_id, userid, RoleName(role), (), approval.requester)
        work.record("roles.changed", f"employee:{userid}", decided_by(picture, approval), given=give, taken=[], modules=[])


@command(Epoch.EXCLUSIVE)
async def join_persons(work: Work, userid: str, same_as: str) -> str:
    """Says that an account is one more of a person known already: those two never count as two. Never taken back."""
    picture = await policy.in_force(work)
    picture.directory.require_module(picture.directory.employee(work.caller.userid), Module.MEMBERS)
    one, other = (picture.directory.known(picture.directory.named(name)) for name in (userid, same_as))
    if one is None or other is None:
        raise EmployeeUnknown()
    if (why := _apart(picture.directory, one, other)) is not None:
        raise PersonsApart(why=why)
    await identity.join_person(work.corp_id, one.userid, other.person)
    work.record("employee.joined", f"employee:{one.userid}", same_as=other.userid)
    return one.userid


def _apart(directory: Directory, one: Employee, other: Employee) -> str | None:
    if one.userid == other.userid:
        return "same_account"
    if one.person == other.person:
        return "joined_already"
    shared = [known.userid for known in directory.employees.values() if known.person == one.person]
    return "joined_to_another" if shared != [one.userid] or one.person != one.userid.lower() else None
