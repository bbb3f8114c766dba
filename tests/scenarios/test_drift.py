"""Drift as people meet it: WeCom's own sender, the service, a worker process, and what admins see and may do."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from support.company import SEALER, Companies
from support.mailbox import AES_KEY, TOKEN
from support.service import Process, Service, Web, check_problem, environment, simulating
from support.town import SECRET, Town, a_town
from tagwarden.assignments import adoption
from tagwarden.corps import credentials
from tagwarden.corps.credentials import AppCredential
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.simulator import crypto

pytestmark = pytest.mark.usefixtures("nothing_left_over")


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with simulating(Path(tmp_path_factory.mktemp("wecom")) / "state.sqlite") as running:
        yield running


@pytest.fixture
async def town(companies: Companies, simulator: Process, service: Service) -> AsyncIterator[Town]:
    """A live company whose WeCom calls the running service back; its value marks are adopted."""
    async with a_town(companies, simulator.url) as made:
        for approval in await adoption.ask_adoptions(made.as_("east"), ""):
            await made.sign("hq", approval)
        await credentials.store(SEALER, AppCredential(made.corp_id, "crm", 1, SECRET, TOKEN, AES_KEY))
        address = {"url": f"{service.process.url}/callbacks/wecom/{made.corp_id}/crm", "token": TOKEN, "aes_key": AES_KEY}
        await made.control.corp("PUT", "/apps/crm/callback", address)
        yield made


@pytest.fixture
def worker(database: EmbeddedUrls, simulator: Process) -> Iterator[Process]:
    env = environment(database.application, WECOM_API_BASE=simulator.url, WECOM_CALLS_PER_MINUTE="3000")
    process = Process(["worker"], env).start()
    yield process
    process.stop()


async def edit(town: Town, **edit: Any) -> None:
    await town.control.corp("POST", "/console", edit)


async def listed(web: Web, userid: str, **query: Any) -> dict[str, Any]:
    answer = await web.get(userid, "/v1/sync/drift/", **query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def cases_of(web: Web, count: int, state: str) -> list[dict[str, Any]]:
    async with asyncio.timeout(90):
        while len(found := (await listed(web, "admin", state=state))["items"]) < count:
            await asyncio.sleep(0.1)
    return found


async def test_an_edit_inside_wecom_is_put_back_and_shown(town: Town, service: Service, worker: Process) -> None:
    web = service.web(town)
    await edit(town, kind="mark", userid="ann", external_userid="wmC1", add=["value/high", "advice/keen"])
    (case,) = await cases_of(web, 1, "put_back")
    async with asyncio.timeout(90):
        while await town.control.held("ann", "wmC1") != {"advice/keen"}:
            await asyncio.sleep(0.1)
    assert (case["case"], case["group_name"], case["tag"], case["kind"]) == ("added_in_wecom", "value", "high", "value")
    assert (case["follow_userid"], case["external_userid"]) == (None, None), "an admin without a grant sees no customer"
    assert (case["age_seconds"] >= 0, case["done_at"] is not None) == (True, True)
    seen = (await listed(web, "auditor", state="put_back"))["items"][0]
    assert (seen["follow_userid"], seen["external_userid"]) == ("ann", "wmC1")
    taken = (await listed(web, "auditor", state="taken_in"))["items"]
    assert [one["tag"] for one in taken] == ["keen"]
    tags = (await web.get("ann", "/v1/customers/wmC1/tags")).json()
    assert [(one["tag"], one["source"]) for one in tags["follows"][0]["tags"]] == [("keen", "wecom")]
    for somebody in ("ann", "east", "boss"):
        check_problem(await web.get(somebody, "/v1/sync/drift/"), 403, "module_missing")
        check_problem(await web.get(somebody, "/v1/sync/drift/offenders"), 403, "module_missing")
        check_problem(await web.call(somebody, "POST", "/v1/sync/drift/confirm"), 403, "module_missing")
    check_problem(await web.call("admin", "POST", "/v1/sync/drift/confirm"), 409, "drift_guard_not_stopped")
    status = (await web.get("admin", "/v1/sync/status")).json()
    assert (status["inbound"]["callbacks"], status["reconcile"]["nights_a_pass"]) == (0, 1)


async def test_the_list_is_paged_and_only_of_its_corp(
    town: Town, service: Service, worker: Process, companies: Companies
) -> None:
    web = service.web(town)
    for tag in ("value/high", "value/mid", "value/low"):
        await edit(town, kind="mark", userid="ann", external_userid="wmC1", add=[tag])
    found = await cases_of(web, 3, "put_back")
    first = await listed(web, "admin", limit=2)
    rest = await listed(web, "admin", limit=2, cursor=first["next_cursor"])
    assert [one["id"] for one in first["items"] + rest["items"]] == [one["id"] for one in found]
    assert first["counts"] == {"put_back": 3}
    offenders = (await web.get("admin", "/v1/sync/drift/offenders")).json()
    assert [(one["userid"], one["put_back"]) for one in offenders["items"]] == [("ann", 3)]
    other = await companies.make()
    assert (await listed(service.web(other), "admin"))["items"] == []


async def test_a_run_is_asked_for_over_http_and_confirmed(town: Town, service: Service, worker: Process) -> None:
    web = service.web(town)
    await town.control.corp("PUT", "/apps/crm/callback")  # nobody calls us any more
    await edit(town, kind="mark", userid="ann", external_userid="wmC1", add=["value/high"])
    asked = await web.call("admin", "POST", "/v1/sync/runs", {"kind": "drift"})
    assert asked.status_code == 202
    async with asyncio.timeout(90):
        while (run := (await web.get("admin", f"/v1/sync/runs/{asked.json()['id']}")).json())["state"] not in ("done", "failed"):
            await asyncio.sleep(0.1)
    assert (run["state"], run["result"]["acted_on"], run["result"]["stopped"]) == ("done", 1, False)
    await db.execute(
        "update drift_guard set stopped_at = now(), reason = 'too_many', waiting = 3 where corp_id = $1", town.corp_id
    )
    assert (await listed(web, "admin"))["guard"]["stopped"] is True
    answer = await web.call("admin", "POST", "/v1/sync/drift/confirm")
    assert (answer.status_code, answer.json()) == (200, {"follows": 0})
    guard = (await listed(web, "admin"))["guard"]
    assert (guard["stopped"], guard["released_by"]) == (False, "admin")


async def test_a_renamed_persons_token_is_his_and_the_old_name_is_nobodys(
    town: Town, service: Service, worker: Process, sql: asyncpg.Connection
) -> None:
    web = service.web(town)
    await credentials.store(SEALER, AppCredential(town.corp_id, "contacts", None, "s", TOKEN, AES_KEY))
    address = {"url": f"{service.process.url}/callbacks/wecom/{town.corp_id}/contacts", "token": TOKEN, "aes_key": AES_KEY}
    await town.control.corp("PUT", "/apps/contacts/callback", address)
    held = await web.tag("ann", "wmC1", add=[town.tags["value/high"]])
    await edit(town, kind="update_user", userid="ann", changes={"userid": "ann.li"})
    async with asyncio.timeout(90):
        while (me := await web.get("ann.li", "/v1/me/")).status_code != 200:
            await asyncio.sleep(0.1)
    assert me.json()["userid"] == "ann"
    check_problem(await web.get("ann", "/v1/me/"), 403, "refused_at_identity")
    mine = (await web.get("ann.li", f"/v1/approvals/{held.json()['approval_id']}")).json()
    assert mine["approval"]["requester"] == "ann"
    check_problem(
        await web.call(
            "ann.li", "POST", f"/v1/approvals/{held.json()['approval_id']}/decisions", {"verdict": "approve"}, If_Match="*"
        ),
        403,
    )
    assert (await web.tag("ann.li", "wmC1", add=[town.tags["advice/keen"]])).status_code == 200
    async with asyncio.timeout(90):
        while await town.control.held("ann.li", "wmC1") != {"advice/keen"}:
            await asyncio.sleep(0.1)
    employees = (await web.get("admin", "/v1/employees/")).json()["items"]
    assert [one["wecom_userid"] for one in employees if one["userid"] == "ann"] == ["ann.li"]


# -- fuzz ---------------------------------------------------------------------------------------------------------------

LAUGHS = '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><xml><Event>&b;</Event></xml>'
EVENT = (
    "<xml><ToUserName>c</ToUserName><FromUserName>sys</FromUserName><CreateTime>{at}</CreateTime><MsgType>event</MsgType>"
    "<Event>{event}</Event><ChangeType>{change}</ChangeType><UserID>{user}</UserID><ExternalUserID>{customer}</ExternalUserID></xml>"
)


def strange_messages(dice: random.Random) -> Iterator[str]:
    """What a proven callback might hold and never should."""
    good = EVENT.format(
        at=int(time.time()), event="change_external_contact", change="edit_external_contact", user="ann", customer="wmC1"
    )
    yield from ("", "{", "[]", "null", '{"Event": {"a": 1}}', "<xml/>", "<xml>" * 5_000, LAUGHS, "\u0000", "x" * 20_000)
    yield from ("<a>" * 3_000 + "</a>" * 3_000, good.replace("<Event>", "<Event><Event>x</Event>"), good + good)
    yield good.replace("<UserID>ann", "<UserID>" + "u" * 5_000)
    yield good.replace("wmC1", "wm' or 1=1 --")
    yield good.replace(str(int(time.time())), "9" * 40)
    yield good.replace("change_external_contact", "change_of_heart")
    yield EVENT.format(at=1, event="change_contact", change="update_user", user="\u202eann", customer="")
    for _ in range(60):
        text = bytearray(good.encode())
        for _ in range(dice.randint(1, 6)):
            text[dice.randrange(len(text))] = dice.randrange(1, 128)
        yield text.decode(errors="replace")


async def deposit(http: httpx.AsyncClient, corp_id: str, encrypted: str, raw: bytes | None = None) -> httpx.Response:
    stamp, nonce = str(int(time.time())), secrets.token_hex(6)
    query = {"msg_signature": crypto.sign(TOKEN, stamp, nonce, encrypted), "timestamp": stamp, "nonce": nonce}
    body = raw if raw is not None else f"<xml><Encrypt>{encrypted}</Encrypt></xml>".encode()
    return await http.post(f"/callbacks/wecom/{corp_id}/crm", params=query, content=body)


@pytest.mark.parametrize("seed", [1])
async def test_whatever_a_callback_holds_it_is_no_error_of_ours(town: Town, service: Service, worker: Process, seed: int) -> None:
    """A proven one is answered 200 and comes to nothing unless it is an event; a reading of what is there is all it can do."""
    dice = random.Random(seed)
    before = await db.fetch("select * from assignment where corp_id = $1 order by id", town.corp_id)
    sent = 0
    for message in strange_messages(dice):
        encrypted = crypto.encrypt(AES_KEY, town.corp_id, message)
        assert (await deposit(service.http, town.corp_id, encrypted)).status_code == 200, message[:200]
        sent += 1
        flipped = bytearray(encrypted.encode())
        flipped[dice.randrange(len(flipped))] ^= 1 << dice.randrange(6)
        answer = await deposit(service.http, town.corp_id, flipped.decode(errors="replace"))
        assert answer.status_code in (200, 401), "a flip in the random head of the plain text is none that anybody can see"
        sent += answer.status_code == 200
        raw = f"<xml><Encrypt>{encrypted}</Encrypt></xml>".encode()[: dice.randrange(40, 400)]
        assert (await deposit(service.http, town.corp_id, encrypted, raw)).status_code in (200, 401)
    async with asyncio.timeout(90):
        while await db.fetch_value(
            "select count(*) from wecom_callback where corp_id = $1 and processed_at is null", town.corp_id
        ):
            await asyncio.sleep(0.1)
    rows = await db.fetch("select outcome, count(*) as n from wecom_callback where corp_id = $1 group by 1", town.corp_id)
    assert {row["outcome"] for row in rows} <= {"noted", "ignored"}
    assert sum(row["n"] for row in rows) >= sent
    async with asyncio.timeout(90):
        while await db.fetch_value("select count(*) from wecom_refresh where corp_id = $1 and given_up is null", town.corp_id):
            await asyncio.sleep(0.1)
    after = await db.fetch("select * from assignment where corp_id = $1 order by id", town.corp_id)
    assert after == before
    assert worker.running
