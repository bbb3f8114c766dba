"""What only the operator does, as the owner role: adding a corp, and helping one that has lost its signers.

Audited like everything else. The database knows the owner role by its session; the service's role cannot say so.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tagwarden.approvals.service import SYSTEM
from tagwarden.audit import service as audit
from tagwarden.audit.model import GENESIS, Entry
from tagwarden.corps import credentials
from tagwarden.corps import epoch as epochs
from tagwarden.corps.credentials import AppCredential
from tagwarden.corps.model import CorpUnknown
from tagwarden.corps.time_zones import require_time_zone
from tagwarden.governance.bundle import read_bundle
from tagwarden.identity import repository as identity
from tagwarden.identity.model import RoleName
from tagwarden.kernel import clock, db
from tagwarden.kernel.errors import Conflict, NotFound
from tagwarden.kernel.resources import folder
from tagwarden.kernel.sealing import Sealer
from tagwarden.policy import repository as policies


class CorpExists(Conflict):
    code = "corp_exists"
    zh = "企业 {corp_id} 已存在"
    en = "Corp {corp_id} exists already"


class EmployeeMissing(NotFound):
    code = "employee_unknown"
    zh = "企业 {corp_id} 中没有在职员工 {userid}"
    en = "Corp {corp_id} has no active employee {userid}"


class OwnerNeeded(Conflict):
    code = "owner_needed"
    zh = "该操作需要以属主角色连接数据库"
    en = "This needs a session of the database's owner role"


@dataclass(frozen=True, slots=True)
class NewCorp:
    corp_id: str
    name: str
    admin: str
    issuer: str
    may_sign: bool
    time_zone: str = "Asia/Shanghai"


DEFAULT_FILES = ("roles.toml", "approvals.toml", "drift.toml")


def default_texts() -> dict[str, str]:
    """The shipped bundle: capabilities, chain and drift rule, no grants."""
    return {name: (folder("policies") / name).read_text(encoding="utf-8") for name in DEFAULT_FILES}


async def add_corp(sealer: Sealer, new: NewCorp, apps: list[AppCredential]) -> None:
    """Creates a tenant in `setup` with its credentials, its first admin, its issuer and the default policy.

    CorpExists, TimeZoneUnknown.
    """
    require_time_zone(new.time_zone)
    bundle = read_bundle({}, default_texts())
    content = {"capabilities": policies.capabilities_out(bundle.capabilities), "approvals": dict(bundle.approvals)}
    content["drift"] = dict(bundle.drift)
    async with db.transaction():
        if await db.fetch_value("select corp_id from corp where corp_id = $1", new.corp_id):
            raise CorpExists(corp_id=new.corp_id)
        await db.execute("insert into corp (corp_id, name, time_zone) values ($1, $2, $3)", new.corp_id, new.name, new.time_zone)
        await db.execute("insert into corp_epoch (corp_id) values ($1)", new.corp_id)
        await db.execute("insert into audit_head (corp_id, hash) values ($1, $2)", new.corp_id, GENESIS)
        for app in apps:
            await credentials.store(sealer, app)
        await db.execute(
            "insert into issuer_right (corp_id, issuer, may_sign) values ($1, $2, $3)", new.corp_id, new.issuer, new.may_sign
        )
        await db.execute(
            "insert into employee (corp_id, userid, name, person) values ($1, $2, $2, lower($2))", new.corp_id, new.admin
        )
        await identity.give_role(new.corp_id, new.admin, RoleName.ADMIN, [], SYSTEM)
        await policies.insert_revision(new.corp_id, 1, content, policies.Rows(), "shipped defaults", SYSTEM)
        entry = Entry("corp.added", f"corp:{new.corp_id}", {"admin": new.admin, "issuer": new.issuer, "may_sign": new.may_sign})
        line = audit.canonical(new.corp_id, {"userid": "", "issuer": "operator"}, "", clock.now(), entry)
        await audit.close(new.corp_id, [line], bumped=True)


async def recover(corp_id: str, userid: str, reason: str, *, dry_run: bool = False) -> int:
    """Makes an active employee supervisor and suspends tag writes until `activate` passes again; returns the new epoch.

    For a corp in which nobody is left to sign. CorpUnknown, EmployeeMissing, OwnerNeeded. A dry run does all of it and
    keeps nothing.
    """
    async with db.rehearsal() if dry_run else db.transaction():
        if not await db.fetch_value("select pg_get_userbyid(relowner) = session_user from pg_class where oid = 'corp'::regclass"):
            raise OwnerNeeded()
        epoch = await db.fetch_value("select epoch from corp_epoch where corp_id = $1 for update", corp_id)
        if epoch is None:
            raise CorpUnknown()
        directory = await identity.load_directory(corp_id)
        found = directory.known(directory.named(userid))
        if found is None or not found.active:
            raise EmployeeMissing(corp_id=corp_id, userid=userid)
        userid = found.userid
        await db.execute("select set_config('tagwarden.recover', 'on', true)")
        await identity.give_role(corp_id, userid, RoleName.SUPERVISOR, [], "operator")
        await db.execute("update corp set writes_suspended = true where corp_id = $1 and state = 'live'", corp_id)
        moved = await epochs.bump(corp_id)
        detail = {"supervisor": userid, "reason_hash": hashlib.sha256(reason.encode()).hexdigest()}
        entry = Entry("corp.recovered", f"corp:{corp_id}", detail)
        line = audit.canonical(corp_id, {"userid": "", "issuer": "operator"}, "", clock.now(), entry)
        await audit.close(corp_id, [line], bumped=True)
        return moved
