"""Every query over assignments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from tagwarden.assignments.model import Held
from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id

_HELD = "a.id, a.tag_id, t.group_id, a.since, a.approval_id, a.source, a.carried_from is not null as carried"


async def held(corp_id: str, follow_id: UUID) -> list[Held]:
    """Open assignments of one follow."""
    rows = await db.fetch(
        f"select {_HELD} from assignment a join tag t on t.corp_id = a.corp_id and t.id = a.tag_id"
        " where a.corp_id = $1 and a.follow_id = $2 and a.ended_at is null order by a.id",
        corp_id,
        follow_id,
    )
    return [Held(**row) for row in rows]


async def held_by_follows(corp_id: str, follow_ids: Sequence[UUID]) -> dict[UUID, list[Held]]:
    """Open assignments of several follows."""
    rows = await db.fetch(
        f"select a.follow_id, {_HELD} from assignment a join tag t on t.corp_id = a.corp_id and t.id = a.tag_id"
        " where a.corp_id = $1 and a.follow_id = any($2::uuid[]) and a.ended_at is null order by a.id",
        corp_id,
        list(follow_ids),
    )
    found: dict[UUID, list[Held]] = {follow_id: [] for follow_id in follow_ids}
    for row in rows:
        found[row.pop("follow_id")].append(Held(**row))
    return found


async def start(
    corp_id: str,
    rows: Sequence[tuple[UUID, UUID, datetime | None]],
    *,
    source: str,
    actor: str,
    since: datetime,
    approval_id: UUID | None = None,
) -> int:
    """Opens assignments (follow, tag, until) that are not open yet; returns how many."""
    table = [(new_id(), follow_id, tag_id, until) for follow_id, tag_id, until in rows]
    opened = await db.fetch(
        "insert into assignment (corp_id, id, follow_id, tag_id, until, source, actor, since, approval_id)"
        " select $1, i, f, t, u, $6, $7, $8, $9"
        " from unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[]) as s (i, f, t, u)"
        " on conflict (corp_id, follow_id, tag_id) where ended_at is null do nothing returning id",
        corp_id,
        *db.columns(table, 4),
        source,
        actor,
        since,
        approval_id,
    )
    return len(opened)


async def end(
    corp_id: str,
    follow_id: UUID,
    tag_ids: Sequence[UUID],
    *,
    source: str,
    actor: str,
    at: datetime,
    approval_id: UUID | None = None,
) -> int:
    """Ends open assignments of one follow; returns how many."""
    rows = await db.fetch(
        "update assignment set ended_at = greatest($4, since), ended_by = $5, ended_source = $6, ended_approval_id = $7"
        " where corp_id = $1 and follow_id = $2 and tag_id = any($3::uuid[]) and ended_at is null returning id",
        corp_id,
        follow_id,
        list(tag_ids),
        at,
        actor,
        source,
        approval_id,
    )
    return len(rows)


async def end_marks(
    corp_id: str,
    marks: Sequence[tuple[UUID, UUID]],
    *,
    source: str,
    actor: str,
    at: datetime,
    approval_id: UUID | None = None,
) -> int:
    """Ends open assignments (follow, tag) of many follows; returns how many."""
    rows = await db.fetch(
        "update assignment a set ended_at = greatest($4, a.since), ended_by = $5, ended_source = $6, ended_approval_id = $7"
        " from unnest($2::uuid[], $3::uuid[]) as gone (follow_id, tag_id)"
        " where a.corp_id = $1 and a.follow_id = gone.follow_id and a.tag_id = gone.tag_id and a.ended_at is null returning a.id",
        corp_id,
        *db.columns(marks, 2),
        at,
        actor,
        source,
        approval_id,
    )
    return len(rows)


async def adopt(corp_id: str, assignment_ids: Sequence[UUID], approval_id: UUID) -> int:
    """Puts two signatures behind marks that had none; returns how many."""
    rows = await db.fetch(
        "update assignment set approval_id = $3 where corp_id = $1 and id = any($2::uuid[]) and approval_id is null"
        " and ended_at is null returning id",
        corp_id,
        list(assignment_ids),
        approval_id,
    )
    return len(rows)


async def due(corp_id: str, moment: datetime, limit: int = 500) -> list[db.Row]:
    """Temporary assignments whose time is over.

    A mark keeps the end it was given while its group stays temporary. Once the group was of another kind, what it held
    before has none any more: a change of kind ends nothing by itself, neither then nor when the group turns temporary.
    """
    return await db.fetch(
        "select a.follow_id, a.tag_id from assignment a join follow f on f.corp_id = a.corp_id and f.id = a.follow_id"
        " and f.ended_at is null join tag t on t.corp_id = a.corp_id and t.id = a.tag_id"
        " join tag_group g on g.corp_id = t.corp_id and g.id = t.group_id and g.kind = 'temporary'"
        " where a.corp_id = $1 and a.ended_at is null and a.until <= $2 and a.since >= g.kind_since"
        " order by a.follow_id limit $3",
        corp_id,
        moment,
        limit,
    )
