"""Tag changes over HTTP: decision, rows, audit line, dirty mark, one commit. Four clients, one and two serving processes.

Before each run the machine's own commit is measured, with one connection and with as many as there are clients. All changes
are of one corp, whose audit chain takes one commit at a time: one connection's rate bounds them.

Each client is one of the staff and puts a tag on each of his fifty customers, then takes it off, and so on: every request
is a change. Afterwards the audit lines are counted: one a change, or the run does not count.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from bench.commits import Commits, bare_commits
from bench.ground import Corp, Ground
from bench.load import Answered, Client, Load, put_on
from bench.processes import Process
from bench.report import Options, Row, Runs, cpu_seconds
from bench.team import GROUP, shape
from tagwarden.kernel import db

COMMAND = "python -m bench tag_changes"
CLIENTS = 4
CUSTOMERS = 50
SECONDS = 8.0
BARE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Changes:
    """What was answered, and the cores the serving processes used for it."""

    answered: Answered
    cores: float


def measure(ground: Ground, options: Options) -> list[Row]:
    """Changes per second and their times."""
    rows = []
    for processes in (1, 2):
        goal = "≥ 400/s" if processes == 2 else ""
        noise = Runs(options.runs)
        bare, measured = [], []
        for _ in noise:
            alone = ground.run(lambda: bare_commits(ground.urls.owner, 1, BARE_SECONDS))
            together = ground.run(lambda: bare_commits(ground.urls.owner, CLIENTS, BARE_SECONDS))
            changes = _changes(ground, processes)
            measured.append(_shown(changes, alone))
            bare.append(f"1 connection {alone}; {CLIENTS} connections {together}")
        title = f"tag change over HTTP, {CLIENTS} clients, {processes} process{'es' if processes > 1 else ''}"
        rows.append(Row(title, goal, measured, COMMAND, f"{SECONDS:.0f} s a run; {noise.note}"))
        rows.append(Row("the machine's bare one-row commit, just before", "", bare, COMMAND, f"{BARE_SECONDS:.0f} s each"))
    return rows


def _shown(changes: Changes, alone: Commits) -> str:
    answered = changes.answered
    return (
        f"{answered.per_second:.0f}/s (p50 {answered.p50:.1f}, p99 {answered.p99:.1f} ms, of which one bare commit"
        f" {alone.p50:.1f} ms; service {changes.cores:.2f}, generator {answered.cpu:.2f} cores)"
    )


def _changes(ground: Ground, processes: int) -> Changes:
    corp = ground.run(lambda: ground.company(shape(CLIENTS, CUSTOMERS)))
    with ground.serving(processes) as serving:
        load = Load([_client(corp, number, serving[number % processes]) for number in range(CLIENTS)], SECONDS)
        before = sum(cpu_seconds(one.child.pid) for one in serving)
        answered = put_on(load).require(200)
        cores = (sum(cpu_seconds(one.child.pid) for one in serving) - before) / (load.seconds + load.warm)
    lines = ground.run(lambda: _lines(corp))
    if lines != answered.sent:
        raise RuntimeError(f"{answered.sent} changes were answered, {lines} stand in the audit")
    return Changes(answered, cores)


def _client(corp: Corp, number: int, process: Process) -> Client:
    token, tag = corp.token(f"s{number}"), str(corp.tags[f"{GROUP}/t0"])
    paths = [f"/v1/customers/wm-s{number}-{one}/tag-changes" for one in range(CUSTOMERS)]
    put, take = (json.dumps({"add": add, "remove": remove}) for add, remove in (([tag], []), ([], [tag])))
    return Client(process.url, [(token, path, body) for body in (put, take) for path in paths])


async def _lines(corp: Corp) -> int:
    rows = await db.fetch("select body from audit_line where corp_id = $1", corp.corp_id)
    return sum(json.loads(row["body"])["action"] == "tags.changed" for row in rows)
