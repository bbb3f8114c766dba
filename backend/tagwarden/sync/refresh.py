"""Every query over what must be read again: noted with the event, leased, read, and gone with its effect's transaction.

Equal wishes are merged only while nobody has read for them: one that comes while its reading is under way moves the
version on, and it is read once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tagwarden.kernel import db
from tagwarden.sync.rereads import SETTLE, Kind, Reread

LEASE = timedelta(seconds=120)
"""Longer than one reading may take: letting writes go first, waiting for a slot, writing what was read."""
MOST_NOTES = 200
READ_AGAIN = {"change": "read_again"}
"""Nobody reported anything: something of ours was on its way to a follow when it was read."""

# While it still is, another reading could judge no more than the last one, and would take calls from what it waits for.
_READABLE = (
    "r.given_up is null and r.due_at <= now() and coalesce(r.leased_until, '-infinity') < now() and not (r.kind = 'contact'"
    f" and r.events = '[{msgspec.json.encode(READ_AGAIN).decode()}]' and exists (select 1 from follow f join follow_sync s"
    " on s.corp_id = f.corp_id and s.follow_id = f.id where f.corp_id = r.corp_id and f.external_userid = r.key"
    " and f.ended_at is null and s.dirty and s.given_up is null))"
)
_OURS = " where corp_id = $1 and kind = $2 and key = $3 and leased_until = $4"


class LeaseLost(Exception):
    """Another worker reads this by now."""


@dataclass(slots=True)
class Refresh:
    """A claimed wish: `version` tells whether another event came meanwhile, `lease` whether it is still ours."""

    kind: Kind
    key: str
    version: int
    notes: tuple[dict[str, Any], ...]
    attempts: int
    lease: datetime


async def want(corp_id: str, wishes: Sequence[Reread], wait: timedelta = SETTLE) -> None:
    """Notes what must be read again; inside the transaction of whatever made it so, or alone."""
    for wish in wishes:
        await db.execute(
            "insert into wecom_refresh (corp_id, kind, key, events, due_at)"
            " values ($1, $2, $3, jsonb_build_array($4::jsonb), now() + $5::interval) on conflict (corp_id, kind, key) do update"
            " set version = wecom_refresh.version + 1, given_up = null, attempts = 0,"
            " due_at = case when wecom_refresh.given_up is null then least(wecom_refresh.due_at, excluded.due_at)"
            "   else excluded.due_at end,"
            " events = case when jsonb_array_length(wecom_refresh.events) < $6 and not wecom_refresh.events @> excluded.events"
            "   then wecom_refresh.events || excluded.events else wecom_refresh.events end",
            corp_id,
            wish.kind.value,
            wish.key,
            msgspec.json.encode(wish.note).decode(),
            wait,
            MOST_NOTES,
        )


async def claim(corp_id: str) -> Refresh | None:
    """Leases what has been due for longest; the organisation before the library, and customers last."""
    row = await db.fetch_one(
        f"with picked as (select kind, key from wecom_refresh r where corp_id = $1 and {_READABLE}"
        " order by kind = 'contact', kind = 'library', due_at, key limit 1 for update of r skip locked)"
        " update wecom_refresh r set leased_until = now() + $2::interval from picked where r.corp_id = $1"
        " and r.kind = picked.kind and r.key = picked.key"
        " returning r.kind, r.key, r.version, r.events, r.attempts, r.leased_until as lease",
        corp_id,
        LEASE,
    )
    if row is None:
        return None
    notes = tuple(msgspec.json.decode(row["events"]))
    return Refresh(Kind(row["kind"]), row["key"], row["version"], notes, row["attempts"], row["lease"])


async def prolong(corp_id: str, claimed: Refresh) -> None:
    """Keeps the wish for as long again, where one reading has many calls; LeaseLost when somebody else has it by now."""
    lease = await db.fetch_value(
        "update wecom_refresh set leased_until = now() + $5::interval" + _OURS + " returning leased_until",
        corp_id,
        claimed.kind.value,
        claimed.key,
        claimed.lease,
        LEASE,
    )
    if lease is None:
        raise LeaseLost
    claimed.lease = lease


async def settle(corp_id: str, done: Refresh) -> None:
    """It was read and written; inside the transaction that wrote. What was asked for meanwhile stays, with its notes."""
    ours = (corp_id, done.kind.value, done.key, done.lease)
    gone = await db.fetch("delete from wecom_refresh" + _OURS + " and version = $5 returning key", *ours, done.version)
    if not gone:
        await db.execute(
            "update wecom_refresh set leased_until = null, attempts = 0, due_at = now() + $5::interval" + _OURS, *ours, SETTLE
        )


async def postpone(corp_id: str, claimed: Refresh, wait: timedelta, *, counted: bool = True) -> None:
    """Tries again later."""
    await db.execute(
        "update wecom_refresh set leased_until = null, attempts = attempts + $6, due_at = now() + $5::interval" + _OURS,
        corp_id,
        claimed.kind.value,
        claimed.key,
        claimed.lease,
        wait,
        int(counted),
    )


async def give_up(corp_id: str, claimed: Refresh, reason: str) -> None:
    """Stops trying, until the next event about it; the nightly reading sees it anyway."""
    await db.execute(
        "update wecom_refresh set leased_until = null, attempts = attempts + 1, given_up = $5" + _OURS,
        corp_id,
        claimed.kind.value,
        claimed.key,
        claimed.lease,
        reason,
    )


async def drop_employees(corp_id: str, before: datetime) -> int:
    """Forgets single members who were asked for before this moment: one reading of everybody stands for them."""
    rows = await db.fetch(
        "delete from wecom_refresh where corp_id = $1 and kind = 'employee' and first_at <= $2"
        " and coalesce(leased_until, '-infinity') < now() returning key",
        corp_id,
        before,
    )
    return len(rows)


async def counts(corp_id: str) -> db.Row:
    """How many events and readings wait, how many were given up, and since when."""
    row = await db.fetch_one(
        "select (select count(*) from wecom_callback where corp_id = $1 and processed_at is null) as callbacks,"
        " count(*) filter (where given_up is null) as readings, count(*) filter (where given_up is not null) as given_up,"
        " count(*) filter (where kind = 'employee' and given_up is null) as employees,"
        " min(first_at) filter (where given_up is null) as oldest from wecom_refresh where corp_id = $1",
        corp_id,
    )
    return row or {"callbacks": 0, "readings": 0, "given_up": 0, "employees": 0, "oldest": None}


async def corps_waiting() -> list[str]:
    """Corps with a callback to open, something to read again, or a case of drift that nobody has acted on."""
    rows = await db.fetch(
        "select c.corp_id from corp c where"
        " exists (select 1 from wecom_callback w where w.corp_id = c.corp_id and w.processed_at is null)"
        f" or exists (select 1 from wecom_refresh r where r.corp_id = c.corp_id and {_READABLE})"
        " or exists (select 1 from drift_case d where d.corp_id = c.corp_id and d.state = 'open'"
        "   and not exists (select 1 from sync_run n where n.corp_id = c.corp_id and n.id = d.run_id"
        "     and n.state in ('queued', 'running'))"
        "   and not exists (select 1 from drift_guard g where g.corp_id = c.corp_id and g.stopped_at is not null))"
        " order by c.corp_id"
    )
    return [row["corp_id"] for row in rows]
