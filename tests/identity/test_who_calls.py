"""A verified token is not yet somebody: unknown, inactive and machine identities over HTTP, and what a machine may do."""

from __future__ import annotations

import time
from typing import Any

import httpx
import jwt
import pytest

from support.company import ISSUER, PEOPLE, Companies, Company
from support.service import SECOND_ISSUER, SECOND_KEY, TOKEN_KEY, Service, check_problem

PEOPLE_AND_MACHINES = {
    **PEOPLE,
    "robot": (1, False, ("service",)),
    "idle": (11, False, ()),
}


@pytest.fixture(scope="module")
async def company(companies: Companies) -> Company:
    return await companies.make(people=PEOPLE_AND_MACHINES)


def claims(company: Company, sub: str, act: Any = None, iss: str = ISSUER) -> dict[str, Any]:
    at = int(time.time())
    whole = {"iss": iss, "aud": "tagwarden", "sub": sub, "corp_id": company.corp_id, "iat": at, "exp": at + 600, "jti": "j"}
    return {**whole, "act": act} if act is not None else whole


def headers(company: Company, sub: str, act: str | None = None) -> dict[str, str]:
    token = jwt.encode(claims(company, sub, {"sub": act} if act else None), TOKEN_KEY, algorithm="HS256")
    return {"Authorization": f"Bearer {token}", "Accept-Language": "en"}


async def put_tag(
    company: Company, service: Service, sender: dict[str, str], customer: str = "c1", tag: str = "activity/hot"
) -> httpx.Response:
    return await service.http.post(
        f"/v1/customers/{customer}/tag-changes", json={"add": [str(company.tags[tag])]}, headers=sender
    )


@pytest.mark.parametrize("userid", ["nobody", "ANN", "ann ", "ａｎｎ", "a\u0301nn", "安", "a" * 200, "' or 1=1 --"])
async def test_an_unknown_employee_is_refused_at_identity(userid: str, company: Company, service: Service) -> None:
    for path in ("/v1/me", "/v1/customers", "/v1/tag-groups", "/v1/audit"):
        check_problem(await service.http.get(path, headers=headers(company, userid)), 403, "refused_at_identity")
    check_problem(await put_tag(company, service, headers(company, userid)), 403, "refused_at_identity")


async def test_half_a_character_as_userid_is_no_error_of_ours(company: Company, service: Service) -> None:
    answer = await service.http.get("/v1/me", headers=headers(company, "ann\ud800"))
    check_problem(answer)
    assert answer.status_code in (401, 403)


async def test_an_employee_who_left_is_refused_at_identity(companies: Companies, service: Service) -> None:
    company = await companies.make()
    assert (await put_tag(company, service, headers(company, "ann"))).status_code == 200
    await company.move_people({userid: place for userid, place in PEOPLE.items() if userid != "ann"})
    check_problem(await put_tag(company, service, headers(company, "ann")), 403, "refused_at_identity")
    check_problem(await service.http.get("/v1/me", headers=headers(company, "ann")), 403, "refused_at_identity")


async def test_a_write_refused_at_identity_leaves_its_line(companies: Companies, service: Service) -> None:
    company = await companies.make()
    check_problem(await put_tag(company, service, headers(company, "nobody")), 403, "refused_at_identity")
    lines = (await service.http.get("/v1/audit?limit=5", headers=headers(company, "auditor"))).json()["items"]
    assert any(line["action"] == "refused" and line["actor"]["userid"] == "nobody" for line in lines)


async def test_a_machine_alone_does_nothing(company: Company, service: Service) -> None:
    for path in ("/v1/me", "/v1/customers", "/v1/departments"):
        check_problem(await service.http.get(path, headers=headers(company, "robot")), 403, "refused_at_identity")
    check_problem(await put_tag(company, service, headers(company, "robot")), 403, "refused_at_identity")


@pytest.mark.parametrize("machine", ["bob", "boss", "admin", "idle", "nobody", "ann", "ROBOT"])
async def test_acting_by_somebody_who_is_no_machine_is_refused(machine: str, company: Company, service: Service) -> None:
    check_problem(await service.http.get("/v1/me", headers=headers(company, "ann", machine)), 403, "refused_at_identity")
    check_problem(await put_tag(company, service, headers(company, "ann", machine)), 403, "refused_at_identity")


async def test_a_machine_has_the_rights_of_the_person_it_acts_for_and_no_more(company: Company, service: Service) -> None:
    assert (await put_tag(company, service, headers(company, "ann", "robot"))).status_code == 200
    check_problem(await put_tag(company, service, headers(company, "ann", "robot"), "c2"), 403, "tag_change_refused")
    check_problem(await put_tag(company, service, headers(company, "nobody", "robot")), 403, "refused_at_identity")
    check_problem(await put_tag(company, service, headers(company, "robot", "robot")), 403)
    line = (await service.http.get("/v1/audit?limit=50", headers=headers(company, "auditor"))).json()["items"]
    assert any(one["actor"] == {"userid": "ann", "issuer": ISSUER, "act": "robot"} for one in line)


async def test_a_machine_asks_and_never_signs(company: Company, service: Service) -> None:
    asked = await put_tag(company, service, headers(company, "ann", "robot"), tag="value/high")
    assert asked.status_code == 202, asked.text
    approval_id = asked.json()["approval_id"]
    verdict = {"verdict": "approve"}
    for signer in ("east", "boss", "hq"):
        sender = {**headers(company, signer, "robot"), "If-Match": "*"}
        refused = await service.http.post(f"/v1/approvals/{approval_id}/decisions", json=verdict, headers=sender)
        check_problem(refused, 403, "not_a_signer")
    assert (await company.approval(approval_id)).state == "pending_level1"


async def test_a_machine_asking_for_a_leader_signs_nothing_by_asking(company: Company, service: Service) -> None:
    asked = await put_tag(company, service, headers(company, "east", "robot"), "c2", "value/mid")
    if asked.status_code == 202:
        approval = await company.approval(asked.json()["approval_id"])
        assert approval.state == "pending_level1"
        assert "east" not in approval.level1
    else:
        check_problem(asked, 409, "no_approver")


async def test_an_issuer_without_the_right_to_sign_asks_only(companies: Companies, service: Service) -> None:
    company = await companies.make(may_sign=False)
    asked = await put_tag(company, service, headers(company, "ann"), tag="value/high")
    assert asked.status_code == 202, asked.text
    path = f"/v1/approvals/{asked.json()['approval_id']}/decisions"
    for signer in ("east", "hq"):
        sender = {**headers(company, signer), "If-Match": "*"}
        check_problem(await service.http.post(path, json={"verdict": "approve"}, headers=sender), 403, "not_a_signer")


async def test_a_second_issuer_counts_once_it_is_bound_and_may_not_sign(
    companies: Companies, service: Service, owner_sql: Any
) -> None:
    company = await companies.make(live=False)
    token = jwt.encode(claims(company, "east", iss=SECOND_ISSUER), SECOND_KEY, algorithm="HS256")
    sender = {"Authorization": f"Bearer {token}", "If-Match": "*"}
    check_problem(await service.http.get("/v1/me", headers=sender), 401)
    await owner_sql.execute("insert into issuer_right (corp_id, issuer) values ($1, $2)", company.corp_id, SECOND_ISSUER)
    await owner_sql.execute("update corp_epoch set epoch = epoch + 1 where corp_id = $1", company.corp_id)
    activated = await service.http.post("/v1/corp/activate", headers=headers(company, "admin"))
    assert activated.status_code == 200, activated.text
    assert (await service.http.get("/v1/me", headers=sender)).json()["userid"] == "east"
    asked = await put_tag(company, service, headers(company, "ann"), tag="value/high")
    path = f"/v1/approvals/{asked.json()['approval_id']}/decisions"
    check_problem(await service.http.post(path, json={"verdict": "approve"}, headers=sender), 403, "not_a_signer")
    owner = {**headers(company, "east"), "If-Match": "*"}
    assert (await service.http.post(path, json={"verdict": "approve"}, headers=owner)).status_code == 200


async def test_nobody_reaches_another_company_with_his_own_token(companies: Companies, service: Service) -> None:
    mine, theirs = await companies.make(), await companies.make(customers=(("ann", "theirs", ()),))
    answer = await service.http.get("/v1/customers/theirs", headers=headers(mine, "ann"))
    check_problem(answer, 404, "customer_unknown")
    assert (await service.http.get("/v1/customers/theirs", headers=headers(theirs, "ann"))).status_code == 200
