"""Every query over dirty follows and runs; the tag library's outbox stands in `outbox.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from tagwarden.corps.credentials import CUSTOMER_APP
from tagwarden.kernel import db, notices
from tagwarden.sync.lanes import CLAIM, LANE_OF_OWNER
from tagwarden.sync.model import DIRTY, LEASE, PROGRESS, SETTLE, SETTLE_AT_MOST
from tagwarden.wecom.model import code_at_head

_SILENT = "case state when 'queued' then created_at else coalesce(heartbeat_at, to_timestamp(0)) end < now() - $2::interval"
_OURS = " where corp_id = $1 and follow_id = $2 and leased_until = $3"


@dataclass(frozen=True, slots=True)
class DirtyFollow:
    """A claimed follow: `version` tells whether it was edited again meanwhile, `lease` whether it is still ours."""

    follow_id: UUID
    userid: str
    external_userid: str
    observed: tuple[str, ...]
    uncertain: tuple[str, ...]
    version: int
    attempts: int
    bulk: bool
    lease: datetime
    ended: bool


async def mark_dirty(corp_id: str, follow_id: UUID, bulk: bool, batch_id: UUID | None = None) -> None:
    """Notes an edit; runs in the transaction that made it. It takes its turn in the lane of its batch or of its owner."""
    await db.execute(
        "insert into follow_sync (corp_id, follow_id, dirty, class, first_dirty_at, settle_at, lane)"
        " values ($1, $2, true, $3, now(), now() + $4::interval,"
        f" coalesce('batch:' || $6::uuid, ({LANE_OF_OWNER}), '')) on conflict (follow_id) do update set"
        " dirty = true, version = follow_sync.version + 1, given_up = null, given_up_code = null, attempts = 0,"
        " next_try_at = null, lane = excluded.lane,"
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
        batch_id,
    )
    await notices.tell(DIRTY, corp_id)


async def corps_due() -> list[str]:
    """Corps that have something to send now and a credential WeCom does not refuse, or a card to draw or a click to look at.

    All that an idle worker asks. A corp whose every credential is refused or missing costs the others nothing.
    """
    ready = (
        "s.corp_id = c.corp_id and coalesce(s.next_try_at, '-infinity') <= now()"
        " and coalesce(s.leased_until, '-infinity') < now()"
    )
    dirty = f"{ready} and s.dirty and s.given_up is null"
    rows = await db.fetch(
        "select c.corp_id from corp c where (((exists (select 1 from follow_sync s where"
        f" {dirty} and s.settle_at <= now())"
        f" or exists (select 1 from library_sync s where {dirty}) or exists (select 1 from library_group_sync s where {dirty}))"
        " and not exists (select 1 from wecom_pause p where p.corp_id = c.corp_id and p.paused)"
        f" or exists (select 1 from approval_card s where {ready} and s.state in ('waiting', 'closing')))"
        " and exists (select 1 from corp_credential k where k.corp_id = c.corp_id and k.stopped_reason is null))"
        " or exists (select 1 from card_draw s where s.corp_id = c.corp_id and s.dirty)"
        " or exists (select 1 from card_click s where s.corp_id = c.corp_id and s.handled_at is null"
        "  and coalesce(s.leased_until, '-infinity') < now()) order by c.corp_id"
    )
    return [row["corp_id"] for row in rows]


async def claim_follow(corp_id: str, *, bulk_too: bool = True) -> DirtyFollow | None:
    """Leases the most urgent settled follow, or None; nobody else calls for it while the lease lasts.

    A person's before a batch's, then of the lane that has waited longest for its turn. None while sending is paused.
    """
    row = await db.fetch_one(
        CLAIM,
        corp_id,
        LEASE,
        bulk_too,
    )
    return DirtyFollow(**{**row, "observed": tuple(row["observed"]), "uncertain": tuple(row["uncertain"])}) if row else None


async def settle(corp_id: str, claimed: DirtyFollow, observed: Sequence[str] | None) -> None:
    """WeCom holds `observed` now (None: as before); dirty stays when the follow was edited meanwhile."""
    await db.execute(
        "update follow_sync set observed = coalesce($5::text[], observed), uncertain = '{}', leased_until = null,"
        " attempts = 0, next_try_at = null,"
        " dirty = version <> $4, first_dirty_at = case when version <> $4 then now() end" + _OURS,
        corp_id,
        claimed.follow_id,
        claimed.lease,
        claimed.version,
        list(observed) if observed is not None else None,
    )


async def begin_call(corp_id: str, claimed: DirtyFollow, tags: Sequence[str]) -> bool:
    """Commits, before the call leaves, which tags its outcome will be about; False when the lease was lost."""
    row = await db.fetch_one(
        "update follow_sync set uncertain = $4" + _OURS + " and leased_until > now() returning true as ours",
        corp_id,
        claimed.follow_id,
        claimed.lease,
        list(tags),
    )
    return row is not None


async def postpone(corp_id: str, claimed: DirtyFollow, wait: timedelta, *, counted: bool = True) -> None:
    """Tries again later, or at once what was edited meanwhile; `counted` false where the follow is not to blame."""
    await db.execute(
        "update follow_sync set leased_until = null, attempts = attempts + $5,"
        " next_try_at = case when version = $6 then now() + $4::interval end" + _OURS,
        corp_id,
        claimed.follow_id,
        claimed.lease,
        wait,
        int(counted),
        claimed.version,
    )


async def give_up(corp_id: str, claimed: DirtyFollow, reason: str, observed: Sequence[str] | None = None) -> None:
    """Stops trying until the next edit or a retry by hand; the reason is shown in the ledger.

    An edit made meanwhile is a new wish and is tried. `observed`: what WeCom holds now, where a part was done.
    """
    await db.execute(
        "update follow_sync set leased_until = null, attempts = attempts + 1, observed = coalesce($6::text[], observed),"
        " uncertain = case when $6::text[] is null then uncertain else '{}' end,"
        " given_up = case when version = $4 then $5 end, given_up_code = case when version = $4 then $7::integer end" + _OURS,
        corp_id,
        claimed.follow_id,
        claimed.lease,
        claimed.version,
        reason,
        list(observed) if observed is not None else None,
        code_at_head(reason),
    )


async def counts(corp_id: str) -> db.Row:
    """How much waits, how much of it for a batch, since when, and in how many seconds the last of it can be tried at all."""
    row = await db.fetch_one(
        "select count(*) filter (where given_up is null) as waiting, count(*) filter (where given_up is not null) as given_up,"
        " count(*) filter (where given_up is null and class = 'bulk') as bulk,"
        " min(first_dirty_at) filter (where given_up is null) as oldest,"
        " coalesce(greatest(0, extract(epoch from"
        " max(greatest(settle_at, next_try_at)) filter (where given_up is null) - now())), 0)::float8 as last_in"
        " from follow_sync where corp_id = $1 and dirty",
        corp_id,
    )
    return row or {"waiting": 0, "given_up": 0, "bulk": 0, "oldest": None, "last_in": 0.0}


async def stopped_reason(corp_id: str) -> str | None:
    """Why WeCom refuses the app that marks customers, where it does."""
    found: str | None = await db.fetch_value(
        "select stopped_reason from corp_credential where corp_id = $1 and app = $2 and stopped_at is not null",
        corp_id,
        CUSTOMER_APP,
    )
    return found


async def has_settled_writes(corp_id: str) -> bool:
    """Whether a tag write is ready to go: bulk reads yield to it. While sending is paused they yield to nothing."""
    return bool(
        await db.fetch_value(
            "select exists (select 1 from follow_sync where corp_id = $1 and dirty and given_up is null and settle_at <= now()"
            " and coalesce(next_try_at, '-infinity') <= now())"
            " and not exists (select 1 from wecom_pause where corp_id = $1 and paused) as ready",
            corp_id,
        )
    )


async def moment() -> datetime:
    """The database's clock: what is read from WeCom after it is newer than any call that ended before it."""
    found = await db.fetch_value("select clock_timestamp() as now")
    assert isinstance(found, datetime)
    return found


async def observe(corp_id: str, rows: Sequence[tuple[UUID, list[str]]], read_at: datetime | None = None) -> None:
    """Keeps what WeCom was seen to hold since `read_at`, for follows that nothing of ours is or was on its way to then."""
    await db.execute(
        "insert into follow_sync (corp_id, follow_id, observed)"
        " select $1, f, coalesce((select array_agg(x) from jsonb_array_elements_text(o) as x), '{}')"
        " from unnest($2::uuid[], $3::jsonb[]) as s (f, o) order by f"
        " on conflict (follow_id) do update set observed = excluded.observed"
        " where not follow_sync.dirty and coalesce(follow_sync.leased_until, '-infinity') < now()"
        " and not exists (select 1 from wecom_call c where c.corp_id = $1 and c.follow_id = excluded.follow_id"
        "  and coalesce(c.answered_at, c.sent_at + interval '1 minute') >= $4)",
        corp_id,
        [follow_id for follow_id, _ in rows],
        [msgspec.json.encode(tags).decode() for _, tags in rows],
        read_at or await moment(),
    )


async def wake_carriers(corp_id: str, tag_id: UUID) -> None:
    """A tag has its WeCom id now: every open follow that carries it is due."""
    await db.execute(
        "update follow_sync s set dirty = true, version = s.version + 1, given_up = null, given_up_code = null, attempts = 0,"
        " next_try_at = null, first_dirty_at = coalesce(s.first_dirty_at, now()), settle_at = coalesce(s.settle_at, now())"
        " from assignment a join follow f on f.corp_id = a.corp_id and f.id = a.follow_id and f.ended_at is null"
        " where a.corp_id = $1 and a.tag_id = $2 and a.ended_at is null and s.corp_id = a.corp_id and s.follow_id = a.follow_id",
        corp_id,
        tag_id,
    )
    await notices.tell(DIRTY, corp_id)


# -- runs ---------------------------------------------------------------------------------------------------------------


async def insert_run(corp_id: str, run_id: UUID, kind: str, started_by: str) -> bool:
    """Queues a run; False when one of its kind is queued or running."""
    row = await db.fetch_one(
        "insert into sync_run (corp_id, id, kind, started_by) values ($1, $2, $3, $4)"
        " on conflict (corp_id, kind) where state in ('queued', 'running') do nothing returning id",
        corp_id,
        run_id,
        kind,
        started_by,
    )
    return row is not None


async def open_run(corp_id: str, kind: str, silent_after: timedelta) -> tuple[UUID, bool] | None:
    """The run of this kind that is queued or running, and whether nobody has been heard to work on it."""
    row = await db.fetch_one(
        f"select id, {_SILENT} as silent from sync_run where corp_id = $1 and kind = $3 and state in ('queued', 'running')",
        corp_id,
        silent_after,
        kind,
    )
    return (row["id"], row["silent"]) if row else None


async def run(corp_id: str, run_id: UUID) -> db.Row | None:
    """One run."""
    row = await db.fetch_one("select * from sync_run where corp_id = $1 and id = $2", corp_id, run_id)
    if row:
        row["cursor"], row["result"] = msgspec.json.decode(row["cursor"]), msgspec.json.decode(row["result"])
    return row


async def claim_run(corp_id: str, run_id: UUID | None, stale_after: timedelta) -> db.Row | None:
    """Takes a queued run, or one whose worker fell silent; the named one or the oldest.

    Customers wait for a library asked for before them: marks of tags we do not know would be passed over.
    """
    row = await db.fetch_one(
        "with picked as (select id from sync_run w where corp_id = $1 and ($2::uuid is null or id = $2)"
        " and (state = 'queued' or (state = 'running' and heartbeat_at < now() - $3::interval))"
        " and not (kind = 'customers' and exists (select 1 from sync_run e where e.corp_id = $1 and e.kind = 'catalog'"
        "  and e.state in ('queued', 'running') and e.id < w.id))"
        " order by id limit 1 for update skip locked)"
        " update sync_run r set state = 'running', started_at = coalesce(r.started_at, now()), heartbeat_at = now()"
        " from picked where r.id = picked.id returning r.*",
        corp_id,
        run_id,
        stale_after,
    )
    if row:
        row["cursor"], row["result"] = msgspec.json.decode(row["cursor"]), msgspec.json.decode(row["result"])
        await notices.tell(PROGRESS, corp_id)
    return row


async def has_silent_run(corp_id: str, silent_after: timedelta) -> bool:
    """Whether a run waits for a worker, or its worker has not been heard of."""
    return bool(
        await db.fetch_value(
            "select exists (select 1 from sync_run where corp_id = $1 and state in ('queued', 'running')"
            f" and {_SILENT}) as silent",
            corp_id,
            silent_after,
        )
    )


async def beat_run(corp_id: str, run_id: UUID) -> None:
    """Notes that somebody works on the run, however long it waits for its turn."""
    await db.execute(
        "update sync_run set heartbeat_at = now() where corp_id = $1 and id = $2 and state = 'running'", corp_id, run_id
    )


async def release_run(corp_id: str, run_id: UUID) -> None:
    """Leaves a run for others to go on with at its cursor."""
    await db.execute(
        "update sync_run set heartbeat_at = to_timestamp(0) where corp_id = $1 and id = $2 and state = 'running'", corp_id, run_id
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
    await notices.tell(PROGRESS, corp_id)


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
    await notices.tell(PROGRESS, corp_id)


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
