"""Turns, pauses, the ledger and trying again: by the rows, and over HTTP as people use them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from support.company import PEOPLE, Companies
from support.service import Service, Web, check_problem
from support.town import Town, a_town
from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id
from tagwarden.sync import repository, sending
from tagwarden.sync.outbound import Outbound
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.client import WecomClient

MANY = [("ann", f"wmA{n:03d}", ()) for n in range(40)] + [("cat", f"wmB{n}", ()) for n in range(4)]
MANY += [("dan", f"wmD{n}", ()) for n in range(4)]


@pytest.fixture
async def crowd(companies: Companies, simulator_url: str) -> AsyncIterator[Town]:
    """ann (Shanghai) with forty customers, cat (Hangzhou) and dan (Shenzhen) with four each."""
    async with a_town(companies, simulator_url, customers=MANY) as made:
        yield made


async def call_get(web: Web, reader: str, path: str, **query: Any) -> httpx.Response:
    sent = {name: value for name, value in query.items() if value is not None}
    return await web.http.get(path, params=sent, headers=web.headers(reader))


async def ledger(web: Web, reader: str, /, **query: Any) -> dict[str, Any]:
    answer = await call_get(web, reader, "/v1/sync/ledger", **query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


# -- turns --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bulk", [False, True], ids=["people", "batch"])
async def test_one_departments_backlog_does_not_starve_another(crowd: Town, bulk: bool) -> None:
    for owner, customer, _ in MANY:
        await crowd.change(owner, customer, add=["advice/keen"])
    await db.execute(
        "update follow_sync set class = case when $2 then 'bulk' else class end where corp_id = $1 and dirty", crowd.corp_id, bulk
    )
    await crowd.hurry()
    order = []
    while (claimed := await repository.claim_follow(crowd.corp_id)) is not None:
        order.append(claimed.userid)
        await repository.settle(crowd.corp_id, claimed, None)
    assert Counter(order) == {"ann": 40, "cat": 4, "dan": 4}
    assert Counter(order[:12]) == {"ann": 4, "cat": 4, "dan": 4}, "by turns while there are three"
    for number in range(4):
        assert set(order[number * 3 : number * 3 + 3]) == {"ann", "cat", "dan"}


async def test_batches_take_turns_with_each_other(crowd: Town) -> None:
    first, second = new_id(), new_id()
    for number in range(30):
        await repository.mark_dirty(crowd.corp_id, await crowd.follow_id("ann", f"wmA{number:03d}"), True, first)
    for number in range(30, 33):
        await repository.mark_dirty(crowd.corp_id, await crowd.follow_id("ann", f"wmA{number:03d}"), True, second)
    await crowd.hurry()
    lanes = []
    for _ in range(6):
        claimed = await repository.claim_follow(crowd.corp_id)
        assert claimed is not None
        lanes.append(await db.fetch_value("select lane from follow_sync where follow_id = $1", claimed.follow_id))
    assert Counter(lanes) == {f"batch:{first}": 3, f"batch:{second}": 3}


async def test_a_lane_that_cannot_move_holds_no_other_up(crowd: Town) -> None:
    for owner, customer in (("ann", "wmA000"), ("dan", "wmD0")):
        await crowd.change(owner, customer, add=["advice/keen"])
    await crowd.hurry()
    await db.execute(
        "update follow_sync set next_try_at = now() + interval '1 hour' where follow_id = $1",
        await crowd.follow_id("ann", "wmA000"),
    )
    claimed = await repository.claim_follow(crowd.corp_id)
    assert claimed is not None
    assert claimed.userid == "dan"


async def test_many_claim_at_once_and_nobody_twice(crowd: Town) -> None:
    for owner, customer, _ in MANY:
        await crowd.change(owner, customer, add=["advice/keen"])
    await crowd.hurry()
    claims = await asyncio.gather(*(repository.claim_follow(crowd.corp_id) for _ in range(12)))
    taken = [claim.follow_id for claim in claims if claim is not None]
    assert len(taken) == len(set(taken))
    assert len(taken) >= 8


# -- pause --------------------------------------------------------------------------------------------------------------


async def test_while_paused_nothing_that_changes_tags_leaves(town: Town, service: Service) -> None:
    web = service.web(town)
    check_problem(await web.call("ann", "POST", "/v1/sync/pause", {"reason": "x"}), 403, "module_missing")
    check_problem(await web.call("auditor", "POST", "/v1/sync/pause", {"reason": "x"}), 403, "module_missing")
    paused = await web.call("admin", "POST", "/v1/sync/pause", {"reason": "somebody tidies up WeCom"})
    assert paused.json()["paused"] | {"since": ""} == {"by": "admin", "reason": "somebody tidies up WeCom", "since": ""}
    await town.change("ann", "wmC1", add=["advice/keen"])
    await web.call("admin", "POST", f"/v1/tag-groups/{town.groups['advice']}/tags", {"name": "new"})
    await town.hurry()
    assert await town.send_once() == 0
    assert town.corp_id not in await repository.corps_due(), "a worker does not spin over it"
    assert not await repository.has_settled_writes(town.corp_id), "an import goes on meanwhile"
    status = (await web.get("admin", "/v1/sync/status")).json()
    assert (status["waiting"], status["estimate_seconds"], status["estimate"]) == (1, None, "2 waiting, paused")
    found = await ledger(web, "admin")
    assert (found["estimate_seconds"], found["paused"]["by"]) == (None, "admin")
    again = Outbound(town.client, Budget(1000, 2.0, 1.0))
    assert await town.send_once(again) == 0, "a process that has just started knows it too"
    await web.call("admin", "POST", "/v1/sync/resume", {"reason": "done"})
    await town.drain()
    assert not await town.different()
    lines = await db.fetch("select convert_from(body, 'UTF8') as body from audit_line where corp_id = $1", town.corp_id)
    said = " ".join(row["body"] for row in lines)
    assert '"sync.paused"' in said
    assert '"sync.resumed"' in said
    assert "tidies" not in said, "a reason is free text: its hash stands in the chain"


async def test_a_pause_while_a_call_is_under_way(town: Town, service: Service) -> None:
    await town.control.fault(kind="slow", api="mark_tag", seconds=0.6)
    await town.change("ann", "wmC1", add=["advice/keen"])
    await town.change("bob", "wmC3", add=["advice/keen"])
    await town.hurry()
    sent = asyncio.create_task(town.outbound.send_one(town.corp_id))
    await town.control.wait_for("mark_tag", 1)
    answer = await service.web(town).call("admin", "POST", "/v1/sync/pause", {"reason": "now"})
    assert answer.json()["under_way"] == 1
    await sent
    assert await town.send_once() == 0
    assert len(await town.marks()) == 1
    row = (await town.row("ann", "wmC1"), await town.row("bob", "wmC3"))
    assert [one["dirty"] for one in row].count(False) == 1, "what was under way is settled"


async def test_a_pause_while_a_call_waits_for_its_slot(companies: Companies, simulator_url: str) -> None:
    async with a_town(companies, simulator_url) as town:
        narrow = Budget(1, 2.0, 1.0)
        client = WecomClient(simulator_url, town.client.sealer, narrow, timeout=1.0)
        await client.start()
        try:
            await client.follow_users(town.corp_id)  # takes the only slot
            await town.change("ann", "wmC1", add=["advice/keen"])
            await town.hurry()
            waiting = asyncio.create_task(Outbound(client, narrow).send_one(town.corp_id))
            async with asyncio.timeout(90):
                while not (await town.row("ann", "wmC1"))["uncertain"]:
                    await asyncio.sleep(0.02)
            await sending.pause_sending(town.as_("admin"), "now")
            await waiting
            assert await town.marks() == [], "it had not left"
            states = [call["state"] for call in await db.fetch("select state from wecom_call where corp_id = $1", town.corp_id)]
            assert "sent" not in states
            await sending.resume_sending(town.as_("admin"), "on")
            await town.drain()
            assert not await town.different()
        finally:
            await client.close()


# -- the ledger ---------------------------------------------------------------------------------------------------------


async def test_every_state_has_its_line_and_every_filter_finds_it(town: Town, service: Service) -> None:
    web = service.web(town)
    await town.change("ann", "wmC1", add=["advice/keen"])
    await town.drain()
    await town.control.fault(kind="errcode", api="mark_tag", code=84061)
    await town.change("ann", "wmC2", add=["advice/keen"])
    await town.drain()
    await town.control.fault(kind="errcode", api="mark_tag", code=-1)
    await town.change("bob", "wmC3", add=["advice/keen"])
    await town.hurry()
    await town.send_once()
    await town.change("dan", "wmC5", add=["advice/keen"])
    by_state = {one: (await ledger(web, "admin", state=one))["items"] for one in ("waiting", "accepted", "refused", "given_up")}
    assert {line["external_userid"] for line in by_state["waiting"]} == {"wmC3", "wmC5"}
    (given_up,) = by_state["given_up"]
    assert (given_up["code"], given_up["words"]) == (84061, "The member does not follow this customer")
    assert (given_up["may_retry"], given_up["what"]) == (True, "follow")
    marked = [line for line in by_state["refused"] if line["api"].endswith("mark_tag")]
    assert {(line["external_userid"], line["code"]) for line in marked} == {("wmC2", 84061), ("wmC3", -1)}
    tried = next(line for line in marked if line["external_userid"] == "wmC3")
    assert tried["next_try_at"] is not None, "the newest call of a follow says when it is tried again"
    chinese = await web.http.get("/v1/sync/ledger?state=given_up", headers={**web.headers("admin"), "Accept-Language": "zh"})
    assert chinese.json()["items"][0]["words"] == "成员与客户不是外部联系人关系"
    follow_id = str(await town.follow_id("ann", "wmC2"))
    for query in ({"follow_id": follow_id}, {"external_userid": "wmC2"}):
        assert {line["external_userid"] for line in (await ledger(web, "admin", **query))["items"]} == {"wmC2"}
    assert {line["userid"] for line in (await ledger(web, "admin", userid="dan"))["items"]} == {"dan"}
    assert {line["api"] for line in (await ledger(web, "admin", api="gettoken"))["items"]} == {"gettoken"}
    assert {line["code"] for line in (await ledger(web, "admin", code=84061))["items"]} == {84061}
    assert (await ledger(web, "admin", since="2999-01-01T00:00:00Z"))["items"] == []
    check_problem(await web.get("admin", "/v1/sync/ledger", since="2026-01-01T00:00:00"), 422, "moment_without_zone")
    for bad in ("x", "Nyw7", "MCxub3dhLA"):
        check_problem(await web.get("admin", "/v1/sync/ledger", cursor=bad), 400, "cursor_invalid")


async def test_pages_are_the_whole_list_once(crowd: Town, service: Service) -> None:
    web = service.web(crowd)
    for owner, customer, _ in MANY[:12]:
        await crowd.change(owner, customer, add=["advice/keen"])
    await crowd.drain()
    for owner, customer, _ in MANY[12:30]:
        await crowd.change(owner, customer, add=["advice/keen"])
    await db.execute(
        "update follow_sync set given_up = '84061 x', given_up_code = 84061 where corp_id = $1 and follow_id in"
        " (select follow_id from follow_sync where corp_id = $1 and dirty order by follow_id limit 7)",
        crowd.corp_id,
    )
    whole = (await ledger(web, "admin", limit=200))["items"]
    assert (whole[0]["state"], whole[10]["state"], whole[11]["state"]) == ("waiting", "waiting", "given_up")
    walked: list[Any] = []
    cursor = None
    while True:
        page = await ledger(web, "admin", limit=5, cursor=cursor)
        walked += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [(line["what"], line["id"]) for line in walked] == [(line["what"], line["id"]) for line in whole]
    assert (page["waiting_total"], page["given_up_total"]) == (11, 7)


@pytest.mark.parametrize("userid", sorted(PEOPLE))
async def test_a_reader_sees_the_lines_of_the_follows_he_may_see(town: Town, service: Service, userid: str) -> None:
    web = service.web(town)
    for owner, customer in (("ann", "wmC1"), ("bob", "wmC3"), ("cat", "wmC4"), ("dan", "wmC5")):
        await town.change(owner, customer, add=["advice/keen"])
    await town.drain()
    for owner, customer in (("ann", "wmC2"), ("dan", "wmC5")):
        await town.change(owner, customer, add=["advice/asked"])
    lines = (await ledger(web, userid, limit=200))["items"]
    follows = {(line["userid"], line["external_userid"]) for line in lines if line["external_userid"]}
    singly = {
        (owner, customer)
        for owner, customer in (("ann", "wmC1"), ("ann", "wmC2"), ("bob", "wmC3"), ("cat", "wmC4"), ("dan", "wmC5"))
        if (await web.get(userid, f"/v1/customers/{customer}")).status_code == 200
    }
    everything = userid in ("admin", "auditor")
    assert follows == (singly if not everything else follows)
    assert bool([line for line in lines if line["external_userid"] is None]) is everything, "calls about nobody's customer"
    if userid == "ann":
        assert follows == {("ann", "wmC1"), ("ann", "wmC2")}
        assert (await ledger(web, userid, userid="dan"))["items"] == []
        assert (await ledger(web, userid))["waiting_total"] == 1


# -- trying again -------------------------------------------------------------------------------------------------------


async def give_up(town: Town, owner: str, customer: str, code: int = 84061) -> str:
    await town.control.fault(kind="errcode", api="mark_tag", code=code)
    await town.change(owner, customer, add=["advice/keen"])
    await town.drain()
    return str(await town.follow_id(owner, customer))


async def test_one_line_is_tried_again(town: Town, service: Service) -> None:
    web = service.web(town)
    mine = await give_up(town, "ann", "wmC1")
    theirs = await give_up(town, "dan", "wmC5")
    check_problem(await web.call("ann", "POST", f"/v1/sync/ledger/{theirs}/retry"), 404, "ledger_line_unknown")
    check_problem(await web.call("admin", "POST", f"/v1/sync/ledger/{uuid4()}/retry"), 404, "ledger_line_unknown")
    check_problem(await web.call("bob", "POST", f"/v1/sync/ledger/{uuid4()}/retry"), 404, "ledger_line_unknown")
    assert (await web.call("ann", "POST", f"/v1/sync/ledger/{mine}/retry")).json() == {"retried": 1, "left": 0}
    check_problem(await web.call("ann", "POST", f"/v1/sync/ledger/{mine}/retry"), 409, "nothing_given_up")
    call = next(line for line in (await ledger(web, "admin", state="refused", userid="dan"))["items"])
    assert (await web.call("admin", "POST", f"/v1/sync/ledger/{call['id']}/retry")).status_code == 200, "a call's line too"
    await town.drain()
    assert not await town.different()


async def test_all_of_one_code_are_tried_again(town: Town, service: Service) -> None:
    web = service.web(town)
    for owner, customer in (("ann", "wmC1"), ("bob", "wmC3")):
        await give_up(town, owner, customer)
    await give_up(town, "dan", "wmC5", 40096)
    check_problem(await web.call("ann", "POST", "/v1/sync/ledger/retry", {}), 403, "module_missing")
    check_problem(await web.call("admin", "POST", "/v1/sync/ledger/retry", {"code": 1}), 409, "nothing_given_up")
    assert (await web.call("admin", "POST", "/v1/sync/ledger/retry", {"code": 84061})).json() == {"retried": 2, "left": 0}
    await town.drain()
    assert (await ledger(web, "admin"))["given_up_total"] == 1
    assert (await web.call("admin", "POST", "/v1/sync/ledger/retry", {})).json()["retried"] == 1
    await town.drain()
    assert not await town.different()


# -- the estimate -------------------------------------------------------------------------------------------------------


async def test_the_estimate_tells_nobody_of_changes_he_does_not_see(town: Town, service: Service) -> None:
    web = service.web(town)
    await give_up(town, "dan", "wmC5")
    for owner, customer in (("ann", "wmC1"), ("bob", "wmC3"), ("cat", "wmC4")):
        await town.change(owner, customer, add=["advice/cheap"])
    await db.execute(
        "update follow_sync set next_try_at = now() + interval '7 minutes' where corp_id = $1 and dirty", town.corp_id
    )
    said = {userid: await ledger(web, userid) for userid in ("admin", "east", "ann", "dan", "south")}
    assert {userid: page["estimate"] for userid, page in said.items()} == {
        "admin": "3 waiting, about 7 minutes; 1 given up",
        "east": "3 waiting, about 7 minutes",
        "ann": "1 waiting, about 7 minutes",
        "dan": "nothing is waiting; 1 given up",
        "south": "nothing is waiting; 1 given up",
    }
    assert (said["ann"]["waiting_total"], said["ann"]["given_up_total"], said["dan"]["estimate_seconds"]) == (1, 0, 0.0)
    await db.execute("update corp_credential set stopped_at = now(), stopped_reason = '40001 x' where corp_id = $1", town.corp_id)
    assert (await ledger(web, "dan"))["estimate"] == "nothing is waiting; 1 given up"
    assert (await ledger(web, "ann"))["estimate"].startswith("1 waiting, WeCom refuses the credential")
    await web.call("admin", "POST", "/v1/sync/pause", {"reason": "looking"})
    assert (await ledger(web, "ann"))["estimate"] == "1 waiting, paused"
    assert (await ledger(web, "dan"))["estimate"] == "paused, nothing is waiting; 1 given up"


async def test_the_estimate_knows_what_stands_still(town: Town, service: Service) -> None:
    web = service.web(town)
    await town.change("ann", "wmC1", add=["advice/keen"])
    status = (await web.get("admin", "/v1/sync/status")).json()
    assert 0.3 < status["estimate_seconds"] < 4, "it has not settled yet"
    await db.execute(
        "update follow_sync set next_try_at = now() + interval '7 minutes' where corp_id = $1 and dirty", town.corp_id
    )
    assert (await ledger(web, "admin"))["estimate"] == "1 waiting, about 7 minutes"
    await db.execute(
        "update corp_credential set stopped_at = now(), stopped_reason = '40001 应用 Secret 不正确' where corp_id = $1",
        town.corp_id,
    )
    said = await ledger(web, "admin")
    assert said["estimate_seconds"] is None
    assert said["estimate"].startswith("1 waiting, WeCom refuses the credential (40001 The app's secret is wrong")
