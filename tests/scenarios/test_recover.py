"""A corp that lost everybody who signs: `corp recover` by the operator, and the way back until tags are written again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import asyncpg
import pytest

from support.company import PEOPLE, Companies, Company
from support.servers import as_operator, command, tried
from support.service import Service, Web, check_problem
from tagwarden.governance import roles
from tagwarden.identity.model import RoleName
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls

REASON = "王主管离职 13800138000"


@dataclass
class Lost:
    """A live company whose supervisors are no supervisors any more, and whose South has no manager."""

    company: Company
    web: Web
    env: dict[str, str]
    pending: str

    async def recover(self, userid: str, *more: str, **settings: str) -> tuple[int, str]:
        """`tagwarden corp recover`, as the operator."""
        words = ("corp", "recover", "--corp", self.company.corp_id, "--supervisor", userid, "--reason", REASON, *more)
        return await tried({**self.env, **settings}, *words)

    async def activate(self, userid: str = "admin") -> Any:
        """The admin's activation over HTTP."""
        return await self.web.call(userid, "POST", "/v1/corp/activate")

    async def tag(self, tag: str) -> Any:
        """ann tags her customer."""
        return await self.web.tag("ann", "c1", [self.company.tags[tag]])

    async def state(self) -> list[Any]:
        """Everything a recovery may change."""
        corp = self.company.corp_id
        return [
            await db.fetch("select * from corp where corp_id = $1", corp),
            await db.fetch("select * from employee_role where corp_id = $1 order by userid, role", corp),
            await db.fetch("select seq from audit_head where corp_id = $1", corp),
            await db.fetch("select epoch from corp_epoch where corp_id = $1", corp),
        ]


@pytest.fixture
async def lost(companies: Companies, service: Service, database: EmbeddedUrls) -> Lost:
    """ann asked for value/high while there still was somebody to sign level 2."""
    company = await companies.make(people={**PEOPLE, "left": (11, False, ())})
    pending = (await company.change("ann", "c1", ["value/high"])).approval_id
    await company.move_people(PEOPLE)
    for userid in ("boss", "hq", "south"):
        await roles.put_roles(company.as_("admin"), userid, [RoleName.STAFF], [])
    return Lost(company, service.web(company), as_operator(database), str(pending))


async def suspended(lost: Lost) -> bool:
    found = await db.fetch_value("select writes_suspended from corp where corp_id = $1", lost.company.corp_id)
    assert isinstance(found, bool)
    return found


async def test_from_nobody_to_sign_until_tags_are_written_again(lost: Lost) -> None:
    check_problem(await lost.web.tag("bob", "c2", [lost.company.tags["value/high"]]), 409, "no_approver")
    asked = await lost.web.call("admin", "PUT", "/v1/employees/boss/roles", {"roles": ["supervisor"], "modules": []})
    check_problem(asked, 409, "no_approver")
    assert (await lost.tag("activity/hot")).status_code == 200, "what needs nobody goes on until the operator steps in"

    code, said = await lost.recover("boss")
    assert (code, "boss" in said) == (0, True), said
    await _writes_wait(lost)
    await _reads_go_on(lost)
    missing = check_problem(await lost.activate(), 409, "activation_blocked")
    assert "dan" in json.dumps(missing), "what is missing is listed"
    assert await suspended(lost)

    assert (await lost.recover("hq"))[0] == 0
    await _roles_are_signed_meanwhile(lost)
    assert await suspended(lost)
    check_problem(await lost.activate("boss"), 403)
    assert (await lost.activate()).status_code == 200
    check_problem(await lost.activate(), 409, "corp_not_in_setup")

    assert (await lost.tag("activity/warm")).status_code == 200
    anew = (await lost.web.tag("bob", "c2", [lost.company.tags["value/high"]])).json()["approval_id"]
    for signer, state in (("east", "pending_level2"), ("boss", "applied")):
        assert (await lost.web.sign(signer, anew)).json()["approval"]["state"] == state
    assert await lost.company.carried("bob", "c2") == {"value/high"}


async def _writes_wait(lost: Lost) -> None:
    for tag in ("activity/warm", "value/high", "advice/asked"):
        check_problem(await lost.tag(tag), 409, "writes_suspended")
    check_problem(await lost.web.sign("east", lost.pending), 409, "writes_suspended")
    assert await lost.company.carried("ann", "c1") == {"activity/hot"}


async def _reads_go_on(lost: Lost) -> None:
    for userid, path in (
        ("ann", "/v1/customers/c1/tags"),
        ("ann", "/v1/customers"),
        ("east", "/v1/approvals"),
        ("auditor", "/v1/audit"),
        ("ann", "/v1/me"),
    ):
        assert (await lost.web.get(userid, path)).status_code == 200
    assert (await lost.web.get("admin", "/v1/corp")).json()["writes_suspended"] is True


async def _roles_are_signed_meanwhile(lost: Lost) -> None:
    body = {"roles": ["staff", "manager"], "modules": []}
    asked = await lost.web.call("admin", "PUT", "/v1/employees/south/roles", body)
    assert asked.status_code == 202, asked.text
    for signer, state in (("boss", "pending_level2"), ("hq", "applied")):
        assert (await lost.web.sign(signer, asked.json()["approval_id"])).json()["approval"]["state"] == state
    found = await db.fetch("select role from employee_role where corp_id = $1 and userid = 'south'", lost.company.corp_id)
    assert {row["role"] for row in found} == {"staff", "manager"}


async def test_it_is_audited_by_ids_alone(lost: Lost) -> None:
    before = await lost.state()
    assert (await lost.recover("hq"))[0] == 0
    (line,) = (await lost.web.get("auditor", "/v1/audit", limit=1)).json()["items"]
    assert (line["action"], line["object"]) == ("corp.recovered", f"corp:{lost.company.corp_id}")
    assert line["actor"] == {"userid": "", "issuer": "operator"}
    assert line["detail"] == {"supervisor": "hq", "reason_hash": sha256(REASON.encode()).hexdigest()}
    after = await lost.state()
    assert after[2][0]["seq"] == before[2][0]["seq"] + 1
    assert after[3][0]["epoch"] == before[3][0]["epoch"] + 1, "every process learns of it"
    said = await command(lost.env, "audit", "verify", "--json", "--corp", lost.company.corp_id)
    assert json.loads(said)["first_bad"] is None


async def test_a_dry_run_changes_nothing(lost: Lost) -> None:
    before = await lost.state()
    code, said = await lost.recover("hq", "--dry-run")
    assert (code, "hq" in said) == (0, True)
    assert await lost.state() == before


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--supervisor", "ghost"), "employee_unknown"),
        (("--supervisor", "left"), "employee_unknown"),
        (("--corp", "nowhere"), "corp_unknown"),
    ],
)
async def test_whom_it_does_not_help(lost: Lost, words: tuple[str, str], code: str) -> None:
    before = await lost.state()
    for more in ((), ("--dry-run",)):
        exit_code, said = await lost.recover("hq", *words, *more)
        assert (exit_code, f"[{code}]" in said, "Traceback" in said) == (1, True, False), said
    assert await lost.state() == before


async def test_a_dry_run_needs_the_owners_role_too(lost: Lost, database: EmbeddedUrls) -> None:
    exit_code, said = await lost.recover("hq", "--dry-run", TAGWARDEN_MIGRATION_DATABASE_URL=database.application)
    assert (exit_code, "[owner_needed]" in said, "Traceback" in said) == (1, True, False), said


async def test_the_applications_role_cannot(lost: Lost, database: EmbeddedUrls, sql: asyncpg.Connection) -> None:
    before = await lost.state()
    exit_code, said = await lost.recover("hq", TAGWARDEN_MIGRATION_DATABASE_URL=database.application)
    assert (exit_code, "[owner_needed]" in said, "Traceback" in said) == (1, True, False), said
    exit_code, said = await tried(
        {name: value for name, value in lost.env.items() if name != "TAGWARDEN_MIGRATION_DATABASE_URL"},
        *("corp", "recover", "--corp", lost.company.corp_id, "--supervisor", "hq", "--reason", "x"),
    )
    assert (exit_code, "[owner_url_missing]" in said) == (1, True)
    for setting in ("set_config('tagwarden.recover', 'on', true)", "set_config('tagwarden.recover', 'on', false)"):
        with pytest.raises(asyncpg.PostgresError) as refused:
            async with sql.transaction():
                await sql.execute(f"select {setting}")
                await sql.execute(
                    "insert into employee_role (corp_id, userid, role, modules, given_by)"
                    " values ($1, 'hq', 'supervisor', '{}', 'x')",
                    lost.company.corp_id,
                )
        assert (refused.value.sqlstate or "").startswith("TW")
    assert await lost.state() == before


async def test_in_setup_it_suspends_nothing(companies: Companies, database: EmbeddedUrls) -> None:
    company = await companies.make(live=False)
    words = ("corp", "recover", "--corp", company.corp_id, "--supervisor", "cat", "--reason", "x")
    await command(as_operator(database), *words)
    row = await db.fetch_one("select state, writes_suspended from corp where corp_id = $1", company.corp_id)
    assert row is not None
    assert (row["state"], row["writes_suspended"]) == ("setup", False)
