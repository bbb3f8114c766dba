"""`POST /v1/decisions` over HTTP: one serving process, 110,000 grants, the epoch barrier before every answer.

Staff ask about their own customers and random groups; a second row asks about the group alone, which spares one query.
"""

from __future__ import annotations

import json
import random

from bench.ground import Corp, Ground, Process
from bench.load import Answered, Client, Load, put_on
from bench.matrix import LARGEST, SEED, shape
from bench.report import Row, Runs, cpu_seconds

COMMAND = "python -m bench http_decisions"
CONNECTIONS = 16
SECONDS = 8.0
SHAPE = shape(LARGEST, follows_each=10)
Requests = list[tuple[str, str, str]]


def measure(ground: Ground, runs: int) -> list[Row]:
    """Answers per second, and times at 70 % of that."""
    corp = ground.run(lambda: ground.company(SHAPE))
    rows = []
    with ground.serving() as (process,):
        for name, about_customers in (("about own customers", True), ("about the group", False)):
            noise = Runs(runs)
            fastest, steady = [], []
            for run in noise:
                asked = [_requests(corp, run.number * CONNECTIONS + one, about_customers) for one in range(CONNECTIONS)]
                most, server = _most(process, asked)
                at70 = put_on(_load(process, asked, rate=0.7 * most.per_second)).require(200)
                fastest.append(
                    f"{most.per_second:.0f}/s (p50 {most.p50:.1f}, p99 {most.p99:.1f} ms;"
                    f" service {server:.2f}, generator {most.cpu:.2f} cores)"
                )
                steady.append(f"p50 {at70.p50:.1f}, p99 {at70.p99:.1f} ms")
            about = f"{CONNECTIONS} connections, {SECONDS:.0f} s a run"
            goal = "≥ 3,000/s" if about_customers else ""
            rows.append(Row(f"`POST /v1/decisions` {name}, one process", goal, fastest, COMMAND, f"{about}; {noise.note}"))
            rows.append(Row(f"the same at 70 % load, {name}", "p99 ≤ 15 ms", steady, COMMAND, "Poisson arrivals"))
    return rows


def _most(process: Process, asked: list[Requests]) -> tuple[Answered, float]:
    """As much as it answers, and the cores the serving process used for it."""
    load = _load(process, asked)
    before = cpu_seconds(process.child.pid)
    answered = put_on(load).require(200)
    return answered, (cpu_seconds(process.child.pid) - before) / (load.seconds + load.warm)


def _load(process: Process, asked: list[Requests], rate: float | None = None) -> Load:
    return Load([Client(process.url, requests) for requests in asked], SECONDS, rate=rate)


def _requests(corp: Corp, seed: int, about_customers: bool) -> Requests:
    """One client's questions: one person, 200 random groups and customers."""
    chance = random.Random(SEED + seed)  # noqa: S311
    owner = chance.choice([one for one, _ in SHAPE.follows])
    customers = [customer for one, customer in SHAPE.follows if one == owner]
    token, groups = corp.token(owner), list(corp.groups.values())
    requests = []
    for _ in range(200):
        question = {"group_id": str(chance.choice(groups)), "action": "use"}
        if about_customers:
            question["external_userid"] = chance.choice(customers)
        requests.append((token, "/v1/decisions", json.dumps(question)))
    return requests
