"""What two people have to sign, asked for over HTTP: it waits, the wrong people are refused, and it happens with the second."""

from __future__ import annotations

import pytest

from support.company import Companies, Company
from support.protected import CASES, Case, Scene, a_scene, machine_token, unsigned_token
from support.service import Service, check_problem

EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@pytest.fixture
async def scene(companies: Companies, service: Service) -> Scene:
    return await a_scene(companies, service)


@pytest.fixture(scope="module")
async def elsewhere(companies: Companies) -> Company:
    """Another corp with people of the same names."""
    return await companies.make(customers=())


async def refuse(scene: Scene, approval_id: str, *userids: str) -> None:
    """Each of these may not sign."""
    for userid in userids:
        for verdict in ("approve", "reject"):
            check_problem(await scene.decide(approval_id, verdict, userid=userid), 403, "not_a_signer")


@EACH
async def test_it_waits_for_two_people(scene: Scene, service: Service, elsewhere: Company, case: Case) -> None:
    approval_id = await case.ask(scene)
    before = await case.look(scene)
    assert before != case.after
    asked = (await scene.web.get(case.requester, f"/v1/approvals/{approval_id}")).json()["approval"]
    assert (asked["kind"], asked["state"], asked["requester"]) == (case.kind, "pending_level1", case.requester)

    strangers = sorted({case.requester, f"{case.requester}2", case.concerned, f"{case.concerned}2", "dan", "auditor"})
    await refuse(scene, approval_id, *strangers)
    for token in (machine_token(scene.company.corp_id, case.level1), unsigned_token(scene.company.corp_id, case.level1)):
        check_problem(await scene.decide(approval_id, token=token), 403, "not_a_signer")
    check_problem(await scene.decide(approval_id, userid="hq"), 409, "not_your_turn")
    check_problem(await service.web(elsewhere).sign("boss", approval_id), 404)

    assert (await scene.sign(approval_id, case.level1))["state"] == "pending_level2"
    await refuse(scene, approval_id, case.level1, f"{case.level1}2", *strangers)
    for token in (machine_token(scene.company.corp_id, "hq"), unsigned_token(scene.company.corp_id, "hq")):
        check_problem(await scene.decide(approval_id, token=token), 403, "not_a_signer")
    check_problem(await service.web(elsewhere).sign("hq", approval_id), 404)
    assert await case.look(scene) == before

    assert (await scene.sign(approval_id, "hq"))["state"] == "applied"
    assert await case.look(scene) == case.after
    for signer in (case.level1, "hq"):
        check_problem(await scene.decide(approval_id, userid=signer), 409, "approval_closed")
    assert await case.look(scene) == case.after


@EACH
async def test_it_is_refused_and_taken_back(scene: Scene, case: Case) -> None:
    approval_id = await case.ask(scene)
    before = await case.look(scene)
    check_problem(await scene.web.sign(case.level1, approval_id, "reject", "  "), 422, "comment_required")
    refused = await scene.web.sign(case.level1, approval_id, "reject", "not like this")
    assert (refused.status_code, refused.json()["approval"]["state"]) == (200, "rejected")
    check_problem(await scene.web.sign("hq", approval_id), 409, "approval_closed")

    again = (await scene.call(case.requester, "POST", f"/v1/approvals/{approval_id}/resubmit")).json()["approval"]
    assert (again["state"], again["resubmitted_from"]) == ("pending_level1", approval_id)
    check_problem(await scene.call("hq", "POST", f"/v1/approvals/{again['id']}/withdraw"), 403, "not_the_requester")
    await scene.sign(again["id"], case.level1)
    taken_back = await scene.call(case.requester, "POST", f"/v1/approvals/{again['id']}/withdraw")
    assert (taken_back.status_code, taken_back.json()["approval"]["state"]) == (200, "withdrawn")
    check_problem(await scene.web.sign("hq", again["id"]), 409, "approval_closed")
    assert await case.look(scene) == before

    third = (await scene.call(case.requester, "POST", f"/v1/approvals/{again['id']}/resubmit")).json()["approval"]
    assert (await scene.sign(third["id"], case.level1, "hq"))["state"] == "applied"
    assert await case.look(scene) == case.after
