"""Who signs while somebody is away, over HTTP: who may name whom, what the delegate may sign, and how it ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from support.company import Companies
from support.desk import CROWD, Desk, audited
from support.service import SECOND_ISSUER, SECOND_KEY, Service, check_problem

PEOPLE = {**CROWD, "chief": (20, False, ("supervisor",)), "pal": (11, False, ("manager",)), "clerk": (11, False, ("staff",))}
SECONDS = ("boss", "hq", "third")


def at(**more: float) -> str:
    """A moment from now, as a client would write it."""
    return (datetime.now(UTC) + timedelta(**more)).isoformat()


@pytest.fixture
async def desk(companies: Companies, service: Service) -> Desk:
    """`deputy` and `pal` are managers in Shanghai, `chief` a supervisor in the south."""
    return Desk.of(service, await companies.make(people=PEOPLE))


async def named(desk: Desk, userid: str = "lead", delegate: str = "deputy", **more: Any) -> str:
    """Sets a delegation that needs nobody's signature; its id."""
    answer = await desk.delegate(userid, delegate, more.pop("ends_at", at(days=5)), **more)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def listed(desk: Desk, userid: str, **query: Any) -> list[str]:
    answer = await desk.web.get(userid, "/v1/delegations", **query)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["items"]]


# -- signing for somebody -----------------------------------------------------------------------------------------------


async def test_a_delegate_signs_and_both_names_stay(desk: Desk, sql: asyncpg.Connection) -> None:
    asked = await desk.ask()
    check_problem(await desk.web.sign("deputy", asked), 403, "not_a_signer")
    await named(desk, reason="annual leave")
    assert asked in await desk.box("deputy", "inbox")
    shown = (await desk.web.sign("deputy", asked)).json()
    [signature] = shown["signatures"]
    assert (signature["level"], signature["signer"], signature["on_behalf_of"]) == (1, "deputy", "lead")
    check_problem(await desk.web.sign("lead", asked), 403, "not_a_signer")
    assert await desk.signed(asked, "hq") == "applied"
    assert (await desk.told("lead", asked))[-1] == "applied"
    assert (await desk.told("deputy", asked))[-1] == "applied"
    detail = await sql.fetchval(
        "select convert_from(body, 'UTF8')::jsonb -> 'detail' ->> 'on_behalf_of' from audit_line where corp_id = $1"
        " and convert_from(body, 'UTF8')::jsonb ->> 'action' = 'approval.signed' order by seq limit 1",
        desk.company.corp_id,
    )
    assert detail == "lead"


async def test_who_is_away_may_still_sign(desk: Desk) -> None:
    await named(desk)
    asked = await desk.ask()
    assert await desk.told("deputy", asked) == await desk.told("lead", asked) == ["to_sign"]
    assert await desk.signed(asked, "lead") == "pending_level2"
    check_problem(await desk.web.sign("deputy", asked), 403, "not_a_signer")


async def test_a_delegate_refuses_in_both_names(desk: Desk) -> None:
    await named(desk)
    asked = await desk.ask()
    check_problem(await desk.web.sign("deputy", asked, "reject", " "), 422, "comment_required")
    shown = (await desk.web.sign("deputy", asked, "reject", "no")).json()
    assert (shown["approval"]["state"], shown["signatures"][0]["on_behalf_of"]) == ("rejected", "lead")


async def test_a_signature_given_by_asking_is_no_delegates_to_give(desk: Desk) -> None:
    await named(desk)
    asked = await desk.ask()
    own = await desk.web.tag("lead", "c1", [desk.tag("value/low")])
    assert own.status_code == 202
    check_problem(await desk.web.sign("deputy", own.json()["approval_id"]), 403, "not_a_signer")
    assert own.json()["approval_id"] not in await desk.box("deputy", "inbox")
    assert asked in await desk.box("deputy", "inbox")


async def test_a_delegate_who_owns_or_asks_is_neither_told_nor_heard(companies: Companies, service: Service) -> None:
    owned = (("deputy", "d1", ()), ("ann", "c1", ()))
    desk = Desk.of(service, await companies.make(people=PEOPLE, customers=owned))
    await named(desk)
    asked = await desk.ask("deputy", "d1")
    assert await desk.told("deputy", asked) == []
    check_problem(await desk.web.sign("deputy", asked), 403, "not_a_signer")
    assert asked not in await desk.box("deputy", "inbox")
    assert await desk.signed(asked, "lead", "hq") == "applied"


async def test_the_two_of_a_delegation_are_one_signer(desk: Desk) -> None:
    """chief signs level 1 for lead; neither chief nor lead signs level 2, though chief is a supervisor."""
    held = await desk.delegate("lead", "chief", at(days=3))
    assert await desk.signed(held.json()["approval_id"], "east", "hq") == "applied"
    asked = await desk.ask()
    assert await desk.signed(asked, "chief") == "pending_level2"
    assert asked not in await desk.box("chief", "inbox")
    check_problem(await desk.web.sign("chief", asked), 403, "not_a_signer")
    assert "to_sign" in await desk.told("hq", asked)
    assert (await desk.told("chief", asked)).count("to_sign") == 1
    assert await desk.signed(asked, "hq") == "applied"


async def test_one_hop_only(desk: Desk) -> None:
    await named(desk, "lead", "deputy")
    other = await desk.delegate("deputy", "pal", at(days=3))
    assert other.status_code == 201
    asked = await desk.ask()
    check_problem(await desk.web.sign("pal", asked), 403, "not_a_signer")
    assert asked not in await desk.box("pal", "inbox")
    assert await desk.told("pal", asked) == []
    check_problem(await desk.web.get("pal", f"/v1/approvals/{asked}"), 404, "approval_unknown")
    assert await desk.signed(asked, "deputy") == "pending_level2"


@pytest.mark.parametrize("how", ["ended", "delegate_demoted", "giver_demoted", "giver_left", "delegate_left"])
async def test_what_ends_a_delegates_right_ends_it_at_once(desk: Desk, how: str) -> None:
    delegation = await named(desk)
    asked = await desk.ask()
    assert asked in await desk.box("deputy", "inbox")
    if how == "ended":
        assert (await desk.web.call("lead", "DELETE", f"/v1/delegations/{delegation}")).status_code == 204
    elif how.endswith("demoted"):
        await desk.roles("deputy" if how.startswith("delegate") else "lead", "staff")
    else:
        gone = "deputy" if how.startswith("delegate") else "lead"
        await desk.company.move_people({userid: place for userid, place in PEOPLE.items() if userid != gone})
    code = "refused_at_identity" if how == "delegate_left" else "not_a_signer"
    check_problem(await desk.web.sign("deputy", asked), 403, code)
    if how != "delegate_left":
        assert asked not in await desk.box("deputy", "inbox")
    assert await desk.signed(asked, *(("east",) if how.startswith("giver") else ("lead",)), "hq") == "applied"


async def test_a_delegation_that_has_not_begun_or_is_over_gives_nothing(desk: Desk, owner_sql: asyncpg.Connection) -> None:
    asked = await desk.ask()
    await named(desk, starts_at=at(hours=1))
    check_problem(await desk.web.sign("deputy", asked), 403, "not_a_signer")
    delegation = await named(desk, "lead", "pal")
    assert asked in await desk.box("pal", "inbox")
    await _is_over(owner_sql, delegation)
    check_problem(await desk.web.sign("pal", asked), 403, "not_a_signer")
    assert delegation not in await listed(desk, "lead")
    assert delegation in await listed(desk, "lead", over="true")


async def _is_over(owner_sql: asyncpg.Connection, delegation: str) -> None:
    """Lets its time pass: in the rows, which nobody but the operator can rewrite."""
    async with owner_sql.transaction():
        await owner_sql.execute("alter table delegation disable trigger user")
        await owner_sql.execute(
            "update delegation set starts_at = now() - interval '3 days', ends_at = now() - interval '1 s' where id = $1::uuid",
            delegation,
        )
        await owner_sql.execute("alter table delegation enable trigger user")


async def test_a_signature_outlives_a_delegation_that_ran_out_and_not_one_taken_back(
    desk: Desk, owner_sql: asyncpg.Connection
) -> None:
    first = await named(desk)
    ran_out, taken = await desk.ask(), await desk.ask("bob", "c2")
    await desk.signed(ran_out, "deputy")
    async with owner_sql.transaction():
        await owner_sql.execute("alter table delegation disable trigger user")
        await owner_sql.execute("update delegation set ends_at = clock_timestamp() where id = $1::uuid", first)
        await owner_sql.execute("alter table delegation enable trigger user")
    check_problem(await desk.web.call("lead", "DELETE", f"/v1/delegations/{first}"), 409, "delegation_over")
    assert await desk.signed(ran_out, "hq") == "applied"
    second = await named(desk)
    await desk.signed(taken, "deputy")
    assert (await desk.web.call("lead", "DELETE", f"/v1/delegations/{second}")).status_code == 204
    shown = (await desk.web.sign("hq", taken)).json()["approval"]
    assert (shown["state"], shown["closed_reason"]) == ("stale", "signer_lost_authority")


async def test_a_delegate_who_lost_the_role_since_he_signed_has_not_signed(desk: Desk) -> None:
    await named(desk)
    asked = await desk.ask()
    await desk.signed(asked, "deputy")
    await desk.roles("deputy", "staff")
    shown = (await desk.web.sign("hq", asked)).json()["approval"]
    assert (shown["state"], shown["closed_reason"]) == ("stale", "signer_lost_authority")


async def test_a_delegate_does_not_sign_for_an_editor_nor_what_he_edited(desk: Desk) -> None:
    await named(desk)
    asked = await desk.ask()
    assert (await desk.edit("lead", asked, add=["value/mid"])).status_code == 200
    for one in ("deputy", "lead"):
        check_problem(await desk.web.sign(one, asked), 403, "not_a_signer")
    assert await desk.signed(asked, "east", "hq") == "applied"


async def test_who_edits_for_somebody_bars_him_too(desk: Desk) -> None:
    """A delegate is the person he stands for: lead does not sign what his delegate made of it."""
    await named(desk)
    asked = await desk.ask()
    shown = (await desk.edit("deputy", asked, add=["value/mid"])).json()
    assert shown["approval"]["level1"] == ["east"]
    for one in ("deputy", "lead"):
        check_problem(await desk.web.sign(one, asked), 403, "not_a_signer")
    assert await desk.signed(asked, "east", "hq") == "applied"


async def test_a_second_account_found_later_stands_in_for_nobody(desk: Desk) -> None:
    await named(desk)
    asked = await desk.ask()
    await desk.join("deputy", "lead")
    check_problem(await desk.web.sign("deputy", asked), 403, "not_a_signer")
    assert await desk.signed(asked, "lead") == "pending_level2"


async def test_nobody_left_for_level2(companies: Companies, service: Service) -> None:
    """The only supervisor stands in for lead: he keeps level 2."""
    people = {userid: place for userid, place in PEOPLE.items() if userid not in ("boss", "hq", "third", "chief")}
    people = {**people, "top": (1, True, ("supervisor",))}
    desk = Desk.of(service, await companies.make(people=people))
    await named(desk, "lead", "top")
    asked = await desk.ask()
    check_problem(await desk.web.sign("top", asked), 409, "not_your_turn")
    assert await desk.told("top", asked) == []
    assert await desk.signed(asked, "lead", "top") == "applied"


# -- naming somebody ----------------------------------------------------------------------------------------------------


async def test_who_may_not_be_named(desk: Desk) -> None:
    await desk.join("pal", "lead")
    wanted = {
        "lead": "delegate_is_you",
        "pal": "delegate_is_you",
        "LEAD": "delegate_unknown",
        "ghost": "delegate_unknown",
        "clerk": "delegate_holds_no_signing_role",
        "admin": "delegate_holds_no_signing_role",
        "auditor": "delegate_holds_no_signing_role",
        "bot": "delegate_holds_no_signing_role",
    }
    for delegate, why in wanted.items():
        answer = await desk.delegate("lead", delegate, at(days=1))
        assert check_problem(answer, 403, "delegation_refused")["facts"]["why"] == why, delegate
    for nobody in ("ann", "admin", "auditor"):
        answer = await desk.delegate(nobody, "deputy", at(days=1))
        assert check_problem(answer, 403, "delegation_refused")["facts"]["why"] == "nothing_to_delegate"
    answer = await desk.delegate("hq", "deputy", at(days=1))
    assert check_problem(answer, 403, "delegation_refused")["facts"]["why"] == "delegate_holds_no_signing_role"
    assert await listed(desk, "admin") == []


async def test_only_a_person_with_a_signing_token_delegates(companies: Companies, service: Service) -> None:
    desk = Desk.of(service, await companies.make(people=PEOPLE, live=False))
    bound = await desk.web.call("admin", "PUT", f"/v1/corp/issuers/{SECOND_ISSUER}", {"may_sign": False})
    assert bound.status_code == 200, bound.text
    assert (await desk.web.call("admin", "POST", "/v1/corp/activate")).status_code == 200
    for more in ({"act": "bot"}, {"issuer": SECOND_ISSUER, "key": SECOND_KEY}):
        desk.speak_as("lead", **more)
        answer = await desk.delegate("lead", "deputy", at(days=1))
        assert check_problem(answer, 403, "delegation_refused")["facts"]["why"] == "issuer"
    desk.speak_plainly("lead")
    await named(desk)
    asked = await desk.ask()
    for more in ({"act": "bot"}, {"issuer": SECOND_ISSUER, "key": SECOND_KEY}):
        desk.speak_as("deputy", **more)
        check_problem(await desk.web.sign("deputy", asked), 403, "not_a_signer")


async def test_times_that_make_no_sense(desk: Desk) -> None:
    wrong = {
        "starts_in_the_past": {"starts_at": at(hours=-1), "ends_at": at(days=1)},
        "ends_before_it_starts": {"starts_at": at(days=2), "ends_at": at(days=1)},
        "longer_than_92_days": {"ends_at": at(days=92, minutes=5)},
    }
    for why, times in wrong.items():
        answer = await desk.web.call("lead", "POST", "/v1/delegations", {"delegate": "deputy", **times})
        assert check_problem(answer, 422, "delegation_invalid")["facts"]["why"] == why
    check_problem(await desk.delegate("lead", "deputy", at(days=-1)), 422, "delegation_invalid")
    for unreadable in ("tomorrow", "2030-01-01", "2030-01-01T00:00:00", "9999-12-31T23:59:59"):
        check_problem(await desk.delegate("lead", "deputy", unreadable), 422)
    late = {"starts_at": "9999-12-31T22:00:00-12:00", "ends_at": "9999-12-31T23:00:00-12:00"}
    check_problem(await desk.web.call("lead", "POST", "/v1/delegations", {"delegate": "deputy", **late}), 422)
    for odd in ({"reason": "x" * 201}, {"reason": "a\0"}, {"until": 1}, {"userid": "hq"}):
        check_problem(
            await desk.web.call("lead", "POST", "/v1/delegations", {"delegate": "deputy", "ends_at": at(days=1), **odd}), 422
        )
    for name in ("", "x" * 65, "a\0b"):
        assert (await desk.delegate("lead", name, at(days=1))).status_code in (403, 422)
    assert await listed(desk, "admin", over="true") == []
    assert (await desk.delegate("lead", "deputy", at(days=91, hours=23))).status_code == 201


async def test_a_repeated_post_names_once(desk: Desk) -> None:
    body = {"delegate": "deputy", "ends_at": at(days=1)}
    answers = [await desk.web.call("lead", "POST", "/v1/delegations", body, Idempotency_Key="d") for _ in range(2)]
    assert [one.status_code for one in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert len(await listed(desk, "lead")) == 1


# -- beyond the line ----------------------------------------------------------------------------------------------------


async def test_beyond_the_givers_line_two_people_sign_first(desk: Desk) -> None:
    held = await desk.delegate("east", "south", at(days=3), reason="holiday")
    assert held.status_code == 202
    approval_id = held.json()["approval_id"]
    shown = await desk.read("boss", approval_id)
    assert (shown["approval"]["kind"], shown["approval"]["about_userid"]) == ("delegation", "east")
    assert (shown["change"]["before"], shown["change"]["after"]) == ("east", "south")
    assert await listed(desk, "east") == []
    for nobody in ("east", "south", "lead"):
        check_problem(await desk.web.sign(nobody, approval_id), 403, "not_a_signer")
    assert await desk.signed(approval_id, "boss", "hq") == "applied"
    [row] = (await desk.web.get("south", "/v1/delegations")).json()["items"]
    assert (row["userid"], row["delegate"], row["approval_id"]) == ("east", "south", approval_id)
    own = await desk.web.tag("lead", "c1", [desk.tag("value/low")])
    asked = (await desk.edit("lead", own.json()["approval_id"], add=["value/mid"])).json()["approval"]
    assert asked["level1"] == ["east"]
    assert await desk.signed(asked["id"], "south", "hq") == "applied"


async def test_whom_a_delegation_would_give_authority_does_not_sign_it(desk: Desk) -> None:
    held = await desk.delegate("east", "chief", at(days=3))
    approval_id = held.json()["approval_id"]
    assert "chief" not in (await desk.read("boss", approval_id))["approval"]["level2"]
    await desk.signed(approval_id, "boss")
    check_problem(await desk.web.sign("chief", approval_id), 403, "not_a_signer")
    await desk.web.call("east", "POST", f"/v1/approvals/{approval_id}/withdraw")
    again = (await desk.post("east", approval_id, "resubmit")).json()["approval"]
    assert "chief" not in again["level2"]
    await desk.signed(again["id"], "boss")
    check_problem(await desk.web.sign("chief", again["id"]), 403, "not_a_signer")
    assert await desk.signed(again["id"], "hq") == "applied"


@pytest.mark.parametrize("how", ["demoted", "withdrawn"])
async def test_a_held_delegation_that_no_longer_stands_is_not_set(desk: Desk, how: str) -> None:
    held = (await desk.delegate("east", "south", at(days=3))).json()["approval_id"]
    await desk.signed(held, "boss")
    if how == "demoted":
        await desk.roles("south", "staff")
        assert (await desk.web.sign("hq", held)).json()["approval"]["state"] == "stale"
    else:
        await desk.post("east", held, "withdraw")
        check_problem(await desk.web.sign("hq", held), 409, "approval_closed")
    assert await listed(desk, "east", over="true") == []


# -- ending and reading -------------------------------------------------------------------------------------------------


async def test_who_ends_a_delegation(desk: Desk, companies: Companies, service: Service, sql: asyncpg.Connection) -> None:
    stranger = Desk.of(service, await companies.make(people=PEOPLE))
    for ender in ("lead", "deputy", "admin"):
        delegation = await named(desk)
        path = f"/v1/delegations/{delegation}"
        for other in ("ann", "east", "hq", "auditor", "pal"):
            check_problem(await desk.web.call(other, "DELETE", path), 404, "delegation_unknown")
        check_problem(await stranger.web.call("admin", "DELETE", path), 404, "delegation_unknown")
        assert (await desk.web.call(ender, "DELETE", path)).status_code == 204
        check_problem(await desk.web.call(ender, "DELETE", path), 409, "delegation_over")
        check_problem(await desk.web.call("ann", "DELETE", path), 404, "delegation_unknown")
        assert (await audited(sql, desk.company, f"delegation:{delegation}"))[-1] == "delegation.ended"
    check_problem(await desk.web.call("admin", "DELETE", f"/v1/delegations/{uuid4()}"), 404, "delegation_unknown")
    check_problem(await desk.web.call("admin", "DELETE", "/v1/delegations/x"), 404)


async def test_everybody_sees_his_own_and_the_overseers_all(desk: Desk, companies: Companies, service: Service) -> None:
    first, second = await named(desk, "lead", "deputy"), await named(desk, "hq", "third")
    assert await listed(desk, "lead") == await listed(desk, "deputy") == [first]
    assert await listed(desk, "hq") == await listed(desk, "third") == [second]
    for overseer in ("admin", "auditor"):
        assert await listed(desk, overseer) == [second, first]
        assert await listed(desk, overseer, limit=1) == [second]
    for other in ("ann", "east", "boss"):
        assert await listed(desk, other) == []
    stranger = Desk.of(service, await companies.make(people=PEOPLE))
    assert await listed(stranger, "admin") == []
    check_problem(await desk.web.get("lead", "/v1/delegations", limit=0), 422)
