"""3,000 customers to WeCom at 60 calls a minute with three workers, the minute scaled: how long, the worst window, repeats.

The changes pass the one write path; then their dirty rows are classed `bulk`, as a batch will class them. The workers are
the product's; only the window and the time-out of their budget are shorter. What is not scaled (PostgreSQL, HTTP, the
settling of edits) weighs as many times more than in real time, so the total errs on the long side. WeCom is the simulator,
and it is its log, on its own monotonic clock, that is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.ground import APP_SECRET, Corp, Ground, Process, free_port, plain_environment
from bench.report import Row, Runs
from bench.team import GROUP, TAGS, shape
from tagwarden.assignments.service import TagChange, change_tags
from tagwarden.kernel import db

COMMAND = "python -m bench batch"
CUSTOMERS = 3_000
STAFF = 10
WORKERS = 3
CALLS = 60
WINDOW = 2.0
TIMEOUT = 1.0
PATIENCE = 900.0


@dataclass(frozen=True, slots=True)
class Wecom:
    """The simulator's control API, for one corp."""

    url: str
    corp_id: str

    def ask(self, path: str, body: object = None) -> Any:
        """GET, or POST with a body."""
        data = json.dumps(body).encode() if body is not None else None
        address = f"{self.url}/control{path}"
        request = urllib.request.Request(address, data, {"Content-Type": "application/json"})  # noqa: S310  our own child
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return json.load(answer)

    def of_corp(self, path: str) -> Any:
        """GET below the corp."""
        return self.ask(f"/corps/{self.corp_id}{path}")


def measure(ground: Ground, runs: int) -> list[Row]:
    """Minutes (scaled), worst window, calls per follow."""
    totals, windows, calls = [], [], []
    noise = Runs(runs)
    for run in noise:
        with _simulator(ground, f"ww{run.number}") as wecom:
            corp = ground.run(lambda wecom=wecom: _prepared(ground, wecom))  # type: ignore[misc]
            with contextlib.ExitStack() as stack:
                for _ in range(WORKERS):
                    stack.callback(_worker(ground, wecom).stop)
                ground.run(lambda corp=corp: _all_sent(corp))  # type: ignore[misc]
            seconds, by_follow = _marks(wecom)
            totals.append(f"{seconds / WINDOW:.1f} min ({seconds:.1f} s)")
            windows.append(str(wecom.of_corp(f"/window?seconds={WINDOW}")["worst"]))
            repeated = sum(times > 1 for times in by_follow.values())
            calls.append(f"{by_follow.total()} calls for {len(by_follow)} follows, {repeated} more than once")
    note = f"a minute is {WINDOW:.0f} s; first to last mark_tag; {noise.note}"
    return [
        Row(f"{CUSTOMERS:,} customers to WeCom, {CALLS}/min, {WORKERS} workers, scaled clock", "≤ 51 min", totals, COMMAND, note),
        Row("most calls in any window, by the simulator's log", "never 61", windows, COMMAND, "every API counted"),
        Row("`mark_tag` calls per follow", "one", calls, COMMAND, ""),
    ]


@contextlib.contextmanager
def _simulator(ground: Ground, corp_id: str) -> Iterator[Wecom]:
    """A simulated WeCom that holds the team."""
    port = free_port()
    words = ["simulator", "--port", str(port), "--state", str(ground.folder / f"{corp_id}.sqlite")]
    process = Process(words, plain_environment())
    try:
        process.wait_for(f"http://127.0.0.1:{port}/control/health")
        wecom = Wecom(process.url, corp_id)
        wecom.ask("/corps", _setup(corp_id))
        yield wecom
    finally:
        process.stop()


def _setup(corp_id: str) -> dict[str, Any]:
    team = shape(STAFF, CUSTOMERS // STAFF)
    return {
        "corp_id": corp_id,
        "apps": [{"name": "crm", "secret": APP_SECRET, "agent_id": 1000002}],
        "departments": [{"id": number, "name": f"d{number}", "parentid": parent} for number, parent in team.parents.items()],
        "employees": [{"userid": one.userid, "name": one.userid, "department": [one.department]} for one in team.people],
        "tag_groups": [{"name": GROUP, "tags": [f"t{number}" for number in range(TAGS)]}],
        "follows": [{"userid": owner, "external_userid": customer} for owner, customer in team.follows],
    }


async def _prepared(ground: Ground, wecom: Wecom) -> Corp:
    """The company with one tag put on every customer, and every follow waiting as part of a batch."""
    team = shape(STAFF, CUSTOMERS // STAFF)
    library = await asyncio.to_thread(wecom.of_corp, "/tags")
    corp = await ground.company(team, corp_id=wecom.corp_id, library=library["tag_group"])
    tag = corp.tags[f"{GROUP}/t0"]
    for owner, customer in team.follows:
        await change_tags(corp.as_(owner), TagChange(customer, (tag,)))
    await db.execute("update follow_sync set class = 'bulk' where corp_id = $1", corp.corp_id)
    return corp


def _worker(ground: Ground, wecom: Wecom) -> Process:
    given = {"wecom": wecom.url, "calls": CALLS, "window": WINDOW, "timeout": TIMEOUT}
    return Process([json.dumps(given)], ground.environment(), module="bench.sender")


async def _all_sent(corp: Corp) -> None:
    """Returns when nothing is dirty any more; RuntimeError after a quarter of an hour, or where something was given up."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        left = await db.fetch_value("select count(*) from follow_sync where corp_id = $1 and dirty", corp.corp_id)
        if left == 0:
            return
        await asyncio.sleep(0.5)
    raise RuntimeError(f"{left} follows were not sent")


def _marks(wecom: Wecom) -> tuple[float, Counter[str]]:
    """Seconds from the first mark's arrival to the last one's answer, and the calls by follow."""
    calls = wecom.of_corp("/calls?api=mark_tag")["calls"]
    held = wecom.of_corp("/follows")["follows"]
    if len(held) != CUSTOMERS:
        raise RuntimeError(f"{len(held)} follows at WeCom")
    by_follow = Counter(f"{call['body']['userid']} {call['body']['external_userid']}" for call in calls)
    return (max(call["answered"] for call in calls) - calls[0]["at"]) / 1e9, by_follow
