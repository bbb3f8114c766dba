"""Access review: who holds what, since when, why, held against what single questions answer; and whoever else may not look."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.company import GRANTS, GROUPS, PEOPLE, Companies, Company, GrantLine, Reach, arrange, bundle_of
from support.servers import as_operator, tried
from support.service import Service, Web, check_problem, token_for
from tagwarden.governance import publishing, roles
from tagwarden.governance.review import Review, active
from tagwarden.governance.review_out import BOM, COLUMNS, as_table
from tagwarden.identity.model import Department, Directory, Employee, Module, RoleName
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.policy import service as policy
from tagwarden.policy.chains import read_rules
from tagwarden.policy.enforcer import PolicyEngine
from tagwarden.policy.matrix import Matrix
from tagwarden.policy.model import Action, Effect, Grant, Group, Kind, Relation
from tagwarden.policy.service import Picture

WIDE = GrantLine(1, "advice", Action.VIEW, reach=Reach.CORP, inherit=False)
DENIED = GrantLine(12, "advice", Action.USE, Effect.DENY)


@pytest.fixture(scope="module")
async def company(companies: Companies) -> Company:
    """Ann became a manager by two signatures, hq stands in for boss, and bob configures members."""
    made = await companies.make(grants=(*GRANTS, WIDE))
    admin = made.as_("admin")
    await publishing.apply_bundle(admin, bundle_of({}, {}, (*GRANTS, WIDE, DENIED)), "hangzhou is out")
    asked = await roles.put_roles(admin, "ann", [RoleName.STAFF, RoleName.MANAGER], [], "she leads from now on")
    for signer in ("east", "hq"):
        await made.sign(signer, asked.approval_id)
    await roles.put_roles(admin, "bob", [RoleName.STAFF, RoleName.SUBADMIN], [Module.MEMBERS], "")
    sql = (
        "insert into delegation (corp_id, id, userid, delegate, starts_at, ends_at, reason)"
        " values ($1, gen_random_uuid(), 'boss', 'hq', now(), now() + interval '3 days', 'on leave')"
    )
    await arrange(made.corp_id, sql, made.corp_id)
    return made


@pytest.fixture
def web(service: Service, company: Company) -> Web:
    return service.web(company)


async def everybody(web: Web, limit: int = 3) -> dict[str, dict[str, Any]]:
    """All pages."""
    found: dict[str, dict[str, Any]] = {}
    cursor = None
    while True:
        answer = await web.get("auditor", "/v1/access-review", limit=limit, cursor=cursor)
        assert answer.status_code == 200, answer.text
        for one in answer.json()["items"]:
            assert one["userid"] not in found
            found[one["userid"]] = one
        if (cursor := answer.json()["next_cursor"]) is None:
            return found


async def test_every_active_employee_stands_there_once(web: Web) -> None:
    assert list(await everybody(web)) == sorted(PEOPLE)
    assert list(await everybody(web, 50)) == sorted(PEOPLE)


async def test_a_role_is_shown_with_what_stands_behind_it(web: Web) -> None:
    people = await everybody(web)
    given = {role["role"]: role for role in people["ann"]["roles"]}
    assert given["manager"]["reason"] == "she leads from now on"
    assert given["manager"]["approval_id"] is not None
    shown = (await web.get("admin", f"/v1/approvals/{given['manager']['approval_id']}")).json()["approval"]
    assert (shown["state"], shown["about_userid"]) == ("applied", "ann")
    assert (given["manager"]["given_by"], given["staff"]["approval_id"]) == ("admin", None)
    since = datetime.fromisoformat(given["manager"]["since"])
    assert datetime.now(UTC) - since < timedelta(minutes=10)
    assert [role["approval_id"] for role in people["east"]["roles"]] == [None], "given in setup"
    assert [(role["role"], role["modules"]) for role in people["bob"]["roles"]] == [("staff", []), ("subadmin", ["members"])]
    assert [one["stands_for"] for one in people["hq"]["delegations"]] == ["boss"]
    assert people["east"]["departments"] == [{"id": 10, "name": "East", "leads": True}]


async def test_a_role_given_anew_is_not_the_earlier_ones(companies: Companies, service: Service) -> None:
    """Taken and given again, each time by its own two signatures: the last one is named."""
    company = await companies.make()
    admin, seen = company.as_("admin"), []
    for reason in ("first", "second"):
        asked = await roles.put_roles(admin, "ann", [RoleName.STAFF, RoleName.MANAGER], [], reason)
        for signer in ("east", "hq"):
            await company.sign(signer, asked.approval_id)
        people = await everybody(service.web(company), 50)
        seen.append([role["reason"] for role in people["ann"]["roles"] if role["role"] == "manager"])
        await roles.put_roles(admin, "ann", [RoleName.STAFF], [])
    assert seen == [["first"], ["second"]]


async def test_what_somebody_may_do_is_what_decisions_say(company: Company) -> None:
    picture = await policy.current(company.corp_id)
    review = Review(picture)
    for one in await review.part(active(picture)):
        shown = {(each.group_id, each.action, on) for each in one.open for on in each.on}
        for group in picture.groups.values():
            for action in Action:
                for relation in (None, *Relation) if action is not Action.MANAGE else (None,):
                    allowed = picture.may(one.employee.userid, group.id, group.kind, action, relation)
                    cell = (group.id, action, relation.value if relation else "group")
                    assert (cell in shown) is allowed, (one.employee.userid, cell)


async def test_the_row_that_opens_a_group_and_since_when(web: Web, company: Company) -> None:
    people = await everybody(web)
    opened = {(group["name"], group["action"]): group for group in people["ann"]["groups"]}
    advice = opened["advice", "use"]
    assert (advice["row"], advice["through"], advice["departments"]) == ("grant:10:advice:use", 10, [11])
    assert set(advice["on"]) == {"group", "own", "subordinate", "collaborating"}
    revision = await db.fetch_one("select * from policy_revision where corp_id = $1 and revision = 2", company.corp_id)
    assert revision is not None
    assert (advice["revision"], advice["note"], advice["published_by"]) == (2, "test", "admin"), "as it stands since then"
    assert datetime.fromisoformat(advice["since"]) == revision["published_at"]
    assert ("advice", "use") not in {(group["name"], group["action"]) for group in people["cat"]["groups"]}
    seen = {group["row"]: group for group in people["hq"]["groups"] if group["name"] == "advice"}
    assert (seen["grant:1:advice:view"]["reach"], seen["grant:1:advice:view"]["on"][-1]) == ("corp", "none")
    assert {group["row"].split(":")[0] for group in people["auditor"]["groups"]} == {"capability"}


async def test_a_row_that_went_and_came_back_is_new(companies: Companies, service: Service) -> None:
    company = await companies.make(live=False)
    admin = company.as_("admin")
    for grants in (GRANTS, GRANTS[1:], GRANTS, (*GRANTS, WIDE)):
        await publishing.apply_bundle(admin, bundle_of({}, {}, grants), "again")
    people = await everybody(service.web(company))
    since = {group["row"]: group["revision"] for group in people["ann"]["groups"]}
    assert since == {"grant:10:value:use": 4, "grant:10:activity:use": 2, "grant:10:advice:use": 2}


@pytest.mark.parametrize("userid", ["ann", "east", "hq"])
@pytest.mark.parametrize("path", ["/v1/access-review", "/v1/access-review/export"])
async def test_nobody_else_looks(web: Web, userid: str, path: str) -> None:
    check_problem(await web.get(userid, path), 403, "module_missing")


@pytest.mark.parametrize("userid", ["admin", "auditor", "bob"])
async def test_these_look(web: Web, userid: str) -> None:
    for path in ("/v1/access-review", "/v1/access-review/export"):
        assert (await web.get(userid, path)).status_code == 200


async def test_the_table_says_the_same(web: Web) -> None:
    answer = await web.get("auditor", "/v1/access-review/export")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert tuple(rows[0]) == COLUMNS
    people = await everybody(web)
    for userid, one in people.items():
        mine = [row for row in rows if row["userid"] == userid]
        groups = sorted((group["name"], group["action"], group["row"], " ".join(group["on"])) for group in one["groups"])
        assert sorted((row["what"], row["action"], row["row"], row["on"]) for row in mine if row["holds"] == "group") == groups
        held = {row["what"]: row["approval_id"] for row in mine if row["holds"] == "role"}
        assert held == {role["role"]: role["approval_id"] or "" for role in one["roles"]}
    marked = await web.get("auditor", "/v1/access-review/export", bom="true")
    assert marked.content.startswith(b"\xef\xbb\xbf")
    assert marked.text.removeprefix(BOM) == answer.text


async def test_names_are_no_formulas(companies: Companies, service: Service) -> None:
    company = await companies.make(customers=())
    for table, name in (("department", '=HYPERLINK("http://x")'), ("employee", "＋cmd|' /C calc'!A0")):
        await arrange(company.corp_id, f"update {table} set name = $2 where corp_id = $1", company.corp_id, name)
    sql = "update tag_group set name = '@SUM(1)' where corp_id = $1 and name = 'advice'"
    await arrange(company.corp_id, sql, company.corp_id)
    text = (await service.web(company).get("auditor", "/v1/access-review/export")).text
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert "'@SUM(1)" in cells
    assert [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "＝", "＋", "－", "＠")] == []


async def test_the_command_line_says_the_same(company: Company, web: Web, database: EmbeddedUrls) -> None:
    env = {**as_operator(database), "TAGWARDEN_TOKEN": token_for(company.corp_id, "auditor")}
    code, said = await tried(env, "policy", "review", "--csv")
    assert (code, said.replace("\r\n", "\n")) == (
        0,
        (await web.get("auditor", "/v1/access-review/export")).text.replace("\r\n", "\n"),
    )
    code, said = await tried(env, "policy", "review", "--json")
    assert code == 0
    assert {one["userid"]: one for one in map(json.loads, said.splitlines())}.keys() == PEOPLE.keys()


async def test_a_large_company_is_walked_in_parts(companies: Companies) -> None:
    """600 people in 10 departments and 40 groups: the table comes part by part and never stands in memory."""
    company = await companies.make(customers=())
    picture = large(company.corp_id, people=600, departments=10, groups=40)
    size, parts, before = 0, 0, 0
    async for text in as_table(Review(picture), bom=False):
        size += len(text)
        parts += 1
        if parts == 150:  # every standing was met
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert parts == 601
    assert size > 4_000_000
    assert peak - before < 2_000_000, f"{peak - before} bytes more at the most, for {size} bytes of table"


def large(corp_id: str, *, people: int, departments: int, groups: int) -> Picture:
    """A picture as it would be loaded; nobody of it stands in the database."""
    tree = {1: Department(1, "HQ", 0)} | {n: Department(n, f"department {n}", 1) for n in range(2, departments + 2)}
    staff = {
        f"u{n:05}": Employee(
            f"u{n:05}", f"name {n}", f"u{n:05}", True, frozenset({2 + n % departments}), frozenset(), frozenset({RoleName.STAFF})
        )
        for n in range(people)
    }
    library = {f"00000000-0000-7000-8000-{n:012}": f"group {n}" for n in range(groups)}
    named = {id_: Group(id_, name, Kind.STANDARD) for id_, name in library.items()}
    grants = [Grant(f"{n}:{id_}", n, id_, Action.USE, Effect.ALLOW) for n in tree for id_ in library if n > 1]
    matrix = Matrix(grants)
    plain = bundle_of({}, GROUPS, GRANTS)
    engine = PolicyEngine(plain.capabilities, matrix, policy.model_text())
    return Picture(corp_id, 1, 1, Directory(tree, staff), engine, read_rules(plain.approvals), matrix, named)
