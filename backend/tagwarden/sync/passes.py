"""The nightly reading of all customers, a slice a night: where it stands, how long a pass takes. Rows only."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from tagwarden.approvals.service import SYSTEM
from tagwarden.kernel import db, jobs
from tagwarden.kernel.ids import new_id
from tagwarden.sync import repository
from tagwarden.sync.model import RUN_JOB, RunKind

WINDOW_HOURS = 5
"""A slice begins within so many hours after the hour that is set; what begins later would run into the day."""


async def begin_slice(corp_id: str, now: datetime, *, hour: int, calls: int) -> bool:
    """Queues tonight's slice of a live corp, once a night by its own clock; False when it is not time."""
    if calls < 1:
        return False
    async with db.transaction():
        corp = await db.fetch_one("select state, time_zone from corp where corp_id = $1", corp_id)
        if corp is None or corp["state"] != "live":
            return False
        local = now.astimezone(ZoneInfo(corp["time_zone"]))
        if not 0 <= (local.hour - hour) % 24 < WINDOW_HOURS:
            return False
        await db.execute("insert into reconcile_pass (corp_id) values ($1) on conflict do nothing", corp_id)
        where = await db.fetch_one("select after_userid, slice_on from reconcile_pass where corp_id = $1 for update", corp_id)
        assert where is not None
        if where["slice_on"] is not None and where["slice_on"] >= local.date():
            return False
        run_id = new_id()
        if not await repository.insert_run(corp_id, run_id, RunKind.DRIFT.value, SYSTEM):
            return False
        cursor = {"through": where["after_userid"], "slice": calls, "calls": 0}
        await db.execute(
            "update reconcile_pass set slice_on = $2, began_at = coalesce(began_at, now()) where corp_id = $1",
            corp_id,
            local.date(),
        )
        await repository.advance_run(corp_id, run_id, cursor, 0, None)
        await jobs.enqueue(RUN_JOB, {"corp_id": corp_id})
    return True


async def close_slice(corp_id: str, through: str, calls: int, *, finished: bool) -> None:
    """A slice is over: the next night goes on after `through`, or begins a new pass."""
    await db.execute(
        "update reconcile_pass set after_userid = case when $4 then '' else $2 end, slice_calls = $3,"
        " finished_at = case when $4 then now() else finished_at end, began_at = case when $4 then null else began_at end,"
        " last_calls = case when $4 then pass_calls + $3 else last_calls end,"
        " last_nights = case when $4 then pass_nights + 1 else last_nights end,"
        " pass_calls = case when $4 then 0 else pass_calls + $3 end,"
        " pass_nights = case when $4 then 0 else pass_nights + 1 end where corp_id = $1",
        corp_id,
        through,
        calls,
        finished,
    )


async def standing(corp_id: str) -> db.Row | None:
    """Where the pass stands; None before the first slice."""
    return await db.fetch_one(
        "select after_userid, began_at, finished_at, slice_on, slice_calls, pass_calls, pass_nights, last_calls, last_nights"
        " from reconcile_pass where corp_id = $1",
        corp_id,
    )


async def nights(corp_id: str, calls: int) -> int:
    """About how many nights a whole pass takes at so many calls a night: a page shows a hundred follows, and at least one
    page is read for each hundred owners."""
    follows = await db.fetch_value("select count(*) from follow where corp_id = $1 and ended_at is null", corp_id)
    owners = await db.fetch_value("select count(distinct userid) from follow where corp_id = $1 and ended_at is null", corp_id)
    pages = -(-int(follows) // 100) + -(-int(owners) // 100)
    return -(-max(1, pages) // max(1, calls))
