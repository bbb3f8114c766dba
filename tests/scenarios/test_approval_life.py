"""The life of one request over HTTP: edited, withdrawn, asked anew, looked back on; who may, in which order."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from support.company import GRANTS, Action, Companies, GrantLine, arrange
from support.desk import CROWD, Desk, audited
from support.service import Service, check_problem


@pytest.fixture
async def desk(companies: Companies, service: Service) -> Desk:
    """ann's line is lead, east, boss; boss, hq and third are supervisors."""
    wide = GrantLine(1, "advice", Action.USE, inherit=False)
    return Desk.of(service, await companies.make(people=CROWD, grants=(*GRANTS, wide)))


# -- editing ------------------------------------------------------------------------------------------------------------


async def test_an_edit_begins_again_at_level1_and_bars_its_editor(desk: Desk, sql: asyncpg.Connection) -> None:
    asked = await desk.ask()
    assert await desk.signed(asked, "lead") == "pending_level2"
    edited = await desk.edit("hq", asked, add=["value/mid"], reason="mid fits")
    assert edited.status_code == 200, edited.text
    shown = edited.json()
    assert (shown["approval"]["state"], shown["approval"]["round"], shown["signatures"]) == ("pending_level1", 2, [])
    assert (shown["change"]["after"], shown["approval"]["reason"]) == (["mid"], "mid fits")
    assert "hq" not in shown["approval"]["level2"]
    assert await desk.signed(asked, "lead") == "pending_level2"
    check_problem(await desk.web.sign("hq", asked), 403, "not_a_signer")
    assert await desk.signed(asked, "third") == "applied"
    assert await desk.company.carried("ann", "c1") == {"value/mid"}
    lines = await audited(sql, desk.company, f"approval:{asked}")
    assert [one for one in lines if one != "refused"] == [
        "approval.asked",
        "approval.signed",
        "approval.edited",
        "approval.signed",
        "approval.signed",
        "approval.applied",
    ]


async def test_requester_and_every_signer_may_edit_and_nobody_else(desk: Desk) -> None:
    for editor in ("ann", "lead", "hq", "boss", "third"):
        asked = await desk.ask()
        assert (await desk.edit(editor, asked, reason=f"by {editor}")).status_code == 200
        assert (await desk.read(editor, asked))["approval"]["reason"] == f"by {editor}", "who edited it still sees it"
        check_problem(await desk.web.sign(editor, asked), 403, "not_a_signer")
    asked = await desk.ask()
    for outsider in ("bob", "south", "dan", "cat", "deputy"):
        check_problem(await desk.edit(outsider, asked, add=["value/low"]), 404, "approval_unknown")
    for onlooker in ("admin", "auditor", "east"):
        check_problem(await desk.edit(onlooker, asked, add=["value/low"]), 403, "not_an_editor")
    assert (await desk.read("ann", asked))["approval"]["round"] == 1


async def test_403_before_409_before_428_before_412(desk: Desk) -> None:
    asked = await desk.ask()
    path = f"/v1/approvals/{asked}"
    body = {"reason": "other"}
    check_problem(await desk.web.call("east", "PATCH", path, body), 403, "not_an_editor")
    check_problem(await desk.web.call("lead", "PATCH", path, body), 428, "if_match_required")
    for stale in ('"0"', '"99"', 'W/"1"', "1", ""):
        check_problem(await desk.edit("lead", asked, reason="other", etag=stale), 412, "etag_outdated")
    await desk.web.sign("lead", asked, "reject", "no")
    check_problem(await desk.web.call("east", "PATCH", path, body), 403, "not_an_editor")
    check_problem(await desk.web.call("ann", "PATCH", path, body), 409, "approval_closed")
    check_problem(await desk.edit("ann", asked, reason="other", etag='"99"'), 409, "approval_closed")


async def test_a_suspended_corp_tells_strangers_first_that_they_are_strangers(desk: Desk) -> None:
    asked = await desk.ask()
    await arrange(desk.company.corp_id, "update corp set writes_suspended = true where corp_id = $1", desk.company.corp_id)
    check_problem(await desk.edit("east", asked, reason="x"), 403, "not_an_editor")
    check_problem(await desk.edit("ann", asked, reason="x"), 409, "writes_suspended")
    check_problem(await desk.web.sign("south", asked), 403, "not_a_signer")
    check_problem(await desk.web.sign("lead", asked), 409, "writes_suspended")


async def test_saving_what_stands_there_loses_no_signature(desk: Desk) -> None:
    asked = await desk.ask("ann", "c1", "value/high", reason="because")
    await desk.signed(asked, "lead")
    before = await desk.read("hq", asked)
    tags = {"add": [desk.tag("value/high")], "remove": []}
    for body in ({}, {"reason": "because"}, {"change": tags}, {"change": tags, "reason": "because"}, {"change": None}):
        again = await desk.web.call("hq", "PATCH", f"/v1/approvals/{asked}", body, If_Match=before["approval"]["etag"])
        assert (again.status_code, again.json()) == (200, before), body
    assert await desk.signed(asked, "hq") == "applied", "who saved nothing is no editor"


async def test_an_edit_needs_the_etag_of_what_was_read(desk: Desk) -> None:
    asked = await desk.ask()
    etag = (await desk.read("ann", asked))["approval"]["etag"]
    first = await desk.edit("ann", asked, add=["value/mid"], etag=etag)
    assert first.status_code == 200
    check_problem(await desk.edit("lead", asked, add=["value/low"], etag=etag), 412, "etag_outdated")
    check_problem(
        await desk.web.call("lead", "POST", f"/v1/approvals/{asked}/decisions", {"verdict": "approve"}, If_Match=etag), 412
    )
    assert (await desk.read("ann", asked))["change"]["after"] == ["mid"]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"add": [], "remove": []}, 422, "change_empty"),
        ({}, 422, "change_empty"),
        ({"add": ["value/high"], "remove": ["value/high"]}, 422, "change_contradicts"),
        ({"add": ["value/high", "value/low"]}, 422, "single_choice_twice"),
        ({"remove": ["value/low"]}, 409, "cannot_stand"),
        ({"add": [str(uuid4())]}, 422, "tag_unknown"),
        ({"add": ["no uuid"]}, 422, "change_unreadable"),
        ({"add": "value/high"}, 422, "change_unreadable"),
        ({"add": [], "follow_id": str(uuid4())}, 422, "change_unreadable"),
        ({"add": [None]}, 422, "change_unreadable"),
        ({"add": [str(uuid4())] * 51}, 422, "change_unreadable"),
    ],
)
async def test_what_cannot_stand_is_not_saved(desk: Desk, change: dict[str, Any], status: int, code: str) -> None:
    asked = await desk.ask()
    await desk.signed(asked, "lead")
    body = {"change": {key: _ids(desk, of) for key, of in change.items()}}
    check_problem(await desk.web.call("ann", "PATCH", f"/v1/approvals/{asked}", body, If_Match="*"), status, code)
    shown = await desk.read("ann", asked)
    assert (shown["approval"]["round"], len(shown["signatures"]), shown["change"]["after"]) == (1, 1, ["high"])


def _ids(desk: Desk, given: Any) -> Any:
    """Names of tags as ids; anything else as it is."""
    return [desk.tag(one) if one in desk.company.tags else one for one in given] if isinstance(given, list) else given


async def test_another_corps_tags_are_unknown(desk: Desk, companies: Companies) -> None:
    other = await companies.make()
    asked = await desk.ask()
    for change in ({"add": [str(other.tags["value/low"])]}, {"remove": [str(other.tags["value/low"])]}):
        answer = await desk.web.call("ann", "PATCH", f"/v1/approvals/{asked}", {"change": change}, If_Match="*")
        check_problem(answer, 422, "tag_unknown")


async def test_an_edit_reaches_no_group_the_requester_may_not_use(companies: Companies, service: Service) -> None:
    only_value = [grant for grant in GRANTS if grant.group == "value"]
    top = GrantLine(1, "activity", Action.USE, inherit=False)
    desk = Desk.of(service, await companies.make(people=CROWD, grants=(*only_value, top)))
    asked = await desk.ask()
    for editor in ("ann", "boss"):
        answer = await desk.edit(editor, asked, add=["value/high", "activity/hot"])
        assert check_problem(answer, 409, "cannot_stand")["facts"]["why"] == "requester_lost_right"
    assert (await desk.read("ann", asked))["approval"]["round"] == 1


async def test_content_that_no_column_holds_is_refused(desk: Desk) -> None:
    asked = await desk.ask()
    check_problem(await desk.edit("ann", asked, reason="a\0b"), 422)
    check_problem(await desk.edit("ann", asked, reason="x" * 1001), 422)
    body = {"verdict": "approve", "comment": "a\0b"}
    check_problem(await desk.web.call("lead", "POST", f"/v1/approvals/{asked}/decisions", body, If_Match="*"), 422)
    assert (await desk.edit("ann", asked, reason="升级为高价值客户 🚀")).status_code == 200


async def test_an_edit_that_leaves_nobody_to_sign_is_refused(companies: Companies, service: Service) -> None:
    people = {userid: place for userid, place in CROWD.items() if userid not in ("hq", "third", "lead", "east")}
    desk = Desk.of(service, await companies.make(people={**people, "east": (10, True, ("manager",))}))
    asked = await desk.ask()
    for last in ("east", "boss"):
        check_problem(await desk.edit(last, asked, add=["value/low"]), 409, "no_approver")
    assert await desk.signed(asked, "east", "boss") == "applied"


async def test_an_edit_takes_back_the_signature_given_by_asking(desk: Desk) -> None:
    asked = await desk.ask("lead", "c1")
    assert (await desk.read("lead", asked))["approval"]["state"] == "pending_level2"
    shown = (await desk.edit("lead", asked, add=["value/low"])).json()
    assert (shown["approval"]["state"], shown["approval"]["level1"], shown["signatures"]) == ("pending_level1", ["east"], [])
    check_problem(await desk.web.sign("lead", asked), 403, "not_a_signer")
    assert await desk.signed(asked, "east", "hq") == "applied"


async def test_the_editors_second_account_does_not_sign(desk: Desk) -> None:
    await desk.join("third", "hq")
    asked = await desk.ask()
    assert (await desk.edit("hq", asked, add=["value/mid"])).status_code == 200
    await desk.signed(asked, "lead")
    check_problem(await desk.web.sign("third", asked), 403, "not_a_signer")
    assert asked not in await desk.box("third", "inbox")
    assert await desk.signed(asked, "boss") == "applied"


async def test_only_the_reason_of_a_protected_change_is_edited(desk: Desk) -> None:
    answer = await desk.web.call("admin", "PUT", "/v1/employees/ann/roles", {"roles": ["staff", "manager"]})
    assert answer.status_code == 202
    asked = answer.json()["approval_id"]
    edit = {"change": {"give": ["supervisor"]}}
    check_problem(await desk.web.call("admin", "PATCH", f"/v1/approvals/{asked}", edit, If_Match="*"), 409, "not_editable")
    assert (await desk.edit("admin", asked, reason="promoted")).status_code == 200
    check_problem(await desk.edit("ann", asked, reason="mine"), 403, "not_an_editor")
    assert await desk.signed(asked, "lead", "hq") == "applied"


async def test_another_reason_is_put_on_todays_base(desk: Desk) -> None:
    """A held change that takes unheld tags along: what moved meanwhile must not be signed away unseen."""
    asked = await desk.ask("ann", "c1", "value/high", "activity/hot", partial=False)
    assert (await desk.web.tag("ann", "c1", [desk.tag("activity/warm")])).status_code == 200
    shown = (await desk.edit("ann", asked, reason="still")).json()
    assert (shown["change"]["before"], shown["change"]["after"]) == (["warm"], ["high", "hot"])
    assert await desk.signed(asked, "lead", "hq") == "applied"
    assert await desk.company.carried("ann", "c1") == {"value/high", "activity/hot"}, "single choice holds"


async def test_what_moved_is_stale_and_says_so(desk: Desk) -> None:
    asked = await desk.ask("ann", "c1", "value/high", "activity/hot", partial=False)
    await desk.web.tag("ann", "c1", [desk.tag("activity/warm")])
    answer = await desk.web.sign("lead", asked)
    assert (answer.status_code, answer.json()["approval"]["state"]) == (200, "stale")
    assert answer.json()["approval"]["closed_reason"] == "base_moved"


# -- withdrawing, asking anew -------------------------------------------------------------------------------------------


async def test_withdrawing_is_the_requesters(desk: Desk) -> None:
    asked = await desk.ask()
    check_problem(await desk.post("bob", asked, "withdraw"), 404, "approval_unknown")
    for other in ("lead", "hq", "admin", "auditor"):
        check_problem(await desk.post(other, asked, "withdraw"), 403, "not_the_requester")
    answer = await desk.post("ann", asked, "withdraw", Idempotency_Key="w")
    assert (answer.status_code, answer.json()["approval"]["state"]) == (200, "withdrawn")
    assert (await desk.post("ann", asked, "withdraw", Idempotency_Key="w")).status_code == 200
    check_problem(await desk.post("ann", asked, "withdraw"), 409, "approval_closed")
    check_problem(await desk.post("lead", asked, "withdraw"), 403, "not_the_requester")
    check_problem(await desk.edit("ann", asked, add=["value/low"]), 409, "approval_closed")
    check_problem(await desk.web.sign("lead", asked), 409, "approval_closed")


async def test_asking_anew_carries_nothing_over(desk: Desk, sql: asyncpg.Connection) -> None:
    asked = await desk.ask("ann", "c1", "value/high", reason="because")
    await desk.signed(asked, "lead")
    await desk.web.sign("hq", asked, "reject", "not yet")
    answer = await desk.post("ann", asked, "resubmit", Idempotency_Key="r")
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    fresh = shown["approval"]["id"]
    assert fresh != asked
    assert (shown["approval"]["resubmitted_from"], shown["approval"]["state"], shown["signatures"]) == (
        asked,
        "pending_level1",
        [],
    )
    assert (shown["approval"]["reason"], shown["change"]["after"]) == ("because", ["high"])
    assert [one["id"] for one in shown["earlier"]] == [asked]
    again = await desk.post("ann", asked, "resubmit", Idempotency_Key="r")
    assert (again.status_code, again.json()["approval"]["id"]) == (201, fresh)
    assert await sql.fetchval("select count(*) from approval where corp_id = $1", desk.company.corp_id) == 2
    assert await desk.signed(fresh, "lead", "hq") == "applied"


async def test_only_the_requester_asks_anew_and_only_for_what_ended(desk: Desk) -> None:
    asked = await desk.ask()
    check_problem(await desk.post("bob", asked, "resubmit"), 404, "approval_unknown")
    for other in ("lead", "hq", "admin"):
        check_problem(await desk.post(other, asked, "resubmit"), 403, "not_the_requester")
    check_problem(await desk.post("ann", asked, "resubmit"), 409, "approval_open")
    await desk.signed(asked, "lead", "hq")
    check_problem(await desk.post("ann", asked, "resubmit"), 409, "approval_open")
    check_problem(await desk.post("ann", str(uuid4()), "resubmit"), 404, "approval_unknown")


async def test_asking_anew_after_losing_the_right_or_with_nobody_to_sign(desk: Desk) -> None:
    asked = await desk.ask()
    await desk.post("ann", asked, "withdraw")
    await desk.roles("ann")
    assert check_problem(await desk.post("ann", asked, "resubmit"), 409, "cannot_stand")["facts"]["why"] == "requester_lost_right"
    await desk.roles("ann", "staff")
    for gone in ("hq", "third", "boss"):
        await desk.roles(gone)
    check_problem(await desk.post("ann", asked, "resubmit"), 409, "no_approver")
    assert await desk.box("ann", "mine") == [asked]


async def test_asking_anew_for_what_is_carried_by_now(desk: Desk) -> None:
    first = await desk.ask()
    await desk.post("ann", first, "withdraw")
    await desk.signed(await desk.ask(), "lead", "hq")
    answer = await desk.post("ann", first, "resubmit")
    assert check_problem(answer, 409, "cannot_stand")["facts"]["why"] == "nothing_to_change"


# -- what signers look back on ------------------------------------------------------------------------------------------


async def test_a_signer_sees_what_was_asked_and_carried_before(desk: Desk) -> None:
    first = await desk.ask()
    await desk.signed(first, "lead", "hq")
    second = await desk.ask("ann", "c1", "value/low")
    shown = await desk.read("hq", second)
    assert (shown["change"]["before"], shown["change"]["after"]) == (["high"], ["low"])
    assert [(one["tag"], one["approval_id"], one["ended_at"]) for one in shown["change"]["history"]] == [("high", first, None)]
    assert [(one["id"], one["state"]) for one in shown["earlier"]] == [(first, "applied")]
    assert (await desk.read("lead", first))["earlier"] == []


async def test_earlier_requests_about_a_customer_show_only_what_one_may_see(desk: Desk) -> None:
    await desk.company.add_customers(("ann", "shared", ()), ("dan", "shared", ()))
    south = await desk.ask("dan", "shared", "value/high", follow_userid="dan")
    east = await desk.ask("ann", "shared", "value/high", follow_userid="ann")
    assert (await desk.read("ann", east))["earlier"] == []
    assert (await desk.read("lead", east))["earlier"] == []
    assert [one["id"] for one in (await desk.read("hq", east))["earlier"]] == [south]
    check_problem(await desk.web.get("ann", f"/v1/approvals/{south}"), 404, "approval_unknown")


async def test_a_demoted_signer_sees_no_more_than_he_signed(desk: Desk) -> None:
    signed, unsigned = await desk.ask(), await desk.ask("bob", "c2")
    await desk.signed(signed, "lead", "hq")
    await desk.roles("hq", "staff")
    assert (await desk.read("hq", signed))["approval"]["state"] == "applied"
    check_problem(await desk.web.get("hq", f"/v1/approvals/{unsigned}"), 404, "approval_unknown")
    assert await desk.box("hq", "all") == [signed]
