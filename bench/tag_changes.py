"""Tag changes over HTTP: decision, rows, audit line, dirty mark, one commit. Four clients, one and two serving processes.

Each client is one of the staff and puts a tag on each of his fifty customers, then takes it off, and so on: every request
is a change. Afterwards the audit lines are counted: one a change, or the run does not count.
"""

from __future__ import annotations

import json

from bench.ground import Corp, Ground, Process
from bench.load import Client, Load, put_on
from bench.report import Row, Runs, cpu_seconds
from bench.team import GROUP, shape
from tagwarden.kernel import db

COMMAND = "python -m bench tag_changes"
CLIENTS = 4
CUSTOMERS = 50
SECONDS = 8.0


def measure(ground: Ground, runs: int) -> list[Row]:
    """Changes per second and their times."""
    rows = []
    for processes in (1, 2):
        goal = "≥ 400/s" if processes == 2 else ""
        noise = Runs(runs)
        measured = [_changes(ground, processes) for _ in noise]
        name = f"tag change over HTTP, {CLIENTS} clients, {processes} process{'es' if processes > 1 else ''}"
        rows.append(Row(name, goal, measured, COMMAND, f"{SECONDS:.0f} s a run; {noise.note}"))
    return rows


def _changes(ground: Ground, processes: int) -> str:
    corp = ground.run(lambda: ground.company(shape(CLIENTS, CUSTOMERS)))
    with ground.serving(processes) as serving:
        load = Load([_client(corp, number, serving[number % processes]) for number in range(CLIENTS)], SECONDS)
        before = sum(cpu_seconds(one.child.pid) for one in serving)
        answered = put_on(load).require(200)
        cores = (sum(cpu_seconds(one.child.pid) for one in serving) - before) / (load.seconds + load.warm)
    lines = ground.run(lambda: _lines(corp))
    if lines != answered.sent:
        raise RuntimeError(f"{answered.sent} changes were answered, {lines} stand in the audit")
    return (
        f"{answered.per_second:.0f}/s (p50 {answered.p50:.1f}, p99 {answered.p99:.1f} ms;"
        f" service {cores:.2f}, generator {answered.cpu:.2f} cores)"
    )


def _client(corp: Corp, number: int, process: Process) -> Client:
    token, tag = corp.token(f"s{number}"), str(corp.tags[f"{GROUP}/t0"])
    paths = [f"/v1/customers/wm-s{number}-{one}/tag-changes" for one in range(CUSTOMERS)]
    put, take = (json.dumps({"add": add, "remove": remove}) for add, remove in (([tag], []), ([], [tag])))
    return Client(process.url, [(token, path, body) for body in (put, take) for path in paths])


async def _lines(corp: Corp) -> int:
    rows = await db.fetch("select body from audit_line where corp_id = $1", corp.corp_id)
    return sum(json.loads(row["body"])["action"] == "tags.changed" for row in rows)
