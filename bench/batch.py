"""3,000 customers to WeCom at 60 calls a minute with three workers, the minute scaled: how long, the worst window, repeats.

The changes pass the one write path; then their dirty rows are classed `bulk`, as a batch will class them. The workers are
the product's; only the window and the time-out of their budget are shorter. What is not scaled (PostgreSQL, HTTP, the
settling of edits) weighs as many times more than in real time, so the total errs on the long side. WeCom is the simulator,
and it is its log, on its own monotonic clock, that is counted. One run: it takes as long on every machine.
With `--large` the clock is not scaled, and it takes an hour.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator

from bench.ground import Corp, Ground
from bench.processes import Process
from bench.report import Options, Row, Runs
from bench.team import GROUP, shape
from bench.wecom import Wecom, simulator
from tagwarden.assignments.service import TagChange, change_tags
from tagwarden.kernel import db

COMMAND = "python -m bench batch"
CUSTOMERS = 3_000
STAFF = 10
WORKERS = 3
CALLS = 60
MINUTE = 60.0
REAL_TIMEOUT = 10.0
WINDOW = 2.0
TIMEOUT = 1.0


def measure(ground: Ground, options: Options) -> list[Row]:
    """Minutes (scaled), worst window, calls per follow."""
    window, timeout = (MINUTE, REAL_TIMEOUT) if options.large else (WINDOW, TIMEOUT)
    totals, windows, calls = [], [], []
    noise = Runs(1, more=0)
    for run in noise:
        with simulator(ground, f"ww{run.number}", shape(STAFF, CUSTOMERS // STAFF)) as wecom:
            corp = ground.run(lambda wecom=wecom: prepared(ground, wecom))  # type: ignore[misc]
            with working(ground, wecom, window, timeout):
                ground.run(lambda corp=corp: _all_sent(corp, 70 * window))  # type: ignore[misc]
            seconds, by_follow = _marks(wecom)
            totals.append(f"{seconds / window:.1f} min ({seconds:.1f} s)")
            windows.append(str(wecom.of_corp(f"/window?seconds={window}")["worst"]))
            repeated = sum(times > 1 for times in by_follow.values())
            calls.append(f"{by_follow.total()} calls for {len(by_follow)} follows, {repeated} more than once")
    clock, command = ("in real time", f"{COMMAND} --large") if options.large else ("scaled clock", COMMAND)
    note = f"a minute is {window:.0f} s; first to last mark_tag; {noise.note}"
    return [
        Row(f"{CUSTOMERS:,} customers to WeCom, {CALLS}/min, {WORKERS} workers, {clock}", "≤ 51 min", totals, command, note),
        Row(f"most calls in any window of {window:.0f} s, by the simulator's log", "never 61", windows, command, "every API"),
        Row(f"`mark_tag` calls per follow, {clock}", "one", calls, command, ""),
    ]


async def prepared(ground: Ground, wecom: Wecom, *, others: int = 0) -> Corp:
    """The company with one tag put on every customer, and every follow waiting as part of a batch.

    Customers of `others` more of the staff (s10, s11, ...) are left alone.
    """
    team = shape(STAFF + others, CUSTOMERS // STAFF)
    library = await asyncio.to_thread(wecom.of_corp, "/tags")
    corp = await ground.company(team, corp_id=wecom.corp_id, library=library["tag_group"])
    tag = corp.tags[f"{GROUP}/t0"]
    for owner, customer in team.follows[:CUSTOMERS]:
        await change_tags(corp.as_(owner), TagChange(customer, (tag,)))
    await db.execute("update follow_sync set class = 'bulk' where corp_id = $1", corp.corp_id)
    return corp


@contextlib.contextmanager
def working(ground: Ground, wecom: Wecom, window: float, timeout: float) -> Iterator[None]:
    """The workers, until the block ends."""
    given = {"wecom": wecom.url, "calls": CALLS, "window": window, "timeout": timeout}
    with contextlib.ExitStack() as stack:
        for _ in range(WORKERS):
            stack.callback(Process([json.dumps(given)], ground.environment(), module="bench.sender").stop)
        yield


async def _all_sent(corp: Corp, patience: float) -> None:
    """Returns when nothing is dirty any more; RuntimeError after that many seconds, or where something was given up."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        left = await db.fetch_value("select count(*) from follow_sync where corp_id = $1 and dirty", corp.corp_id)
        if left == 0:
            return
        await asyncio.sleep(0.5)
    raise RuntimeError(f"{left} follows were not sent")


def _marks(wecom: Wecom) -> tuple[float, Counter[str]]:
    """Seconds from the first mark's arrival to the last one's answer, and the calls by follow."""
    calls = wecom.marks()
    held = wecom.of_corp("/follows")["follows"]
    if len(held) != CUSTOMERS:
        raise RuntimeError(f"{len(held)} follows at WeCom")
    by_follow = Counter(f"{call['body']['userid']} {call['body']['external_userid']}" for call in calls)
    return (max(call["answered"] for call in calls) - calls[0]["at"]) / 1e9, by_follow
