"""Whole workers: fair between corps, quiet when idle, quick to stop, several at once, and back by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import combinations
from typing import Any

import asyncpg
import pytest

from support.cards import a_card_town
from support.company import SEALER, Companies
from support.service import Process, environment, service_on
from support.town import SECRET, TIMEOUT, Town, a_client, a_town
from tagwarden.app.worker import Worker
from tagwarden.assignments import service as assignments
from tagwarden.corps import credentials
from tagwarden.corps.credentials import CUSTOMER_APP, AppCredential
from tagwarden.kernel import clock, db
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.sync import repository
from tagwarden.sync import service as sync
from tagwarden.sync.model import RunKind

pytestmark = pytest.mark.usefixtures("nothing_left_over")

MANY = [("ann", f"wmA{number:03d}", ()) for number in range(60)]
TAGS = ("advice/asked", "advice/cheap", "advice/keen")


@contextlib.asynccontextmanager
async def a_worker(url: str, limit: int = 1000, window: float = 2.0) -> AsyncIterator[Worker]:
    """A worker in this process; at the end it must stop within a few seconds, whatever waits."""
    client, budget = a_client(url, limit, window)
    await client.start()
    worker, stop = Worker(client, budget), asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        yield worker
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await task
        await client.close()


def worker_process(database: EmbeddedUrls, url: str, name: str = "worker") -> Process:
    """`tagwarden worker`, told apart in PostgreSQL by its name."""
    dsn = database.application + ("&" if "?" in database.application else "?") + f"application_name={name}"
    return Process(["worker"], environment(dsn, WECOM_API_BASE=url, WECOM_CALLS_PER_MINUTE="3000"))


async def dirty_all(town: Town, customers: list[tuple[str, str, Any]]) -> None:
    for owner, customer, _ in customers:
        await town.change(owner, customer, add=["advice/keen"])


async def held_after(town: Town, owner: str, customer: str, tag: str, seconds: float) -> float:
    """Seconds until WeCom holds a tag; TimeoutError after so many."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while tag not in await town.control.held(owner, customer):
            await asyncio.sleep(0.05)
    return time.monotonic() - began


async def test_a_corp_with_a_backlog_a_dead_one_and_a_stopped_one_starve_nobody(companies: Companies, simulator_url: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        crowded = await stack.enter_async_context(a_town(companies, simulator_url, customers=MANY))
        silent = await stack.enter_async_context(a_town(companies, simulator_url, customers=MANY[:12]))
        stopped = await stack.enter_async_context(a_town(companies, simulator_url, customers=MANY[:12]))
        small = await stack.enter_async_context(a_town(companies, simulator_url))
        await silent.control.fault(kind="slow", api="mark_tag", seconds=TIMEOUT + 0.3, times=-1)
        await stopped.control.corp("PUT", "/apps/crm/secret", {"secret": "another"})
        for town, customers in ((crowded, MANY), (silent, MANY[:12]), (stopped, MANY[:12])):
            await dirty_all(town, customers)
            await town.hurry()
        await db.execute("update follow_sync set class = 'bulk' where corp_id = $1 and dirty", crowded.corp_id)
        async with a_worker(simulator_url, limit=8, window=4.0):
            await asyncio.sleep(1.0)
            await small.change("ann", "wmC1", add=["advice/keen"])
            assert await held_after(small, "ann", "wmC1", "advice/keen", 90) < 15
            await crowded.change("ann", "wmA059", add=["advice/asked"])
            assert await held_after(crowded, "ann", "wmA059", "advice/asked", 90) < 15, "a person's edit in the crowded corp"
            assert await crowded.waiting(), "the backlog was still there"
            await credentials.store(SEALER, AppCredential(stopped.corp_id, CUSTOMER_APP, 1, "another"))
            async with asyncio.timeout(90):
                while not await stopped.control.calls("mark_tag"):
                    await asyncio.sleep(0.1)
        window = await crowded.control.corp("GET", f"/window?seconds=4&since={crowded.control.since}&api=mark_tag")
        assert window["worst"] <= 8


async def test_a_corp_that_may_not_call_is_no_work_until_it_may(town: Town) -> None:
    await town.change("ann", "wmC1", add=["advice/keen"])
    await town.hurry()
    assert town.corp_id in await repository.corps_due()
    await db.execute("update corp_credential set stopped_at = now(), stopped_reason = '40001 x' where corp_id = $1", town.corp_id)
    assert town.corp_id not in await repository.corps_due(), "one refused credential costs the others nothing"
    async with a_worker(town.control.url):
        await credentials.store(SEALER, AppCredential(town.corp_id, CUSTOMER_APP, 1, SECRET))
        await held_after(town, "ann", "wmC1", "advice/keen", 90)


async def test_two_workers_never_call_twice_at_once(town: Town, database: EmbeddedUrls) -> None:
    await town.control.switch(mark_seconds=0.15)
    workers = [worker_process(database, town.control.url, f"w{number}").start() for number in range(2)]
    try:
        for number in range(12):
            for owner, customer in (("ann", "wmC1"), ("ann", "wmC2"), ("bob", "wmC3")):
                await town.change(owner, customer, **{"remove" if number % 2 else "add": [TAGS[number % 3], "advice/keen"]})
                await town.hurry()
            await asyncio.sleep(0.1)
        await town.until_quiet()
    finally:
        for process in workers:
            process.stop()
    calls = await town.marks()
    assert {call["code"] for call in calls} == {0}, "45035 would be among them"
    for one, other in combinations(calls, 2):
        if one["body"]["external_userid"] == other["body"]["external_userid"]:
            assert one["answered"] < other["at"], "calls on one follow overlap"
    assert len({call["app"] for call in calls}) == 1
    assert not await town.different()


async def test_a_worker_comes_back_after_losing_its_connections(
    town: Town, database: EmbeddedUrls, sql: asyncpg.Connection
) -> None:
    process = worker_process(database, town.control.url, "cut-off").start()
    try:
        await town.change("ann", "wmC1", add=["advice/keen"])
        await held_after(town, "ann", "wmC1", "advice/keen", 90)
        cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'cut-off'"
        assert await sql.fetchval(cut) >= 1
        await asyncio.sleep(0.3)
        await sql.fetchval(cut)
        await town.change("ann", "wmC1", add=["advice/asked"])
        await held_after(town, "ann", "wmC1", "advice/asked", 90)
        await sync.request_run(town.as_("admin"), RunKind.CATALOG)
        async with asyncio.timeout(90):
            while await repository.open_run(town.corp_id, "catalog", sync.SILENT_AFTER):
                await asyncio.sleep(0.1)
    finally:
        process.stop()


async def test_stop_does_not_wait_for_a_long_import_or_a_backlog(companies: Companies, simulator_url: str) -> None:
    async with a_town(companies, simulator_url, customers=MANY) as town:
        await dirty_all(town, MANY)
        await town.control.fault(kind="slow", api="get_corp_tag_list", seconds=0.9, times=-1)
        async with a_worker(simulator_url, limit=8, window=8.0):
            run_id = await sync.request_run(town.as_("admin"), RunKind.CATALOG)
            async with asyncio.timeout(90):
                while not await db.fetch_value("select state = 'running' from sync_run where id = $1", run_id):
                    await asyncio.sleep(0.05)
        row = await repository.run(town.corp_id, run_id)
        assert row is not None
        if row["state"] == "running":
            assert await repository.claim_run(town.corp_id, run_id, sync.SILENT_AFTER), "left for the next worker at once"
        assert await town.waiting()


async def test_temporary_tags_end_with_the_month_in_wecom_too(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    await town.change("ann", "wmC1", add=["activity/hot", "advice/keen"])
    await town.drain()
    worker = Worker(town.client, town.budget)
    at = {line.name: line.run for line in worker.schedule}
    await at["end_temporary_tags"]()
    assert await town.carried("ann", "wmC1") == {"activity/hot", "advice/keen"}
    monkeypatch.setattr(clock, "now", lambda moment=clock.now() + timedelta(days=32): moment)
    await at["end_temporary_tags"]()
    monkeypatch.undo()
    assert (await town.row("ann", "wmC1"))["class"] == "bulk"
    await town.drain()
    assert await town.control.held("ann", "wmC1") == {"advice/keen"}
    assert await town.control.held("bob", "wmC3") == {"value/high", "advice/asked"}


async def test_every_line_of_the_schedule_runs(town: Town) -> None:
    worker = Worker(town.client, town.budget)
    with pytest.raises(assignments.TagChangeRefused):
        await town.change("dan", "wmC1", add=["advice/keen"])
    for _ in range(3):
        with pytest.raises(assignments.TagChangeRefused):
            await town.change("dan", "wmC1", add=["advice/keen"])
    await db.execute("update refusal_tally set minute = minute - interval '2 minutes' where corp_id = $1", town.corp_id)
    for line in worker.schedule:
        await line.run()
    assert not await db.fetch_value("select count(*) from refusal_tally where corp_id = $1", town.corp_id)


async def test_one_corps_trouble_keeps_no_other_from_its_turn(
    town: Town, companies: Companies, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    async def act(corp_id: str) -> None:
        done.append(corp_id)
        if corp_id == town.corp_id:
            raise ValueError("trouble")

    from tagwarden.app import worker

    await companies.make(customers=(), live=False)
    await worker._for_every_corp(act)
    assert done.index(town.corp_id) < len(done) - 1


async def test_a_worker_by_itself_knows_what_requests_are_about(
    companies: Companies, simulator_url: str, database: EmbeddedUrls
) -> None:
    """Cards are drawn, and whoever listens for what a worker does is told: it has the same wiring as a server."""
    async with service_on(database.application) as service, a_card_town(companies, simulator_url, service) as cards:
        process = worker_process(database, cards.town.control.url).start()
        try:
            approval_id = await cards.ask()
            async with asyncio.timeout(90):
                while not await cards.open():
                    await asyncio.sleep(0.1)
            task_id = (await cards.open())["east"]
            click = {"kind": "click_card", "userid": "east", "task_id": task_id, "key": "approve"}
            await cards.town.control.corp("POST", "/console", click)
            async with asyncio.timeout(90):
                while (await cards.open()).keys() != {"boss", "hq"}:
                    await asyncio.sleep(0.1)
            assert await cards.state(approval_id) == "pending_level2"
        finally:
            process.stop()
        assert "round_failed" not in process.log
