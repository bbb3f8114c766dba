"""Use cases of admins: applying a bundle, activating a corp, giving roles.

In `setup` an admin configures freely; once live, what would loosen the protection of value tags is a protected change
and is refused here, because two people have to sign it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from tagwarden.approvals.model import NoApprover, chain_for
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.model import ProtectedChange, TagGroup
from tagwarden.corps import credentials
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.credentials import AppCredential
from tagwarden.corps.model import CorpNotInSetup, CorpState, Work
from tagwarden.governance.bundle import Bundle, BundleInvalid, GrantLine
from tagwarden.identity import repository as identity
from tagwarden.identity.model import Directory, IdentityRefused, Module, ModuleMissing, RoleName
from tagwarden.kernel import db
from tagwarden.kernel.errors import Conflict, Invalid, NotFound
from tagwarden.kernel.sealing import Sealer
from tagwarden.policy import repository as policies
from tagwarden.policy import service as policy
from tagwarden.policy.model import Action, Effect, Grant, Kind

SIGNING_ROLES = (RoleName.MANAGER, RoleName.SUPERVISOR)


class ActivationBlocked(Conflict):
    code = "activation_blocked"
    zh = "还不能启用：{summary}"
    en = "Cannot be activated yet: {summary}"


class EmployeeUnknown(NotFound):
    code = "employee_unknown"
    zh = "找不到该员工"
    en = "No such employee"


class LastAdmin(Invalid):
    code = "last_admin"
    zh = "不能移除最后一位管理员"
    en = "The last admin cannot be removed"


@command(Epoch.EXCLUSIVE)
async def apply_bundle(work: Work, bundle: Bundle, note: str) -> int:
    """Classifies groups, gives roles and publishes the matrix as a new revision; returns its number. All or nothing."""
    picture = await policy.in_force(work)
    caller = picture.directory.employee(work.caller.userid)
    for module in (Module.POLICY, Module.CATALOG, Module.MEMBERS):
        picture.directory.require_module(caller, module)
    groups = {group.name: group for group in await catalog.groups(work.corp_id)}
    live = work.corp.state is CorpState.LIVE
    await _classify(work, bundle, groups, live=live)
    await _give_roles(work, picture.directory, bundle, live=live)
    rows = _grants(bundle.grants, groups)
    content = {"capabilities": policies.capabilities_out(bundle.capabilities), "approvals": dict(bundle.approvals)}
    current = await policies.current(work.corp_id)
    if live:
        kinds = {str(group.id): group.kind for group in groups.values()}
        _require_not_loosened(picture.grants, rows, kinds)
        _require_same_rules(current, content)
    revision = (current["revision"] if current else 0) + 1
    digest = await policies.insert_revision(work.corp_id, revision, content, rows, note, caller.userid)
    work.record("policy.published", f"policy:{revision}", note=note, grants=len(rows), content_hash=digest)
    return revision


async def _classify(work: Work, bundle: Bundle, groups: dict[str, TagGroup], *, live: bool) -> None:
    for line in bundle.groups:
        group = groups.get(line.name)
        if group is None:
            raise BundleInvalid(where=f"groups.toml {line.name}", why="no such tag group")
        if (group.kind, group.choice) == (line.kind, line.choice):
            continue
        if live and Kind.VALUE in (group.kind, line.kind):
            raise ProtectedChange(what=f"{line.name}: {group.kind.value} → {line.kind.value}")
        await catalog.update_group(
            work.corp_id, group.id, name=group.name, kind=line.kind, choice=line.choice, description=group.description
        )
        work.record("tag_group.classified", f"tag_group:{group.id}", kind=line.kind, choice=line.choice, kind_before=group.kind)


async def _give_roles(work: Work, directory: Directory, bundle: Bundle, *, live: bool) -> None:
    for line in bundle.people:
        employee = directory.known(line.userid)
        if employee is None:
            raise BundleInvalid(where=f"people.toml {line.userid}", why="no such employee")
        await _set_roles(work, directory, line.userid, line.roles, [module.value for module in line.modules], live=live)


async def _set_roles(
    work: Work, directory: Directory, userid: str, roles: Sequence[RoleName], modules: Sequence[str], *, live: bool
) -> None:
    employee = directory.employees[userid]
    given, taken = set(roles) - employee.roles, employee.roles - set(roles)
    if live and given & set(SIGNING_ROLES):
        raise ProtectedChange(what=f"{userid}: {', '.join(sorted(given & set(SIGNING_ROLES)))}")
    switches_moved = RoleName.SUBADMIN in roles and set(modules) != {module.value for module in employee.modules}
    if not given and not taken and not switches_moved:
        return
    for role in sorted(taken):
        await identity.take_role(work.corp_id, userid, role)
    for role in sorted(given | ({RoleName.SUBADMIN} if switches_moved else set())):
        switches = modules if role is RoleName.SUBADMIN else ()
        await identity.give_role(work.corp_id, userid, role, switches, work.caller.userid)
    work.record("roles.changed", f"employee:{userid}", given=sorted(given), taken=sorted(taken), modules=sorted(modules))


def _grants(lines: Iterable[GrantLine], groups: dict[str, TagGroup]) -> list[Grant]:
    rows = []
    for line in lines:
        group = groups.get(line.group)
        if group is None:
            raise BundleInvalid(where=f"grants.toml {line.id}", why="no such tag group")
        rows.append(Grant(line.id, line.department, str(group.id), line.action, line.effect, line.inherit, line.reach))
    return rows


def _require_not_loosened(before: Sequence[Grant], after: Sequence[Grant], kinds: dict[str, Kind]) -> None:
    """Once live, a value group's allows may shrink and its denies grow, never the reverse, without two signatures."""

    def cells(rows: Sequence[Grant], effect: Effect) -> set[tuple[Any, ...]]:
        return {
            (row.department, row.group, row.action, row.inherit, row.reach)
            for row in rows
            if row.effect is effect
            and kinds.get(row.group) is Kind.VALUE
            # An allowed view lets nobody change a tag; a denied one denies the use as well.
            and (effect is Effect.DENY or row.action is not Action.VIEW)
        }

    if cells(after, Effect.ALLOW) - cells(before, Effect.ALLOW) or cells(before, Effect.DENY) - cells(after, Effect.DENY):
        raise ProtectedChange(what="grants of a value group")


def _require_same_rules(current: db.Row | None, content: dict[str, Any]) -> None:
    """Capabilities and the chain loosen or tighten everything at once: once live they are protected as a whole."""
    if current is None or msgspec.json.decode(current["content"]) != content:
        raise ProtectedChange(what="capabilities or approval chain")


@command(Epoch.EXCLUSIVE)
async def put_roles(work: Work, userid: str, roles: Sequence[RoleName], modules: Sequence[Module]) -> list[RoleName]:
    """Makes an employee's roles exactly these. What it takes is immediate; giving a signing role once live is protected."""
    picture = await policy.in_force(work)
    caller = picture.directory.employee(work.caller.userid)
    picture.directory.require_module(caller, Module.MEMBERS)
    employee = picture.directory.known(userid)
    if employee is None:
        raise EmployeeUnknown()
    touches_admins = employee.holds(RoleName.ADMIN, RoleName.SUBADMIN) or {RoleName.ADMIN, RoleName.SUBADMIN} & set(roles)
    if touches_admins and not caller.holds(RoleName.ADMIN):
        raise ModuleMissing(module="admin", ask=picture.directory.admins(), audit={"step": "capability", "module": "admin"})
    admins = {one.userid for one in picture.directory.holders(RoleName.ADMIN)}
    if RoleName.ADMIN not in roles and admins == {userid}:
        raise LastAdmin()
    live = work.corp.state is CorpState.LIVE
    await _set_roles(work, picture.directory, userid, roles, [module.value for module in modules], live=live)
    if not work.entries:
        work.record("roles.confirmed", f"employee:{userid}")
    return sorted(roles)


@command(Epoch.SHARED)
async def put_credentials(work: Work, sealer: Sealer, credential: AppCredential) -> str:
    """Replaces one app's WeCom credential and lifts a stop; the old token goes with it. Admins only; never audited in clear."""
    picture = await policy.in_force(work)
    caller = picture.directory.employee(work.caller.userid)
    if not caller.holds(RoleName.ADMIN):
        raise ModuleMissing(module="admin", ask=picture.directory.admins(), audit={"step": "capability", "module": "admin"})
    await credentials.store(sealer, credential)
    await credentials.drop_token(work.corp_id, credential.app)
    work.record("corp.credentials_changed", f"app:{credential.app}", agent_id=credential.agent_id)
    return credential.app


@command(Epoch.EXCLUSIVE)
async def activate(work: Work) -> dict[str, Any]:
    """Leaves `setup` for good, or lists everything that is missing (ActivationBlocked)."""
    picture = await policy.in_force(work)
    caller = picture.directory.employee(work.caller.userid)
    if not caller.holds(RoleName.ADMIN):
        raise IdentityRefused(userid=caller.userid, audit={"step": "capability", "action": "activate"})
    if work.corp.state is CorpState.LIVE and not work.corp.writes_suspended:
        raise CorpNotInSetup()
    missing = await missing_for_activation(work.corp_id, picture)
    if missing:
        raise ActivationBlocked(summary="；".join(missing[:5]), missing=missing)
    await db.execute(
        "update corp set state = 'live', writes_suspended = false, activated_at = now() where corp_id = $1", work.corp_id
    )
    groups = await catalog.groups(work.corp_id)
    baseline = {
        "revision": picture.revision,
        "kinds": {str(group.id): group.kind.value for group in groups},
        "signers": sorted(one.userid for one in picture.directory.holders(*SIGNING_ROLES)),
        "issuers": sorted(picture.directory.signing_issuers),
    }
    work.record(
        "corp.activated", f"corp:{work.corp_id}", {"row": None, "revision": picture.revision, "epoch": work.epoch}, **baseline
    )
    return {
        "state": "live",
        "revision": picture.revision,
        "unclassified": [g.name for g in groups if g.kind is Kind.UNCLASSIFIED],
    }


async def missing_for_activation(corp_id: str, picture: policy.Picture) -> list[str]:
    """Everything that stands between `setup` and `live`, as sentences for an admin."""
    missing = []
    if await db.fetch_value("select org_mirrored_at from corp where corp_id = $1", corp_id) is None:
        missing.append("组织架构尚未从企业微信导入")
    if work_without := await _owners_without_signers(corp_id, picture):
        missing += [f"员工 {owner} 的客户没有两位不同的审批人（{why}）" for owner, why in work_without]
    if picture.revision == 0:
        missing.append("没有已发布的策略")
    return missing


async def _owners_without_signers(corp_id: str, picture: policy.Picture) -> list[tuple[str, str]]:
    rows = await db.fetch("select distinct userid from follow where corp_id = $1 and ended_at is null order by userid", corp_id)
    found = []
    for row in rows:
        owner = row["userid"]
        employee = picture.directory.known(owner)
        if employee is None or not employee.active:
            found.append((owner, "不在组织架构中"))
            continue
        try:
            chain_for(picture.directory, owner=owner, requester=owner, asking_is_level1=False)
        except NoApprover as error:
            found.append((owner, str(error.facts["why"])))
    return found


async def groups_overview(corp_id: str, picture: policy.Picture, userid: str) -> list[tuple[TagGroup, list[Action]]]:
    """Groups an employee may see, use or manage at all, with the actions that are open to him."""
    overview = []
    for group in await catalog.groups(corp_id):
        actions = [action for action in Action if picture.may(userid, str(group.id), group.kind, action, None)]
        if actions:
            overview.append((group, actions))
    return overview


async def find_group(corp_id: str, group_id: UUID) -> TagGroup | None:
    """One group, for readers."""
    return await catalog.group(corp_id, group_id)
