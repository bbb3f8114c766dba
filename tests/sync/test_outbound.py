"""Dirty follows against the real simulator: one call a follow, both lists, and WeCom equal whatever a call met."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.company import SEALER, Companies
from support.town import Town, a_town
from tagwarden.catalog import service as catalog
from tagwarden.corps import credentials
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.credentials import CUSTOMER_APP, AppCredential
from tagwarden.corps.model import Work
from tagwarden.customers import repository as customers
from tagwarden.kernel import db
from tagwarden.sync import queries, repository, sending
from tagwarden.sync.model import LEASE, LONGEST_CALL, SETTLE_AT_MOST
from tagwarden.sync.outbound import Outbound
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.model import CallClass

WITH_EFFECT_OR_NOT: list[dict[str, Any]] = [
    {"kind": kind, "effect": effect, **more}
    for effect in (True, False)
    for kind, more in (
        ("reset", {}),
        ("slow", {"seconds": 1.1}),
        ("empty", {}),
        ("html", {}),
        ("truncated", {}),
        ("http", {"status": 502}),
    )
]
CODES: list[dict[str, Any]] = [{"kind": "errcode", "code": code} for code in (-1, 45009, 45033, 45035, 40014, 42001, 77777)]


FRESH = (f"wmA{number:02d}" for number in itertools.count())


@pytest.fixture(scope="module")
async def crowd(companies: Companies, simulator_url: str) -> AsyncIterator[Town]:
    """ann's many customers, each for one test."""
    async with a_town(companies, simulator_url, customers=[("ann", f"wmA{n:02d}", ("activity/hot",)) for n in range(40)]) as made:
        yield made


@command(Epoch.SHARED)
async def end_follows(work: Work, userid: str) -> None:
    """What a callback will do when a customer leaves."""
    await customers.end_missing_follows(work.corp_id, [userid], [], "test")
    work.record("follows.ended", f"employee:{userid}")


def named(fault: dict[str, Any]) -> str:
    return "-".join(str(value) for value in fault.values())


async def send_in_real_time(town: Town, seconds: float) -> None:
    """One sender, without making time pass."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await town.send_once()
        await asyncio.sleep(0.02)


async def test_several_edits_become_one_call_with_both_lists(town: Town) -> None:
    await town.change("ann", "wmC2", add=["advice/asked"])
    await town.change("ann", "wmC2", add=["advice/keen"])
    await town.change("ann", "wmC2", add=["activity/warm"])  # single choice: takes hot away
    await town.change("ann", "wmC2", remove=["advice/asked"])
    assert await town.send_once() == 0, "the edits have not settled"
    await send_in_real_time(town, 1.3)
    (call,) = await town.marks()
    assert (call["add"], call["remove"]) == (["activity/warm", "advice/keen"], ["activity/hot"])
    assert not await town.different()


async def test_no_edit_waits_longer_than_three_seconds(town: Town) -> None:
    sending = asyncio.create_task(send_in_real_time(town, 5))
    first = time.monotonic_ns()
    for number in range(10):
        change: dict[str, list[str]] = {"remove" if number % 2 else "add": ["advice/keen"]}
        await town.change("ann", "wmC1", **change)
        await town.change("ann", "wmC1", add=["activity/hot" if number % 2 else "activity/cold"])
        await asyncio.sleep(0.35)
    row = await town.row("ann", "wmC1")
    assert row["settle_at"] - row["first_dirty_at"] <= SETTLE_AT_MOST
    await sending
    waited = ((await town.marks())[0]["at"] - first) / 1e9
    assert 2.5 < waited < SETTLE_AT_MOST.total_seconds() + 1.5, "a machine with other work may be late, not early"
    await town.drain()
    assert len(await town.marks()) <= 3
    assert not await town.different()


async def test_back_and_forth_is_no_call(town: Town) -> None:
    await town.change("ann", "wmC1", add=["advice/keen"])
    await town.change("ann", "wmC1", remove=["advice/keen"])
    await town.drain()
    assert await town.marks() == []


async def test_a_person_goes_before_a_batch(town: Town) -> None:
    for owner, customer in (("ann", "wmC1"), ("ann", "wmC2"), ("bob", "wmC3")):
        await town.change(owner, customer, add=["advice/keen"])
    await db.execute("update follow_sync set class = 'bulk' where corp_id = $1 and dirty", town.corp_id)
    await town.change("dan", "wmC5", add=["advice/keen"])
    await town.hurry()
    assert await town.outbound.send_one(town.corp_id, bulk_too=False)
    assert not await town.outbound.send_one(town.corp_id, bulk_too=False), "the others are a batch's"
    await town.send_once()
    assert (await town.marks())[0]["body"]["userid"] == "dan"
    assert not await town.different()


async def test_a_batch_edit_does_not_slow_a_persons_edit(town: Town) -> None:
    await town.change("ann", "wmC1", add=["advice/keen"])
    await repository.mark_dirty(town.corp_id, await town.follow_id("ann", "wmC1"), bulk=True)
    assert (await town.row("ann", "wmC1"))["class"] == "interactive"


@pytest.mark.parametrize("fault", [*WITH_EFFECT_OR_NOT, *CODES], ids=named)
async def test_wecom_ends_equal(crowd: Town, fault: dict[str, Any]) -> None:
    customer = next(FRESH)
    await crowd.control.fault(api="mark_tag", **fault)
    await crowd.change("ann", customer, add=["activity/warm", "advice/keen"])
    await crowd.drain()
    assert not await crowd.different()
    calls = [call for call in await crowd.marks() if call["body"]["external_userid"] == customer]
    assert 2 <= len(calls) <= 12, "tried again, each time soon only because the test lets the time pass"


@pytest.mark.parametrize("fault", [one for one in WITH_EFFECT_OR_NOT if one["kind"] in ("reset", "slow")], ids=named)
async def test_an_edit_taken_back_after_a_call_of_unknown_outcome(town: Town, fault: dict[str, Any]) -> None:
    await town.control.fault(api="mark_tag", **fault)
    await town.change("ann", "wmC2", add=["activity/warm", "advice/keen"])
    await town.hurry()
    assert await town.outbound.send_one(town.corp_id)
    assert set((await town.row("ann", "wmC2"))["uncertain"]) == {
        town.wecom_tags[tag] for tag in ("activity/hot", "activity/warm", "advice/keen")
    }
    await town.change("ann", "wmC2", add=["activity/hot"], remove=["advice/keen"])
    await town.drain()
    assert await town.control.held("ann", "wmC2") == {"activity/hot"}
    assert (await town.row("ann", "wmC2"))["uncertain"] == []


async def test_an_edit_while_a_call_is_under_way(town: Town) -> None:
    await town.control.fault(kind="slow", api="mark_tag", seconds=0.5)
    await town.change("ann", "wmC1", add=["advice/keen"])
    await town.hurry()
    sending = asyncio.create_task(town.outbound.send_one(town.corp_id))
    await town.control.wait_for("mark_tag", 1)
    await town.change("ann", "wmC1", add=["advice/asked"], remove=["advice/keen"])
    await town.hurry()
    assert not await town.outbound.send_one(town.corp_id), "one call at a time on a follow"
    await sending
    await town.drain()
    first, second = await town.marks()
    assert (first["add"], second["add"], second["remove"]) == (["advice/keen"], ["advice/asked"], ["advice/keen"])
    assert not await town.different()


async def test_a_refusal_does_not_swallow_the_edit_made_meanwhile(town: Town) -> None:
    await town.control.fault(kind="errcode", api="mark_tag", code=84061, seconds=0.5)
    await town.change("ann", "wmC1", add=["advice/keen"])
    await town.hurry()
    sending = asyncio.create_task(town.outbound.send_one(town.corp_id))
    await town.control.wait_for("mark_tag", 1)
    await town.change("ann", "wmC1", add=["advice/asked"])
    await sending
    assert (await town.row("ann", "wmC1"))["given_up"] is None
    await town.drain()
    assert not await town.different()


@pytest.mark.parametrize("code", [84061, 40096])
async def test_a_final_refusal_is_shown_and_the_next_edit_revives_it(town: Town, code: int) -> None:
    await town.control.fault(kind="errcode", api="mark_tag", code=code)
    await town.change("ann", "wmC1", add=["advice/keen"])
    await town.drain()
    await town.hurry()
    assert await town.send_once() == 0, "given up means not tried"
    assert len(await town.marks()) == 1
    counted = await repository.counts(town.corp_id)
    assert (counted["waiting"], counted["given_up"]) == (0, 1)
    (shown,) = await queries.unsent(town.corp_id, queries.Filter(), given_up=True, after=None, limit=9)
    assert shown["given_up_code"] == code
    assert shown["given_up"].startswith(f"{code} ")
    assert len(shown["given_up"]) > 8
    await town.change("ann", "wmC1", add=["advice/asked"])
    await town.drain()
    assert not await town.different()
    assert (await repository.counts(town.corp_id))["given_up"] == 0


async def test_a_given_up_follow_is_tried_again_by_hand(town: Town) -> None:
    await town.control.fault(kind="errcode", api="mark_tag", code=40096)
    await town.change("ann", "wmC1", add=["advice/keen"])
    await town.drain()
    await sending.retry_line(town.as_("admin"), await town.follow_id("ann", "wmC1"))
    await town.drain()
    assert not await town.different()


@pytest.mark.parametrize(
    "fault", [{"kind": "errcode", "code": -1}, {"kind": "reset"}, {"kind": "errcode", "code": 40014}], ids=named
)
async def test_an_outage_of_wecom_gives_nothing_up(town: Town, fault: dict[str, Any]) -> None:
    await town.change("ann", "wmC1", add=["advice/keen"])
    await town.control.fault(api="mark_tag", times=-1, **fault)
    for _ in range(12):
        await town.hurry()
        await town.send_once()
    row = await town.row("ann", "wmC1")
    assert row["given_up"] is None
    assert row["attempts"] >= 12
    pause = await db.fetch_value("select extract(epoch from $1::timestamptz - now())", row["next_try_at"])
    assert 300 < pause <= 600
    await town.control.corp("DELETE", "/faults")
    await town.drain()
    assert not await town.different()


async def test_an_unknown_code_is_given_up_after_a_few_tries(town: Town) -> None:
    await town.change("ann", "wmC1", add=["advice/keen"])
    await town.control.fault(api="mark_tag", kind="errcode", code=77777, times=-1)
    await town.drain()
    assert len(await town.marks()) == 3
    assert (await town.row("ann", "wmC1"))["given_up"].startswith("77777")


async def test_what_a_lost_lease_says_is_not_heard(town: Town) -> None:
    await town.change("ann", "wmC1", add=["advice/keen"])
    await town.hurry()
    late = await repository.claim_follow(town.corp_id)
    assert late is not None
    assert await repository.claim_follow(town.corp_id) is None
    await town.end_leases()
    owner = await repository.claim_follow(town.corp_id)
    assert owner is not None
    before = await town.row("ann", "wmC1")
    assert not await repository.begin_call(town.corp_id, late, ["t"])
    await repository.settle(town.corp_id, late, ["t"])
    await repository.give_up(town.corp_id, late, "late")
    await repository.postpone(town.corp_id, late, LEASE)
    assert await town.row("ann", "wmC1") == before
    assert await repository.begin_call(town.corp_id, owner, ["t"])
    assert LEASE.total_seconds() > LONGEST_CALL


async def test_a_follow_that_ended_is_nobodys_to_mark(town: Town) -> None:
    await town.change("ann", "wmC1", add=["advice/keen"])
    await end_follows(town.as_("admin"), "ann")
    await town.drain()
    assert await town.marks() == []
    assert (await repository.counts(town.corp_id))["given_up"] == 0


async def test_a_tag_retired_while_its_mark_is_on_the_way(town: Town) -> None:
    await town.change("ann", "wmC1", add=["advice/keen"])
    await catalog.change_tag(town.as_("admin"), town.tags["advice/keen"], catalog.TagChange(retired=True), "*")
    await town.drain()
    assert "advice/keen" in await town.control.held("ann", "wmC1")


async def test_unconfirmed_value_marks_are_left_alone(town: Town) -> None:
    await town.change("bob", "wmC3", add=["advice/keen", "activity/hot"], remove=["advice/asked"])
    await town.drain()
    (call,) = await town.marks()
    assert not [tag for tag in (*call["add"], *call["remove"]) if tag.startswith("value/")]
    assert await town.control.held("bob", "wmC3") == {"value/high", "advice/keen", "activity/hot"}


async def test_a_wrong_secret_stops_the_corp_and_the_next_one_resumes_it(town: Town) -> None:
    await town.control.corp("PUT", "/apps/crm/secret", {"secret": "another"})
    for owner, customer in (("ann", "wmC1"), ("ann", "wmC2"), ("bob", "wmC3"), ("cat", "wmC4"), ("dan", "wmC5")):
        await town.change(owner, customer, add=["advice/keen"])
    await town.hurry()
    since = len(await town.control.calls("gettoken"))
    for outbound in (town.outbound, Outbound(town.client, town.budget)):
        for _ in range(3):
            await town.send_once(outbound)
    calls = await town.control.calls("gettoken")
    assert [call["code"] for call in calls[since:]] == [40001], "a repeated wrong secret bans the address"
    untouched = await db.fetch_value(
        "select count(*) from follow_sync where corp_id = $1 and dirty and next_try_at is null and attempts = 0", town.corp_id
    )
    assert untouched >= 3, "a stopped corp's backlog is not walked through"
    async with db.transaction():
        await credentials.store(SEALER, AppCredential(town.corp_id, CUSTOMER_APP, 1, "another"))
    began = time.monotonic()
    await town.drain()
    assert time.monotonic() - began < 7
    assert not await town.different()


async def test_what_the_budget_says_before_anything_was_sent(companies: Companies, simulator_url: str) -> None:
    async with a_town(companies, simulator_url, imports=False) as town:
        assert await db.fetch_value("select count(*) from budget_slot where corp_id = $1", town.corp_id) == 0
        assert await Budget(60, 60.0, 1.0).estimate(town.corp_id, 1, CallClass.BULK) == 0.0
        assert 58 <= await Budget(60, 60.0, 1.0).estimate(town.corp_id, 60, CallClass.BULK) <= 60
