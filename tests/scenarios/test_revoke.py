"""What is taken through one process is refused by another from the next request on; and an empty policy refuses all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from support.company import GRANTS, GROUPS, PEOPLE, Companies, Company, bundle_of
from support.service import Service, Web, check_problem, service_on
from tagwarden.governance import publishing
from tagwarden.governance import service as governance
from tagwarden.kernel.embedded import EmbeddedUrls

ROUNDS = 12


NO_REDIS = "redis://127.0.0.1:1/0"
"""Several processes need Redis, and with it gone nothing may be different; so nobody listens here."""


@pytest.fixture(scope="module")
async def service(database: EmbeddedUrls) -> AsyncIterator[Service]:
    """The one process."""
    async with service_on(database.application, REDIS_URL=NO_REDIS) as running:
        yield running


@pytest.fixture(scope="module")
async def another(database: EmbeddedUrls) -> AsyncIterator[Service]:
    """The other process on the same database."""
    async with service_on(database.application, REDIS_URL=NO_REDIS) as running:
        yield running


@pytest.fixture(scope="module")
async def company(companies: Companies) -> Company:
    return await companies.make(live=True)


async def give(web: Web, userid: str, *roles: str) -> None:
    answer = await web.call("admin", "PUT", f"/v1/employees/{userid}/roles", {"roles": list(roles)})
    assert answer.status_code == 200, answer.text


async def test_a_role_taken_here_is_gone_there_at_once(company: Company, service: Service, another: Service) -> None:
    here, there = service.web(company), another.web(company)
    tags = [company.tags["activity/hot"], company.tags["activity/warm"]]
    for number in range(ROUNDS):
        assert (await there.tag("ann", "c1", [tags[number % 2]])).status_code == 200
        await give(here, "ann")
        check_problem(await there.tag("ann", "c1", [tags[(number + 1) % 2]]), 403, "tag_change_refused")
        check_problem(await there.get("ann", "/v1/customers/c2"), 403, "customer_hidden")
        here, there = there, here
        await give(there, "ann", "staff")
        assert (await here.get("ann", "/v1/me")).json()["roles"] == ["staff"]


async def test_it_holds_while_many_requests_are_under_way(company: Company, service: Service, another: Service) -> None:
    here, there = service.web(company), another.web(company)
    question = {"group_id": str(company.groups["advice"]), "action": "use", "external_userid": "c3"}
    stop = asyncio.Event()

    async def keep_asking(web: Web) -> None:
        while not stop.is_set():
            await web.call("dan", "POST", "/v1/decisions", {**question, "external_userid": "c4"})

    noise = [asyncio.create_task(keep_asking(web)) for web in (here, there) for _ in range(3)]
    try:
        for _ in range(ROUNDS):
            await give(here, "cat", "staff")
            assert (await there.call("cat", "POST", "/v1/decisions", question)).json()["allowed"]
            await give(here, "cat")
            answers = await asyncio.gather(*(there.call("cat", "POST", "/v1/decisions", question) for _ in range(4)))
            assert [answer.json()["allowed"] for answer in answers] == [False] * 4
    finally:
        stop.set()
        await asyncio.gather(*noise)


async def test_who_left_is_nobody_there_at_once(companies: Companies, service: Service, another: Service) -> None:
    company = await companies.make()
    there = another.web(company)
    assert (await there.get("ann", "/v1/me")).status_code == 200
    await company.move_people({userid: place for userid, place in PEOPLE.items() if userid != "ann"})
    check_problem(await there.get("ann", "/v1/me"), 403, "refused_at_identity")
    await company.move_people({**PEOPLE, "ann": (21, False, ())})
    assert (await there.get("ann", "/v1/me")).json()["departments"] == [21]


async def test_a_signer_who_lost_the_role_here_cannot_sign_there(
    companies: Companies, service: Service, another: Service
) -> None:
    company = await companies.make()
    here, there = service.web(company), another.web(company)
    asked = await there.tag("ann", "c1", [company.tags["value/high"]])
    approval = asked.json()["approval_id"]
    await give(here, "east", "staff")
    check_problem(await there.sign("east", approval), 403, "not_a_signer")
    assert (await company.approval(approval)).state == "pending_level1"


async def test_a_signature_does_not_outlive_the_role_it_was_made_with(
    companies: Companies, service: Service, another: Service
) -> None:
    company = await companies.make()
    here, there = service.web(company), another.web(company)
    approval = (await there.tag("ann", "c1", [company.tags["value/high"]])).json()["approval_id"]
    assert (await there.sign("east", approval)).status_code == 200
    await give(here, "east", "staff")
    answer = await there.sign("hq", approval)
    assert answer.json()["approval"]["state"] == "stale", answer.text
    assert await company.carried("ann", "c1") == set()


async def test_a_grant_withdrawn_here_is_gone_there_at_once(companies: Companies, another: Service) -> None:
    company = await companies.make()
    there = another.web(company)
    without = [grant for grant in GRANTS if grant.group != "advice"]
    for _ in range(5):
        assert (await there.tag("ann", "c1", [company.tags["advice/keen"]])).status_code == 200
        await publishing.apply_bundle(company.as_("admin"), bundle_of({}, GROUPS, without), "less")
        refused = await there.tag("ann", "c1", [], [company.tags["advice/keen"]])
        assert check_problem(refused, 403, "tag_change_refused")["items"][0]["step"] == "grant"
        await publishing.apply_bundle(company.as_("admin"), bundle_of({}, GROUPS, GRANTS), "more")


@pytest.mark.parametrize("left", ["nothing", "grants", "capabilities"])
async def test_an_empty_policy_refuses_everything(left: str, companies: Companies, service: Service) -> None:
    company = await companies.make(live=False)
    bundle = bundle_of({}, GROUPS, GRANTS)
    if left != "grants":
        bundle = replace(bundle, grants=())
    if left != "capabilities":
        bundle = replace(bundle, capabilities=())
    await publishing.apply_bundle(company.as_("admin"), bundle, "empty")
    await governance.activate(company.as_("admin"))
    web = service.web(company)
    for userid in PEOPLE:
        for tag in company.tags.values():
            answer = await web.tag(userid, "c1", [tag])
            assert check_problem(answer, 403, "tag_change_refused")["items"]
        for customer in ("c1", "c4"):
            shown = await web.get(userid, f"/v1/customers/{customer}/tags")
            follows = shown.json().get("follows", [])
            assert [tag for follow in follows for tag in follow["tags"]] == []
        for group_id in company.groups.values():
            question = {"group_id": str(group_id), "action": "use"}
            assert (await web.call(userid, "POST", "/v1/decisions", question)).json()["allowed"] is False
    message = (await web.get("ann", "/v1/me")).json()
    assert message["groups"] == []
    for owner, customer in (("ann", "c1"), ("dan", "c4")):
        assert await company.carried(owner, customer) == set()
