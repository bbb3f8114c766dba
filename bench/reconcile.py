"""A reconciliation of everybody: a worker reads every follow from the simulated WeCom and holds it against what was decided.

100,000 follows; with `--large` 1,000,000. Each carries two tags, here and there, but for one in a thousand that was edited
inside WeCom without a callback: a tag too few or a tag too many. The policy says that Tagwarden wins. So many rows would take
hours through the one write path: they are written as rows, by the owner role, and loaded into the simulator whole. On the
real budget the calls would be the measure (100 follows a call, 60 calls a minute), so the budget is raised.

The run ends when every follow was compared and every case was acted on. Putting right is outbound's, which sends the
difference of each such follow as it would any other: that is measured on its own, until WeCom holds what was decided.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.ground import APP_SECRET, Corp, Ground, Person, Shape
from bench.report import Options, Row, Runs, cpu_seconds
from bench.rows import write_rows
from bench.wecom import Wecom, run_to_its_end, simulator
from tagwarden.governance.bundle import GrantLine
from tagwarden.kernel import db
from tagwarden.policy.model import Action, Kind
from tagwarden.sync.model import RunKind

COMMAND = "python -m bench reconcile"
FOLLOWS, LARGE = 100_000, 1_000_000
OWNERS = 200
GROUP, TAGS = "advice", 20
ONE_IN = 1_000
CALLS = 6_000
SINCE = 1_767_225_600
PATIENCE = 3_600.0

# Follow n: customer, owner and two different tags. The same arithmetic stands in `_carried`.
CARRIED = f"""
    (select id, n % {TAGS} as one, (n % {TAGS} + 1 + n / {TAGS} % {TAGS - 1}) % {TAGS} as other
    from (select id, substr(external_userid, 3)::int as n from follow where corp_id = $1) f) c"""
CUSTOMERS = """
insert into customer (corp_id, external_userid, name)
    select $1, w, w from (select 'wm' || lpad(n::text, 7, '0') as w from generate_series(0, $2::int - 1) as n) s"""
OF_OWNERS = f"""
insert into follow (corp_id, id, userid, external_userid, since)
    select $1, uuidv7(), 's' || substr(external_userid, 3)::int % {OWNERS}, external_userid, to_timestamp({SINCE})
    from customer where corp_id = $1"""
ASSIGNED = f"""
insert into assignment (corp_id, id, follow_id, tag_id, source, actor, since)
    select $1, uuidv7(), id, ($2::uuid[])[1 + x], 'import', 'admin', to_timestamp({SINCE})
    from {CARRIED} cross join lateral unnest(array[one, other]) as x"""
OBSERVED = f"""
insert into follow_sync (corp_id, follow_id, observed, seen_at)
    select $1, id, array[($2::text[])[1 + one], ($2::text[])[1 + other]], now() - interval '1 day' from {CARRIED}"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of a worker over everybody came to."""

    follows: int
    seconds: float
    found: int
    until_right: float
    calls: int
    memory: str
    cpu: str

    def __str__(self) -> str:
        speed = f"{self.follows / self.seconds:.0f} follows/s ({self.seconds:.1f} s, {self.calls:,} calls)"
        return f"{speed}; {self.found:,} cases, WeCom right after {self.until_right:.1f} s more; {self.memory}; {self.cpu}"


def measure(ground: Ground, options: Options) -> list[Row]:
    """Follows per second, the worker's peak memory, cases found, and how long until WeCom was right."""
    follows = LARGE if options.large else FOLLOWS
    noise = Runs(1 if options.large else options.runs)
    measured = [str(_reconciled(ground, f"wr{run.number}", follows)) for run in noise]
    title = f"reconcile {follows:,} follows, {100 / ONE_IN:g} % of them edited inside WeCom; the worker's peak memory"
    command = f"{COMMAND} --large" if options.large else COMMAND
    return [Row(title, "", measured, command, f"one worker; {CALLS:,} calls a minute allowed; {noise.note}")]


def _reconciled(ground: Ground, corp_id: str, follows: int) -> Outcome:
    with simulator(ground, corp_id, _setup(corp_id, follows)) as wecom:
        corp = ground.run(lambda: _company(ground, wecom))
        ground.run(lambda: _fill(ground, corp, wecom, follows))
        with ground.process("worker", WECOM_API_BASE=wecom.url, WECOM_CALLS_PER_MINUTE=str(CALLS)) as worker:
            before = cpu_seconds(wecom.pid)
            seconds, result = ground.run(lambda: _run(corp, follows))
            cpu = f"CPU: worker {cpu_seconds(worker.child.pid):.0f} s, simulator {cpu_seconds(wecom.pid) - before:.0f} s"
            calls = wecom.of_corp(f"/window?seconds={PATIENCE}&api=get_by_user")["calls"]
            until_right = ground.run(lambda: _until_right(corp, wecom, follows))
            memory = worker.peak_megabytes()
    return Outcome(follows, seconds, result["acted_on"], until_right, calls, memory, cpu)


def _shape() -> Shape:
    people = [Person("boss", 1, ("supervisor",), True), Person("hq", 1, ("supervisor",)), Person("admin", 1, ("admin",))]
    people += [Person("east", 10, ("manager",), True), *(Person(f"s{number}", 11, ("staff",)) for number in range(OWNERS))]
    grants = [GrantLine(1, GROUP, Action.USE)]
    return Shape({1: 0, 10: 1, 11: 10}, people, {GROUP: (Kind.STANDARD, TAGS)}, grants, drift={"others": "tagwarden"})


def _carried(number: int) -> list[int]:
    return [number % TAGS, (number % TAGS + 1 + number // TAGS % (TAGS - 1)) % TAGS]


def _edited(number: int) -> list[int]:
    """What WeCom holds of a follow that was edited there: by turns one tag less and one more."""
    carried = _carried(number)
    if number // ONE_IN % 2:
        return carried[1:]
    return [*carried, next(tag for tag in range(TAGS) if tag not in carried)]


def _is_edited(number: int) -> bool:
    return number % ONE_IN == ONE_IN // 2


def _follows(follows: int) -> Iterator[dict[str, Any]]:
    for number in range(follows):
        tags = _edited(number) if _is_edited(number) else _carried(number)
        yield {
            "userid": f"s{number % OWNERS}",
            "external_userid": f"wm{number:07}",
            "createtime": SINCE,
            "tags": [f"{GROUP}/t{tag}" for tag in tags],
        }


def _setup(corp_id: str, follows: int) -> dict[str, Any]:
    shape = _shape()
    return {
        "corp_id": corp_id,
        "apps": [{"name": "crm", "secret": APP_SECRET, "agent_id": 1000002}],
        "departments": [{"id": number, "name": f"d{number}", "parentid": parent} for number, parent in shape.parents.items()],
        "employees": [{"userid": one.userid, "name": one.userid, "department": [one.department]} for one in shape.people],
        "tag_groups": [{"name": GROUP, "tags": [f"t{number}" for number in range(TAGS)]}],
        "follows": list(_follows(follows)),
    }


async def _company(ground: Ground, wecom: Wecom) -> Corp:
    library = await asyncio.to_thread(wecom.of_corp, "/tags")
    return await ground.company(_shape(), corp_id=wecom.corp_id, library=library["tag_group"])


async def _fill(ground: Ground, corp: Corp, wecom: Wecom, follows: int) -> None:
    """What an import long ago left behind."""
    ours = [corp.tags[f"{GROUP}/t{number}"] for number in range(TAGS)]
    theirs = [await db.fetch_value("select wecom_id from tag where corp_id = $1 and id = $2", corp.corp_id, one) for one in ours]

    async def fill(owner: Any) -> None:
        await owner.execute(CUSTOMERS, corp.corp_id, follows)
        await owner.execute(OF_OWNERS, corp.corp_id)
        await owner.execute(ASSIGNED, corp.corp_id, ours)
        await owner.execute(OBSERVED, corp.corp_id, theirs)

    await write_rows(ground, ("customer", "follow", "assignment", "follow_sync"), fill)


async def _run(corp: Corp, follows: int) -> tuple[float, dict[str, Any]]:
    """Seconds from the request until the run is over, and its result; RuntimeError where it missed something."""
    seconds, run = await run_to_its_end(corp, RunKind.DRIFT, PATIENCE)
    found = await db.fetch_value("select count(*) from drift_case where corp_id = $1 and state = 'put_back'", corp.corp_id)
    if run is None or run["problem"] or run["done"] != follows or found != follows // ONE_IN or run["result"]["stopped"]:
        raise RuntimeError(f"not complete: {run and (run['state'], run['done'], run['problem'], run['result'])}, {found} cases")
    return seconds, dict(run["result"])


async def _until_right(corp: Corp, wecom: Wecom, follows: int) -> float:
    """Seconds until nothing is on its way any more; RuntimeError where WeCom then holds anything else than was decided."""
    since = time.monotonic()
    while await db.fetch_value("select exists (select 1 from follow_sync where corp_id = $1 and dirty)", corp.corp_id):
        if time.monotonic() - since > PATIENCE:
            raise RuntimeError("WeCom was not put right")
        await asyncio.sleep(0.05)
    seconds = time.monotonic() - since
    for number in filter(_is_edited, range(follows)):
        held = await asyncio.to_thread(wecom.of_corp, f"/follows/s{number % OWNERS}/wm{number:07}")
        if sorted(held["tags"]) != sorted(f"{GROUP}/t{tag}" for tag in _carried(number)):
            raise RuntimeError(f"follow {number} holds {held['tags']}")
    return seconds
