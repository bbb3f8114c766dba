"""What a person sees of requests over HTTP: boxes, notifications, decisions in bulk; a list never shows what a read refuses."""

from __future__ import annotations

import base64
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from support.company import PEOPLE as USUAL
from support.company import Companies
from support.desk import CROWD, Desk
from support.service import Service, check_problem

BOXES = ("inbox", "overdue", "mine", "team", "all")
GARBAGE = ("x", "%00", "null", "MQ", base64.urlsafe_b64encode(b"not-a-uuid").decode(), "a" * 300, "💥", "-1")


@pytest.fixture
async def desk(companies: Companies, service: Service) -> Desk:
    return Desk.of(service, await companies.make(people=CROWD))


async def bulk(desk: Desk, userid: str, *items: dict[str, Any], **headers: str) -> httpx.Response:
    return await desk.web.call(userid, "POST", "/v1/approvals/decisions", {"items": list(items)}, **headers)


async def item(desk: Desk, approval_id: str, verdict: str = "approve", comment: str = "") -> dict[str, Any]:
    """One decision in bulk, with the ETag as it is now."""
    etag = (await desk.read("auditor", approval_id))["approval"]["etag"]
    return {"id": approval_id, "etag": etag, "verdict": verdict, "comment": comment}


def outcomes(answer: httpx.Response) -> list[str]:
    """Per item the state it reached, or the code of its refusal."""
    assert answer.status_code == 200, answer.text
    return [one.get("state") or one["code"] for one in answer.json()["items"]]


# -- boxes --------------------------------------------------------------------------------------------------------------


async def test_boxes_follow_a_request_through_its_life(desk: Desk) -> None:
    asked = await desk.ask()
    assert [who for who in CROWD if who != "bot" and asked in await desk.box(who, "inbox")] == ["lead"]
    assert [who for who in CROWD if who != "bot" and asked in await desk.box(who, "mine")] == ["ann"]
    assert {who for who in CROWD if who != "bot" and asked in await desk.box(who, "team")} == {"lead", "east", "boss"}
    seen = {who for who in CROWD if who != "bot" and asked in await desk.box(who, "all")}
    assert seen == {"ann", "lead", "east", "boss", "hq", "third", "admin", "auditor"}
    await desk.signed(asked, "lead")
    assert {who for who in CROWD if who != "bot" and asked in await desk.box(who, "inbox")} == {"boss", "hq", "third"}
    await desk.signed(asked, "hq")
    for who in ("ann", "lead", "hq", "boss"):
        assert asked not in [*await desk.box(who, "inbox"), *await desk.box(who, "team"), *await desk.box(who, "overdue")]
    assert (await desk.box("ann", "mine"), await desk.box("boss", "all")) == ([asked], [asked])


async def test_what_one_has_signed_waits_for_one_no_more(companies: Companies, service: Service) -> None:
    """Two supervisors who lead together: the one who signed level 1 is not asked for level 2."""
    people = {userid: place for userid, place in USUAL.items() if userid not in ("east", "hq")}
    desk = Desk.of(service, await companies.make(people={**people, "hq": (1, True, ("supervisor",))}))
    asked = await desk.ask()
    assert {who for who in people if asked in await desk.box(who, "inbox")} == {"boss"}
    await desk.signed(asked, "boss")
    assert (await desk.box("boss", "inbox"), await desk.box("hq", "inbox")) == ([], [asked])
    assert ((await desk.told("boss", asked)).count("to_sign"), (await desk.told("hq", asked)).count("to_sign")) == (1, 2)
    assert asked in await desk.box("boss", "all")


async def test_a_delegate_who_signed_keeps_seeing_it(desk: Desk) -> None:
    asked = await desk.ask()
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    named = (await desk.delegate("lead", "deputy", until)).json()["id"]
    await desk.signed(asked, "deputy")
    await desk.web.call("lead", "DELETE", f"/v1/delegations/{named}")
    assert (await desk.read("deputy", asked))["approval"]["id"] == asked
    assert await desk.box("deputy", "all") == [asked]


async def test_pages_of_a_box_show_everything_once(desk: Desk) -> None:
    asked = [await desk.ask("ann" if n % 2 else "bob", "c1" if n % 2 else "c2") for n in range(9)]
    for limit in (1, 2, 4, 9, 200):
        assert await desk.box("lead", "inbox", limit) == asked[::-1]
        assert await desk.box("ann", "mine", limit) == asked[1::2][::-1]
    for box in BOXES:
        for garbage in GARBAGE:
            check_problem(await desk.web.get("lead", "/v1/approvals", box=box, cursor=garbage), 400, "cursor_invalid")
    foreign = base64.urlsafe_b64encode(str(uuid4()).encode()).decode().rstrip("=")
    assert (await desk.web.get("lead", "/v1/approvals", cursor=foreign)).status_code == 200
    for query in ({"box": "other"}, {"limit": 0}, {"limit": 201}, {"box": ""}):
        check_problem(await desk.web.get("lead", "/v1/approvals", **query), 422)


async def test_a_list_never_shows_what_a_read_refuses(companies: Companies, service: Service) -> None:
    """Random people, places, roles and requests: every box of everybody against every single read."""
    dice = random.Random(20260303)
    total = 0
    for _ in range(2):
        people = _people(dice)
        owners = [userid for userid in people if userid.startswith("u")]
        customers = [(userid, f"of {userid}", ()) for userid in owners]
        desk = Desk.of(service, await companies.make(people=people, customers=customers))
        asked = await _requests(desk, dice, owners)
        total += len(asked)
        for reader in people:
            seen = {one for one in asked if (await desk.web.get(reader, f"/v1/approvals/{one}")).status_code == 200}
            boxes = {box: set(await desk.box(reader, box)) for box in BOXES}
            assert boxes["all"] == seen, reader
            assert boxes["overdue"] <= boxes["inbox"] <= boxes["all"]
            assert boxes["team"] | boxes["mine"] <= boxes["all"]
            await _inbox_is_what_may_be_signed(desk, reader, asked, boxes["inbox"])
    assert total > 6


def _people(dice: random.Random) -> dict[str, tuple[int, bool, tuple[str, ...]]]:
    """Ten people anywhere, and enough signers for every department."""
    roles = (("staff",), ("staff",), ("manager",), ("supervisor",), ("auditor",), ("manager", "supervisor"), ("subadmin",))
    some = {f"u{n}": (dice.choice((1, 10, 11, 12, 20, 21)), dice.random() < 0.4, dice.choice(roles)) for n in range(10)}
    fixed = {"admin": (1, False, ("admin",)), "boss": (1, True, ("supervisor",)), "top": (1, True, ("supervisor",))}
    return {**fixed, "third": (1, False, ("supervisor",)), **some}


async def _requests(desk: Desk, dice: random.Random, owners: list[str]) -> list[str]:
    """Everybody asks for himself or is asked for; some are signed, edited or closed."""
    asked = []
    for owner in owners:
        for asker in dict.fromkeys((owner, dice.choice(owners))):
            answer = await desk.web.tag(asker, f"of {owner}", [desk.tag("value/high")])
            if answer.status_code == 202:
                asked.append(answer.json()["approval_id"])
    for one in asked:
        shown = (await desk.read("admin", one))["approval"]
        pending = shown["level1"] if shown["state"] == "pending_level1" else shown["level2"]
        what = dice.choice(("nothing", "sign", "edit", "withdraw"))
        if what == "sign":
            await desk.web.sign(dice.choice(pending), one)
        elif what == "edit":
            await desk.edit(dice.choice([*pending, shown["requester"]]), one, add=["value/low"])
        elif what == "withdraw":
            await desk.post(shown["requester"], one, "withdraw")
    return asked


async def _inbox_is_what_may_be_signed(desk: Desk, reader: str, asked: list[str], inbox: set[str]) -> None:
    """A decision with an ETag nobody has (412) stands for one that would be taken."""
    for one in asked:
        path = f"/v1/approvals/{one}/decisions"
        answer = await desk.web.call(reader, "POST", path, {"verdict": "approve"}, If_Match='"0"')
        assert (answer.status_code == 412) == (one in inbox), f"{reader}: {answer.text}"


# -- notifications ------------------------------------------------------------------------------------------------------


async def test_everybody_concerned_is_told_each_step(desk: Desk) -> None:
    asked = await desk.ask("lead", "c1")
    assert await desk.told("hq", asked) == ["to_sign"]
    await desk.edit("hq", asked, add=["value/mid"])
    assert await desk.told("lead", asked) == ["edited"]
    assert await desk.told("east", asked) == ["to_sign"]
    await desk.signed(asked, "east")
    assert await desk.told("lead", asked) == ["edited", "signed"]
    assert (await desk.told("third", asked), await desk.told("hq", asked)) == (["to_sign"] * 2, ["to_sign"])
    await desk.signed(asked, "third")
    for who, events in {"lead": ["edited", "signed", "applied"], "ann": ["applied"], "east": ["to_sign", "applied"]}.items():
        assert await desk.told(who, asked) == events, who
    assert await desk.told("bob") == []


@pytest.mark.parametrize("outcome", ["rejected", "withdrawn", "stale"])
async def test_the_requester_is_told_every_outcome(desk: Desk, outcome: str) -> None:
    asked = await desk.ask("lead", "c1", "value/high", "activity/hot", partial=False)
    if outcome == "rejected":
        await desk.web.sign("hq", asked, "reject", "no")
    elif outcome == "withdrawn":
        await desk.post("lead", asked, "withdraw")
    else:
        await desk.web.tag("ann", "c1", [desk.tag("activity/warm")])
        await desk.web.sign("hq", asked)
    [told] = (await desk.web.get("lead", "/v1/notifications")).json()["items"]
    assert (told["event"], told["state"], told["approval_id"], told["kind"]) == (outcome, outcome, asked, "tag_change")
    assert (await desk.told("ann", asked)) == [outcome]


async def test_what_others_were_told_is_neither_shown_nor_marked(desk: Desk, companies: Companies, service: Service) -> None:
    asked = await desk.ask()
    [told] = (await desk.web.get("lead", "/v1/notifications")).json()["items"]
    other = Desk.of(service, await companies.make(people=CROWD))
    for who, there in (("ann", desk), ("admin", desk), ("auditor", desk), ("lead", other)):
        answer = await there.web.call(who, "POST", "/v1/notifications/read", {"ids": [told["id"], str(uuid4())]})
        assert (answer.status_code, answer.json()) == (200, {"marked": 0})
        assert told["id"] not in [one["id"] for one in (await there.web.get(who, "/v1/notifications")).json()["items"]]
    unread = await desk.web.get("lead", "/v1/notifications", unread="true")
    assert [one["approval_id"] for one in unread.json()["items"]] == [asked]
    for marked in (1, 0):
        answer = await desk.web.call("lead", "POST", "/v1/notifications/read", {"ids": [told["id"], told["id"]]})
        assert answer.json() == {"marked": marked}
    assert (await desk.web.get("lead", "/v1/notifications", unread="true")).json()["items"] == []
    [read] = (await desk.web.get("lead", "/v1/notifications")).json()["items"]
    assert read["read_at"] is not None


async def test_marking_takes_ids_and_nothing_else(desk: Desk) -> None:
    for ids in ([], ["x"], [None], [str(uuid4())] * 201, "all"):
        check_problem(await desk.web.call("lead", "POST", "/v1/notifications/read", {"ids": ids}), 422)
    check_problem(await desk.web.call("lead", "POST", "/v1/notifications/read", {"ids": [str(uuid4())], "userid": "hq"}), 422)


async def test_pages_of_notifications_show_everything_once(desk: Desk) -> None:
    asked = [await desk.ask("ann" if n % 2 else "bob", "c1" if n % 2 else "c2") for n in range(7)]
    for limit in (1, 3, 7):
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = (await desk.web.get("lead", "/v1/notifications", limit=limit, cursor=cursor)).json()
            found += [one["approval_id"] for one in page["items"]]
            if (cursor := page["next_cursor"]) is None:
                break
        assert found == asked[::-1]
    for garbage in GARBAGE:
        check_problem(await desk.web.get("lead", "/v1/notifications", cursor=garbage), 400, "cursor_invalid")


# -- many at once -------------------------------------------------------------------------------------------------------


async def test_each_of_many_has_its_own_answer(desk: Desk) -> None:
    mine, others, closed, refused = [await desk.ask() for _ in range(4)]
    foreign = await desk.ask("dan", "c4")
    await desk.post("ann", closed, "withdraw")
    stale = {**await item(desk, mine), "etag": '"99"'}
    answer = await bulk(
        desk,
        "lead",
        stale,
        await item(desk, mine),
        await item(desk, refused, "reject"),
        await item(desk, refused, "reject", "no"),
        await item(desk, closed),
        await item(desk, foreign),
        {"id": str(uuid4()), "etag": '"1"', "verdict": "approve"},
        await item(desk, others),
    )
    codes = ["etag_outdated", "pending_level2", "comment_required", "rejected", "approval_closed", "not_a_signer"]
    assert outcomes(answer) == [*codes, "approval_unknown", "pending_level2"]
    assert [one["outcome"] for one in answer.json()["items"]].count("decided") == 3
    assert [(await desk.read("ann", one))["approval"]["state"] for one in (mine, others)] == ["pending_level2"] * 2


async def test_the_same_one_twice_in_one_bulk_is_decided_once(desk: Desk) -> None:
    asked = await desk.ask()
    once = await item(desk, asked)
    assert outcomes(await bulk(desk, "lead", once, once)) == ["pending_level2", "not_a_signer"]
    other = await item(desk, await desk.ask("bob", "c2"))
    answer = await bulk(desk, "lead", other, other, {**other, "verdict": "reject", "comment": "no"}, Idempotency_Key="k")
    assert outcomes(answer) == ["pending_level2", "pending_level2", "idempotency_mismatch"]
    assert len((await desk.read("ann", asked))["signatures"]) == 1


async def test_another_corps_requests_are_unknown_in_bulk(desk: Desk, companies: Companies, service: Service) -> None:
    other = Desk.of(service, await companies.make(people=CROWD))
    theirs, ours = await other.ask(), await desk.ask()
    answer = await bulk(desk, "lead", await item(other, theirs), await item(desk, ours))
    assert outcomes(answer) == ["approval_unknown", "pending_level2"]
    assert (await other.read("ann", theirs))["approval"]["state"] == "pending_level1"


async def test_how_many_and_what(desk: Desk) -> None:
    one = {"id": str(uuid4()), "etag": '"1"', "verdict": "approve"}
    assert outcomes(await bulk(desk, "lead", *[one] * 50)) == ["approval_unknown"] * 50
    check_problem(await bulk(desk, "lead", *[one] * 51), 422)
    check_problem(await bulk(desk, "lead"), 422)
    wrong: list[dict[str, Any]] = [{"id": "x"}, {"verdict": "maybe"}, {"etag": None}, {"level": 2}, {"comment": "x" * 1001}]
    for odd in wrong:
        check_problem(await bulk(desk, "lead", {**one, **odd}), 422)
    without = {name: value for name, value in one.items() if name != "etag"}
    check_problem(await bulk(desk, "lead", without), 422)


async def test_what_cannot_be_stored_stops_no_other(desk: Desk) -> None:
    """Each in a transaction of its own: the answer tells what became of every one."""
    first, second, third = [await desk.ask() for _ in range(3)]
    items = [await item(desk, first), await item(desk, second, "approve", "a\0b"), await item(desk, third)]
    answer = await bulk(desk, "lead", *items)
    states = [(await desk.read("ann", one))["approval"]["state"] for one in (first, second, third)]
    assert outcomes(answer) == ["pending_level2", "value_invalid", "pending_level2"]
    assert states == ["pending_level2", "pending_level1", "pending_level2"]


async def test_a_bulk_sent_again_decides_nothing_anew(desk: Desk, sql: asyncpg.Connection) -> None:
    asked = [await desk.ask() for _ in range(3)]
    items = [await item(desk, one) for one in asked[:2]] + [await item(desk, asked[2], "reject", "no")]
    first = await bulk(desk, "lead", *items, Idempotency_Key="bulk")
    assert outcomes(first) == ["pending_level2", "pending_level2", "rejected"]
    again = await bulk(desk, "lead", *items, Idempotency_Key="bulk")
    assert again.json() == first.json()
    assert outcomes(await bulk(desk, "lead", *items)) == ["not_a_signer", "not_a_signer", "approval_closed"]
    count = "select count(*) from approval_signature where corp_id = $1"
    assert await sql.fetchval(count, desk.company.corp_id) == 3
    changed = [{**items[0], "verdict": "reject", "comment": "other"}, items[1]]
    answer = await bulk(desk, "lead", *changed, Idempotency_Key="bulk")
    assert outcomes(answer) == ["idempotency_mismatch", "pending_level2"]


async def test_a_key_of_a_bulk_is_nobody_elses(desk: Desk) -> None:
    asked = await desk.ask()
    await bulk(desk, "lead", await item(desk, asked), Idempotency_Key="k")
    assert outcomes(await bulk(desk, "east", await item(desk, asked), Idempotency_Key="k")) == ["not_a_signer"]
    assert outcomes(await bulk(desk, "hq", await item(desk, asked), Idempotency_Key="k")) == ["applied"]
    check_problem(await bulk(desk, "hq", await item(desk, asked), Idempotency_Key=""), 400, "idempotency_key_invalid")


async def test_one_may_not_sign_both_levels_in_one_bulk(desk: Desk) -> None:
    asked = await desk.ask()
    await desk.post("admin", asked, "escalate")
    await desk.post("admin", asked, "escalate")
    once = await item(desk, asked)
    assert outcomes(await bulk(desk, "boss", once, {**once, "etag": "*"})) == ["pending_level2", "not_a_signer"]


async def test_a_machine_decides_nothing_in_bulk(desk: Desk) -> None:
    asked = await item(desk, await desk.ask())
    desk.speak_as("lead", act="bot")
    assert outcomes(await bulk(desk, "lead", asked)) == ["not_a_signer"]
