"""Every query over drift: what WeCom was seen to hold, the cases, the brake."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id
from tagwarden.sync.drift_model import AddedOrRemoved, Difference

PENDING = "('open', 'reported')"


@dataclass(frozen=True, slots=True)
class Case:
    """One disagreement about one tag of one follow."""

    id: UUID
    follow_id: UUID
    tag_id: UUID
    kind: AddedOrRemoved
    state: str
    run_id: UUID | None


def _case(row: db.Row) -> Case:
    return Case(row["id"], row["follow_id"], row["tag_id"], AddedOrRemoved(row["kind"]), row["state"], row["run_id"])


# -- what WeCom was seen to hold ----------------------------------------------------------------------------------------


# A call is looked up follow by follow (`offset` keeps it from becoming a join), whatever else the ledger holds.
_QUIET = (
    "not coalesce(s.dirty, false) and coalesce(s.leased_until, '-infinity') < now()"
    " and not exists (select 1 from wecom_call c where c.corp_id = $1 and c.follow_id = f"
    "  and coalesce(c.answered_at, c.sent_at + interval '1 minute') >= $3 offset 0)"
)


async def quiet_since(corp_id: str, follow_ids: Sequence[UUID], read_at: datetime) -> set[UUID]:
    """Follows that nothing of ours is, or was at `read_at`, on its way to: only of these a reading tells the truth."""
    rows = await db.fetch(
        "select f as id from unnest($2::uuid[]) as f left join lateral (select dirty, leased_until from follow_sync"
        f" where corp_id = $1 and follow_id = f offset 0) s on true where {_QUIET}",
        corp_id,
        list(follow_ids),
        read_at,
    )
    return {row["id"] for row in rows}


async def at_rest(corp_id: str, follow_ids: Sequence[UUID], read_at: datetime) -> dict[UUID, list[str]]:
    """Quiet follows about which no case is pending, each with what WeCom is taken to hold. Nothing is locked."""
    rows = await db.fetch(
        "select f as id, s.observed from unnest($2::uuid[]) as f cross join lateral (select observed, dirty, leased_until"
        f" from follow_sync where corp_id = $1 and follow_id = f offset 0) s where {_QUIET}"
        " and not exists (select 1 from drift_case d where d.corp_id = $1 and d.follow_id = f and d.done_at is null offset 0)",
        corp_id,
        list(follow_ids),
        read_at,
    )
    return {row["id"]: row["observed"] for row in rows}


async def given_up(corp_id: str, follow_ids: Collection[UUID]) -> set[UUID]:
    """Of these follows, those whose change WeCom refuses for good: they wait for a person, not for a reading."""
    rows = await db.fetch(
        "select follow_id from follow_sync where corp_id = $1 and follow_id = any($2::uuid[]) and given_up is not null",
        corp_id,
        list(follow_ids),
    )
    return {row["follow_id"] for row in rows}


async def observe(corp_id: str, follow_ids: Sequence[UUID], told: Mapping[UUID, Sequence[str]], seen_at: datetime) -> None:
    """The follows are there; of those in `told`, unless something is on its way to them, what outbound may take for what
    WeCom holds. One statement, by id: two would lock the rows of one follow after those of the next."""
    ids = sorted(follow_ids)
    await db.execute(
        "insert into follow_sync (corp_id, follow_id, observed, seen_at)"
        " select $1, f, coalesce((select array_agg(x) from jsonb_array_elements_text(o) as x), '{}'), $4"
        " from unnest($2::uuid[], $3::jsonb[]) as s (f, o) order by f on conflict (follow_id) do update set"
        " seen_at = excluded.seen_at, observed = case when excluded.follow_id = any($5::uuid[]) and not follow_sync.dirty"
        "  and coalesce(follow_sync.leased_until, '-infinity') < now() then excluded.observed else follow_sync.observed end",
        corp_id,
        ids,
        [msgspec.json.encode(list(told.get(follow_id, ()))).decode() for follow_id in ids],
        seen_at,
        list(told),
    )


async def note_seen(corp_id: str, follow_ids: Sequence[UUID], seen_at: datetime) -> None:
    """The follows are there, whatever they hold."""
    await db.execute(
        "insert into follow_sync (corp_id, follow_id, seen_at) select $1, f, $3 from unnest($2::uuid[]) as f order by f"
        " on conflict (follow_id) do update set seen_at = excluded.seen_at",
        corp_id,
        list(follow_ids),
        seen_at,
    )


async def uncover(corp_id: str, follow_id: UUID, present: Collection[str], absent: Collection[str]) -> bool:
    """Tells outbound of tags that WeCom holds, or holds no more; False while a call for the follow is under way."""
    row = await db.fetch_one(
        "update follow_sync set observed = array(select distinct x from unnest(observed || $3::text[]) as x"
        " where x <> all($4::text[])) where corp_id = $1 and follow_id = $2"
        " and coalesce(leased_until, '-infinity') < now() returning follow_id",
        corp_id,
        follow_id,
        list(present),
        list(absent),
    )
    return row is not None


async def forget_observed(corp_id: str, wecom_ids: Sequence[str]) -> None:
    """Tags that are held back are nothing outbound would take off."""
    await db.execute(
        "update follow_sync set observed = array(select x from unnest(observed) as x where x <> all($2::text[]))"
        " where corp_id = $1 and observed && $2::text[]",
        corp_id,
        list(wecom_ids),
    )


async def forget_missing(corp_id: str, wecom_ids: Sequence[str], refused_code: int) -> int:
    """Tags that WeCom no longer has are named in no call any more, and follows given up because one was are due again.

    A call under way keeps what it named: if WeCom refuses it, the next reading of the library comes back here.
    """
    rows = await db.fetch(
        "update follow_sync s set observed = array(select x from unnest(observed) as x where x <> all($2::text[])),"
        " uncertain = array(select x from unnest(uncertain) as x where x <> all($2::text[])),"
        " version = version + (given_up_code is not distinct from $3)::integer,"
        " attempts = case when given_up_code = $3 then 0 else attempts end,"
        " next_try_at = case when given_up_code = $3 then null else next_try_at end,"
        " given_up = case when given_up_code = $3 then null else given_up end,"
        " given_up_code = nullif(given_up_code, $3) where corp_id = $1 and follow_id in (select follow_id from follow_sync"
        "  where corp_id = $1 and (observed && $2::text[] or uncertain && $2::text[])"
        "  and coalesce(leased_until, '-infinity') < now() order by follow_id for update) returning follow_id",
        corp_id,
        list(wecom_ids),
        refused_code,
    )
    return len(rows)


async def expect(corp_id: str, tag_id: UUID, wecom_id: str) -> None:
    """A tag is sent again: WeCom is taken to hold it where it is carried, until a reading says otherwise."""
    await db.execute(
        "update follow_sync s set observed = s.observed || $3::text from assignment a where a.corp_id = $1 and a.tag_id = $2"
        " and a.ended_at is null and s.corp_id = a.corp_id and s.follow_id = a.follow_id and not $3 = any(s.observed)",
        corp_id,
        tag_id,
        wecom_id,
    )


# -- cases --------------------------------------------------------------------------------------------------------------


async def keep(corp_id: str, found: Sequence[Difference], run_id: UUID | None) -> None:
    """Opens cases, or notes that known ones were seen again; one that turned round is another case of the same tag."""
    table = [(new_id(), one.follow_id, one.tag_id, one.kind.value) for one in found]
    await db.execute(
        "insert into drift_case (corp_id, id, follow_id, tag_id, kind, run_id)"
        " select $1, s.*, $6 from unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[]) as s (i, f, t, k)"
        " on conflict (corp_id, follow_id, tag_id) where done_at is null do update set last_seen_at = now(),"
        " kind = excluded.kind, state = case when drift_case.kind = excluded.kind then drift_case.state else 'open' end",
        corp_id,
        *db.columns(table, 4),
        run_id,
    )


async def pending(corp_id: str, follow_ids: Sequence[UUID]) -> list[Case]:
    """Cases of these follows that nothing has become of yet."""
    rows = await db.fetch(
        "select id, follow_id, tag_id, kind, state, run_id from drift_case where corp_id = $1 and follow_id = any($2::uuid[])"
        " and done_at is null order by follow_id, id",
        corp_id,
        list(follow_ids),
    )
    return [_case(row) for row in rows]


async def follows_to_act_on(corp_id: str, run_id: UUID | None, limit: int) -> list[UUID]:
    """Follows with open cases, oldest case first: of one run, or (None) of all that no run is still collecting."""
    rows = await db.fetch(
        "select follow_id from drift_case d where corp_id = $1 and state = 'open' and ($2::uuid is null and not exists"
        " (select 1 from sync_run n where n.corp_id = $1 and n.id = d.run_id and n.state in ('queued', 'running'))"
        " or run_id = $2) group by follow_id order by min(first_seen_at), follow_id limit $3",
        corp_id,
        run_id,
        limit,
    )
    return [row["follow_id"] for row in rows]


async def reopen_reported(corp_id: str, run_id: UUID) -> None:
    """What was only reported is looked at again: marks may have been adopted since, groups classified."""
    await db.execute(
        "update drift_case set state = 'open', run_id = $2 where corp_id = $1 and state = 'reported'", corp_id, run_id
    )


async def close(corp_id: str, rows: Sequence[tuple[UUID, str, str | None]], approval_id: UUID | None = None) -> None:
    """What became of cases: (case, state, reason). `reported` leaves them open for the next look."""
    await db.execute(
        "update drift_case d set state = s.state, reason = s.reason, approval_id = coalesce($5, d.approval_id),"
        f" done_at = case when s.state in {PENDING} then null else now() end"
        " from unnest($2::uuid[], $3::text[], $4::text[]) as s (id, state, reason) where d.corp_id = $1 and d.id = s.id",
        corp_id,
        *db.columns(rows, 3),
        approval_id,
    )


async def to_put_back(corp_id: str, run_id: UUID | None, group_ids: Sequence[UUID]) -> tuple[int, int]:
    """How many follows have an open case in these groups, and how many were put back: by one run, or (None) of all open
    cases and what callbacks alone have put back within a day."""
    row = await db.fetch_one(
        "select count(distinct d.follow_id) filter (where d.state = 'open' and t.group_id = any($3::uuid[])) as planned,"
        " count(distinct d.follow_id) filter (where d.state in ('put_back', 'asked')) as done from drift_case d"
        " join tag t on t.corp_id = d.corp_id and t.id = d.tag_id where d.corp_id = $1"
        " and (d.state = 'open' and ($2::uuid is null or d.run_id = $2) or d.state in ('put_back', 'asked')"
        "  and d.run_id is not distinct from $2 and d.done_at > now() - interval '1 day')",
        corp_id,
        run_id,
        list(group_ids),
    )
    return (row["planned"], row["done"]) if row else (0, 0)


async def page(corp_id: str, *, state: str | None, before: UUID | None, limit: int) -> list[db.Row]:
    """Cases, newest first, with the names a reader needs. `state` pending: nothing has become of them yet."""
    return await db.fetch(
        "select d.id, d.follow_id, f.userid, f.external_userid, d.tag_id, t.name as tag, g.id as group_id,"
        " g.name as group_name, g.kind as group_kind, d.kind as case, d.state, d.reason, d.run_id, d.approval_id,"
        " d.first_seen_at, d.last_seen_at, d.done_at from drift_case d"
        " join follow f on f.corp_id = d.corp_id and f.id = d.follow_id"
        " join tag t on t.corp_id = d.corp_id and t.id = d.tag_id"
        " join tag_group g on g.corp_id = t.corp_id and g.id = t.group_id"
        " where d.corp_id = $1 and ($2::text is null or d.state = $2 or $2 = 'pending' and d.done_at is null)"
        " and ($3::uuid is null or d.id < $3) order by d.id desc limit $4",
        corp_id,
        state,
        before,
        limit,
    )


async def counts(corp_id: str) -> dict[str, Any]:
    """How many cases wait, and what became of those of the last thirty days."""
    rows = await db.fetch(
        "select state, count(*) as cases from drift_case where corp_id = $1"
        " and (done_at is null or done_at > now() - interval '30 days') group by state",
        corp_id,
    )
    return {row["state"]: row["cases"] for row in rows}


async def offenders(corp_id: str, at_least: int, days: int, userids: Sequence[str] | None = None) -> list[db.Row]:
    """Owners whose edits inside WeCom were put back so often in so many days."""
    return await db.fetch(
        "select f.userid, count(*) as put_back, max(d.done_at) as last_at from drift_case d"
        " join follow f on f.corp_id = d.corp_id and f.id = d.follow_id where d.corp_id = $1"
        " and d.state in ('put_back', 'asked') and d.done_at > now() - make_interval(days => $3)"
        " and ($4::text[] is null or f.userid = any($4::text[]))"
        " group by f.userid having count(*) >= $2 order by 2 desc, 1",
        corp_id,
        at_least,
        days,
        list(userids) if userids is not None else None,
    )


# -- the brake ----------------------------------------------------------------------------------------------------------


async def guard(corp_id: str, *, lock: bool = False) -> db.Row:
    """The brake's row; locked, one process acts on a corp's cases at a time."""
    await db.execute("insert into drift_guard (corp_id) values ($1) on conflict do nothing", corp_id)
    found = await db.fetch_one(
        "select stopped_at, reason, waiting, released_at, released_by, released_until, allowance,"
        " coalesce(released_until > now(), false) as released from drift_guard where corp_id = $1"
        + (" for update" if lock else ""),
        corp_id,
    )
    assert found is not None
    return found


async def read_guard(corp_id: str) -> db.Row:
    """The brake as it stands, for readers: nothing is written."""
    found = await db.fetch_one(
        "select stopped_at, reason, waiting, released_at, released_by, released_until, allowance from drift_guard"
        " where corp_id = $1",
        corp_id,
    )
    nothing = dict.fromkeys(("stopped_at", "reason", "released_at", "released_by", "released_until"))
    return found or {**nothing, "waiting": 0, "allowance": 0}


async def stop(corp_id: str, reason: str, waiting: int) -> bool:
    """Pulls the brake; False when it was pulled already."""
    row = await db.fetch_one(
        "insert into drift_guard (corp_id, stopped_at, reason, waiting) values ($1, now(), $2, $3) on conflict (corp_id)"
        " do update set stopped_at = now(), reason = $2, waiting = $3, released_until = null, allowance = 0"
        " where drift_guard.stopped_at is null returning corp_id",
        corp_id,
        reason,
        waiting,
    )
    return row is not None


async def release(corp_id: str, userid: str, until: datetime, allowance: int) -> db.Row | None:
    """Lets go of the brake for what waited; None when it was not pulled."""
    return await db.fetch_one(
        "update drift_guard set stopped_at = null, released_at = now(), released_by = $2, released_until = $3,"
        " allowance = $4 where corp_id = $1 and stopped_at is not null returning reason",
        corp_id,
        userid,
        until,
        allowance,
    )


async def count_follows(corp_id: str) -> int:
    """Open follows of the corp."""
    return int(await db.fetch_value("select count(*) from follow where corp_id = $1 and ended_at is null", corp_id))
