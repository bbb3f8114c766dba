"""Every query over dirty rows, runs and the library's outbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from tagwarden.kernel import db
from tagwarden.sync.model import SETTLE, SETTLE_AT_MOST

LEASE = timedelta(seconds=75)


@dataclass(frozen=True, slots=True)
class DirtyFollow:
    """A claimed follow: `version` tells whether it was edited again meanwhile."""

    follow_id: UUID
    userid: str
    external_userid: str
    observed: tuple[str, ...]
    uncertain: tuple[str, ...]
    version: int
    attempts: int
    bulk: bool


async def mark_dirty(corp_id: str, follow_id: UUID, bulk: bool) -> None:
    """Notes an edit; runs in the transaction that made it."""
    await db.execute(
        "insert into follow_sync (corp_id, follow_id, dirty, class, first_dirty_at, settle_at)"
        " values ($1, $2, true, $3, now(), now() + $4::interval) on conflict (follow_id) do update set"
        " dirty = true, version = follow_sync.version + 1, given_up = null, attempts = 0, next_try_at = null,"
        " class = case when $3 = 'interactive' or (follow_sync.dirty and follow_sync.class = 'interactive')"
        "   then 'interactive' else 'bulk' end,"
        " first_dirty_at = case when follow_sync.dirty then follow_sync.first_dirty_at else now() end,"
        " settle_at = least(now() + $4::interval,"
        "   case when follow_sync.dirty then follow_sync.first_dirty_at else now() end + $5::interval)",
        corp_id,
        follow_id,
        "bulk" if bulk else "interactive",
        SETTLE,
        SETTLE_AT_MOST,
    )
    await db.execute("select pg_notify('tagwarden_dirty', $1)", corp_id)


async def claim_follow(corp_id: str) -> DirtyFollow | None:
    """Leases the most urgent settled follow, or None; nobody else calls for it while the lease lasts."""
    row = await db.fetch_one(
        "with picked as (select follow_id from follow_sync where corp_id = $1 and dirty and given_up is null"
        " and settle_at <= now() and coalesce(next_try_at, '-infinity') <= now() and coalesce(leased_until, '-infinity') < now()"
        " order by (class = 'bulk'), settle_at limit 1 for update skip locked)"
        " update follow_sync s set leased_until = now() + $2::interval from picked, follow f"
        " where s.follow_id = picked.follow_id and f.corp_id = s.corp_id and f.id = s.follow_id"
        " returning s.follow_id, f.userid, f.external_userid, s.observed, s.uncertain, s.version, s.attempts,"
        " s.class = 'bulk' as bulk",
        corp_id,
        LEASE,
    )
    return DirtyFollow(**{**row, "observed": tuple(row["observed"]), "uncertain": tuple(row["uncertain"])}) if row else None


async def settle(corp_id: str, claimed: DirtyFollow, observed: Sequence[str] | None) -> None:
    """WeCom holds `observed` now (None: as before); dirty stays when the follow was edited meanwhile."""
    await db.execute(
        "update follow_sync set observed = coalesce($4::text[], observed), uncertain = '{}', leased_until = null,"
        " attempts = 0, next_try_at = null,"
        " dirty = version <> $3, first_dirty_at = case when version <> $3 then now() end"
        " where corp_id = $1 and follow_id = $2",
        corp_id,
        claimed.follow_id,
        claimed.version,
        list(observed) if observed is not None else None,
    )


async def begin_call(corp_id: str, claimed: DirtyFollow, tags: Sequence[str]) -> None:
    """Commits, before the call leaves, which tags its outcome will be about."""
    await db.execute(
        "update follow_sync set uncertain = $3 where corp_id = $1 and follow_id = $2", corp_id, claimed.follow_id, list(tags)
    )


async def postpone(corp_id: str, claimed: DirtyFollow, wait: timedelta, *, counted: bool = True) -> None:
    """Tries again later; `counted` false where the follow is not to blame."""
    await db.execute(
        "update follow_sync set leased_until = null, attempts = attempts + $4, next_try_at = now() + $3::interval"
        " where corp_id = $1 and follow_id = $2",
        corp_id,
        claimed.follow_id,
        wait,
        int(counted),
    )


async def give_up(corp_id: str, claimed: DirtyFollow, reason: str) -> None:
    """Stops trying until the next edit or a retry by hand; the reason is shown in the ledger."""
    await db.execute(
        "update follow_sync set leased_until = null, given_up = $4, dirty = version <> $3 or dirty, attempts = attempts + 1"
        " where corp_id = $1 and follow_id = $2",
        corp_id,
        claimed.follow_id,
        claimed.version,
        reason,
    )


async def waiting(corp_id: str, limit: int = 200) -> list[db.Row]:
    """Dirty follows in the order in which they will be sent."""
    return await db.fetch(
        "select s.follow_id, f.userid, f.external_userid, s.class, s.first_dirty_at, s.settle_at, s.next_try_at, s.attempts,"
        " s.leased_until > now() as under_way, s.given_up from follow_sync s"
        " join follow f on f.corp_id = s.corp_id and f.id = s.follow_id"
        " where s.corp_id = $1 and s.dirty order by s.given_up is not null, s.class = 'bulk', s.settle_at limit $2",
        corp_id,
        limit,
    )


async def counts(corp_id: str) -> db.Row:
    """How much waits, and since when."""
    row = await db.fetch_one(
        "select count(*) filter (where given_up is null) as waiting, count(*) filter (where given_up is not null) as given_up,"
        " min(first_dirty_at) filter (where given_up is null) as oldest from follow_sync where corp_id = $1 and dirty",
        corp_id,
    )
    return row or {"waiting": 0, "given_up": 0, "oldest": None}


async def has_settled_writes(corp_id: str) -> bool:
    """Whether a tag write is ready to go: bulk reads yield to it."""
    return bool(
        await db.fetch_value(
            "select exists (select 1 from follow_sync where corp_id = $1 and dirty and given_up is null and settle_at <= now()"
            " and coalesce(next_try_at, '-infinity') <= now()) as ready",
            corp_id,
        )
    )


async def observe(corp_id: str, rows: Sequence[tuple[UUID, list[str]]]) -> None:
    """Keeps what WeCom was just seen to hold, for follows that nothing of ours is on its way to."""
    await db.execute(
        "insert into follow_sync (corp_id, follow_id, observed)"
        " select $1, f, coalesce((select array_agg(x) from jsonb_array_elements_text(o) as x), '{}')"
        " from unnest($2::uuid[], $3::jsonb[]) as s (f, o) on conflict (follow_id) do update set observed = excluded.observed"
        " where not follow_sync.dirty and coalesce(follow_sync.leased_until, '-infinity') < now()",
        corp_id,
        [follow_id for follow_id, _ in rows],
        [msgspec.json.encode(tags).decode() for _, tags in rows],
    )


# -- the library's outbox ---------------------------------------------------------------------------------------------


async def mark_library_dirty(corp_id: str, tag_id: UUID) -> None:
    """Notes that a tag's place in WeCom's library must follow."""
    await db.execute(
        "insert into library_sync (corp_id, tag_id) values ($1, $2) on conflict (tag_id) do update set dirty = true,"
        " version = library_sync.version + 1, given_up = null, attempts = 0, next_try_at = null",
        corp_id,
        tag_id,
    )
    await db.execute("select pg_notify('tagwarden_dirty', $1)", corp_id)


async def claim_tag(corp_id: str) -> db.Row | None:
    """Leases one tag of the library's outbox."""
    return await db.fetch_one(
        "with picked as (select tag_id from library_sync where corp_id = $1 and dirty and given_up is null"
        " and coalesce(next_try_at, '-infinity') <= now() and coalesce(leased_until, '-infinity') < now()"
        " order by tag_id limit 1 for update skip locked)"
        " update library_sync s set leased_until = now() + $2::interval from picked where s.tag_id = picked.tag_id"
        " returning s.tag_id, s.version, s.attempts",
        corp_id,
        LEASE,
    )


async def settle_tag(corp_id: str, tag_id: UUID, version: int) -> None:
    """The library holds the tag as it was at `version`."""
    await db.execute(
        "update library_sync set leased_until = null, attempts = 0, dirty = version <> $3 where corp_id = $1 and tag_id = $2",
        corp_id,
        tag_id,
        version,
    )


async def postpone_tag(corp_id: str, tag_id: UUID, wait: timedelta, given_up: str | None) -> None:
    """Tries again later, or stops with a reason."""
    await db.execute(
        "update library_sync set leased_until = null, attempts = attempts + 1, next_try_at = now() + $3::interval, given_up = $4"
        " where corp_id = $1 and tag_id = $2",
        corp_id,
        tag_id,
        wait,
        given_up,
    )


async def library_waiting(corp_id: str) -> list[db.Row]:
    """Tags on their way to WeCom's library."""
    return await db.fetch(
        "select s.tag_id, t.name, s.attempts, s.next_try_at, s.given_up from library_sync s"
        " join tag t on t.corp_id = s.corp_id and t.id = s.tag_id where s.corp_id = $1 and s.dirty order by s.tag_id",
        corp_id,
    )


# -- runs ---------------------------------------------------------------------------------------------------------------


async def insert_run(corp_id: str, run_id: UUID, kind: str, started_by: str) -> None:
    """Queues a run."""
    await db.execute(
        "insert into sync_run (corp_id, id, kind, started_by) values ($1, $2, $3, $4)", corp_id, run_id, kind, started_by
    )


async def open_run(corp_id: str, kind: str) -> UUID | None:
    """The run of this kind that is queued or running."""
    found = await db.fetch_value(
        "select id from sync_run where corp_id = $1 and kind = $2 and state in ('queued', 'running')", corp_id, kind
    )
    return found if isinstance(found, UUID) else None


async def run(corp_id: str, run_id: UUID) -> db.Row | None:
    """One run."""
    row = await db.fetch_one("select * from sync_run where corp_id = $1 and id = $2", corp_id, run_id)
    if row:
        row["cursor"], row["result"] = msgspec.json.decode(row["cursor"]), msgspec.json.decode(row["result"])
    return row


async def claim_run(corp_id: str, run_id: UUID | None, stale_after: timedelta) -> db.Row | None:
    """Takes a queued run, or one whose worker fell silent; the named one or the oldest."""
    row = await db.fetch_one(
        "with picked as (select id from sync_run where corp_id = $1 and ($2::uuid is null or id = $2)"
        " and (state = 'queued' or (state = 'running' and heartbeat_at < now() - $3::interval))"
        " order by id limit 1 for update skip locked)"
        " update sync_run r set state = 'running', started_at = coalesce(r.started_at, now()), heartbeat_at = now()"
        " from picked where r.id = picked.id returning r.*",
        corp_id,
        run_id,
        stale_after,
    )
    if row:
        row["cursor"], row["result"] = msgspec.json.decode(row["cursor"]), msgspec.json.decode(row["result"])
    return row


async def has_silent_run(corp_id: str, silent_after: timedelta) -> bool:
    """Whether a run waits for a worker, or its worker has not been heard of."""
    return bool(
        await db.fetch_value(
            "select exists (select 1 from sync_run where corp_id = $1 and (state = 'queued' and created_at < now() - $2::interval"
            " or state = 'running' and heartbeat_at < now() - $2::interval)) as silent",
            corp_id,
            silent_after,
        )
    )


async def advance_run(corp_id: str, run_id: UUID, cursor: dict[str, Any], done: int, total: int | None) -> None:
    """Moves a run's cursor, in the transaction of the page it stands for."""
    await db.execute(
        "update sync_run set cursor = $3, done = $4, total = coalesce($5, total), heartbeat_at = now()"
        " where corp_id = $1 and id = $2",
        corp_id,
        run_id,
        msgspec.json.encode(cursor).decode(),
        done,
        total,
    )


async def finish_run(corp_id: str, run_id: UUID, result: dict[str, Any], problem: str | None) -> None:
    """Ends a run."""
    await db.execute(
        "update sync_run set state = $3, result = $4, problem = $5, finished_at = now() where corp_id = $1 and id = $2",
        corp_id,
        run_id,
        "failed" if problem else "done",
        msgspec.json.encode(result).decode(),
        problem,
    )


async def last_runs(corp_id: str) -> list[db.Row]:
    """The newest run of each kind."""
    return await db.fetch(
        "select distinct on (kind) kind, id, state, done, total, problem, created_at, finished_at from sync_run"
        " where corp_id = $1 order by kind, created_at desc",
        corp_id,
    )


async def mirror_due(corp_id: str, older_than: datetime) -> bool:
    """Whether the organisation was mirrored before this moment and nobody is at it."""
    return bool(
        await db.fetch_value(
            "select exists (select 1 from corp where corp_id = $1 and state = 'live' and org_mirrored_at < $2) and not exists"
            " (select 1 from sync_run where corp_id = $1 and kind = 'org' "
            " and (state in ('queued', 'running') or created_at > $2))"
            " as due",
            corp_id,
            older_than,
        )
    )
