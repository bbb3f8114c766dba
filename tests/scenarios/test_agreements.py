"""Departments that work on each other's customers by an agreement on record: used, attacked, ended."""

from __future__ import annotations

import json

import asyncpg
import pytest

from support.agreements import CUSTOMERS, EAST, SHANGHAI, SHENZHEN, SOUTH, agreed, seen, tags
from support.company import GRANTS, PEOPLE, Action, Companies, Company, Effect, GrantLine, Reach
from support.desk import audited
from support.service import Service, Web, check_problem


@pytest.fixture
async def company(companies: Companies) -> Company:
    return await companies.make(customers=CUSTOMERS)


@pytest.fixture
def web(service: Service, company: Company) -> Web:
    return service.web(company)


async def test_people_of_one_department_see_and_tag_customers_of_the_other_as_far_as_agreed(web: Web, company: Company) -> None:
    keen, warm = company.tags["advice/keen"], company.tags["activity/warm"]
    check_problem(await web.get("dan", "/v1/customers/c1"), 403, "customer_hidden")
    before = check_problem(await web.tag("dan", "c1", [keen]), 403, "tag_change_refused")["items"][0]
    assert (before["step"], "agreement" in before["nearest"]) == ("relation", True)
    made = await agreed(web, company, note="双方共同维护")
    assert (made["state"], made["made_by"], made["until"], made["missing"]) == ("in_force", "admin", None, [])
    assert await seen(web, "dan") == {"c1": ["ann"], "c3": ["cat"], "c4": ["dan"], "c5": ["ann", "cat"]}
    assert await tags(web, "dan", "c1") == {"ann": {"asked"}}, "other groups' tags are not his to see"
    history = (await web.get("dan", "/v1/customers/c1/history")).json()["items"]
    assert {one["tag"] for one in history} == {"asked"}
    assert await seen(web, "dan", tag=str(company.tags["advice/asked"])) == {"c1": ["ann"]}
    assert await seen(web, "dan", tag=str(company.tags["value/high"])) == {}
    assert set(await seen(web, "dan", not_tag=str(company.tags["activity/hot"]))) == {"c4"}, "what he lacks is not told either"
    assert (await web.tag("dan", "c1", [keen])).status_code == 200
    refused = check_problem(await web.tag("dan", "c1", [keen, warm]), 403, "tag_change_refused")["items"]
    assert (str(keen) in {one["tag_id"] for one in refused}, {one["step"] for one in refused}) == (False, {"relation"})


async def test_ending_holds_at_once_and_the_record_stays(web: Web, company: Company) -> None:
    made = await agreed(web, company)
    assert (await web.tag("dan", "c1", [company.tags["advice/keen"]])).status_code == 200
    assert (await web.call("admin", "DELETE", f"/v1/agreements/{made['id']}")).status_code == 204
    check_problem(await web.tag("dan", "c1", [company.tags["advice/cheap"]]), 403, "tag_change_refused")
    check_problem(await web.get("dan", "/v1/customers/c1"), 403, "customer_hidden")
    assert await seen(web, "dan") == {"c4": ["dan"]}
    assert (await web.get("admin", "/v1/agreements")).json()["items"] == []
    (kept,) = (await web.get("auditor", "/v1/agreements", ended=True)).json()["items"]
    assert (kept["id"], kept["state"], kept["ended_by"]) == (made["id"], "ended", "admin")
    check_problem(await web.call("admin", "DELETE", f"/v1/agreements/{made['id']}"), 409, "agreement_over")


async def test_the_audit_names_who_agreed_and_by_what_a_tag_was_set(web: Web, company: Company, sql: asyncpg.Connection) -> None:
    made = await agreed(web, company)
    await web.tag("dan", "c1", [company.tags["advice/keen"]])
    await web.tag("ann", "c1", [company.tags["advice/cheap"]])
    await web.call("admin", "DELETE", f"/v1/agreements/{made['id']}")
    assert await audited(sql, company, f"agreement:{made['id']}") == ["agreement.made", "agreement.ended"]
    rows = await sql.fetch(
        "select convert_from(body, 'UTF8')::jsonb as line from audit_line where corp_id = $1"
        " and convert_from(body, 'UTF8')::jsonb ->> 'action' = 'tags.changed' order by seq",
        company.corp_id,
    )
    decided = [json.loads(row["line"])["decision"]["row"] for row in rows]
    assert decided == [[f"agreement:{made['id']}", "grant:20:advice:use"], ["grant:10:advice:use"]]


async def test_neither_the_other_direction_nor_a_third_follows(web: Web, company: Company) -> None:
    await agreed(web, company)
    check_problem(await web.tag("ann", "c4", [company.tags["advice/keen"]]), 403, "tag_change_refused")
    check_problem(await web.tag("hq", "c4", [company.tags["advice/keen"]]), 403, "tag_change_refused")
    assert "c4" not in await seen(web, "ann")
    body = {"department": 1, "partner_department": SOUTH, "group_id": str(company.groups["advice"])}
    assert (await web.call("admin", "POST", "/v1/agreements", body)).status_code == 201
    assert "c4" in await seen(web, "ann"), "headquarters has everybody below it"


@pytest.mark.parametrize(
    ("more", "sees", "uses"),
    [
        ((GrantLine(SOUTH, "advice", Action.USE, Effect.DENY),), True, False),
        ((GrantLine(SHENZHEN, "advice", Action.VIEW, Effect.DENY),), False, False),
        ((), True, True),
    ],
    ids=["denied to use, above", "denied to view", "granted"],
)
async def test_a_deny_wins_over_an_agreement(
    companies: Companies, service: Service, more: tuple[GrantLine, ...], sees: bool, uses: bool
) -> None:
    company = await companies.make(customers=CUSTOMERS, grants=(*GRANTS, *more))
    web = service.web(company)
    await agreed(web, company)
    assert ((await web.tag("dan", "c1", [company.tags["advice/keen"]])).status_code == 200) is uses
    assert ("c1" in await seen(web, "dan")) is sees


@pytest.mark.parametrize("reach", [Reach.OWN, Reach.SUBORDINATE, Reach.COLLABORATING])
async def test_the_grant_says_how_far_it_goes(companies: Companies, service: Service, reach: Reach) -> None:
    grants = (GrantLine(EAST, "advice", Action.USE), GrantLine(SOUTH, "advice", Action.USE, reach=reach))
    company = await companies.make(customers=CUSTOMERS, grants=grants)
    web = service.web(company)
    await agreed(web, company)
    reached = reach is Reach.COLLABORATING
    assert ((await web.tag("dan", "c1", [company.tags["advice/keen"]])).status_code == 200) is reached
    assert ("c1" in await seen(web, "dan")) is reached


async def test_without_the_group_an_agreement_shows_nothing(companies: Companies, service: Service) -> None:
    company = await companies.make(customers=CUSTOMERS, grants=(GrantLine(EAST, "advice", Action.USE),))
    web = service.web(company)
    body = {"department": 1, "partner_department": EAST, "group_id": str(company.groups["advice"])}
    assert (await web.call("admin", "POST", "/v1/agreements", body)).status_code == 201
    for userid in ("dan", "admin"):
        assert set(await seen(web, userid)) == ({"c4"} if userid == "dan" else set())
        refused = check_problem(await web.tag(userid, "c5", [company.tags["advice/keen"]]), 403, "tag_change_refused")
        assert not any(name in str(refused) for name in ("ann", "cat")), "nor who follows the customer"
    assert set(await seen(web, "auditor")) == {"c1", "c3", "c4", "c5"}, "auditors see by their role"
    check_problem(await web.tag("auditor", "c1", [company.tags["advice/keen"]]), 403, "tag_change_refused")


async def test_a_customer_of_two_partners_has_to_be_named(web: Web, company: Company) -> None:
    await agreed(web, company)
    keen = company.tags["advice/keen"]
    several = check_problem(await web.tag("dan", "c5", [keen]), 422, "follow_ambiguous")
    assert sorted(several["facts"]["follow_userids"]) == ["ann", "cat"]
    assert (await web.tag("dan", "c5", [keen], follow_userid="cat")).json()["follow_userid"] == "cat"
    by_another = await web.tag("dan", "c5", [company.tags["activity/warm"]], follow_userid="cat")
    check_problem(by_another, 403, "tag_change_refused")


# -- people and departments that move ----------------------------------------------------------------------------------------


async def test_an_owner_who_moves_takes_his_customers_along_at_once(web: Web, company: Company) -> None:
    await agreed(web, company)
    assert "c1" in await seen(web, "dan")
    await company.move_people({**PEOPLE, "ann": (1, False, ())})
    assert set(await seen(web, "dan")) == {"c3", "c4", "c5"}
    check_problem(await web.tag("dan", "c1", [company.tags["advice/keen"]], follow_userid="ann"), 403, "tag_change_refused")
    await company.move_people({**PEOPLE, "dan": (SHANGHAI, False, ())})
    assert set(await seen(web, "dan")) == {"c4"}, "who leaves the department leaves what it may"


async def test_a_department_that_vanishes_joins_nobody_and_is_named(web: Web, company: Company) -> None:
    from tagwarden.sync import service as sync
    from tagwarden.sync.service import OrgSeen

    made = await agreed(web, company, department=SHENZHEN)
    places = {userid: (SOUTH if place[0] == SHENZHEN else place[0], place[1]) for userid, place in PEOPLE.items()}
    people = tuple((userid, userid, "active", place[0]) for userid, place in places.items())
    left = tuple((number, f"d{number}", parent, 0) for number, parent in ((1, 0), (10, 1), (11, 10), (12, 10), (20, 1)))
    await sync.mirror_org(
        company.as_("admin"), OrgSeen(left, people, tuple((userid, *place) for userid, place in places.items()))
    )
    assert "c1" not in await seen(web, "dan")
    (shown,) = (await web.get("admin", "/v1/agreements")).json()["items"]
    assert (shown["id"], shown["missing"]) == (made["id"], [f"department:{SHENZHEN}"])
    assert (await web.call("admin", "DELETE", f"/v1/agreements/{made['id']}")).status_code == 204
