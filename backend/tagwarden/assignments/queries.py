"""Reads that join customers, catalog and assignments. What a caller may see is decided before a row leaves here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from tagwarden.kernel import db


async def unconfirmed(corp_id: str, limit: int = 20_000) -> list[db.Row]:
    """Open marks in value groups with no approval behind them, of open follows."""
    return await db.fetch(
        "select a.id as assignment_id, a.follow_id, a.tag_id, f.userid, f.external_userid from assignment a"
        " join follow f on f.corp_id = a.corp_id and f.id = a.follow_id and f.ended_at is null"
        " join tag t on t.corp_id = a.corp_id and t.id = a.tag_id"
        " join tag_group g on g.corp_id = t.corp_id and g.id = t.group_id and g.kind = 'value'"
        " where a.corp_id = $1 and a.ended_at is null and a.approval_id is null and a.carried_from is null"
        " order by f.userid, a.id limit $2",
        corp_id,
        limit,
    )


async def customers_page(
    corp_id: str,
    *,
    owners: Sequence[str] | None,
    with_tags: Sequence[UUID] = (),
    without_tags: Sequence[UUID] = (),
    text: str | None = None,
    after: str | None = None,
    limit: int = 50,
) -> list[db.Row]:
    """Customers by id, each with the follows of the given owners (None: of everybody).

    `with_tags` and `without_tags` speak of one follow: a customer matches when one visible follow carries all of the
    first and none of the second.
    """
    return await db.fetch(
        "select c.external_userid, c.name, array_agg(f.userid order by f.since, f.id) as followers"
        " from customer c join follow f on f.corp_id = c.corp_id and f.external_userid = c.external_userid and f.ended_at is null"
        " where c.corp_id = $1 and ($2::text[] is null or f.userid = any($2))"
        " and ($3::text is null or c.external_userid > $3)"
        " and ($4::text is null or strpos(lower(c.name), lower($4)) > 0 or c.external_userid = $4)"
        " and (select count(distinct a.tag_id) from assignment a where a.corp_id = $1 and a.follow_id = f.id"
        "      and a.ended_at is null and a.tag_id = any($5::uuid[])) = cardinality($5::uuid[])"
        " and not exists (select 1 from assignment a where a.corp_id = $1 and a.follow_id = f.id"
        "      and a.ended_at is null and a.tag_id = any($6::uuid[]))"
        " group by c.external_userid, c.name order by c.external_userid limit $7",
        corp_id,
        list(owners) if owners is not None else None,
        after,
        text,
        list(dict.fromkeys(with_tags)),
        list(dict.fromkeys(without_tags)),
        limit,
    )


async def tags_of_follows(corp_id: str, follow_ids: Iterable[UUID]) -> list[db.Row]:
    """Open assignments of follows with the names a reader needs."""
    return await db.fetch(
        "select a.follow_id, a.tag_id, t.name as tag, g.id as group_id, g.name as group_name, g.kind, g.choice, a.since, a.until,"
        " a.source, a.approval_id, (g.kind = 'value' and a.approval_id is null and a.carried_from is null) as unconfirmed"
        " from assignment a join tag t on t.corp_id = a.corp_id and t.id = a.tag_id"
        " join tag_group g on g.corp_id = t.corp_id and g.id = t.group_id"
        " where a.corp_id = $1 and a.follow_id = any($2::uuid[]) and a.ended_at is null"
        " order by g.sort desc, g.id, t.sort desc, t.id",
        corp_id,
        list(follow_ids),
    )


async def history(corp_id: str, external_userid: str, as_of: datetime | None, limit: int) -> list[db.Row]:
    """Assignments of a customer's follows, newest first; with `as_of`, those that were open at that moment."""
    return await db.fetch(
        "select a.id, f.userid, a.tag_id, t.name as tag, g.id as group_id, g.name as group_name, g.kind, a.source, a.actor,"
        " a.approval_id, a.since, a.until, a.ended_at, a.ended_by, a.ended_source"
        " from assignment a join follow f on f.corp_id = a.corp_id and f.id = a.follow_id"
        " join tag t on t.corp_id = a.corp_id and t.id = a.tag_id"
        " join tag_group g on g.corp_id = t.corp_id and g.id = t.group_id"
        " where a.corp_id = $1 and f.external_userid = $2"
        " and ($3::timestamptz is null or (a.since <= $3 and (a.ended_at is null or a.ended_at > $3)"
        "      and f.since <= $3 and (f.ended_at is null or f.ended_at > $3)))"
        " order by a.since desc, a.id desc limit $4",
        corp_id,
        external_userid,
        as_of,
        limit,
    )


async def count_carriers(corp_id: str, tag_ids: Sequence[UUID]) -> int:
    """How many open assignments of open follows carry one of these tags."""
    return int(
        await db.fetch_value(
            "select count(*) from assignment a join follow f on f.corp_id = a.corp_id and f.id = a.follow_id"
            " and f.ended_at is null where a.corp_id = $1 and a.tag_id = any($2::uuid[]) and a.ended_at is null",
            corp_id,
            list(tag_ids),
        )
    )


async def desired_wecom_ids(corp_id: str, follow_id: UUID) -> list[dict[str, Any]]:
    """What a follow should carry in WeCom: each open mark with its WeCom id, or None where the tag is not there yet."""
    return await db.fetch(
        "select a.tag_id, t.wecom_id from assignment a join tag t on t.corp_id = a.corp_id and t.id = a.tag_id"
        " and t.deleted_at is null where a.corp_id = $1 and a.follow_id = $2 and a.ended_at is null",
        corp_id,
        follow_id,
    )
