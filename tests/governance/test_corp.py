"""The corp itself over HTTP: name and zone, files as the policy's truth, and everything that stands between setup and live."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import replace
from typing import Any

import asyncpg
import httpx
import pytest

from support.company import (
    DEPARTMENTS,
    GRANTS,
    GROUPS,
    ISSUER,
    PEOPLE,
    SEALER,
    Companies,
    Company,
    GrantLine,
    Kind,
    arrange,
    bundle_of,
    org_of,
)
from support.desk import audited
from support.servers import as_operator, tried
from support.service import Service, Web, check_problem, token_for
from tagwarden.governance import files, publishing
from tagwarden.governance.operator import NewCorp, add_corp
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.kernel.errors import Invalid
from tagwarden.kernel.ids import new_id
from tagwarden.policy.model import Action
from tagwarden.sync import service as sync
from tagwarden.sync.service import OrgSeen

TIGHTER = bundle_of({}, {}, GRANTS[1:])
LOOSER = bundle_of({}, {}, (*GRANTS, GrantLine(21, "value", Action.USE)))


@pytest.fixture
def web(service: Service, company: Company) -> Web:
    return service.web(company)


async def put(web: Web, userid: str = "admin", **body: Any) -> httpx.Response:
    return await web.call(userid, "PUT", "/v1/corp", body)


async def test_an_admin_names_the_corp_and_its_zone(web: Web, company: Company, sql: asyncpg.Connection) -> None:
    answer = await put(web, name=" 云栖零售 ", time_zone="Asia/Tokyo")
    shown = answer.json()
    assert (answer.status_code, shown["name"], shown["time_zone"]) == (200, "云栖零售", "Asia/Tokyo")
    assert (shown["policy_source"], shown["state"], shown["missing"]) == ("console", "live", [])
    assert (await web.get("auditor", "/v1/corp")).json() == shown
    again = await audited(sql, company, f"corp:{company.corp_id}")
    assert (await put(web, name="云栖零售")).status_code == 200
    assert (await put(web)).status_code == 200
    assert await audited(sql, company, f"corp:{company.corp_id}") == again
    assert again[-1] == "corp.changed"
    line = await sql.fetchval(
        "select convert_from(body, 'UTF8') from audit_line where corp_id = $1 order by seq desc limit 1", company.corp_id
    )
    assert "云栖" not in line, "lines hold ids, not names"


@pytest.mark.parametrize("zone", ["Mars/Olympus", "Asia", "../../etc/passwd", "asia/shanghai", "UTC+8", "/etc/localtime"])
async def test_a_zone_that_is_none_is_refused(web: Web, company: Company, zone: str) -> None:
    problem = check_problem(await put(web, name="never", time_zone=zone), 422, "time_zone_unknown")
    assert "Asia/Shanghai" in problem["detail"]
    row = await db.fetch_one("select name, time_zone from corp where corp_id = $1", company.corp_id)
    assert row == {"name": "a company", "time_zone": "Asia/Shanghai"}, "nothing half-written"


async def test_a_corp_is_not_added_with_a_zone_that_is_none(companies: Companies) -> None:
    async with companies.as_owner():
        with pytest.raises(Invalid, match="no time zone"):
            await add_corp(SEALER, NewCorp("corp-odd", "odd", "admin", "tagwarden", True, "Mars/Olympus"), [])
        assert await db.fetch_value("select 1 from corp where corp_id = 'corp-odd'") is None


@pytest.mark.parametrize("userid", ["ann", "east", "hq", "auditor"])
async def test_nobody_but_an_admin_changes_the_corp(web: Web, userid: str) -> None:
    check_problem(await put(web, userid, policy_source="files"), 403, "role_missing")
    assert (await web.get("admin", "/v1/corp")).json()["policy_source"] == "console"


async def test_a_sub_admin_of_everything_is_no_admin(web: Web) -> None:
    modules = ["catalog", "policy", "members", "sync", "approvals"]
    given = await web.call("admin", "PUT", "/v1/employees/bob/roles", {"roles": ["subadmin"], "modules": modules})
    assert given.status_code == 200
    check_problem(await put(web, "bob", policy_source="files"), 403, "role_missing")
    check_problem(await put(web, name="  "), 422, "corp_name_invalid")


# -- files are the truth ------------------------------------------------------------------------------------------------


def cell(company: Company, department: int, group: str) -> dict[str, Any]:
    return {"department": department, "group_id": str(company.groups[group]), "action": "use"}


async def draft(web: Web, company: Company, department: int = 21, group: str = "advice") -> httpx.Response:
    body = {"cells": [cell(company, department, group)], "note": "a draft"}
    return await web.call("admin", "POST", "/v1/policy/drafts", body)


async def writes(web: Web, company: Company, made: dict[str, Any], etag: str) -> list[httpx.Response]:
    """Every write of policy over HTTP."""
    path = f"/v1/policy/drafts/{made['id']}"
    return [
        await draft(web, company),
        await web.call("admin", "PATCH", path, {"note": "x"}, If_Match=etag),
        await web.call("admin", "POST", f"{path}/publish", {"note": "x"}, If_Match=etag),
        await web.call("admin", "POST", "/v1/policy/rollback", {"revision": 1, "note": "x"}, If_Match="*"),
    ]


async def test_while_files_are_the_truth_only_they_publish(web: Web, company: Company, sql: asyncpg.Connection) -> None:
    made = await draft(web, company)
    assert made.status_code in (200, 201), made.text
    assert (await put(web, policy_source="files")).json()["policy_source"] == "files"
    for answer in await writes(web, company, made.json(), made.headers["etag"]):
        problem = check_problem(answer, 409, "policy_from_files")
        assert "policy apply" in problem["detail"]
    chinese = await web.call("admin", "POST", "/v1/policy/drafts", {"cells": [cell(company, 21, "advice")]}, Accept_Language="zh")
    assert "以文件为准" in chinese.json()["detail"]
    assert (await web.get("admin", "/v1/policy")).json()["revision"] == 2
    done = (await files.apply_folder(company.as_("admin"), TIGHTER, "from files")).done
    assert done is not None
    assert done.revision == 3
    assert (await put(web, policy_source="console")).json()["policy_source"] == "console"
    assert (await draft(web, company)).status_code in (200, 201)
    assert (await audited(sql, company, f"corp:{company.corp_id}")).count("corp.policy_source") == 2


async def test_the_refusal_comes_after_the_right(web: Web, company: Company) -> None:
    await put(web, policy_source="files")
    body = {"cells": [cell(company, 21, "advice")]}
    check_problem(await web.call("ann", "POST", "/v1/policy/drafts", body), 403, "module_missing")


async def test_what_was_asked_in_the_console_goes_stale_and_cannot_come_back(web: Web, company: Company) -> None:
    asked = (await publishing.apply_bundle(company.as_("admin"), LOOSER, "in the console")).approvals[0]
    await put(web, policy_source="files")
    shown = (await web.get("admin", f"/v1/approvals/{asked}")).json()["approval"]
    assert (shown["state"], shown["closed_reason"]) == ("stale", "policy_from_files")
    again = await web.call("admin", "POST", f"/v1/approvals/{asked}/resubmit")
    check_problem(again, 409, "policy_from_files")


async def test_what_files_ask_for_is_signed_and_applied(web: Web, company: Company) -> None:
    await put(web, policy_source="files")
    done = (await files.apply_folder(company.as_("admin"), LOOSER, "from files")).done
    assert done is not None
    (asked,) = done.approvals
    for signer in ("boss", "hq"):
        answer = await web.sign(signer, str(asked))
        assert answer.status_code == 200, answer.text
    assert (await company.approval(asked)).state == "applied"
    assert (await files.diff_bundle(company.as_("admin"), LOOSER)).empty


async def test_taking_the_source_with_an_application_is_an_admins(
    company: Company, web: Web, database: EmbeddedUrls, tmp_path: Any
) -> None:
    env = {**as_operator(database), "TAGWARDEN_TOKEN": token_for(company.corp_id, "admin")}
    assert (await tried(env, "policy", "export", str(tmp_path)))[0] == 0
    code, said = await tried(env, "policy", "apply", str(tmp_path), "--source-of-truth")
    assert (code, "以文件为准" in said) == (0, True), said
    assert (await web.get("admin", "/v1/corp")).json()["policy_source"] == "files"
    modules = ["catalog", "policy", "members"]
    await web.call("admin", "PUT", "/v1/employees/bob/roles", {"roles": ["subadmin"], "modules": modules})
    await put(web, policy_source="console")
    with pytest.raises(Exception, match="Only admins"):
        await files.apply_folder(company.as_("bob"), TIGHTER, "x", take_source=True)
    assert (await web.get("admin", "/v1/corp")).json()["policy_source"] == "console"
    code, said = await tried(env, "corp", "set", "--policy-source", "files")
    assert (code, said) == (0, "已保存\n")


async def test_publishing_and_taking_the_source_at_once(web: Web, company: Company, sql: asyncpg.Connection) -> None:
    """Whichever comes first: after files took over, no draft is published."""
    for department, group in itertools.product((11, 12, 21), ("advice", "activity")):
        await put(web, policy_source="console")
        made = await draft(web, company, department, group)
        path = f"/v1/policy/drafts/{made.json()['id']}/publish"
        answers = await asyncio.gather(
            web.call("admin", "POST", path, {"note": "x"}, If_Match=made.headers["etag"]), put(web, policy_source="files")
        )
        assert answers[1].status_code == 200
        assert answers[0].status_code == 200 or answers[0].json()["code"] == "policy_from_files"
    rows = await sql.fetch(
        "select convert_from(body, 'UTF8')::jsonb as line from audit_line where corp_id = $1 order by seq", company.corp_id
    )
    source = "console"
    for row in rows:
        line = json.loads(row["line"])
        if line["action"] == "corp.policy_source":
            source = line["detail"]["after"]
        assert source == "console" or line["action"] != "policy.published"


async def test_another_corps_source_is_its_own(companies: Companies, service: Service, company: Company) -> None:
    other = await companies.make()
    await put(service.web(company), policy_source="files")
    assert (await draft(service.web(other), other)).status_code in (200, 201)


async def test_the_column_is_governed(company: Company, sql: asyncpg.Connection) -> None:
    for column, value in (("policy_source", "files"), ("time_zone", "UTC"), ("name", "x")):
        with pytest.raises(asyncpg.PostgresError, match="without an audit line"):
            await sql.execute(f"update corp set {column} = $2 where corp_id = $1", company.corp_id, value)


# -- setup → live -------------------------------------------------------------------------------------------------------


def codes(points: list[dict[str, Any]]) -> list[str]:
    return [point["code"] for point in points]


async def test_everything_that_is_missing_is_listed_at_once(
    companies: Companies, service: Service, database: EmbeddedUrls
) -> None:
    customers = (("ann", "c1", ()), ("bob", "c2", ()), ("cat", "c3", ()), ("dan", "c4", ()))
    people = {userid: place for userid, place in PEOPLE.items() if userid != "south"}
    company = await companies.make(people=people, live=False, customers=customers, may_sign=False)
    kinds = {**GROUPS, "advice": (Kind.UNCLASSIFIED, GROUPS["advice"][1], ())}
    await publishing.apply_bundle(company.as_("admin"), bundle_of({"hq": (1, False, ("staff",))}, kinds, GRANTS[:2]), "less")
    old = "update corp set org_mirrored_at = now() - interval '30 hours' where corp_id = $1"
    await arrange(company.corp_id, old, company.corp_id)
    web = service.web(company)
    problem = check_problem(await web.call("admin", "POST", "/v1/corp/activate"), 409, "activation_blocked")
    assert codes(problem["items"])[0] == "no_signing_issuer"
    shown = (await web.get("admin", "/v1/corp")).json()
    assert codes(shown["missing"]) == codes(problem["items"])
    assert {one["facts"].get("department") for one in shown["missing"]} >= {21}
    assert {"org_mirror_old", "unclassified_groups", "departments_without_group", "people_without_group"} <= set(
        codes(shown["warnings"])
    )
    chinese = await web.call("admin", "POST", "/v1/corp/activate", Accept_Language="zh")
    assert any("一级审批人" in one["text"] or "二级审批人" in one["text"] for one in chinese.json()["items"])
    env = {**as_operator(database), "TAGWARDEN_TOKEN": token_for(company.corp_id, "admin")}
    code, said = await tried(env, "corp", "activate")
    assert code == 1
    for one in problem["items"]:
        assert f"[{one['code']}]" in said
    code, said = await tried(env, "corp", "activate", "--dry-run", "--json")
    assert code == 1
    assert '"blocking": true' in said


async def test_a_department_is_named_once_with_its_people(companies: Companies, service: Service) -> None:
    people = {userid: place for userid, place in PEOPLE.items() if userid not in ("east", "boss")}
    company = await companies.make(people=people, live=False)
    web = service.web(company)
    missing = (await web.get("admin", "/v1/corp")).json()["missing"]
    assert [(one["code"], one["facts"]["department"], one["facts"]["employees"]) for one in missing] == [
        ("no_level1", 11, ["ann", "bob"]),
        ("no_level1", 12, ["cat"]),
    ]
    await company.move_people(PEOPLE)
    await publishing.apply_bundle(company.as_("admin"), bundle_of(PEOPLE, {}, GRANTS), "signers")
    done = await web.call("admin", "POST", "/v1/corp/activate")
    assert (done.status_code, done.json()["state"]) == (200, "live")
    assert "departments_without_group" in codes(done.json()["warnings"])
    check_problem(await web.call("admin", "POST", "/v1/corp/activate"), 409, "corp_not_in_setup")


async def test_the_chain_of_the_policy_counts(companies: Companies, service: Service) -> None:
    """A chain that only lets supervisors of a department sign is looked at as it is published."""
    company = await companies.make(live=False)
    web = service.web(company)
    assert (await web.get("admin", "/v1/corp")).json()["missing"] == []
    plain = bundle_of({}, {}, GRANTS)
    narrow = replace(plain, approvals={**plain.approvals, "level2_departments": [20]})
    await publishing.apply_bundle(company.as_("admin"), narrow, "level 2 in the south")
    assert set(codes((await web.get("admin", "/v1/corp")).json()["missing"])) == {"no_level2"}


async def test_an_owner_who_left_blocks_nobody_and_one_without_department_does(companies: Companies, service: Service) -> None:
    company = await companies.make(live=False)
    web = service.web(company)
    people = {userid: place for userid, place in PEOPLE.items() if userid != "dan"}
    seen = org_of(people)
    places = tuple(place for place in seen.places if place[0] != "cat")
    await sync.mirror_org(company.as_("admin"), OrgSeen(DEPARTMENTS, seen.employees, places))
    shown = (await web.get("admin", "/v1/corp")).json()
    assert [(one["code"], one["facts"]["employees"]) for one in shown["missing"]] == [("owner_without_department", ["cat"])]
    left = [one for one in shown["warnings"] if one["code"] == "owner_left"]
    assert [one["facts"] for one in left] == [{"employees": ["dan"], "count": 1}]


async def test_a_corp_that_was_never_imported(companies: Companies, service: Service) -> None:
    corp_id = f"corp-{new_id().hex}"
    async with companies.as_owner():
        await add_corp(SEALER, NewCorp(corp_id, "bare", "admin", ISSUER, True), [])
    web = service.web(Company(corp_id))
    shown = (await web.get("admin", "/v1/corp")).json()
    assert codes(shown["missing"]) == ["org_never_imported"]
    assert "no_credential" in codes(shown["warnings"])
