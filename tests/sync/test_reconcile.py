"""Everybody read and held against what was decided: in bulk, writing only what differs, whatever happens between two pages."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from support.company import GRANTS, GROUPS, PEOPLE, Companies, bundle_of
from support.town import Town, a_town
from tagwarden.governance import drift_file, publishing
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.sync import drift
from tagwarden.sync import service as sync
from tagwarden.sync.importer import Importer
from tagwarden.sync.model import RunKind

from .killed_run import STEPS

STAFF = {f"s{number:03d}": (11, False, ("staff",)) for number in range(130)}
MANY = [(userid, f"wmS{number:03d}", ("advice/keen",)) for number, userid in enumerate(STAFF)] + [
    ("ann", f"wmA{number:03d}", ("advice/keen",) if number % 3 else ()) for number in range(250)
]
Pair = tuple[str, str]


@pytest.fixture
async def village(companies: Companies, simulator_url: str) -> AsyncIterator[Town]:
    """A live company with 380 follows that WeCom holds as they were decided; what is edited there is put back."""
    people = {**PEOPLE, **STAFF}
    async with a_town(companies, simulator_url, people=people, customers=MANY) as made:
        bundle = replace(
            bundle_of(people, GROUPS, GRANTS), drift=drift_file.read("others = 'tagwarden'\nstop_above_percent = 10")
        )
        await publishing.apply_bundle(made.as_("admin"), bundle, "drift")
        yield made


async def pages(town: Town) -> list[list[Pair]]:
    """The pages a reading of everybody meets, as WeCom gives them."""
    found: list[list[Pair]] = []
    userids = sorted(await town.client.follow_users(town.corp_id))
    for start in range(0, len(userids), 100):
        cursor = ""
        while True:
            page = await town.client.customers_page(town.corp_id, userids[start : start + 100], cursor)
            found.append([(info["userid"], contact["external_userid"]) for contact, info in page.items])
            if not (cursor := page.next_cursor):
                break
    return found


async def edit(town: Town, pair: Pair, add: str | None = None, remove: str | None = None) -> None:
    """An edit inside WeCom of which no callback tells."""
    body = {"kind": "mark", "userid": pair[0], "external_userid": pair[1]}
    await town.control.corp("POST", "/console", {**body, "add": [add] if add else [], "remove": [remove] if remove else []})


async def edit_at_borders(town: Town) -> set[Pair]:
    """The first and the last follow of every page is edited: a tag more, or the one it had gone."""
    tags = {(owner, customer): held for owner, customer, held in MANY}
    edited = {pair for page in await pages(town) if page for pair in (page[0], page[-1])}
    for pair in edited:
        if tags[pair]:
            await edit(town, pair, remove="advice/keen")
        else:
            await edit(town, pair, add="advice/asked")
    return edited


async def cases(town: Town, state: str = "put_back") -> list[Pair]:
    rows = await db.fetch(
        "select f.userid, f.external_userid from drift_case d join follow f on f.id = d.follow_id"
        " where d.corp_id = $1 and d.state = $2 order by 1, 2",
        town.corp_id,
        state,
    )
    return [(row["userid"], row["external_userid"]) for row in rows]


async def ended(town: Town) -> list[Pair]:
    rows = await db.fetch(
        "select userid, external_userid from follow where corp_id = $1 and ended_at is not null order by 1, 2", town.corp_id
    )
    return [(row["userid"], row["external_userid"]) for row in rows]


async def versions(town: Town, table: str, key: str) -> dict[Any, tuple[str, ...]]:
    """Every row's place, and the transactions that wrote or locked it."""
    rows = await db.fetch(
        f"select {key} as key, ctid::text, xmin::text, xmax::text from {table} where corp_id = $1", town.corp_id
    )
    return {row["key"]: (row["ctid"], row["xmin"], row["xmax"]) for row in rows}


async def nothing_is_left(town: Town) -> None:
    await town.drain()
    assert not await town.different()
    assert await db.fetch("select 1 from reading_page where corp_id = $1", town.corp_id) == []


async def test_drift_at_the_borders_of_pages_is_found_and_no_other_row_is_touched(village: Town) -> None:
    await village.run(RunKind.DRIFT)
    edited = await edit_at_borders(village)
    assert len(edited) > 6
    tables = {"follow": "id", "follow_sync": "follow_id", "customer": "external_userid"}
    before = {table: await versions(village, table, key) for table, key in tables.items()}
    run = await village.run(RunKind.DRIFT)
    after = {table: await versions(village, table, key) for table, key in tables.items()}
    assert run["result"] == {
        "follows": len(MANY), "marks": 0, "ended": 0, "employees": len(PEOPLE) + len(STAFF),
        "acted_on": len(edited), "stopped": False, "held_back": [],
    }  # fmt: skip
    assert await cases(village) == sorted(edited)
    touched = {await village.follow_id(*pair) for pair in edited}
    for table in ("follow", "follow_sync"):
        assert {key for key, version in before[table].items() if after[table][key] != version} <= touched, table
    assert before["customer"] == after["customer"]
    await nothing_is_left(village)


async def test_what_was_put_right_is_no_case_in_the_next_reading(village: Town) -> None:
    await edit_at_borders(village)
    await village.run(RunKind.DRIFT)
    await village.drain()
    found = await cases(village)
    again = await village.run(RunKind.DRIFT)
    assert again["result"]["acted_on"] == 0
    assert await cases(village) == found
    await nothing_is_left(village)


async def test_a_page_with_people_customers_and_tags_nobody_knows(village: Town) -> None:
    user = {"userid": "s0500", "name": "new", "department": [11], "is_leader_in_dept": [0]}
    await village.control.corp("POST", "/console", {"kind": "create_user", "user": user})
    strategy = [{"id": "st1", "name": "a strategy's", "group": "strategy"}]
    for owner, customer in (("s0500", "wmN1"), ("ann", "wmN2"), ("s001", "wmN2")):
        contact = {"kind": "add_contact", "userid": owner, "external_userid": customer, "name": "new", "strategy_tags": strategy}
        await village.control.corp("POST", "/console", contact)
    await edit(village, ("ann", "wmN2"), add="advice/keen")
    run = await village.run(RunKind.DRIFT)
    assert (run["result"]["follows"], run["result"]["ended"]) == (len(MANY) + 3, 0)
    assert await cases(village) == [("ann", "wmN2")]
    labels = await db.fetch("select wecom_id from follow_label where corp_id = $1", village.corp_id)
    assert [row["wecom_id"] for row in labels] == ["st1"] * 3
    await nothing_is_left(village)
    again = await village.run(RunKind.DRIFT)
    assert again["result"]["acted_on"] == 0


async def test_a_follow_that_a_complete_reading_did_not_show_has_ended(village: Town) -> None:
    gone = [(await pages(village))[0][0], ("ann", "wmA007"), ("s129", "wmS129")]
    for owner, customer in gone:
        await village.control.corp("POST", "/console", {"kind": "del_contact", "userid": owner, "external_userid": customer})
    run = await village.run(RunKind.DRIFT)
    assert (run["result"]["follows"], run["result"]["ended"]) == (len(MANY) - 3, 3)
    rows = await db.fetch(
        "select userid, external_userid from follow where corp_id = $1 and ended_at is not null", village.corp_id
    )
    assert sorted((row["userid"], row["external_userid"]) for row in rows) == sorted(gone)
    await nothing_is_left(village)


async def test_two_readings_at_once_see_each_case_once(village: Town) -> None:
    edited = await edit_at_borders(village)
    runs = await asyncio.gather(village.run(RunKind.DRIFT), village.run(RunKind.CUSTOMERS))
    assert [(run["state"], run["done"], run["result"]["ended"]) for run in runs] == [("done", len(MANY), 0)] * 2
    assert not await Importer(village.client).run_next(village.corp_id)
    await drift.act_on_all(village.corp_id)  # those that the other reading saw first are anybody's, as a callback's are
    assert await cases(village) == sorted(edited)
    await nothing_is_left(village)


async def test_changes_while_everybody_is_read_are_not_taken_for_drift(village: Town) -> None:
    await village.control.fault(kind="slow", api="get_by_user", seconds=0.1, times=-1)
    reading = asyncio.create_task(village.run(RunKind.DRIFT))
    for number in range(0, 240, 8):
        await village.change("ann", f"wmA{number:03d}", add=["advice/asked"])
        await village.drain()
    assert (await reading)["result"]["acted_on"] == 0
    assert await db.fetch("select 1 from drift_case where corp_id = $1", village.corp_id) == []
    await nothing_is_left(village)


TIMES = {"page_not_written": 2, "page_half_written": 3, "page_written": 3}


@pytest.mark.parametrize("step", STEPS)
async def test_killed_between_pages_it_goes_on_and_loses_nobody(village: Town, database: EmbeddedUrls, step: str) -> None:
    edited = await edit_at_borders(village)
    gone = ("ann", "wmA100")
    await village.control.corp("POST", "/console", {"kind": "del_contact", "userid": gone[0], "external_userid": gone[1]})
    run_id = await sync.request_run(village.as_("admin"), RunKind.DRIFT)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    words = (database.application, village.control.url, village.corp_id, step, str(TIMES.get(step, 1)))
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "sync.killed_run", *words, env=env)
    assert await asyncio.wait_for(child.wait(), 90) == -signal.SIGKILL, "the step was never reached"
    await db.execute("update sync_run set heartbeat_at = now() - interval '2 minutes' where corp_id = $1", village.corp_id)
    assert await Importer(village.client).run_next(village.corp_id, run_id) == (step != "finished")
    run = await db.fetch_one("select state, done from sync_run where corp_id = $1 and id = $2", village.corp_id, run_id)
    assert run == {"state": "done", "done": len(MANY) - 1}
    ended = await db.fetch(
        "select userid, external_userid from follow where corp_id = $1 and ended_at is not null", village.corp_id
    )
    assert [(row["userid"], row["external_userid"]) for row in ended] == [gone]
    assert await cases(village) == sorted(edited - {gone})
    await village.run(RunKind.CUSTOMERS)  # what a dead run left behind is forgotten when the next one ends
    await nothing_is_left(village)
