"""The rows of the budget: every statement on `budget_slot` and `budget_pace`, and nothing that waits or decides.

Each statement is a transaction of its own and holds no lock across a round trip, so a process that is stopped or cut
off blocks nobody. All times are the database's `clock_timestamp()`, handed out as seconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from tagwarden.kernel import db

_NOW = "t as materialized (select clock_timestamp() as now)"

# After a cut of the budget, busy rows above the new limit count against it: the largest m such that
# m + busy(n >= m) <= limit.
_ALLOWED = """allowed as materialized (select case
  when not exists (select 1 from budget_slot b, t where b.corp_id = $1 and b.n >= $2 and b.free_at > t.now) then $2
  else (select coalesce(max(m), 0) from generate_series(0, $2) m, t
         where m + (select count(*) from budget_slot b where b.corp_id = $1 and b.n >= m and b.free_at > t.now) <= $2)
  end as slots)"""

_TAKE = """take as (update budget_slot s set claimed_by = $3, claimed_at = greatest(p.was, t.now),
  free_at = greatest(p.was, t.now) + make_interval(secs => $4)
  from pick p, t where s.corp_id = $1 and s.n = p.n
  returning s.n, p.was as was, t.now as now, s.claimed_at as start)"""

_TAKEN = """select n, extract(epoch from was)::float8 as was, extract(epoch from now)::float8 as now,
  extract(epoch from start)::float8 as start from take"""

_CLAIM_NEXT = f"""with {_NOW}, {_ALLOWED}, pick as materialized (
  select s.n, s.free_at as was from budget_slot s, t, allowed
   where s.corp_id = $1 and s.n < allowed.slots and (s.free_at <= t.now or s.claimed_by is null)
   order by s.free_at, s.n limit 1 for update of s skip locked), {_TAKE} {_TAKEN}"""

_CLAIM_PACED = f"""with {_NOW}, {_ALLOWED}, turn as materialized (
  select p.corp_id from budget_pace p, t
   where p.corp_id = $1 and p.next_bulk_at + make_interval(secs => $6) <= t.now for update of p skip locked),
pick as materialized (
  select s.n, s.free_at as was from budget_slot s, t, allowed, turn
   where s.corp_id = $1 and s.n < allowed.slots and s.free_at <= t.now
   order by s.free_at, s.n limit 1 for update of s skip locked), {_TAKE},
step as (update budget_pace p set next_bulk_at = greatest(p.next_bulk_at + make_interval(secs => $5), t.now)
  from t, take where p.corp_id = $1) {_TAKEN}"""

_CONFIRM = f"""with {_NOW} update budget_slot s set claimed_at = greatest(s.claimed_at, t.now),
  free_at = greatest(s.claimed_at, t.now) + make_interval(secs => $4)
  from t where s.corp_id = $1 and s.n = $2 and s.claimed_by = $3
  returning s.n, 0::float8 as was, extract(epoch from t.now)::float8 as now,
    extract(epoch from s.claimed_at)::float8 as start"""

# Epochs are subtracted, not timestamps: before PostgreSQL 17 '-infinity' has no difference to anything.
_TURN_IN = """select greatest(0, extract(epoch from greatest(
    (select next_bulk_at + make_interval(secs => $2) from budget_pace where corp_id = $1),
    (select min(free_at) from budget_slot where corp_id = $1 and n < $3))) -
  extract(epoch from clock_timestamp()))::float8"""

_WAITS = """select greatest(0, extract(epoch from free_at) - extract(epoch from clock_timestamp()))::float8 as wait,
  claimed_by is not null as claimed from budget_slot where corp_id = $1 and n < $2"""

_PACE_IN = """select greatest(0, extract(epoch from next_bulk_at) - extract(epoch from clock_timestamp()))::float8
  from budget_pace where corp_id = $1"""

# A reservation (claimed_at in the future) waits as well; its holder finds out when it confirms.
_HOLD = f"""with {_NOW} update budget_slot s set free_at = greatest(s.free_at, t.now + make_interval(secs => $2)),
  claimed_at = case when s.claimed_at > t.now then greatest(s.claimed_at, t.now + make_interval(secs => $2))
                    else s.claimed_at end
  from t where s.corp_id = $1"""

# What stands further in the future than any call can put it is what a clock that went back has left behind.
_MEND_SLOTS = """update budget_slot set free_at = clock_timestamp() + make_interval(secs => $2)
  where corp_id = $1 and free_at > clock_timestamp() + make_interval(secs => 2 * $2)"""
_MEND_PACE = """update budget_pace set next_bulk_at = clock_timestamp() + make_interval(secs => $2)
  where corp_id = $1 and next_bulk_at > clock_timestamp() + make_interval(secs => 2 * $2)"""


@dataclass(frozen=True, slots=True)
class Taken:
    """Slot `n`, taken at `now` for a call that may begin at `start`; it was free since `was` (-inf: never used)."""

    n: int
    was: float
    now: float
    start: float


async def prepare(corp_id: str, limit: int, busy: float) -> None:
    """Makes the rows of a corp that are missing, and mends times further away than twice `busy` seconds."""
    await db.execute(
        "insert into budget_slot (corp_id, n) select $1, n from generate_series(0, $2 - 1) n on conflict do nothing",
        corp_id,
        limit,
    )
    await db.execute("insert into budget_pace (corp_id) values ($1) on conflict do nothing", corp_id)
    await db.execute(_MEND_SLOTS, corp_id, busy)
    await db.execute(_MEND_PACE, corp_id, busy)


async def take_next(corp_id: str, limit: int, claim: UUID, busy: float) -> Taken | None:
    """A free slot, or else the one that is free soonest, reserved so that no batch can snatch it."""
    return _taken(await db.fetch_one(_CLAIM_NEXT, corp_id, limit, claim, busy))


async def take_paced(corp_id: str, limit: int, claim: UUID, busy: float, spacing: float, lag: float) -> Taken | None:
    """A free slot if the batch's turn came `lag` seconds ago; the next turn is one spacing after this one, or now.

    So a late turn is caught up by at most one call.
    """
    return _taken(await db.fetch_one(_CLAIM_PACED, corp_id, limit, claim, busy, spacing, lag))


async def confirm(corp_id: str, n: int, claim: UUID, busy: float) -> Taken | None:
    """Begins a reservation: `start` after `now` when still too early, None when it was lost; `was` is not told."""
    return _taken(await db.fetch_one(_CONFIRM, corp_id, n, claim, busy))


async def free_after(corp_id: str, n: int, claim: UUID, seconds: float) -> None:
    """Ends a claim: the slot is free in so many seconds."""
    await db.execute(
        "update budget_slot set claimed_by = null, free_at = clock_timestamp() + make_interval(secs => $4)"
        " where corp_id = $1 and n = $2 and claimed_by = $3",
        corp_id,
        n,
        claim,
        seconds,
    )


async def restore(corp_id: str, n: int, claim: UUID, was: float) -> None:
    """Undoes a claim that no call came of."""
    await db.execute(
        "update budget_slot set claimed_by = null, free_at = to_timestamp($4) where corp_id = $1 and n = $2 and claimed_by = $3",
        corp_id,
        n,
        claim,
        was,
    )


async def hold(corp_id: str, seconds: float) -> None:
    """No slot of the corp is free before so many seconds."""
    await db.execute(_HOLD, corp_id, seconds)


async def turn_in(corp_id: str, limit: int, lag: float) -> float:
    """Seconds until a batch may ask again with hope."""
    return float(await db.fetch_value(_TURN_IN, corp_id, lag, limit))


async def waits(corp_id: str, limit: int) -> tuple[float, list[tuple[float, bool]]]:
    """Seconds until the batch's turn, and of each slot the seconds until it is free and whether it is claimed."""
    turn = float(await db.fetch_value(_PACE_IN, corp_id))
    rows = await db.fetch(_WAITS, corp_id, limit)
    return turn, [(row["wait"], row["claimed"]) for row in rows]


async def clock() -> float:
    """The database's clock."""
    return float(await db.fetch_value("select extract(epoch from clock_timestamp())::float8"))


def _taken(row: db.Row | None) -> Taken | None:
    return Taken(**row) if row else None
