"""What a client of the API counts on: idempotent writes, preconditions, pages that show everything once."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from support.company import GRANTS, Action, Companies, Company, GrantLine, Reach
from support.service import Service, Web, check_problem


@pytest.fixture
def web(service: Service, company: Company) -> Web:
    return service.web(company)


@pytest.fixture(scope="module")
async def crowd(companies: Companies) -> Company:
    """Sixty customers of ann, twenty of bob and of dan, and five followed by both ann and bob."""
    customers: list[tuple[str, str, tuple[str, ...]]] = [("ann", f"a{n:03}", ()) for n in range(60)]
    customers += [("bob", f"b{n:03}", ()) for n in range(20)] + [("dan", f"d{n:03}", ()) for n in range(20)]
    customers += [(owner, f"s{n:03}", ()) for n in range(5) for owner in ("ann", "bob")]
    # Headquarters sees everybody's by a view grant; a grant is what a supervisor's wide view still needs.
    wide = GrantLine(1, "advice", Action.VIEW, inherit=False, reach=Reach.CORP)
    return await companies.make(customers=customers, grants=(*GRANTS, wide))


async def assignments(sql: asyncpg.Connection, company: Company) -> int:
    return int(await sql.fetchval("select count(*) from assignment where corp_id = $1", company.corp_id))


# -- idempotency -------------------------------------------------------------------------------------------------------


async def test_a_repeated_write_answers_the_same_and_does_nothing(web: Web, company: Company, sql: asyncpg.Connection) -> None:
    tag = company.tags["advice/asked"]
    first = await web.tag("ann", "c1", [tag], Idempotency_Key="once")
    assert first.status_code == 200
    again = await web.tag("ann", "c1", [tag], Idempotency_Key="once")
    assert (again.status_code, again.json()) == (200, first.json())
    assert first.json()["items"][0]["outcome"] == "applied", "without the key the second answer would say unchanged"
    assert await assignments(sql, company) == 1


async def test_a_repeated_request_for_approval_answers_the_same_202(web: Web, company: Company, sql: asyncpg.Connection) -> None:
    tag = company.tags["value/high"]
    first = await web.tag("ann", "c1", [tag], Idempotency_Key="held")
    again = await web.tag("ann", "c1", [tag], Idempotency_Key="held")
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert await sql.fetchval("select count(*) from approval where corp_id = $1", company.corp_id) == 1


async def test_a_repeated_creation_answers_the_same_201(web: Web, company: Company) -> None:
    body = {"name": "新分组", "kind": "standard"}
    first = await web.call("admin", "POST", "/v1/tag-groups", body, Idempotency_Key="made")
    again = await web.call("admin", "POST", "/v1/tag-groups", body, Idempotency_Key="made")
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.json(), again.headers["etag"]) == (first.json(), first.headers["etag"])
    check_problem(await web.call("admin", "POST", "/v1/tag-groups", body), 409, "name_taken")


async def test_a_repeated_signature_is_one_signature(web: Web, company: Company) -> None:
    asked = await company.change("ann", "c1", ["value/high"])
    path, body = f"/v1/approvals/{asked.approval_id}/decisions", {"verdict": "approve"}
    first = await web.call("east", "POST", path, body, If_Match="*", Idempotency_Key="sign")
    again = await web.call("east", "POST", path, body, If_Match="*", Idempotency_Key="sign")
    assert (first.status_code, again.status_code) == (200, 200)
    assert [len(one.json()["signatures"]) for one in (first, again)] == [1, 1]


async def test_the_same_key_with_another_body_is_422(web: Web, company: Company, sql: asyncpg.Connection) -> None:
    await web.tag("ann", "c1", [company.tags["advice/asked"]], Idempotency_Key="k")
    other = await web.tag("ann", "c1", [company.tags["advice/keen"]], Idempotency_Key="k")
    check_problem(other, 422, "idempotency_mismatch")
    spaced = await web.http.post(
        "/v1/customers/c1/tag-changes", content=b' {"add": []}', headers={**web.headers("ann"), "Idempotency-Key": "k"}
    )
    check_problem(spaced, 422)
    assert await assignments(sql, company) == 1


async def test_a_key_belongs_to_its_person_and_its_address(web: Web, company: Company, sql: asyncpg.Connection) -> None:
    tag = company.tags["advice/asked"]
    for userid, customer in (("ann", "c1"), ("bob", "c2"), ("cat", "c3")):
        answer = await web.tag(userid, customer, [tag], Idempotency_Key="shared")
        assert answer.json()["items"][0]["outcome"] == "applied"
    assert await assignments(sql, company) == 3


async def test_a_refusal_is_not_remembered(web: Web, company: Company) -> None:
    tag = company.tags["advice/asked"]
    check_problem(await web.tag("ann", "new", [tag], Idempotency_Key="later"), 404, "customer_unknown")
    await company.add_customers(("ann", "new", ()))
    assert (await web.tag("ann", "new", [tag], Idempotency_Key="later")).status_code == 200


async def test_a_revoked_person_gets_no_remembered_answer(web: Web, company: Company) -> None:
    tag = company.tags["advice/asked"]
    assert (await web.tag("ann", "c1", [tag], Idempotency_Key="before")).status_code == 200
    assert (await web.call("admin", "PUT", "/v1/employees/ann/roles", {"roles": []})).status_code == 200
    check_problem(await web.tag("ann", "c1", [tag], Idempotency_Key="after"), 403, "tag_change_refused")
    await company.move_people({"admin": (1, False, ("admin",)), "east": (10, True, ("manager",))})
    check_problem(await web.tag("ann", "c1", [tag], Idempotency_Key="before"), 403, "refused_at_identity")


async def test_twins_at_the_same_moment_write_once(web: Web, company: Company, sql: asyncpg.Connection) -> None:
    tag = company.tags["value/high"]
    answers = await asyncio.gather(*(web.tag("ann", "c1", [tag], Idempotency_Key="twin") for _ in range(12)))
    statuses = {answer.status_code for answer in answers}
    assert statuses <= {202, 409}
    assert len({answer.json()["approval_id"] for answer in answers if answer.status_code == 202}) == 1
    for answer in answers:
        if answer.status_code == 409:
            check_problem(answer, 409, "idempotency_running")
    assert await sql.fetchval("select count(*) from approval where corp_id = $1", company.corp_id) == 1


# -- preconditions ------------------------------------------------------------------------------------------------------


async def test_catalog_and_decision_writes_need_the_current_etag(web: Web, company: Company) -> None:
    asked = await company.change("ann", "c1", ["value/high"])
    group = f"/v1/tag-groups/{company.groups['advice']}"
    tag = f"/v1/tags/{company.tags['advice/asked']}"
    decision = f"/v1/approvals/{asked.approval_id}/decisions"
    writes: list[tuple[str, str, str, dict[str, Any]]] = [
        ("admin", "PATCH", group, {"description": "neu"}),
        ("admin", "PATCH", tag, {"meaning": "neu"}),
        ("east", "POST", decision, {"verdict": "approve"}),
    ]
    for userid, method, path, body in writes:
        check_problem(await web.call(userid, method, path, body), 428, "if_match_required")
        for stale in ('"0"', '"99"', 'W/"1"', "1", '""', "x" * 60):
            check_problem(await web.call(userid, method, path, body, If_Match=stale), 412, "etag_outdated")
    read = await web.get("admin", group)
    good = await web.call("admin", "PATCH", group, {"description": "neu"}, If_Match=read.headers["etag"])
    assert (good.status_code, good.json()["description"]) == (200, "neu")
    assert good.headers["etag"] == good.json()["etag"] != read.headers["etag"]
    check_problem(
        await web.call("admin", "PATCH", group, {"description": "x"}, If_Match=read.headers["etag"]), 412, "etag_outdated"
    )


async def test_who_may_not_is_told_so_before_any_etag_is_asked_for(web: Web, company: Company) -> None:
    asked = await company.change("ann", "c1", ["value/high"])
    decision = f"/v1/approvals/{asked.approval_id}/decisions"
    for headers in ({}, {"If_Match": '"0"'}):
        check_problem(await web.call("ann", "POST", decision, {"verdict": "approve"}, **headers), 403, "not_a_signer")
        check_problem(await web.call("south", "POST", decision, {"verdict": "approve"}, **headers), 403, "not_a_signer")
        check_problem(await web.call("hq", "POST", decision, {"verdict": "approve"}, **headers), 409, "not_your_turn")
        path = f"/v1/tag-groups/{company.groups['advice']}"
        check_problem(await web.call("ann", "PATCH", path, {"description": "x"}, **headers), 403, "module_missing")


async def test_two_editors_of_one_version_do_not_overwrite_each_other(web: Web, company: Company) -> None:
    path = f"/v1/tag-groups/{company.groups['advice']}"
    etag = (await web.get("admin", path)).headers["etag"]
    answers = await asyncio.gather(
        *(web.call("admin", "PATCH", path, {"description": f"{n}"}, If_Match=etag) for n in range(6))
    )  # fmt: skip
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412, 412]


async def test_two_signers_of_one_level_make_one_signature(web: Web, company: Company) -> None:
    asked = await company.change("ann", "c1", ["value/high"])
    await company.sign("east", asked.approval_id)
    answers = await asyncio.gather(*(web.sign(signer, str(asked.approval_id)) for signer in ("boss", "hq", "boss", "hq")))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert await company.carried("ann", "c1") == {"value/high"}


# -- pages --------------------------------------------------------------------------------------------------------------


async def pages(web: Web, userid: str, path: str, key: str, limit: int, **query: Any) -> list[Any]:
    """Every item of a paged list; AssertionError when it does not end."""
    found: list[Any] = []
    cursor = None
    for _ in range(300):
        answer = await web.get(userid, path, limit=limit, cursor=cursor, **query)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        items = body.get("items", body.get("calls"))
        assert len(items) <= limit
        found += [item[key] for item in items]
        cursor = body["next_cursor"]
        if cursor is None:
            return found
    raise AssertionError("the pages never end")


@pytest.mark.parametrize("limit", [1, 7, 13, 65, 200])
async def test_pages_of_customers_show_everything_once(limit: int, crowd: Company, service: Service) -> None:
    web = service.web(crowd)
    owned = {"ann": 65, "bob": 25, "dan": 20, "east": 85, "hq": 105, "boss": 105}
    for userid, count in owned.items():
        seen = await pages(web, userid, "/v1/customers", "external_userid", limit) if limit > 1 or count < 30 else None
        if seen is not None:
            assert (len(seen), len(set(seen)), seen == sorted(seen)) == (count, count, True)


async def test_pages_of_approvals_and_audit_show_everything_once(companies: Companies, service: Service) -> None:
    company = await companies.make(
        customers=[("ann", f"a{n:02}", ()) for n in range(12)] + [("dan", f"d{n}", ()) for n in range(5)]
    )
    web = service.web(company)
    asked = {str((await company.change("ann", f"a{n:02}", ["value/high"])).approval_id) for n in range(12)}
    others = {str((await company.change("dan", f"d{n}", ["value/mid"])).approval_id) for n in range(5)}
    for limit in (1, 4, 5, 12, 17, 200):
        assert await all_of(web, "ann", "mine", limit) == asked
        assert await all_of(web, "east", "inbox", limit) == asked
        assert await all_of(web, "south", "inbox", limit) == others
        assert await all_of(web, "hq", "inbox", limit) == set()
        assert await all_of(web, "auditor", "all", limit) == asked | others
        assert await all_of(web, "dan", "all", limit) == others
        assert await all_of(web, "bob", "all", limit) == set()
        numbers = await pages(web, "auditor", "/v1/audit", "seq", max(limit, 4))
        assert numbers == list(range(numbers[0], 0, -1))


async def all_of(web: Web, userid: str, box: str, limit: int) -> set[str]:
    found = await pages(web, userid, "/v1/approvals", "id", limit, box=box)
    assert len(found) == len(set(found))
    return set(found)


async def test_a_cursor_of_another_corp_shows_nothing_of_it(crowd: Company, companies: Companies, service: Service) -> None:
    theirs = (await service.web(crowd).get("ann", "/v1/customers", limit=3)).json()["next_cursor"]
    mine = await companies.make()
    answer = (await service.web(mine).get("ann", "/v1/customers", cursor=theirs)).json()
    assert {item["external_userid"] for item in answer["items"]} <= {"c1"}


async def test_search_and_filters_narrow_what_is_seen(crowd: Company, service: Service) -> None:
    web = service.web(crowd)
    assert await pages(web, "ann", "/v1/customers", "external_userid", 200, q="a007") == ["a007"]
    assert await pages(web, "ann", "/v1/customers", "external_userid", 200, q="name of b") == []
    assert len(await pages(web, "hq", "/v1/customers", "external_userid", 200, owner="dan")) == 20
    assert await pages(web, "ann", "/v1/customers", "external_userid", 200, owner="dan") == []
    assert len(await pages(web, "hq", "/v1/customers", "external_userid", 200, department=10)) == 85
    assert await pages(web, "hq", "/v1/customers", "external_userid", 200, department=999) == []
    assert await pages(web, "ann", "/v1/customers", "external_userid", 200, department=20) == []
    assert await pages(web, "ann", "/v1/customers", "external_userid", 200, tag=str(uuid4())) == []


async def test_a_search_takes_its_characters_as_they_are(crowd: Company, service: Service) -> None:
    web = service.web(crowd)
    for text in ("%", "_", "a0_7", "n%e"):
        assert await pages(web, "ann", "/v1/customers", "external_userid", 200, q=text) == []
