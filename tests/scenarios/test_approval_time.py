"""Time over a request, over HTTP: escalated by hand and by the clock, reminded, expired, and whoever leaves meanwhile."""

from __future__ import annotations

from uuid import uuid4

import pytest

from support.company import Companies, arrange
from support.desk import CROWD, Desk
from support.service import Service, check_problem
from tagwarden.approvals import timekeeping


@pytest.fixture
async def desk(companies: Companies, service: Service) -> Desk:
    """ann's line is lead, east, boss; boss, hq and third are supervisors."""
    return Desk.of(service, await companies.make(people=CROWD))


async def test_escalation_by_hand(desk: Desk) -> None:
    asked = await desk.ask()
    for other in ("ann", "lead", "hq", "east"):
        check_problem(await desk.post(other, asked, "escalate"), 403, "module_missing")
    check_problem(await desk.web.sign("east", asked), 403, "not_a_signer")
    answer = await desk.post("admin", asked, "escalate")
    assert (answer.status_code, answer.json()["approval"]["level1"]) == (200, ["east", "lead"])
    assert (await desk.told("east", asked), await desk.told("ann", asked)) == (["escalated"], ["escalated"])
    assert asked in await desk.box("east", "inbox")
    await desk.post("admin", asked, "escalate")
    last = await desk.post("admin", asked, "escalate")
    assert last.json()["approval"]["level1"] == ["boss", "east", "lead"]
    assert (await desk.post("admin", asked, "escalate")).json() == last.json(), "nobody is left: unchanged"
    assert await desk.signed(asked, "east", "hq") == "applied"
    check_problem(await desk.post("admin", asked, "escalate"), 409, "approval_closed")
    check_problem(await desk.post("admin", str(uuid4()), "escalate"), 404, "approval_unknown")


async def test_nobody_escalates_his_own_request_not_even_by_another_account(companies: Companies, service: Service) -> None:
    desk = Desk.of(service, await companies.make(people={**CROWD, "ann2": (11, False, ("admin",))}))
    asked = await desk.ask()
    assert (await desk.post("ann2", asked, "escalate")).status_code == 200
    await desk.join("ann2", "ann")
    check_problem(await desk.post("ann2", asked, "escalate"), 403, "not_a_signer")


async def test_the_clock_reminds_then_escalates_then_expires(desk: Desk) -> None:
    asked = await desk.ask()
    corp_id = desk.company.corp_id
    assert await timekeeping.keep_time(corp_id) == {"expired": 0, "escalated": 0, "reminded": 0, "stale": 0}
    assert await desk.box("lead", "overdue") == []
    await desk.waited(asked, 24)
    etag = (await desk.read("ann", asked))["approval"]["etag"]
    for reminded in (1, 0):
        assert (await timekeeping.keep_time(corp_id))["reminded"] == reminded
    assert await desk.told("lead", asked) == ["to_sign", "reminded"]
    assert (await desk.read("ann", asked))["approval"]["etag"] == etag, "a reminder changes nothing a reader sees"
    assert (await desk.box("lead", "overdue"), await desk.box("hq", "overdue")) == ([asked], [])
    await desk.waited(asked, 24)
    for escalated in (1, 0):
        assert (await timekeeping.keep_time(corp_id))["escalated"] == escalated
    assert await desk.told("east", asked) == ["escalated"]
    assert (await desk.read("ann", asked))["approval"]["escalations"] == 1
    await arrange(corp_id, "update approval set expires_at = now() where id = $1::uuid", asked)
    assert (await timekeeping.keep_time(corp_id))["expired"] == 1
    assert (await desk.read("ann", asked))["approval"]["state"] == "expired"
    assert (await desk.told("ann", asked))[-1] == "expired"
    assert (await desk.post("ann", asked, "resubmit")).status_code == 201


async def test_level2_has_its_own_time(desk: Desk) -> None:
    asked = await desk.ask()
    await desk.waited(asked, 24)
    await timekeeping.keep_time(desk.company.corp_id)
    await desk.signed(asked, "lead")
    assert (await timekeeping.keep_time(desk.company.corp_id))["reminded"] == 0
    await desk.waited(asked, 72)
    counted = await timekeeping.keep_time(desk.company.corp_id)
    assert (counted["reminded"], counted["escalated"]) == (1, 0)
    assert [await desk.told(who, asked) for who in ("boss", "hq", "third")] == [["to_sign", "reminded"]] * 3


async def test_what_is_over_is_neither_signed_nor_edited(desk: Desk) -> None:
    asked, other = await desk.ask(), await desk.ask("bob", "c2")
    for one in (asked, other):
        await arrange(desk.company.corp_id, "update approval set expires_at = now() where id = $1::uuid", one)
    answer = await desk.web.sign("lead", asked)
    assert (answer.status_code, answer.json()["approval"]["state"]) == (200, "expired")
    answer = await desk.edit("bob", other, add=["value/low"])
    assert (answer.status_code, answer.json()["approval"]["state"]) == (200, "expired")
    assert answer.json()["change"]["after"] == ["high"]


async def test_who_leaves_makes_it_stale_and_both_sides_know(desk: Desk) -> None:
    asked = await desk.ask("lead", "c1")
    people = {userid: place for userid, place in CROWD.items() if userid != "ann"}
    await desk.company.move_people(people)
    assert (await desk.read("lead", asked))["approval"]["state"] == "stale"
    assert (await desk.told("lead", asked))[-1] == "stale"
