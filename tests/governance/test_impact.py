"""The impact of a draft, held against what really comes of publishing it."""

from __future__ import annotations

import csv
import io
import random
from typing import Any

import pytest

from governance.test_drafts import Desk
from support.company import PEOPLE, Companies, Company
from support.service import Service
from tagwarden.kernel import db


@pytest.fixture
def desk(company: Company, service: Service) -> Desk:
    return Desk(company, service.web(company))


async def impact(desk: Desk, *cells: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The impact of a draft with these cells."""
    made = await desk.draft(*cells, note="n", **more)
    found = await desk.web.call("admin", "POST", f"/v1/policy/drafts/{made.json()['id']}/impact")
    assert found.status_code == 200, found.text
    shown: dict[str, Any] = found.json()
    return shown


async def test_who_loses_and_who_gains(desk: Desk) -> None:
    found = await impact(desk, desk.cell(10, "advice", unset=True), desk.cell(21, "advice", "manage"))
    lost = {(one["userid"], one["action"]): one for one in found["access"]["sample"]}
    assert {userid for userid, action in lost} == {"east", "ann", "bob", "cat"}
    assert lost["ann", "use"]["before"] == ["group", "own", "collaborating"]
    assert lost["ann", "use"]["after"] == []
    assert lost["east", "use"]["before"] == ["group", "own", "subordinate", "collaborating"]
    assert (found["access"]["lost"], found["access"]["gained"], found["access"]["people"]) == (8, 0, 4)
    assert found["loosens"] == []


async def test_marks_that_could_no_longer_be_made(desk: Desk) -> None:
    for owner, customer in (("ann", "c1"), ("bob", "c2"), ("dan", "c4")):
        await desk.web.tag(owner, customer, [desk.company.tags["advice/asked"], desk.company.tags["advice/keen"]])
    await desk.web.tag("ann", "c1", [desk.company.tags["activity/hot"]])
    found = await impact(desk, desk.cell(10, "advice", unset=True))
    assert found["marks"]["marks"] == 4
    assert [(one["owner"], one["group"], one["marks"]) for one in found["marks"]["sample"]] == [
        ("ann", "advice", 2),
        ("bob", "advice", 2),
    ]
    assert "'c1'" not in str(found), "who configures does not see by that who carries a tag"


async def test_open_requests_that_would_go_stale(desk: Desk) -> None:
    held = (await desk.web.tag("ann", "c1", [desk.company.tags["value/high"]])).json()["approval_id"]
    other = (await desk.web.tag("dan", "c4", [desk.company.tags["value/high"]])).json()["approval_id"]
    made = await desk.draft(desk.cell(11, "value", effect="deny"), note="n")
    found = (await desk.web.call("admin", "POST", f"/v1/policy/drafts/{made.json()['id']}/impact")).json()
    assert found["approvals"] == {
        "affected": 1,
        "complete": True,
        "sample": [{"approval_id": held, "kind": "tag_change", "reason": "requester_lost_right"}],
    }
    assert (await desk.publish(made)).status_code == 200
    assert (await desk.web.sign("east", held)).json()["approval"]["state"] == "stale"
    assert (await desk.web.sign("south", other)).json()["approval"]["state"] == "pending_level2"


async def test_open_requests_that_would_lose_their_signers(desk: Desk) -> None:
    held = (await desk.web.tag("ann", "c1", [desk.company.tags["value/high"]])).json()["approval_id"]
    policy = (await desk.web.get("admin", "/v1/policy")).json()
    chain = {**policy["approvals"], "level2_departments": [12]}
    found = await impact(desk, approvals=chain)
    assert found["approvals"]["sample"] == [{"approval_id": held, "kind": "tag_change", "reason": "no_signer"}]


async def test_another_revision_that_waits_would_go_stale(desk: Desk) -> None:
    waiting = (await desk.publish(await desk.draft(desk.cell(12, "value", "manage"), note="wider"))).json()["approval_id"]
    found = await impact(desk, desk.cell(10, "advice", unset=True))
    assert found["approvals"]["sample"] == [{"approval_id": waiting, "kind": "policy_publish", "reason": "base_moved"}]


async def test_recorded_decisions_that_would_have_come_out_differently(desk: Desk) -> None:
    keen = desk.company.tags["advice/keen"]
    assert (await desk.web.tag("ann", "c1", [keen])).status_code == 200
    assert (await desk.web.tag("dan", "c4", [keen])).status_code == 200
    await desk.publish(await desk.draft(desk.cell(21, "advice", effect="deny"), note="not in Shenzhen"))
    assert (await desk.web.tag("dan", "c4", [], [keen])).status_code == 403
    found = (await impact(desk, desk.cell(10, "advice", unset=True), desk.cell(21, "advice", effect="deny", unset=True)))[
        "decisions"
    ]
    assert (found["looked_at"], found["complete"], found["different"]) == (3, True, 3)
    assert [(one["userid"], one["before"], one["after"], one["step"]) for one in found["sample"]] == [
        ("dan", "refused", "allowed", None),
        ("dan", "refused", "allowed", None),  # allowed once, refused by the policy of today
        ("ann", "allowed", "refused", "grant"),
    ]


async def test_a_capability_that_goes_touches_every_group_of_its_kind(desk: Desk) -> None:
    policy = (await desk.web.get("admin", "/v1/policy")).json()
    without = [
        row for row in policy["capabilities"] if (row["role"], row["action"], row["kind"]) != ("staff", "use", "temporary")
    ]
    found = await impact(desk, capabilities=without)
    assert {(one["userid"], one["group"], one["action"]) for one in found["access"]["sample"]} == {
        (userid, "activity", "use") for userid in ("ann", "bob", "cat", "dan")
    }


async def test_the_whole_as_a_table(desk: Desk) -> None:
    await desk.web.tag("ann", "c1", [desk.company.tags["advice/keen"]])
    made = await desk.draft(desk.cell(10, "advice", unset=True), note="n")
    answer = await desk.web.call("admin", "POST", f"/v1/policy/drafts/{made.json()['id']}/impact/export")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["what"] for row in rows] == ["access"] * 8 + ["marks", "decision"]
    assert rows[-2] | {"reference": ""} == {
        "what": "marks",
        "userid": "ann",
        "tag_group": "advice",
        "action": "use",
        "before": "allowed",
        "after": "refused",
        "count": "1",
        "reference": "",
    }


async def test_asking_writes_nothing(desk: Desk) -> None:
    made = await desk.draft(desk.cell(10, "value", unset=True), note="n")
    before = await db.fetch("select * from audit_head where corp_id = $1", desk.company.corp_id)
    for _ in range(2):
        await desk.web.call("admin", "POST", f"/v1/policy/drafts/{made.json()['id']}/impact")
    assert await db.fetch("select * from audit_head where corp_id = $1", desk.company.corp_id) == before
    assert await desk.revision() == 2


async def test_what_was_foretold_is_what_comes(companies: Companies, service: Service) -> None:
    """Random drafts: the difference of everybody's single decisions before and after is the impact, neither more nor less."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    company = await companies.make(live=False, customers=())
    desk = Desk(company, service.web(company))
    for _ in range(4):
        cells = [
            desk.cell(
                chance.choice((1, 10, 11, 12, 20, 21)),
                chance.choice(("value", "activity", "advice")),
                chance.choice(("view", "use", "manage")),
                **_how(chance),
            )
            for _ in range(chance.randint(1, 6))
        ]
        made = await desk.draft(*cells, note="n")
        answer = await desk.web.call("admin", "POST", f"/v1/policy/drafts/{made.json()['id']}/impact/export")
        foretold = {
            (one["userid"], one["tag_group"], one["action"]): ("group" in one["before"].split(), "group" in one["after"].split())
            for one in csv.DictReader(io.StringIO(answer.text))
        }
        before = await everybody(desk)
        if (await desk.publish(made)).status_code == 409:
            assert not foretold
            continue
        after = await everybody(desk)
        moved = {cell: (before[cell], after[cell]) for cell in before if before[cell] != after[cell]}
        assert {cell: pair for cell, pair in foretold.items() if pair[0] != pair[1]} == moved, f"seed {seed}"


def _how(chance: random.Random) -> dict[str, Any]:
    if chance.random() < 0.3:
        return {"unset": True}
    if chance.random() < 0.3:
        return {"effect": "deny", "inherit": chance.random() < 0.5}
    return {"inherit": chance.random() < 0.7, "reach": chance.choice((None, "own", "subordinate", "corp"))}


async def everybody(desk: Desk) -> dict[tuple[str, str, str], bool]:
    """Each person's single answers."""
    return {
        (userid, group, action): await desk.may(userid, group, action)
        for userid in PEOPLE
        for group in desk.company.groups
        for action in ("view", "use", "manage")
    }
