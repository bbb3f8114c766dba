"""Every answer to a write names the epoch that holds after it, and a request may demand one that it was told of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from support.company import PEOPLE, Companies, Company
from support.installation import a_server, engine_on
from support.service import Service, Web, check_problem, client_of, service_on, serving
from tagwarden.kernel.embedded import EmbeddedUrls

EPOCH, AT_LEAST = "Tagwarden-Epoch", "Tagwarden-Epoch-At-Least"
NO_REDIS = "redis://127.0.0.1:1/0"


@pytest.fixture(scope="module")
async def service(database: EmbeddedUrls) -> AsyncIterator[Service]:
    async with service_on(database.application, REDIS_URL=NO_REDIS) as running:
        yield running


@pytest.fixture(scope="module")
async def another(database: EmbeddedUrls) -> AsyncIterator[Service]:
    async with service_on(database.application, REDIS_URL=NO_REDIS) as running:
        yield running


@pytest.fixture(scope="module")
async def company(companies: Companies) -> Company:
    return await companies.make()


def told(answer: httpx.Response) -> int:
    return int(answer.headers[EPOCH])


async def give(web: Web, userid: str, *roles: str, **headers: str) -> httpx.Response:
    answer = await web.call("admin", "PUT", f"/v1/employees/{userid}/roles", {"roles": list(roles)}, **headers)
    assert answer.status_code == 200, answer.text
    return answer


async def test_what_moves_the_epoch_says_so_and_what_does_not_names_it_too(company: Company, service: Service) -> None:
    web = service.web(company)
    before = told(await web.get("ann", "/v1/me"))
    moved = told(await give(web, "bob", "staff", "auditor"))
    assert moved > before
    changed = await web.tag("ann", "c1", [company.tags["advice/asked"]])
    held = await web.tag("ann", "c1", [company.tags["value/high"]])
    assert (changed.status_code, held.status_code) == (200, 202)
    assert told(changed) == told(held) == moved
    refused = await web.tag("ann", "c4", [company.tags["advice/asked"]])
    assert (refused.status_code, told(refused)) == (403, moved)
    missing = await web.get("ann", f"/v1/approvals/{uuid4()}")
    assert (missing.status_code, told(missing)) == (404, moved)
    asked = await web.call("ann", "POST", "/v1/decisions", {"group_id": str(company.groups["advice"]), "action": "use"})
    assert told(asked) == asked.json()["epoch"] == moved
    await give(web, "bob", "staff")


async def test_a_repeated_write_names_an_epoch_that_holds_what_the_first_did(company: Company, service: Service) -> None:
    web = service.web(company)
    key = {"Idempotency_Key": "epoch-1"}
    add = {"add": [str(company.tags["advice/keen"])]}
    first = await web.call("ann", "POST", "/v1/customers/c1/tag-changes", add, **key)
    moved = told(await give(web, "bob", "staff", "auditor"))
    again = await web.call("ann", "POST", "/v1/customers/c1/tag-changes", add, **key)
    assert again.json() == first.json()
    assert told(again) >= moved > told(first)
    await give(web, "bob", "staff")


async def test_nobody_who_is_not_established_is_told_an_epoch(company: Company, service: Service) -> None:
    web = service.web(company)
    for path in ("/v1/me", "/v1/decisions", "/health/live", "/schema/openapi.json"):
        answer = await service.http.get(path)
        assert EPOCH not in answer.headers, path
    gone = await web.get("somebody-else", "/v1/me")
    assert (gone.status_code, gone.json()["code"]) == (403, "refused_at_identity")


@pytest.mark.parametrize("language", ["zh", "en"])
async def test_an_epoch_that_does_not_exist_is_412_and_nothing_is_done(language: str, company: Company, service: Service) -> None:
    web = service.web(company)
    now = told(await web.get("ann", "/v1/me"))
    for ahead in (now + 1, 2**63 - 1):
        headers = {AT_LEAST: str(ahead), "Accept-Language": language}
        answer = await asyncio.wait_for(web.call("ann", "GET", "/v1/me", **headers), 5)
        body = check_problem(answer, 412, "epoch_ahead")
        assert (body["facts"], told(answer)) == ({"wanted": ahead, "epoch": now}, now)
        assert ("版本" in body["detail"]) == (language == "zh")
        refused = await web.tag("ann", "c1", [company.tags["activity/hot"]], **{AT_LEAST: str(ahead)})
        check_problem(refused, 412, "epoch_ahead")
    assert "activity/hot" not in await company.carried("ann", "c1")
    for known in (1, now):
        assert (await web.call("ann", "GET", "/v1/me", **{AT_LEAST: str(known)})).status_code == 200


BAD = ["", "0", "-1", "+1", "1.0", "1e3", "0x1", "many", "1,2", "9" * 19, "9" * 400, "1 2", "\u0661", "null", "1;q=1"]


@pytest.mark.parametrize("value", BAD)
async def test_what_is_no_epoch_is_400(value: str, company: Company, service: Service) -> None:
    web = service.web(company)
    headers: Any = [*web.headers("ann").items(), (AT_LEAST, value.encode())]
    check_problem(await service.http.get("/v1/me", headers=headers), 400, "epoch_unreadable")


async def test_two_demands_are_400(company: Company, service: Service) -> None:
    web = service.web(company)
    twice = [*web.headers("ann").items(), (AT_LEAST, "1"), (AT_LEAST, "1")]
    check_problem(await service.http.get("/v1/me", headers=twice), 400, "epoch_unreadable")


async def test_without_a_token_the_demand_is_not_looked_at(service: Service) -> None:
    for value in ("1", "many", str(2**63 - 1)):
        check_problem(await service.http.get("/v1/me", headers={AT_LEAST: value}), 401, "unauthenticated")


async def test_what_one_process_tells_another_stands_on(company: Company, service: Service, another: Service) -> None:
    here, there = service.web(company), another.web(company)
    for number in range(10):
        roles = ("staff", "auditor") if number % 2 else ("staff",)
        epoch = str(told(await give(here, "cat", *roles)))
        answer = await there.call("cat", "GET", "/v1/me", **{AT_LEAST: epoch})
        assert (answer.status_code, answer.json()["roles"]) == (200, sorted(roles))
        assert answer.json()["epoch"] >= int(epoch)
        here, there = there, here
    await give(here, "cat", "staff")


async def test_with_the_database_gone_nothing_is_allowed_and_nothing_promised() -> None:
    with a_server() as (server, urls, _):
        async with engine_on(urls.application):
            company = await Companies(urls.owner).make(people=PEOPLE)
        with serving(urls.application) as process:
            async with client_of(process) as http:
                web = Web(http, company.corp_id)
                question = {"group_id": str(company.groups["advice"]), "action": "use", "external_userid": "c1"}
                warm = await web.call("ann", "POST", "/v1/decisions", question)
                assert warm.json()["allowed"]
                server.stop()
                many = {"group_ids": [question["group_id"]]}
                for path, body in (
                    ("/v1/decisions", question),
                    ("/v1/decisions/batch", many),
                    ("/v1/decisions/explain", question),
                ):
                    answer = await http.post(path, json=body, headers={**web.headers("ann"), AT_LEAST: "1"})
                    check_problem(answer, 503)
                    assert EPOCH not in answer.headers
                for path in ("/v1/me", "/v1/customers", f"/v1/tag-groups/{company.groups['advice']}/who-can"):
                    check_problem(await http.get(path, headers=web.headers("ann")), 503)
                server.start()
