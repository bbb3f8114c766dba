"""The budget with scaled windows: never over, seldom idle, whatever is killed, delayed, cancelled or moved."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Sequence

import asyncpg
import pytest

from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.wecom.budget import Budget, Slot
from tagwarden.wecom.client import WecomClient
from tagwarden.wecom.model import CallClass

from .conftest import Control, add_corp, sealer

INTERACTIVE, BULK, READ = CallClass.INTERACTIVE, CallClass.BULK, CallClass.READ
_NUMBERS = itertools.count(1)


@pytest.fixture
async def corp(postgres: EmbeddedUrls, database: None) -> str:
    corp_id = f"wwbudget{next(_NUMBERS):04d}"
    await add_corp(postgres, corp_id)
    return corp_id


def worst(times: Sequence[float], window: float) -> int:
    """The most of the times within any half-open window."""
    ordered = sorted(times)
    return max((sum(1 for t in ordered if start <= t < start + window) for start in ordered), default=0)


async def call(budget: Budget, corp: str, call_class: CallClass, seconds: float = 0.0) -> float:
    """Claims, lets the call arrive at its far end after a while, and is answered; the moment of arrival."""
    slot = await budget.claim(corp, call_class)
    await asyncio.sleep(seconds)
    arrived = time.monotonic()
    await slot.answered()
    return arrived


@pytest.mark.parametrize("call_class", list(CallClass))
async def test_delayed_calls_of_several_budgets_never_exceed_the_limit(corp: str, call_class: CallClass) -> None:
    budgets = [Budget(20, 1.0, 2.0) for _ in range(3)]
    arrivals: list[float] = []

    async def work(budget: Budget) -> None:
        while time.monotonic() < end:
            delay = 0.9 if random.random() < 0.05 else random.random() * 0.05
            arrivals.append(await call(budget, corp, call_class, delay))

    end = time.monotonic() + 4
    await asyncio.gather(*(work(budget) for budget in budgets for _ in range(4)))
    assert worst(arrivals, 1.0) <= 20
    assert len(arrivals) >= 50, "four windows of twenty: the budget is used, not only kept"


async def test_calls_that_stall_together_do_not_arrive_together_twice(corp: str) -> None:
    budget = Budget(20, 1.0, 2.0)
    arrivals = list(await asyncio.gather(*(call(budget, corp, INTERACTIVE, 0.8) for _ in range(20))))
    arrivals += await asyncio.gather(*(call(budget, corp, INTERACTIVE) for _ in range(20)))
    assert worst(arrivals, 1.0) == 20


async def test_killed_worker_keeps_its_slot_taken_until_its_call_must_be_over(corp: str) -> None:
    began = time.monotonic()
    await Budget(1, 0.6, 0.4).claim(corp, INTERACTIVE)
    await Budget(1, 0.6, 0.4).claim(corp, INTERACTIVE)
    assert 1.0 <= time.monotonic() - began < 1.5


async def test_answered_slot_is_free_one_window_after_the_answer(corp: str) -> None:
    budget = Budget(1, 0.6, 5.0)
    slot = await budget.claim(corp, INTERACTIVE)
    await asyncio.sleep(0.3)
    await slot.answered()
    began = time.monotonic()
    await budget.claim(corp, INTERACTIVE)
    assert 0.6 <= time.monotonic() - began < 5.0, "not a time-out more, as without an answer"


async def test_late_answer_does_not_free_the_slot_of_the_next_call(corp: str) -> None:
    budget = Budget(1, 0.2, 0.2)
    late = await budget.claim(corp, INTERACTIVE)
    current = await budget.claim(corp, INTERACTIVE)
    await late.answered()
    await late.give_back()
    assert await holder(corp) == current.claim


async def holder(corp: str) -> object:
    return await db.fetch_value("select claimed_by from budget_slot where corp_id = $1 and n = 0", corp)


async def busy(corp: str) -> int:
    sql = "select count(*) from budget_slot where corp_id = $1 and free_at > clock_timestamp()"
    return int(await db.fetch_value(sql, corp))


async def test_given_back_slot_is_as_free_as_before(corp: str) -> None:
    budget = Budget(1, 30.0, 5.0)
    for _ in range(3):
        slot = await asyncio.wait_for(budget.claim(corp, INTERACTIVE), 1)
        await slot.give_back()
    assert await busy(corp) == 0


async def test_bulk_is_spaced_evenly_and_uses_the_whole_budget(corp: str) -> None:
    budgets = [Budget(20, 1.0, 2.0) for _ in range(3)]
    times: list[float] = []

    async def work(budget: Budget) -> None:
        for _ in range(20):
            times.append(await call(budget, corp, BULK))

    began = time.monotonic()
    await asyncio.gather(*(work(budget) for budget in budgets))
    took = time.monotonic() - began
    assert 2.8 < took < 3.6, "sixty calls at twenty a second"
    assert worst(times, 0.25) <= 8, "five a quarter second, and a late one or two"


async def test_interactive_gets_the_next_slot_during_bulk(corp: str) -> None:
    bulk, person = Budget(20, 1.0, 2.0), Budget(20, 1.0, 2.0)
    stop = asyncio.Event()

    async def batch() -> None:
        while not stop.is_set():
            await call(bulk, corp, BULK)

    workers = [asyncio.create_task(batch()) for _ in range(6)]
    await asyncio.sleep(1.2)
    waits = []
    for _ in range(10):
        began = time.monotonic()
        await call(person, corp, INTERACTIVE)
        waits.append(time.monotonic() - began)
        await asyncio.sleep(0.05)
    stop.set()
    await asyncio.gather(*workers)
    assert max(waits) < 0.35, f"a slot is freed every 0.05 s: {waits}"


async def test_reads_yield_to_batches_and_lose_nothing_alone(corp: str) -> None:
    batches, mirror = Budget(20, 1.0, 2.0), Budget(20, 1.0, 2.0)
    counts = {BULK: 0, READ: 0}
    stop = asyncio.Event()

    async def work(budget: Budget, call_class: CallClass) -> None:
        while not stop.is_set():
            await call(budget, corp, call_class)
            counts[call_class] += 1

    tasks = [asyncio.create_task(work(batches, BULK)) for _ in range(3)]
    tasks += [asyncio.create_task(work(mirror, READ)) for _ in range(3)]
    await asyncio.sleep(2)
    stop.set()
    assert counts[BULK] > 30
    assert counts[READ] <= counts[BULK] / 4
    await asyncio.gather(*tasks)
    began = time.monotonic()
    for _ in range(20):
        await call(mirror, corp, READ)
    assert time.monotonic() - began < 1.6


async def test_cancelled_wait_gives_its_reservation_back(corp: str) -> None:
    budget = Budget(1, 0.5, 5.0)
    await (await budget.claim(corp, INTERACTIVE)).answered()
    waiting = asyncio.create_task(budget.claim(corp, INTERACTIVE))
    await asyncio.sleep(0.2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    began = time.monotonic()
    await asyncio.wait_for(budget.claim(corp, INTERACTIVE), 1)
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("hours", [1, -1], ids=["forward", "backward"])
async def test_jump_of_the_clock_stalls_and_never_bursts(corp: str, hours: int) -> None:
    moved = 0.0
    budget = Budget(10, 1.0, 0.5, monotonic=lambda: time.monotonic() + moved)
    await budget.start()
    for slot in [await budget.claim(corp, INTERACTIVE) for _ in range(10)]:
        await slot.answered()
    used = time.monotonic()
    # The database's clock leaps: all its times are as much older, and ours has not moved with it.
    moved = -3600.0 * hours
    await db.execute(
        "update budget_slot set free_at = free_at - make_interval(hours => $2), claimed_at = claimed_at"
        " - make_interval(hours => $2) where corp_id = $1",
        corp,
        hours,
    )
    await asyncio.wait_for(asyncio.gather(*(budget.claim(corp, INTERACTIVE) for _ in range(10))), 10)
    assert time.monotonic() - used >= 1.5


async def test_jump_stops_those_who_already_wait(corp: str) -> None:
    moved = 0.0
    budget = Budget(2, 0.6, 0.4, monotonic=lambda: time.monotonic() + moved)
    await budget.start()
    for slot in [await budget.claim(corp, INTERACTIVE) for _ in range(2)]:
        await slot.answered()
    waiting = [asyncio.create_task(budget.claim(corp, INTERACTIVE)) for _ in range(2)]
    await asyncio.sleep(0.2)
    moved = -100.0
    jumped = time.monotonic()
    await asyncio.gather(*waiting)
    assert time.monotonic() - jumped >= 1.0


async def test_smaller_budget_counts_what_the_larger_one_used(corp: str) -> None:
    large, small = Budget(10, 1.0, 2.0), Budget(4, 1.0, 2.0)
    used = []
    for _ in range(10):
        used.append(await call(large, corp, INTERACTIVE))
        await asyncio.sleep(0.05)
    times = [await call(small, corp, INTERACTIVE) for _ in range(8)]
    for moment in times:
        assert sum(1 for t in used + times if moment - 1.0 < t <= moment) <= 4


async def test_larger_budget_adds_to_what_the_smaller_one_used(corp: str) -> None:
    small, large = Budget(4, 20.0, 2.0), Budget(10, 20.0, 2.0)
    for _ in range(4):
        await call(small, corp, INTERACTIVE)
    for _ in range(6):
        await asyncio.wait_for(call(large, corp, INTERACTIVE), 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call(large, corp, INTERACTIVE), 0.3)


async def test_corps_do_not_share(postgres: EmbeddedUrls, corp: str) -> None:
    other = f"{corp}x"
    await add_corp(postgres, other)
    budget = Budget(1, 20.0, 2.0)
    await call(budget, corp, INTERACTIVE)
    await asyncio.wait_for(call(budget, other, INTERACTIVE), 1)


async def test_estimate_is_honest(corp: str) -> None:
    budget = Budget(20, 1.0, 2.0)
    assert await budget.estimate(corp, 0, BULK) == 0.0
    for _ in range(15):
        await call(budget, corp, INTERACTIVE)
    said = await budget.estimate(corp, 50, BULK)
    began = time.monotonic()
    for _ in range(50):
        await call(budget, corp, BULK)
    assert said == pytest.approx(time.monotonic() - began, rel=0.25)


async def test_estimate_knows_that_people_do_not_wait_for_the_pace(corp: str) -> None:
    budget = Budget(20, 20.0, 2.0)
    assert await budget.estimate(corp, 20, INTERACTIVE) == 0.0
    assert 19 <= await budget.estimate(corp, 20, BULK) <= 19.1
    assert 19.4 <= await budget.estimate(corp, 20, READ) <= 19.6, "a mirror yields half a spacing"
    await call(budget, corp, BULK)
    assert await budget.estimate(corp, 19, INTERACTIVE) == 0.0
    assert 0 < await budget.estimate(corp, 20, INTERACTIVE) <= budget.safe_window


async def test_not_inside_a_transaction(corp: str) -> None:
    with pytest.raises(RuntimeError, match="transaction"):
        async with db.transaction():
            await Budget().claim(corp, INTERACTIVE)


async def test_call_that_cannot_begin_in_time_claims_anew(postgres: EmbeddedUrls, control: Control) -> None:
    client = WecomClient(control.url, sealer(), Budget(10, 60.0, 5.0), timeout=5.0)
    await client.start()
    await client.department_list(control.corp_id)
    owner = await asyncpg.connect(postgres.owner)
    async with owner.transaction():
        await owner.execute("lock table wecom_call in access exclusive mode")
        waiting = asyncio.create_task(client.department_list(control.corp_id, call_class=INTERACTIVE))
        await asyncio.sleep(1.4)
        assert len(await control.calls("department/list")) == 1
    await waiting
    await owner.close()
    await client.close()
    assert len(await control.calls("department/list")) == 2
    assert await busy(control.corp_id) == 3, "gettoken and two lists; the slot that waited was given back"
    begun = await db.fetch_value(
        "select count(distinct c.id) from wecom_call c join budget_slot s on s.corp_id = c.corp_id and s.claimed_at <= c.sent_at"
        " and c.sent_at < s.claimed_at + interval '1 second' where c.corp_id = $1 and api = 'department/list'",
        control.corp_id,
    )
    assert begun == 2


def test_settings_must_make_sense() -> None:
    for bad in ((0, 60.0, 10.0), (60, 0.0, 10.0), (60, 60.0, 0.0)):
        with pytest.raises(ValueError, match="positive"):
            Budget(*bad)


async def test_slot_knows_its_age(corp: str) -> None:
    slot: Slot = await Budget(5, 10.0, 2.0).claim(corp, INTERACTIVE)
    await asyncio.sleep(0.1)
    assert 0.1 <= slot.age() < 0.4
    await slot.unanswered()
    assert await busy(corp) == 1
