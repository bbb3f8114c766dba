"""`POST /v1/decisions` over HTTP: one and two serving processes, 110,000 grants, the epoch barrier before every answer.

Staff ask about their own customers and random groups; one row asks about the group alone, which spares one query. The cores
of the service and of the generator are shown: with two processes the machine has none left for PostgreSQL and the generator.
"""

from __future__ import annotations

import json
import random

from bench.ground import Corp, Ground
from bench.load import Answered, Client, Load, put_on
from bench.matrix import LARGEST, SEED, shape
from bench.processes import Process
from bench.report import Options, Row, Runs, cpu_seconds

COMMAND = "python -m bench http_decisions"
CONNECTIONS = 16
SECONDS = 6.0
WARM = 3.0
QUESTIONS = 50
SHAPE = shape(LARGEST, follows_each=10)
Requests = list[tuple[str, str, str]]


def measure(ground: Ground, options: Options) -> list[Row]:
    """Answers per second, and times at 70 % of that."""
    corp = ground.run(lambda: ground.company(SHAPE))
    rows = []
    for processes, about_customers in ((1, True), (1, False), (2, True)):
        with ground.serving(processes) as serving:
            rows += _rows(corp, serving, about_customers, options.runs)
    return rows


def _rows(corp: Corp, serving: list[Process], about_customers: bool, runs: int) -> list[Row]:
    noise = Runs(runs)
    fastest, steady = [], []
    for process in serving:  # its first answer loads the picture, which takes longer than a warm-up
        client = Client(process.url, _requests(corp, 0, about_customers)[:1])
        put_on(Load([client], seconds=1.0, warm=0.0)).require(200)
    for run in noise:
        asked = [_requests(corp, run.number * CONNECTIONS + one, about_customers) for one in range(CONNECTIONS)]
        most, cores = _most(serving, asked)
        at70 = put_on(_load(serving, asked, rate=0.7 * most.per_second)).require(200)
        fastest.append(
            f"{most.per_second:.0f}/s (p50 {most.p50:.1f}, p99 {most.p99:.1f} ms;"
            f" service {cores:.2f}, generator {most.cpu:.2f} cores)"
        )
        steady.append(f"p50 {at70.p50:.1f}, p99 {at70.p99:.1f} ms at {at70.per_second:.0f}/s")
    about = "about own customers" if about_customers else "about the group"
    served = "one process" if len(serving) == 1 else f"{len(serving)} processes"
    with_goal = about_customers and len(serving) == 1
    title, note = f"`POST /v1/decisions` {about}, {served}", f"{CONNECTIONS} connections, {SECONDS:.0f} s a run; {noise.note}"
    return [
        Row(title, "≥ 3,000/s" if with_goal else "", fastest, COMMAND, note),
        Row(f"the same at 70 % load, {about}, {served}", "p99 ≤ 15 ms" if with_goal else "", steady, COMMAND, "Poisson arrivals"),
    ]


def _most(serving: list[Process], asked: list[Requests]) -> tuple[Answered, float]:
    """As much as it answers, and the cores the serving processes used for it."""
    load = _load(serving, asked)
    before = sum(cpu_seconds(one.child.pid) for one in serving)
    answered = put_on(load).require(200)
    used = sum(cpu_seconds(one.child.pid) for one in serving) - before
    return answered, used / (load.seconds + load.warm)


def _load(serving: list[Process], asked: list[Requests], rate: float | None = None) -> Load:
    clients = [Client(serving[number % len(serving)].url, requests) for number, requests in enumerate(asked)]
    return Load(clients, SECONDS, warm=WARM, rate=rate)


def _requests(corp: Corp, seed: int, about_customers: bool) -> Requests:
    """One client's questions: one person, random groups and customers."""
    chance = random.Random(SEED + seed)  # noqa: S311
    owner = chance.choice([one for one, _ in SHAPE.follows])
    customers = [customer for one, customer in SHAPE.follows if one == owner]
    token, groups = corp.token(owner), list(corp.groups.values())
    requests = []
    for _ in range(QUESTIONS):
        question = {"group_id": str(chance.choice(groups)), "action": "use"}
        if about_customers:
            question["external_userid"] = chance.choice(customers)
        requests.append((token, "/v1/decisions", json.dumps(question)))
    return requests
