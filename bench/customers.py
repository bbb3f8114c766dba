"""The first page of customers with tag A and not tag B, at 1,000,000 customers, for three kinds of callers.

Read through `assignments.reading`, which finds what the caller may see; HTTP adds its usual milliseconds. Tags are carried
as tags are: few often, many rarely (Zipf), two or three a customer. Pairs of tags are drawn evenly, so most are rare. So
many rows would take hours through the one write path: they are written as rows, by the owner role, guards aside. With
`--large` the same at 100,000 too.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

from bench.ground import Corp, Ground, Person, Shape
from bench.matrix import SEED
from bench.report import Options, Row, Runs, percentile
from bench.rows import write_rows
from tagwarden.assignments.reading import CustomerFilter, list_customers
from tagwarden.governance.bundle import GrantLine
from tagwarden.kernel import db
from tagwarden.policy import service as policy
from tagwarden.policy.model import Action, Kind

COMMAND = "python -m bench customers"
COUNTS = (1_000_000,)
LARGE_COUNTS = (100_000, 1_000_000)
HELD = (2.0, 3.0)
"""Tags a customer on average, between these: else the rows are not what the figure speaks of."""
OWNERS = 200
TAGS = 60
PAGES = 100
SECONDS = 5.0
CALLERS = (("supervisor (everybody's)", "hq"), ("manager (a region's)", "m10"), ("staff (his own)", "s7"))

FILL = """
insert into customer (corp_id, external_userid, name)
    select $1, 'wm' || lpad((n::bigint * 7919 % $2)::text, 9, '0'), '客户' || n from generate_series(0, $2 - 1) as n;
insert into follow (corp_id, id, userid, external_userid, since)
    select $1, uuidv7(), 's' || (hashtext(external_userid) & 2147483647) % $3, external_userid, now()
    from customer where corp_id = $1;
insert into assignment (corp_id, id, follow_id, tag_id, source, actor, since)
    with drawn as materialized (
        select f.id, least(cardinality($4::uuid[]), floor(exp(random() * ln(cardinality($4::uuid[]) + 1)))::int) as rank
        from follow f cross join generate_series(1, 3) where f.corp_id = $1)
    select $1, uuidv7(), id, ($4::uuid[])[rank], 'import', 'admin', now() from (select distinct id, rank from drawn) d
"""


@dataclass(frozen=True, slots=True)
class Pages:
    """Milliseconds of the pages read within the time."""

    took: list[float]

    def __str__(self) -> str:
        shown = " / ".join(f"{percentile(self.took, share):.0f}" for share in (0.5, 0.99, 1.0))
        return f"{shown} ms" + (f" ({len(self.took)} pages)" if len(self.took) < PAGES else "")


def measure(ground: Ground, options: Options) -> list[Row]:
    """p50 / p99 / max of a page, by caller."""
    rows = []
    for count in LARGE_COUNTS if options.large else COUNTS:
        corp = ground.run(lambda: ground.company(_shape()))
        since = time.monotonic()
        ground.run(lambda count=count, corp=corp: _fill(ground, corp, count))  # type: ignore[misc]
        filled = time.monotonic() - since
        for name, caller in CALLERS:
            noise = Runs(options.runs)
            measured = [ground.run(lambda run=run, c=caller, of=corp: _pages(of, c, run.number)) for run in noise]  # type: ignore[misc]
            goal = "≤ 50 ms p99" if count == COUNTS[-1] else ""
            title = f"first page, tag A and not B, {count:,} customers, {name}"
            note = f"p50 / p99 / max of {PAGES} or {SECONDS:.0f} s; rows made in {filled:.0f} s; {noise.note}"
            rows.append(Row(title, goal, list(map(str, measured)), COMMAND, note))
    return rows


def _shape() -> Shape:
    """Two regions of ten cities; every fifth of the staff works in the first region."""
    cities = {100 + number: 10 if number < 4 else 20 for number in range(20)}
    people = [Person("boss", 1, ("supervisor",), True), Person("hq", 1, ("supervisor",)), Person("admin", 1, ("admin",))]
    people += [Person(f"m{region}", region, ("manager",), True) for region in (10, 20)]
    people += [Person(f"s{number}", 100 + number % 20, ("staff",)) for number in range(OWNERS)]
    groups = {f"g{number}": (Kind.STANDARD, TAGS // 3) for number in range(3)}
    grants = [GrantLine(1, group, Action.USE) for group in groups]
    return Shape({1: 0, 10: 1, 20: 1, **cities}, people, groups, grants)


async def _fill(ground: Ground, corp: Corp, count: int) -> None:
    """Customers, one follow each, and their tags."""
    customers, follows, assignments = FILL.strip().split(";\n")

    async def fill(owner: Any) -> None:
        await owner.execute("select setseed(0.5)")
        await owner.execute(customers, corp.corp_id, count)
        await owner.execute(follows.replace("$3", "$2"), corp.corp_id, OWNERS)
        await owner.execute(assignments.replace("$4", "$2"), corp.corp_id, list(corp.tags.values()))
        held = await owner.fetchval("select count(*)::float8 from assignment where corp_id = $1", corp.corp_id) / count
        used = await owner.fetchval("select count(distinct tag_id) from assignment where corp_id = $1", corp.corp_id)
        if not HELD[0] <= held <= HELD[1] or used != len(corp.tags):
            raise RuntimeError(f"{held:.2f} tags a customer, {used} of {len(corp.tags)} tags in use")

    await write_rows(ground, ("customer", "follow", "assignment"), fill)


async def _pages(corp: Corp, caller: str, number: int) -> Pages:
    chance = random.Random(SEED + number)  # noqa: S311
    tags = list(corp.tags.values())
    await db.fetch_value("select 1")
    took: list[float] = []
    until = time.monotonic() + SECONDS
    while len(took) < PAGES and time.monotonic() < until:
        wanted, unwanted = chance.sample(tags, 2)
        since = time.perf_counter()
        picture = await policy.current(corp.corp_id)
        await list_customers(picture, caller, CustomerFilter(tags=(wanted,), not_tags=(unwanted,)), None, 50)
        took.append((time.perf_counter() - since) * 1000)
    return Pages(took)
