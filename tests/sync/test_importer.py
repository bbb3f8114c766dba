"""Imports through the real client from the simulator: everything once, resumable, and never beside tag writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.company import DEPARTMENTS, PEOPLE, SEALER, Companies
from support.service import Process, environment, token_for
from support.town import Town, a_client, a_town
from tagwarden.app.worker import Worker
from tagwarden.approvals.model import State
from tagwarden.corps import credentials
from tagwarden.corps.credentials import CUSTOMER_APP, AppCredential
from tagwarden.identity import repository as identity
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.kernel.errors import Conflict
from tagwarden.sync import importer, repository
from tagwarden.sync import service as sync
from tagwarden.sync.importer import Importer
from tagwarden.sync.model import NothingSeen, RunKind, RunUnderWay
from tagwarden.sync.service import OrgSeen

pytestmark = pytest.mark.usefixtures("nothing_left_over")

STAFF = {f"s{number:03d}": (11, False, ("staff",)) for number in range(130)}
MANY = [(userid, f"wmS{number:03d}", ("advice/keen",)) for number, userid in enumerate(STAFF)] + [
    ("ann", f"wmA{number:03d}", ("value/high",) if number % 3 else ()) for number in range(250)
]


@pytest.fixture
async def village(companies: Companies, simulator_url: str) -> AsyncIterator[Town]:
    """A corp in setup with nothing imported yet: 140 employees, 380 follows."""
    async with a_town(companies, simulator_url, people={**PEOPLE, **STAFF}, customers=MANY, imports=False) as made:
        yield made


async def import_all(town: Town) -> None:
    for kind in (RunKind.ORG, RunKind.CATALOG, RunKind.CUSTOMERS):
        row = await town.run(kind)
        assert row["state"] == "done", row["problem"]
    await town.read_catalog()


async def count(town: Town, table: str) -> int:
    return int(await db.fetch_value(f"select count(*) from {table} where corp_id = $1", town.corp_id))


async def check_customers(town: Town) -> None:
    """Every follow of the simulator stands here once, with its marks, and nothing more does."""
    assert await count(town, "follow") == len(MANY)
    assert await count(town, "customer") == len({customer for _, customer, _ in MANY})
    assert await count(town, "assignment") == sum(len(tags) for _, _, tags in MANY)
    assert not await town.different()
    observed = await db.fetch(
        "select f.userid, f.external_userid, s.observed from follow_sync s join follow f on f.id = s.follow_id"
        " where f.corp_id = $1 and not s.dirty",
        town.corp_id,
    )
    held = {(row["userid"], row["external_userid"]): row["observed"] for row in observed}
    assert held == {(owner, customer): [town.wecom_tags[tag] for tag in tags] for owner, customer, tags in MANY}


async def test_everything_comes_in_once(village: Town) -> None:
    await import_all(village)
    assert (await count(village, "department"), await count(village, "employee")) == (len(DEPARTMENTS), 140)
    assert (await count(village, "tag_group"), await count(village, "tag")) == (3, 9)
    await check_customers(village)
    calls = await village.control.calls("get_by_user")
    assert len(calls) == 5, "100 userids a call, 100 follows a page: 3 pages and 2 more for those after `s0..`"
    again = await village.run(RunKind.CUSTOMERS)
    assert again["result"]["marks"] == 0
    await check_customers(village)


async def test_names_that_break_the_rules_come_in_as_they_are(companies: Companies, simulator_url: str) -> None:
    async with a_town(companies, simulator_url, imports=False) as town:
        strange = {"kind": "create_group", "group": "VIP/华东 区", "tags": ["很" * 30, "ok", "😀"]}
        await town.control.corp("POST", "/console", strange)
        await town.run(RunKind.ORG)
        row = await town.run(RunKind.CATALOG)
        assert sorted(row["result"]["marked"]) == sorted(["VIP/华东 区", "很" * 30, "😀"])
        marked = await db.fetch("select name from tag where corp_id = $1 and name_marked", town.corp_id)
        assert {one["name"] for one in marked} == {"很" * 30, "😀"}


async def test_a_userid_in_another_spelling_is_the_same_person(companies: Companies, simulator_url: str) -> None:
    people = {**PEOPLE, "Li.Na_9@x": (11, False, ("staff",))}
    async with a_town(companies, simulator_url, people=people, customers=[("Li.Na_9@x", "wmC1", ())]) as town:
        await town.change("Li.Na_9@x", "wmC1", add=["advice/keen"])
        await town.drain()
        assert not await town.different()
        seen = OrgSeen(
            DEPARTMENTS,
            tuple((userid.upper(), f"name of {userid}", "active", place[0]) for userid, place in people.items()),
            tuple((userid.upper(), place[0], place[1]) for userid, place in people.items()),
        )
        await sync.mirror_org(town.as_("admin"), seen)
        directory = await identity.load_directory(town.corp_id)
        assert set(directory.employees) == set(people)
        await town.change("Li.Na_9@x", "wmC1", add=["advice/asked"])


async def test_marks_become_assignments_in_setup_only(town: Town) -> None:
    mark = {"kind": "mark", "userid": "dan", "external_userid": "wmC5", "add": ["advice/keen"], "remove": []}
    await town.control.corp("POST", "/console", mark)
    assert (await town.run(RunKind.CUSTOMERS))["result"]["marks"] == 0
    assert await town.carried("dan", "wmC5") == set()
    assert (await town.row("dan", "wmC5"))["observed"] == [], "outbound is not told before the guard has judged it"
    found = await db.fetch("select kind, state from drift_case where corp_id = $1", town.corp_id)
    assert [(row["kind"], row["state"]) for row in found] == [("added_in_wecom", "open")]


async def test_a_page_read_before_a_call_does_not_undo_what_we_know(town: Town) -> None:
    await town.control.fault(kind="slow", api="get_by_user", seconds=0.8)
    reading = asyncio.create_task(town.run(RunKind.CUSTOMERS))
    await town.control.wait_for("get_by_user", 2)  # the first is the town's own import
    await town.change("ann", "wmC1", add=["advice/keen"])
    await town.drain()
    assert (await reading)["state"] == "done"
    assert (await town.row("ann", "wmC1"))["observed"] == [town.wecom_tags["advice/keen"]]
    await town.change("ann", "wmC1", remove=["advice/keen"])
    await town.drain()
    assert not await town.different()


async def test_reads_yield_to_writes(town: Town) -> None:
    before = len(await town.control.calls("get_by_user"))
    await town.change("ann", "wmC1", add=["advice/keen"])
    await town.hurry()
    reading = asyncio.create_task(town.run(RunKind.CUSTOMERS))
    await town.control.wait_for("get_follow_user_list", 2)
    await asyncio.sleep(0.7)
    assert len(await town.control.calls("get_by_user")) == before
    await town.drain()
    assert (await reading)["state"] == "done"


async def test_a_run_that_waits_is_not_taken_for_dead(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "BEAT", 0.1)
    await town.change("ann", "wmC1", add=["advice/keen"])
    await town.hurry()
    reading = asyncio.create_task(town.run(RunKind.CUSTOMERS))
    await town.control.wait_for("get_follow_user_list", 2)
    await db.execute("update sync_run set heartbeat_at = now() - interval '1 hour' where corp_id = $1", town.corp_id)
    await asyncio.sleep(0.5)
    assert not await Importer(town.client).run_next(town.corp_id)
    await town.drain()
    await reading


@pytest.mark.parametrize("fault", [{"kind": "errcode", "code": -1}, {"kind": "reset"}, {"kind": "slow", "seconds": 1.2}])
async def test_one_bad_answer_does_not_end_a_long_import(town: Town, fault: dict[str, Any]) -> None:
    await town.control.fault(api="get_by_user", **fault)
    assert (await town.run(RunKind.CUSTOMERS))["state"] == "done"


async def test_a_wrong_secret_fails_in_plain_words_and_a_later_run_works(town: Town) -> None:
    await town.control.corp("PUT", "/apps/crm/secret", {"secret": "another"})
    row = await town.run(RunKind.ORG)
    assert (row["state"], row["done"]) == ("failed", 0)
    assert "Secret" in row["problem"]
    assert "凭据" in row["problem"]
    await credentials.store(SEALER, AppCredential(town.corp_id, CUSTOMER_APP, 1, "another"))
    assert (await town.run(RunKind.ORG))["state"] == "done"


async def test_an_answer_nobody_expected_ends_the_run(town: Town) -> None:
    odd = {"kind": "create_user", "user": {"userid": "odd", "name": "odd", "department": [11], "status": {"a": 1}}}
    await town.control.corp("POST", "/console", odd)
    row = await town.run(RunKind.ORG)
    assert (row["state"], "TypeError" in row["problem"]) == ("failed", True)


async def test_only_one_import_of_a_kind_at_a_time(town: Town) -> None:
    admin = town.as_("admin")
    asked = [sync.request_run(admin, RunKind.ORG) for _ in range(4)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, RunUnderWay)]
    assert len(refused) == 3, answers
    assert isinstance(refused[0], Conflict), "409 over HTTP"
    await sync.request_run(admin, RunKind.CATALOG)


async def test_asking_again_for_a_run_whose_worker_died_resumes_it(town: Town) -> None:
    admin = town.as_("admin")
    first = await sync.request_run(admin, RunKind.ORG)
    assert await repository.claim_run(town.corp_id, first, sync.SILENT_AFTER)
    with pytest.raises(RunUnderWay):
        await sync.request_run(admin, RunKind.ORG)
    await db.execute("update sync_run set heartbeat_at = now() - interval '2 minutes' where id = $1", first)
    assert await sync.request_run(admin, RunKind.ORG) == first
    assert await Importer(town.client).run_next(town.corp_id, first)


async def test_customers_wait_for_the_library_asked_for_before(village: Town) -> None:
    await village.run(RunKind.ORG)
    for kind in (RunKind.CATALOG, RunKind.CUSTOMERS):
        await sync.request_run(village.as_("admin"), kind)
    await village.control.fault(kind="slow", api="get_corp_tag_list", seconds=0.5)
    hands = Importer(village.client)
    first = asyncio.create_task(hands.run_next(village.corp_id))
    await village.control.wait_for("get_corp_tag_list", 1)
    assert not await hands.run_next(village.corp_id)
    assert await first
    assert await hands.run_next(village.corp_id)
    await village.read_catalog()
    await check_customers(village)


async def test_who_left_ends_nothing_but_counts_no_more(town: Town) -> None:
    held = await town.change("ann", "wmC1", add=["value/high"])
    about_dan = await town.change("dan", "wmC5", add=["value/low"])
    for userid in ("ann", "hq"):
        await town.control.corp("POST", "/console", {"kind": "delete_user", "userid": userid})
    row = await town.run(RunKind.ORG)
    assert row["result"]["left"] == ["ann", "hq"]
    assert (await town.approval(held.approval_id)).state is State.STALE
    assert (await town.approval(about_dan.approval_id)).state is State.PENDING_LEVEL1
    assert await town.carried("ann", "wmC2") == {"activity/hot"}
    assert await town.follow_id("ann", "wmC2")
    directory = await identity.load_directory(town.corp_id)
    assert not directory.employees["hq"].active
    roles = await db.fetch_value("select count(*) from employee_role where corp_id = $1 and userid = 'hq'", town.corp_id)
    assert roles == 1, "the row stays; the person counts no more"


async def test_a_department_removed(town: Town) -> None:
    move = {"kind": "update_user", "userid": "cat", "changes": {"department": [11], "is_leader_in_dept": [0]}}
    await town.control.corp("POST", "/console", move)
    await town.control.corp("POST", "/console", {"kind": "delete_party", "id": 12})
    assert (await town.run(RunKind.ORG))["state"] == "done"
    directory = await identity.load_directory(town.corp_id)
    assert 12 not in directory.departments
    assert directory.employees["cat"].departments == frozenset({11})


async def test_an_app_that_sees_nobody_sends_nobody_away(town: Town) -> None:
    with pytest.raises(NothingSeen):
        await sync.mirror_org(town.as_("admin"), OrgSeen(DEPARTMENTS, (), ()))
    with pytest.raises(NothingSeen):
        await sync.mirror_org(town.as_("admin"), OrgSeen((), (("ann", "ann", "active", 1),), ()))
    assert (await identity.load_directory(town.corp_id)).employees["ann"].active


async def wait_for_pages(town: Town, follows: int, process: Process) -> None:
    async with asyncio.timeout(90):
        while await count(town, "follow") < follows:
            assert process.running, process.log
            await asyncio.sleep(0.02)


async def test_the_command_killed_in_the_middle_goes_on_where_it_was(village: Town, database: EmbeddedUrls) -> None:
    await village.run(RunKind.ORG)
    await village.run(RunKind.CATALOG)
    await village.control.fault(kind="slow", api="get_by_user", seconds=0.4, times=-1)
    env = environment(database.application, WECOM_API_BASE=village.control.url, WECOM_CALLS_PER_MINUTE="3000")
    env["TAGWARDEN_TOKEN"] = token_for(village.corp_id, "admin")
    process = Process(["import", "customers"], env).start()
    try:
        await wait_for_pages(village, 200, process)
        process.kill()
        before = await count(village, "follow")
        assert before < len(MANY)
        await db.execute("update sync_run set heartbeat_at = now() - interval '2 minutes' where corp_id = $1", village.corp_id)
        read = len(await village.control.calls("get_by_user"))
        process = Process(["import", "customers"], env).start()
        async with asyncio.timeout(90):
            while process.running:
                await asyncio.sleep(0.05)
        assert "380" in process.log, process.log
    finally:
        process.stop()
    await village.read_catalog()
    await check_customers(village)
    assert len(await village.control.calls("get_by_user")) - read <= 3, "what was read is not read again"
    run = await db.fetch_one("select done, result from sync_run where corp_id = $1 and kind = 'customers'", village.corp_id)
    assert run is not None
    assert run["done"] == len(MANY)


async def test_new_colleagues_between_kill_and_resume_shift_nothing(village: Town) -> None:
    await village.run(RunKind.ORG)
    await village.run(RunKind.CATALOG)
    await village.control.fault(kind="slow", api="get_by_user", seconds=0.3, times=-1)
    run_id = await sync.request_run(village.as_("admin"), RunKind.CUSTOMERS)
    reading = asyncio.create_task(Importer(village.client).run_next(village.corp_id, run_id))
    async with asyncio.timeout(90):
        while await count(village, "follow") < 200:
            await asyncio.sleep(0.02)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    for number in range(5):
        user = {"userid": f"aaa{number}", "name": "new", "department": [11], "is_leader_in_dept": [0]}
        await village.control.corp("POST", "/console", {"kind": "create_user", "user": user})
    await village.control.corp("DELETE", "/faults")
    assert await Importer(village.client).run_next(village.corp_id, run_id), "a cancelled run is free at once"
    await village.read_catalog()
    await check_customers(village)


async def test_a_worker_killed_in_the_middle_of_an_import(village: Town, database: EmbeddedUrls) -> None:
    await village.run(RunKind.ORG)
    await village.run(RunKind.CATALOG)
    await village.control.fault(kind="slow", api="get_by_user", seconds=0.4, times=-1)
    env = environment(database.application, WECOM_API_BASE=village.control.url, WECOM_CALLS_PER_MINUTE="3000")
    process = Process(["worker"], env).start()
    try:
        await sync.request_run(village.as_("admin"), RunKind.CUSTOMERS)
        await wait_for_pages(village, 100, process)
    finally:
        process.kill()
        process.stop()
    await village.control.corp("DELETE", "/faults")
    await db.execute("update sync_run set heartbeat_at = now() - interval '2 minutes' where corp_id = $1", village.corp_id)
    client, budget = a_client(village.control.url)
    await client.start()
    stop = asyncio.Event()
    working = asyncio.create_task(Worker(client, budget).run(stop))
    assert await sync.resume_silent_runs(village.corp_id)
    async with asyncio.timeout(90):
        while await repository.open_run(village.corp_id, "customers", sync.SILENT_AFTER):
            await asyncio.sleep(0.05)
    stop.set()
    await working
    await client.close()
    await village.read_catalog()
    await check_customers(village)
