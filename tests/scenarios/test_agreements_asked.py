"""What can be agreed on: two signatures for value groups, time limits, refusals, pages, the command line."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from support.agreements import CUSTOMERS, EAST, SHENZHEN, SOUTH, agreed, agreed_by_two, propose, seen
from support.company import PEOPLE, Companies, Company, arrange
from support.servers import as_operator, tried
from support.service import Service, Web, check_problem, token_for
from tagwarden.approvals.model import Approval
from tagwarden.assignments import reading
from tagwarden.assignments.model import CustomerHidden, TagChangeRefused
from tagwarden.governance import agreements
from tagwarden.governance import service as governance
from tagwarden.governance.agreements import Wanted
from tagwarden.kernel import clock
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.policy import service as policy


@pytest.fixture
async def company(companies: Companies) -> Company:
    return await companies.make(customers=CUSTOMERS)


@pytest.fixture
def web(service: Service, company: Company) -> Web:
    return service.web(company)


# -- value groups: two signatures, and what stands on an agreement ----------------------------------------------------------


async def test_about_a_value_group_nobody_agrees_alone(web: Web, company: Company) -> None:
    high = [company.tags["value/low"]]
    asked = (await propose(web, company, "value", note="为了大客户")).json()["approval_id"]
    again = (await propose(web, company, "value", note="为了大客户")).json()["approval_id"]
    assert again == asked, "asked twice is asked once"
    check_problem(await web.sign("admin", asked), 403, "not_a_signer")
    shown = (await web.get("boss", f"/v1/approvals/{asked}")).json()
    assert shown["change"]["after"]["department_name"] == "South"
    assert shown["change"]["after"]["tag_group"] == "value"
    assert (await web.sign("boss", asked)).status_code == 200
    check_problem(await web.tag("dan", "c1", high), 403, "tag_change_refused")
    assert (await web.sign("hq", asked)).json()["approval"]["state"] == "applied"
    held = await web.tag("dan", "c1", high)
    assert held.status_code == 202, "his change waits as everybody's does"
    (made,) = (await web.get("admin", "/v1/agreements")).json()["items"]
    assert (made["note"], made["approval_id"]) == ("为了大客户", asked)


async def test_who_would_profit_signs_no_less_than_anybody(companies: Companies, service: Service) -> None:
    """A sub-admin of the department that is to be let in asks; his own leader is level 1, and he himself never signs."""
    people = {**PEOPLE, "dan": (SHENZHEN, False, ("staff", "subadmin")), "helper": (SOUTH, False, ("supervisor",))}
    company = await companies.make(people=people, customers=CUSTOMERS)
    web = service.web(company)
    switches = {"roles": ["staff", "subadmin"], "modules": ["policy"]}
    assert (await web.call("admin", "PUT", "/v1/employees/dan/roles", switches)).status_code == 200
    asked = (await propose(web, company, "value", userid="dan")).json()["approval_id"]
    check_problem(await web.sign("dan", asked), 403, "not_a_signer")
    assert (await web.sign("south", asked)).json()["approval"]["state"] == "pending_level2"
    check_problem(await web.sign("south", asked), 403, "not_a_signer")
    taken = {"roles": ["staff", "subadmin"], "modules": ["catalog"]}
    assert (await web.call("admin", "PUT", "/v1/employees/dan/roles", taken)).status_code == 200
    closed = (await web.sign("hq", asked)).json()["approval"]
    assert (closed["state"], closed["closed_reason"]) == ("stale", "requester_lost_right")
    assert (await web.get("admin", "/v1/agreements", ended=True)).json()["items"] == []


async def test_what_was_asked_for_by_an_agreement_is_stale_when_it_was_ended(web: Web, company: Company) -> None:
    agreement = await agreed_by_two(web, company)
    one = (await web.tag("dan", "c1", [company.tags["value/low"]])).json()["approval_id"]
    two = (await web.tag("dan", "c3", [company.tags["value/low"]])).json()["approval_id"]
    assert (await web.sign("east", one)).json()["approval"]["state"] == "pending_level2"
    assert (await web.call("admin", "DELETE", f"/v1/agreements/{agreement}")).status_code == 204
    for approval_id, signer in ((one, "hq"), (two, "east")):
        closed = (await web.sign(signer, approval_id)).json()["approval"]
        assert (closed["state"], closed["closed_reason"]) == ("stale", "requester_lost_right")
    again = await web.call("dan", "POST", f"/v1/approvals/{one}/resubmit")
    assert check_problem(again, 409, "cannot_stand")["facts"]["why"] == "requester_lost_right"
    assert await company.carried("ann", "c1") == {"advice/asked", "activity/hot", "value/high"}


async def test_it_runs_out_in_the_middle_of_an_approval(companies: Companies) -> None:
    company = await companies.make(customers=CUSTOMERS, live=False)
    until = clock.now() + timedelta(seconds=8)
    wanted = Wanted(SOUTH, EAST, company.groups["value"], until=until)
    assert (await agreements.make_agreement(company.as_("admin"), wanted)).approval_id is None, "in setup it is not held"
    await governance.activate(company.as_("admin"))
    asked = (await company.change("dan", "c1", ["value/low"])).approval_id
    assert (await company.sign("east", asked)).state == "pending_level2"
    epoch = (await policy.current(company.corp_id)).epoch
    await asyncio.sleep(max(0.0, (until - clock.now()).total_seconds()))
    closed: Approval = await company.sign("hq", asked)
    assert (closed.state, closed.closed_reason) == ("stale", "requester_lost_right")
    with pytest.raises(TagChangeRefused):
        await company.change("dan", "c1", ["value/low"])
    picture = await policy.current(company.corp_id)
    assert picture.epoch == epoch, "time is no change of policy"
    with pytest.raises(CustomerHidden):
        await reading.customer_tags(picture, "dan", "c1")


async def test_an_agreement_asked_for_goes_stale_with_its_department_and_its_group(web: Web, company: Company) -> None:
    asked = (await propose(web, company, "value", department=SHENZHEN)).json()["approval_id"]
    assert (await web.sign("boss", asked)).status_code == 200
    await company.move_people({**PEOPLE, "new": (SHENZHEN, False, ())})
    assert (await web.get("boss", f"/v1/approvals/{asked}")).json()["approval"]["state"] == "pending_level2", (
        "who joins moves nothing"
    )
    kind = {"kind": "standard"}
    moved = await web.call("admin", "PATCH", f"/v1/tag-groups/{company.groups['value']}", kind, If_Match="*")
    for signer in ("boss", "hq"):
        await web.sign(signer, moved.json()["approval_id"])
    closed = (await web.sign("hq", asked)).json()["approval"]
    assert (closed["state"], closed["closed_reason"]) == ("stale", "base_moved")


# -- what can be asked for -----------------------------------------------------------------------------------------------------


async def test_what_makes_no_sense_is_refused_with_its_reason(web: Web, company: Company) -> None:
    now = datetime.now(UTC)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"department": 4711}, "department_unknown"),
        ({"partner_department": 4711}, "department_unknown"),
        ({"since": (now - timedelta(days=1)).isoformat()}, "since_in_the_past"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "since_in_the_past"),
        ({"until": (now - timedelta(seconds=1)).isoformat()}, "until_before_it_begins"),
        (
            {"since": (now + timedelta(days=2)).isoformat(), "until": (now + timedelta(days=1)).isoformat()},
            "until_before_it_begins",
        ),
        ({"until": "9999-12-31T23:59:59-12:00"}, "too_far_ahead"),
    ]
    for more, why in cases:
        body = {"department": SOUTH, "partner_department": EAST, "group_id": str(company.groups["advice"]), **more}
        refused = check_problem(await web.call("admin", "POST", "/v1/agreements", body), 422, "agreement_invalid")
        assert refused["facts"] == {"why": why}
        chinese = await web.call("admin", "POST", "/v1/agreements", body, Accept_Language="zh")
        assert chinese.json()["detail"].startswith("协作约定有误：")
    for wrong in (
        {"until": "2026-12-31T00:00:00"},
        {"department": 0},
        {"note": "x" * 501},
        {"inherit": False},
    ):
        body = {"department": SOUTH, "partner_department": EAST, "group_id": str(company.groups["advice"]), **wrong}
        check_problem(await web.call("admin", "POST", "/v1/agreements", body), 422)
    unknown = {"department": SOUTH, "partner_department": EAST, "group_id": str(uuid4())}
    check_problem(await web.call("admin", "POST", "/v1/agreements", unknown), 404, "tag_group_unknown")
    assert (await web.get("admin", "/v1/agreements", ended=True)).json()["items"] == []


async def test_an_unclassified_group_has_no_agreements(company: Company, web: Web) -> None:
    sql = "update tag_group set kind = 'unclassified' where corp_id = $1 and name = 'advice'"
    await arrange(company.corp_id, sql, company.corp_id)
    refused = check_problem(await propose(web, company), 422, "agreement_invalid")
    assert refused["facts"]["why"] == "group_unclassified"


async def test_the_same_twice_is_a_conflict_and_a_longer_one_is_not(web: Web, company: Company) -> None:
    until = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    first = await agreed(web, company, until=until)
    twice = check_problem(await propose(web, company, until=until), 409, "agreement_exists")
    assert twice["facts"]["agreement_id"] == first["id"]
    longer = await agreed(web, company)
    check_problem(await propose(web, company), 409, "agreement_exists")
    assert (await web.call("admin", "DELETE", f"/v1/agreements/{longer['id']}")).status_code == 204
    assert "c1" in await seen(web, "dan"), "the shorter one still stands"


async def test_a_repeated_post_makes_one(web: Web, company: Company) -> None:
    first = await propose(web, company, Idempotency_Key="once")
    again = await propose(web, company, Idempotency_Key="once")
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    check_problem(await propose(web, company, note="other", Idempotency_Key="once"), 422, "idempotency_mismatch")
    held = await propose(web, company, "value", Idempotency_Key="held")
    assert (await propose(web, company, "value", Idempotency_Key="held")).json() == held.json()


async def test_one_planned_begins_by_itself(web: Web, company: Company) -> None:
    since = datetime.now(UTC) + timedelta(seconds=4)
    made = await agreed(web, company, since=since.isoformat())
    assert made["state"] == "planned"
    check_problem(await web.tag("dan", "c1", [company.tags["advice/keen"]]), 403, "tag_change_refused")
    await asyncio.sleep(max(0.0, (since - datetime.now(UTC)).total_seconds() + 0.05))
    assert (await web.tag("dan", "c1", [company.tags["advice/keen"]])).status_code == 200


async def test_another_corp_s_agreements_and_groups_are_not_found(
    web: Web, company: Company, companies: Companies, service: Service
) -> None:
    other = await companies.make(customers=CUSTOMERS)
    theirs = await agreed(service.web(other), other)
    check_problem(await web.call("admin", "DELETE", f"/v1/agreements/{theirs['id']}"), 404, "agreement_unknown")
    foreign = {"department": SOUTH, "partner_department": EAST, "group_id": str(other.groups["advice"])}
    check_problem(await web.call("admin", "POST", "/v1/agreements", foreign), 404, "tag_group_unknown")
    assert (await web.get("admin", "/v1/agreements", ended=True)).json()["items"] == []
    assert "c1" not in await seen(web, "dan")


async def test_pages_show_every_agreement_once(web: Web, company: Company) -> None:
    made = []
    for department, partner in ((20, 10), (10, 20), (11, 12), (12, 11), (21, 1)):
        body = {"department": department, "partner_department": partner, "group_id": str(company.groups["advice"])}
        made.append((await web.call("admin", "POST", "/v1/agreements", body)).json()["id"])
    await web.call("admin", "DELETE", f"/v1/agreements/{made[2]}")
    for ended, wanted in ((False, [one for one in made if one != made[2]]), (True, made)):
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = (await web.get("admin", "/v1/agreements", limit=2, ended=ended, cursor=cursor)).json()
            found += [one["id"] for one in page["items"]]
            if (cursor := page["next_cursor"]) is None:
                break
        assert found == wanted[::-1]
    check_problem(await web.get("admin", "/v1/agreements", cursor="nonsense"), 400, "cursor_invalid")


# -- the command line ----------------------------------------------------------------------------------------------------------


async def test_the_command_line_makes_lists_and_ends(web: Web, company: Company, database: EmbeddedUrls) -> None:
    async def run(userid: str, *words: str) -> tuple[int, str]:
        env = {**as_operator(database), "TAGWARDEN_TOKEN": token_for(company.corp_id, userid)}
        return await tried(env, "policy", "agreements", *words)

    words = ("make", "--department", "20", "--partner", "10", "--group", "advice")
    code, said = await run("admin", *words, "--dry-run")
    assert (code, "South" in said, (await web.get("admin", "/v1/agreements")).json()["items"]) == (0, True, [])
    assert (await run("ann", *words))[0] == 1
    assert (await run("admin", *words, "--until", "2099-01-01T00:00:00Z"))[0] == 1, "too far ahead"
    code, said = await run("admin", *words, "--note", "一起做")
    assert (code, "c1" in await seen(web, "dan")) == (0, True)
    rows = json.loads((await run("auditor", "list", "--json"))[1])
    assert [(row["department"], row["partner_department"], row["note"]) for row in rows] == [(20, 10, "一起做")]
    assert "South" in (await run("admin", "list"))[1]
    assert (await run("ann", "list"))[0] == 1
    code, said = await run("admin", "make", "--department", "20", "--partner", "10", "--group", "value")
    assert (code, "两级审批" in said) == (0, True)
    assert (await run("admin", "end", rows[0]["id"]))[0] == 0
    assert "c1" not in await seen(web, "dan")
    assert (await run("admin", "end", rows[0]["id"]))[0] == 1
    assert json.loads((await run("admin", "list", "--json", "--ended"))[1])[0]["state"] == "ended"
