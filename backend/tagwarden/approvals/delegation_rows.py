"""Every query over delegations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tagwarden.kernel import db

_COLUMNS = "id, userid, delegate, starts_at, ends_at, reason, approval_id, created_at, ended_at"


@dataclass(frozen=True, slots=True)
class Delegation:
    """Who signs for whom, from when to when (UTC); `ended_at` is set where it was taken back."""

    id: UUID
    userid: str
    delegate: str
    starts_at: datetime
    ends_at: datetime
    reason: str
    approval_id: UUID | None
    created_at: datetime
    ended_at: datetime | None


async def insert(corp_id: str, row: Delegation) -> None:
    """Writes one; the database sees to it that it never begins in the past."""
    await db.execute(
        "insert into delegation (corp_id, id, userid, delegate, starts_at, ends_at, reason, approval_id)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8)",
        corp_id,
        row.id,
        row.userid,
        row.delegate,
        row.starts_at,
        row.ends_at,
        row.reason,
        row.approval_id,
    )


async def get(corp_id: str, delegation_id: UUID) -> Delegation | None:
    """One delegation."""
    row = await db.fetch_one(f"select {_COLUMNS} from delegation where corp_id = $1 and id = $2", corp_id, delegation_id)
    return Delegation(**row) if row else None


async def end(corp_id: str, delegation_id: UUID, moment: datetime) -> None:
    """Takes one back."""
    await db.execute("update delegation set ended_at = $3 where corp_id = $1 and id = $2", corp_id, delegation_id, moment)


async def page(
    corp_id: str, userid: str | None, *, at: datetime | None, before: UUID | None = None, limit: int
) -> list[Delegation]:
    """Delegations from or to a person (None: everybody's), newest first; with `at`, those not over by then."""
    rows = await db.fetch(
        f"select {_COLUMNS} from delegation where corp_id = $1 and ($2::text is null or userid = $2 or delegate = $2)"
        " and ($3::timestamptz is null or (ended_at is null and ends_at > $3))"
        " and ($4::uuid is null or id < $4) order by id desc limit $5",
        corp_id,
        userid,
        at,
        before,
        limit,
    )
    return [Delegation(**row) for row in rows]


async def standing_for(corp_id: str, delegate: str, moment: datetime) -> tuple[str, ...]:
    """Who is away and named this person."""
    rows = await db.fetch(
        "select distinct userid from delegation where corp_id = $1 and delegate = $2 and ended_at is null"
        " and starts_at <= $3 and ends_at > $3 order by userid",
        corp_id,
        delegate,
        moment,
    )
    return tuple(row["userid"] for row in rows)


async def delegates_of(corp_id: str, userids: Iterable[str], moment: datetime) -> dict[str, tuple[str, ...]]:
    """Who stands in for any of these people now, and for whom."""
    rows = await db.fetch(
        "select delegate, array_agg(distinct userid order by userid) as away from delegation where corp_id = $1"
        " and userid = any($2::text[]) and ended_at is null and starts_at <= $3 and ends_at > $3 group by delegate",
        corp_id,
        list(userids),
        moment,
    )
    return {row["delegate"]: tuple(row["away"]) for row in rows}


async def stood(corp_id: str, away: str, delegate: str, moment: datetime) -> bool:
    """Whether a delegation was in force at that moment and was never taken back."""
    found = await db.fetch_value(
        "select 1 as one from delegation where corp_id = $1 and userid = $2 and delegate = $3 and ended_at is null"
        " and starts_at <= $4 and ends_at > $4 limit 1",
        corp_id,
        away,
        delegate,
        moment,
    )
    return found is not None
