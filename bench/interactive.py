"""A person's change while a batch is on its way: how long until it is at WeCom. In real time, on the real budget.

3,000 follows wait as a batch and three workers send them at 60 calls a minute. When the first minute is over and every
slot is in use, one of the staff, whose customers are not in the batch, changes a tag every few seconds. A change's time
runs from its commit to WeCom's answer, and so holds the second in which an edit may still be followed by another.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from bench.batch import CALLS, CUSTOMERS, MINUTE, REAL_TIMEOUT, STAFF, WORKERS, prepared, working
from bench.ground import Corp, Ground
from bench.matrix import SEED
from bench.report import Options, Row, Runs, percentile
from bench.team import GROUP, shape
from bench.wecom import Wecom, simulator
from tagwarden.assignments.service import TagChange, change_tags

COMMAND = "python -m bench interactive"
LEAD = 62.0
SECONDS = 80.0
EVERY = 2.5
PATIENCE = 30.0
PERSON = f"s{STAFF}"


@dataclass(frozen=True, slots=True)
class Seen:
    """Seconds from commit to answer, change by change, and the batch's calls in the same time."""

    took: list[float]
    batch: int
    worst: int


def measure(ground: Ground, options: Options) -> list[Row]:
    """p50, p99, max in seconds. One run: it takes as long whatever the machine."""
    noise = Runs(1, more=0)
    found = []
    for run in noise:
        with simulator(ground, f"wi{run.number}", shape(STAFF + 1, CUSTOMERS // STAFF)) as wecom:
            corp = ground.run(lambda wecom=wecom: prepared(ground, wecom, others=1))  # type: ignore[misc]
            with working(ground, wecom, MINUTE, REAL_TIMEOUT):
                found.append(ground.run(lambda wecom=wecom, corp=corp: _changes(corp, wecom)))  # type: ignore[misc]
    shown = [
        f"{' / '.join(f'{percentile(one.took, share):.1f}' for share in (0.5, 0.99, 1.0))} s of {len(one.took)};"
        f" {one.batch} calls of the batch meanwhile, worst minute {one.worst}"
        for one in found
    ]
    title = f"interactive change at WeCom during a batch of {CUSTOMERS:,}, {CALLS}/min, {WORKERS} workers"
    note = f"p50 / p99 / max in real time, one change every {EVERY} s on average; {noise.note}"
    return [Row(title, "≤ 5 s p99", shown, COMMAND, note)]


async def _changes(corp: Corp, wecom: Wecom) -> Seen:
    await asyncio.sleep(LEAD)
    chance, tag = random.Random(SEED), corp.tags[f"{GROUP}/t1"]  # noqa: S311
    committed: dict[str, int] = {}
    since = time.monotonic()
    while time.monotonic() - since < SECONDS:
        customer = f"wm-{PERSON}-{len(committed)}"
        await change_tags(corp.as_(PERSON), TagChange(customer, (tag,)))
        committed[customer] = time.monotonic_ns()
        await asyncio.sleep(chance.uniform(0.5 * EVERY, 1.5 * EVERY))
    return await _arrived(wecom, committed)


async def _arrived(wecom: Wecom, committed: dict[str, int]) -> Seen:
    """When all are at WeCom; RuntimeError where one is missing or was sent twice."""
    until, first = time.monotonic() + PATIENCE, min(committed.values())
    while True:
        calls = [call for call in await asyncio.to_thread(wecom.marks) if call["answered"] and call["at"] >= first]
        mine = {call["body"]["external_userid"]: call for call in calls if call["body"]["userid"] == PERSON}
        if mine.keys() == committed.keys():
            break
        if time.monotonic() > until:
            raise RuntimeError(f"{len(committed) - len(mine)} changes did not reach WeCom")
        await asyncio.sleep(0.5)
    worst = await asyncio.to_thread(wecom.of_corp, f"/window?seconds={MINUTE}")
    took = [(call["answered"] - committed[customer]) / 1e9 for customer, call in mine.items()]
    return Seen(took, sum(call["body"]["userid"] != PERSON for call in calls), int(worst["worst"]))
