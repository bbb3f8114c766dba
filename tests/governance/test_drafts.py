"""From draft to revision over HTTP: nothing is decided by a draft, nothing is published that nobody looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from support.company import Companies, Company, arrange
from support.service import Service, Web, check_problem
from tagwarden.kernel import db


class Desk:
    """An admin configuring one company over HTTP."""

    def __init__(self, company: Company, web: Web) -> None:
        self.company, self.web = company, web

    def cell(self, department: int, group: str, action: str = "use", **more: Any) -> dict[str, Any]:
        return {"department": department, "group_id": str(self.company.groups[group]), "action": action, **more}

    async def draft(self, *cells: Mapping[str, Any], userid: str = "admin", **more: Any) -> httpx.Response:
        return await self.web.call(userid, "POST", "/v1/policy/drafts", {"cells": list(cells), **more})

    async def change(
        self, made: httpx.Response, userid: str = "admin", if_match: str | None = None, **body: Any
    ) -> httpx.Response:
        tag = if_match or made.headers["etag"]
        return await self.web.call(userid, "PATCH", f"/v1/policy/drafts/{made.json()['id']}", body, If_Match=tag)

    async def publish(self, made: httpx.Response, note: str | None = "as agreed", userid: str = "admin") -> httpx.Response:
        path = f"/v1/policy/drafts/{made.json()['id']}/publish"
        return await self.web.call(userid, "POST", path, {"note": note}, If_Match=made.headers["etag"])

    async def roll_back(self, body: dict[str, Any], userid: str = "admin", **headers: str) -> httpx.Response:
        return await self.web.call(userid, "POST", "/v1/policy/rollback", body, **headers)

    async def read(self, made: httpx.Response) -> dict[str, Any]:
        found: dict[str, Any] = (await self.web.get("admin", f"/v1/policy/drafts/{made.json()['id']}")).json()
        return found

    async def revision(self) -> int:
        return int((await self.web.get("admin", "/v1/policy")).json()["revision"])

    async def may(self, userid: str, group: str, action: str = "use") -> bool:
        body = {"group_id": str(self.company.groups[group]), "action": action}
        return bool((await self.web.call(userid, "POST", "/v1/decisions", body)).json()["allowed"])


@pytest.fixture
def desk(company: Company, service: Service) -> Desk:
    return Desk(company, service.web(company))


async def test_a_draft_decides_nothing_until_it_is_published(desk: Desk) -> None:
    made = await desk.draft(desk.cell(10, "advice", unset=True), note="advice is not for the east any more")
    assert made.status_code == 201
    shown = made.json()
    assert (shown["base"], shown["state"], shown["outdated"], shown["editors"]) == (2, "open", False, ["admin"])
    assert [(cell["department"], cell["group"], cell["present"]) for cell in shown["cells"]] == [(10, "advice", False)]
    assert await desk.may("ann", "advice")
    done = await desk.publish(made, note=None)
    assert (done.status_code, done.json()) == (200, {"outcome": "published", "revision": 3})
    assert not await desk.may("ann", "advice")
    closed = await desk.read(made)
    assert (closed["state"], closed["revision"]) == ("published", 3)
    newest = (await desk.web.get("auditor", "/v1/policy/revisions")).json()["items"][0]
    assert (newest["revision"], newest["note"], newest["published_by"]) == (3, "advice is not for the east any more", "admin")
    for again in (await desk.publish(made), await desk.change(made, note="more", if_match='"2"')):
        check_problem(again, 409, "draft_closed")


async def test_what_is_as_the_base_has_it_is_no_difference(desk: Desk) -> None:
    made = await desk.draft(desk.cell(10, "advice"), desk.cell(21, "advice", unset=True))
    assert made.json()["cells"] == []
    check_problem(await desk.publish(made), 409, "nothing_differs")
    set_ = await desk.change(made, cells=[desk.cell(21, "advice", "view", reach="own")])
    assert [cell["reach"] for cell in set_.json()["cells"]] == ["own"]
    unset = await desk.change(set_, cells=[desk.cell(21, "advice", "view", unset=True)])
    assert unset.json()["cells"] == []


async def test_a_row_keeps_its_id_and_the_others_stay(desk: Desk) -> None:
    before = {grant["id"]: grant for grant in (await desk.web.get("admin", "/v1/policy")).json()["grants"]}
    made = await desk.draft(desk.cell(10, "advice", inherit=False), desk.cell(21, "advice", "manage"), note="n")
    assert (await desk.publish(made)).status_code == 200
    after = {grant["id"]: grant for grant in (await desk.web.get("admin", "/v1/policy")).json()["grants"]}
    assert after == {
        **before,
        "10:advice:use": {**before["10:advice:use"], "inherit": False},
        "21:advice:manage": {**before["10:advice:use"], "id": "21:advice:manage", "department": 21, "action": "manage"},
    }


async def test_two_drafts_on_one_revision_and_the_second_is_looked_at_again(desk: Desk) -> None:
    first = await desk.draft(desk.cell(10, "advice", unset=True), note="first")
    second = await desk.draft(desk.cell(20, "advice", unset=True), desk.cell(10, "advice", unset=True), note="second")
    assert (await desk.publish(first)).status_code == 200
    check_problem(await desk.publish(second), 409, "draft_outdated")
    check_problem(await desk.change(second, note="x"), 409, "draft_outdated")
    check_problem(await desk.web.call("admin", "POST", f"/v1/policy/drafts/{second.json()['id']}/impact"), 409, "draft_outdated")
    assert (await desk.read(second))["outdated"]
    rebased = await desk.change(second, rebase=True)
    assert [(cell["department"], cell["present"]) for cell in rebased.json()["cells"]] == [(20, False)]
    assert (await desk.publish(rebased)).json()["revision"] == 4


async def test_only_one_of_many_publishes_at_once_wins(desk: Desk) -> None:
    made = [await desk.draft(desk.cell(department, "advice", "view"), note="n") for department in (11, 12, 20, 21)]
    done = await asyncio.gather(*(desk.publish(one) for one in made))
    assert sorted(one.status_code for one in done) == [200, 409, 409, 409]
    one = await desk.draft(desk.cell(1, "advice", "view"), note="n")
    twice = await asyncio.gather(*(desk.publish(one) for _ in range(4)))
    assert sorted(answer.status_code for answer in twice) == [200, 409, 409, 409]
    assert await desk.revision() == 4


async def test_what_loosens_waits_for_two_and_the_editors_never_sign(desk: Desk) -> None:
    made = await desk.draft(desk.cell(12, "value", "use", reach="corp"), note="value for Hangzhou")
    held = await desk.publish(made)
    assert (held.status_code, held.json()["outcome"], held.json()["revision"]) == (202, "pending_approval", None)
    approval = held.json()["approval_id"]
    assert (await desk.read(made))["state"] == "held"
    check_problem(await desk.change(made, note="later", if_match='"2"'), 409, "draft_closed")
    check_problem(await desk.web.sign("admin", approval), 403, "not_a_signer")
    shown = (await desk.web.get("boss", f"/v1/approvals/{approval}")).json()
    assert shown["change"]["loosens"] == ["grants"]
    assert await desk.revision() == 2
    for signer in shown["approval"]["level1"][:1]:
        assert (await desk.web.sign(signer, approval)).status_code == 200
    second = next(one for one in ("hq", "boss") if one not in shown["approval"]["level1"][:1])
    assert (await desk.web.sign(second, approval)).json()["approval"]["state"] == "applied"
    closed = await desk.read(made)
    assert (closed["state"], closed["revision"]) == ("published", 3)


async def test_a_supervisor_who_edited_the_draft_is_barred(desk: Desk, owner_sql: Any) -> None:
    company = desk.company
    await arrange(
        company.corp_id,
        "insert into employee_role (corp_id, userid, role, modules, given_by) values ($1, 'hq', 'subadmin', '{policy}', 'test')",
        company.corp_id,
    )
    made = await desk.draft(desk.cell(12, "value", "manage"), note="value for Hangzhou")
    edited = await desk.change(made, userid="hq", note="value for Hangzhou, says hq")
    assert edited.json()["editors"] == ["admin", "hq"]
    held = await desk.publish(edited)
    check_problem(held, 409, "no_approver")  # boss and hq are the only supervisors: with hq barred there are no two
    assert (await desk.read(made))["state"] == "open"


async def test_a_refused_request_gives_the_draft_back(desk: Desk) -> None:
    made = await desk.draft(desk.cell(12, "value", "manage"), note="n")
    approval = (await desk.publish(made)).json()["approval_id"]
    await desk.web.sign("boss", approval, "reject", "not now")
    draft = await desk.read(made)
    assert (draft["state"], draft["approval_id"]) == ("open", None)
    smaller = await desk.change(
        made, if_match="*", cells=[desk.cell(12, "value", "manage", unset=True), desk.cell(10, "advice", unset=True)]
    )
    assert (await desk.publish(smaller)).json()["revision"] == 3


async def test_rolling_back_is_a_new_revision(desk: Desk) -> None:
    made = await desk.draft(desk.cell(10, "advice", unset=True), desk.cell(11, "advice", "view"), note="out")
    await desk.publish(made)
    body = {"revision": 2, "note": "back"}
    check_problem(await desk.roll_back(body), 428, "if_match_required")
    check_problem(await desk.roll_back(body, If_Match='"2"'), 412, "etag_outdated")
    check_problem(await desk.roll_back({**body, "note": " "}, If_Match='"3"'), 422, "note_required")
    check_problem(await desk.roll_back({**body, "revision": 9}, If_Match='"3"'), 404, "revision_unknown")
    check_problem(await desk.roll_back(body, "ann", If_Match='"3"'), 403, "module_missing")
    done = await desk.roll_back(body, If_Match='"3"')
    assert done.json() == {"outcome": "published", "revision": 4}
    assert await desk.may("ann", "advice")
    grants = {
        row["revision"]: row["rows"]
        for row in await db.fetch(
            "select revision, array_agg(row_to_json(g)::jsonb - 'revision' order by id) as rows from policy_grant g"
            " where corp_id = $1 group by revision",
            desk.company.corp_id,
        )
    }
    assert grants[4] == grants[2] != grants[3]
    check_problem(await desk.roll_back(body, If_Match='"4"'), 409, "nothing_differs")


async def test_rolling_back_to_something_looser_waits(desk: Desk) -> None:
    made = await desk.draft(desk.cell(10, "value", unset=True), note="no value in the east")
    assert (await desk.publish(made)).status_code == 200
    done = await desk.roll_back({"revision": 2, "note": "back"}, If_Match='"3"')
    assert done.status_code == 202
    seen = await desk.draft(from_revision=2, note="back, looked at first")
    assert [(cell["department"], cell["group"], cell["present"]) for cell in seen.json()["cells"]] == [(10, "value", True)]


async def test_bad_drafts_are_named_and_leave_nothing(desk: Desk, companies: Companies) -> None:
    other = await companies.make(customers=())
    foreign = {**desk.cell(10, "advice"), "group_id": str(other.groups["advice"])}
    check_problem(await desk.draft(foreign), 422, "cell_unknown")
    check_problem(await desk.draft(desk.cell(999, "advice")), 422, "cell_unknown")
    check_problem(await desk.draft(desk.cell(10, "advice", effect="deny", reach="own")), 422, "deny_has_no_reach")
    check_problem(await desk.draft(approvals={"asking_is_level1": "yes"}), 422, "bundle_invalid")
    capability = {"role": "staff", "kind": "unclassified", "action": "use", "relations": ["own"]}
    check_problem(await desk.draft(capabilities=[capability]), 422, "capabilities_invalid")
    check_problem(await desk.draft(from_revision=77), 404, "revision_unknown")
    assert (await desk.web.get("admin", "/v1/policy/drafts")).json() == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("userid", ["ann", "east", "hq", "auditor"])
async def test_only_who_configures_writes_drafts(desk: Desk, userid: str) -> None:
    made = await desk.draft(desk.cell(10, "advice", unset=True), note="n")
    refused = [
        await desk.draft(userid=userid),
        await desk.change(made, userid=userid, note="x"),
        await desk.publish(made, userid=userid),
        await desk.web.call(userid, "DELETE", f"/v1/policy/drafts/{made.json()['id']}", If_Match="*"),
        await desk.web.call(userid, "POST", f"/v1/policy/drafts/{made.json()['id']}/impact"),
        await desk.web.call(userid, "POST", f"/v1/policy/drafts/{made.json()['id']}/impact/export"),
    ]
    for one in refused:
        assert check_problem(one, 403, "module_missing")["facts"]["module"] == "policy"
    reads = await desk.web.get(userid, f"/v1/policy/drafts/{made.json()['id']}")
    assert reads.status_code == (200 if userid == "auditor" else 403)


async def test_another_corps_draft_is_not_found(desk: Desk, companies: Companies, service: Service) -> None:
    other = await companies.make(customers=())
    made = await desk.draft(desk.cell(10, "advice", unset=True), note="n")
    path, web = f"/v1/policy/drafts/{made.json()['id']}", service.web(other)
    check_problem(await web.get("admin", path), 404, "draft_unknown")
    for method, address, body in (
        ("PATCH", path, {"note": "x"}),
        ("DELETE", path, None),
        ("POST", f"{path}/impact", None),
        ("POST", f"{path}/publish", {}),
    ):
        check_problem(await web.call("admin", method, address, body, If_Match="*"), 404, "draft_unknown")


async def test_a_draft_is_dropped_for_good(desk: Desk) -> None:
    made = await desk.draft(desk.cell(10, "advice", unset=True), note="n")
    path = f"/v1/policy/drafts/{made.json()['id']}"
    check_problem(await desk.web.call("admin", "DELETE", path), 428, "if_match_required")
    check_problem(await desk.web.call("admin", "DELETE", path, If_Match='"9"'), 412, "etag_outdated")
    assert (await desk.web.call("admin", "DELETE", path, If_Match='"1"')).status_code == 204
    check_problem(await desk.publish(made), 409, "draft_closed")
    assert (await desk.web.get("admin", "/v1/policy/drafts", state="discarded")).json()["items"][0]["state"] == "discarded"


async def test_capabilities_and_chain_in_a_draft(desk: Desk) -> None:
    policy = (await desk.web.get("admin", "/v1/policy")).json()
    without = [row for row in policy["capabilities"] if (row["role"], row["action"], row["kind"]) != ("staff", "use", "standard")]
    chain = {**policy["approvals"], "expires_after_days": 30}
    made = await desk.draft(capabilities=without, approvals=chain, note="staff does not use standard groups")
    assert (await desk.publish(made)).status_code == 200
    assert not await desk.may("ann", "advice")
    assert (await desk.web.get("admin", "/v1/policy")).json()["approvals"]["expires_after_days"] == 30


async def test_every_step_of_a_draft_has_its_line(desk: Desk) -> None:
    made = await desk.draft(desk.cell(10, "advice", unset=True), note="n")
    changed = await desk.change(made, note="m")
    await desk.publish(changed)
    lines = (await desk.web.get("auditor", "/v1/audit", limit=6)).json()["items"]
    assert [line["action"] for line in lines[:4]] == [
        "policy_draft.published",
        "policy.published",
        "policy_draft.changed",
        "policy_draft.created",
    ]
