"""What the doctor reads that no room offers: living processes, clocks, held jobs, and what waits in a corp. Reads only."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from tagwarden.audit import service as audit
from tagwarden.audit.model import GENESIS, Verification, Walker
from tagwarden.kernel import clock, db

JOBS_LOOKED_AT = timedelta(days=7)
MOVED_LATELY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Process:
    """One heartbeat. `ahead`: seconds by which that machine's clock stood before the database's when it started."""

    role: str
    host: str
    pid: int
    version: str
    silent: float
    age: float
    ahead: float

    def __str__(self) -> str:
        return f"{self.role} {self.host}/{self.pid}"


async def processes() -> list[Process]:
    """Every heartbeat there is, the newest process first.

    An id is a UUIDv7: it begins with the millisecond of the process's own clock in which it was made, and the database
    noted its own time a moment later. That is all it takes to compare the two.
    """
    rows = await db.fetch(
        "select id, role, host, pid, version, extract(epoch from clock_timestamp() - seen_at)::float8 as silent,"
        " extract(epoch from clock_timestamp() - started_at)::float8 as age,"
        " extract(epoch from started_at)::float8 as started from process_heartbeat order by started_at desc"
    )
    return [
        Process(
            row["role"], row["host"], row["pid"], row["version"], row["silent"], row["age"], _born(row["id"]) - row["started"]
        )
        for row in rows
    ]


def _born(process_id: UUID) -> float:
    return (process_id.int >> 80) / 1000


async def seconds_ahead() -> float:
    """By how much this machine's clock is before the database's; what the question itself took is given the benefit."""
    before = time.time()
    there = float(await db.fetch_value("select extract(epoch from clock_timestamp())::float8 as now"))
    after = time.time()
    if before <= there <= after:
        return 0.0
    return before - there if there < before else after - there


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs that failed lately by name, and for how many seconds the oldest one that is due has waited."""

    failed: dict[str, int]
    oldest_due: float


async def jobs() -> Jobs:
    """How the job engine's queue stands."""
    rows = await db.fetch(
        "select entrypoint, count(*) as failed from pgqueuer where status in ('failed', 'exception')"
        " and updated > clock_timestamp() - $1::interval group by entrypoint order by entrypoint",
        JOBS_LOOKED_AT,
    )
    oldest = await db.fetch_value(
        "select extract(epoch from clock_timestamp() - min(execute_after))::float8 as oldest from pgqueuer"
        " where status = 'queued'"
    )
    return Jobs({row["entrypoint"]: row["failed"] for row in rows}, oldest or 0.0)


@dataclass(frozen=True, slots=True)
class Corp:
    """A corp's own row; `mirror_age` in seconds, None where the organisation was never mirrored."""

    corp_id: str
    live: bool
    suspended: bool
    mirror_age: float | None


async def corp(corp_id: str) -> Corp | None:
    """One corp, or None."""
    row = await db.fetch_one(
        "select state = 'live' as live, writes_suspended,"
        " extract(epoch from clock_timestamp() - org_mirrored_at)::float8 as mirror_age from corp where corp_id = $1",
        corp_id,
    )
    return Corp(corp_id, row["live"], row["writes_suspended"], row["mirror_age"]) if row else None


async def owners(corp_id: str) -> list[str]:
    """Everybody who has customers."""
    rows = await db.fetch("select distinct userid from follow where corp_id = $1 and ended_at is null order by userid", corp_id)
    return [row["userid"] for row in rows]


@dataclass(frozen=True, slots=True)
class Outbox:
    """What waits for WeCom: `oldest` in seconds, `moved` calls that WeCom took lately, and why things were given up."""

    waiting: int
    given_up: int
    oldest: float
    moved: int
    reasons: tuple[str, ...]


async def outbox(corp_id: str) -> Outbox:
    """Follows and tags of the library on their way to WeCom."""
    row = await db.fetch_one(
        "with dirty as (select given_up, first_dirty_at from follow_sync where corp_id = $1 and dirty"
        " union all select given_up, dirty_at from library_sync where corp_id = $1 and dirty"
        " union all select given_up, dirty_at from library_group_sync where corp_id = $1 and dirty)"
        " select count(*) filter (where given_up is null) as waiting, count(given_up) as given_up,"
        " coalesce(extract(epoch from clock_timestamp() - min(first_dirty_at) filter (where given_up is null)), 0)::float8"
        " as oldest, (select array_agg(reason || ' ×' || times) from (select given_up as reason, count(*) as times from dirty"
        " where given_up is not null group by 1 order by 2 desc, 1 limit 3) r) as reasons from dirty",
        corp_id,
    )
    moved = await db.fetch_value(
        "select count(*) as moved from wecom_call where corp_id = $1 and id > $2 and state = 'accepted' and api <> 'gettoken'"
        " and answered_at > clock_timestamp() - $3::interval",
        corp_id,
        UUID(int=int((clock.now() - timedelta(hours=1)).timestamp() * 1000) << 80),
        MOVED_LATELY,
    )
    assert row is not None
    return Outbox(row["waiting"], row["given_up"], row["oldest"], moved, tuple(row["reasons"] or ()))


async def callbacks_waiting(corp_id: str) -> tuple[int, float]:
    """Callbacks stored and not worked on, and for how many seconds the oldest has waited."""
    row = await db.fetch_one(
        "select count(*) as waiting, coalesce(extract(epoch from clock_timestamp() - min(received_at)), 0)::float8 as oldest"
        " from wecom_callback where corp_id = $1 and processed_at is null",
        corp_id,
    )
    return (row["waiting"], row["oldest"]) if row else (0, 0.0)


async def callbacks_silent_for(corp_id: str, app: str) -> float | None:
    """For how many seconds no callback came for an app; None where none ever did."""
    found: float | None = await db.fetch_value(
        "select extract(epoch from clock_timestamp() - max(received_at))::float8 as silent from wecom_callback"
        " where corp_id = $1 and app = $2",
        corp_id,
        app,
    )
    return found


async def activated_for(corp_id: str) -> float:
    """For how many seconds the corp is live, 0 in setup."""
    return float(
        await db.fetch_value(
            "select coalesce(extract(epoch from clock_timestamp() - activated_at), 0)::float8 as age from corp"
            " where corp_id = $1",
            corp_id,
        )
    )


async def audit_tail(corp_id: str, most: int) -> Verification:
    """Walks the newest links of the chain, at most so many, from a line that is taken as it stands."""
    head = await db.fetch_one(
        "select h.seq, h.hash, (select max(l.seq) from audit_line l where l.corp_id = $1) as last"
        " from audit_head h where h.corp_id = $1",
        corp_id,
    )
    if head is None:
        return Verification(0, 0, "head")
    if (head["last"] or 0) > head["seq"]:
        return Verification(0, head["seq"] + 1, "head")
    walker = await _walker_at(corp_id, max(0, head["seq"] - most))
    if walker is None:
        return Verification(0, max(1, head["seq"] - most), "missing")
    began = walker.seq
    for row in await audit.lines_after(corp_id, began, most):
        if row["seq"] > head["seq"] or not walker.feed(row["seq"], row["body"], row["hash"]):
            break
    verdict = walker.verdict(head["seq"], head["hash"])
    return Verification(verdict.lines - began, verdict.first_bad, verdict.reason)


async def _walker_at(corp_id: str, seq: int) -> Walker | None:
    walker = Walker()
    if seq == 0:
        walker.hash = GENESIS
        return walker
    rows = await audit.lines_after(corp_id, seq - 1, 1)
    if not rows or rows[0]["seq"] != seq:
        return None
    walker.seq, walker.hash = seq, rows[0]["hash"]
    return walker
