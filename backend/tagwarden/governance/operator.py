"""What only the operator does, as the owner role: adding a corp. Audited like everything else."""

from __future__ import annotations

from dataclasses import dataclass

from tagwarden.approvals.service import SYSTEM
from tagwarden.audit import service as audit
from tagwarden.audit.model import GENESIS, Entry
from tagwarden.corps import credentials
from tagwarden.corps.credentials import AppCredential
from tagwarden.governance.bundle import read_bundle
from tagwarden.identity import repository as identity
from tagwarden.identity.model import RoleName
from tagwarden.kernel import clock, db
from tagwarden.kernel.errors import Conflict
from tagwarden.kernel.resources import folder
from tagwarden.kernel.sealing import Sealer
from tagwarden.policy import repository as policies


class CorpExists(Conflict):
    code = "corp_exists"
    zh = "企业 {corp_id} 已存在"
    en = "Corp {corp_id} exists already"


@dataclass(frozen=True, slots=True)
class NewCorp:
    corp_id: str
    name: str
    admin: str
    issuer: str
    may_sign: bool
    time_zone: str = "Asia/Shanghai"


def default_texts() -> dict[str, str]:
    """The shipped bundle: capabilities and chain, no grants."""
    return {name: (folder("policies") / name).read_text(encoding="utf-8") for name in ("roles.toml", "approvals.toml")}


async def add_corp(sealer: Sealer, new: NewCorp, apps: list[AppCredential]) -> None:
    """Creates a tenant in `setup` with its credentials, its first admin, its issuer and the default policy."""
    bundle = read_bundle({}, default_texts())
    content = {"capabilities": policies.capabilities_out(bundle.capabilities), "approvals": dict(bundle.approvals)}
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
        await policies.insert_revision(new.corp_id, 1, content, [], "shipped defaults", SYSTEM)
        entry = Entry("corp.added", f"corp:{new.corp_id}", {"admin": new.admin, "issuer": new.issuer, "may_sign": new.may_sign})
        line = audit.canonical(new.corp_id, {"userid": "", "issuer": "operator"}, "", clock.now(), entry)
        await audit.close(new.corp_id, [line], bumped=True)
