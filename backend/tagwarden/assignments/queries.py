"""Reads that join customers, catalog and assignments. What a caller may see is decided before a row leaves here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from tagwarden.catalog import counts
from tagwarden.kernel import db


async def unconfirmed(corp_id: str, limit: int = 20_000) -> list[db.Row]:
    """Open marks in value groups with no approval behind them, of open follows."""
    return await db.fetch(
        "select a.id as assignment_id, a.follow_id, a.tag_id, f.userid, f.external_userid, t.group_id from assignment a"
        " join follow f on f.corp_id = a.corp_id and f.id = a.follow_id and f.ended_at is null"
        " join tag t on t.corp_id = a.corp_id and t.id = a.tag_id"
        " join tag_group g on g.corp_id = t.corp_id and g.id = t.group_id and g.kind = 'value'"
        " where a.corp_id = $1 and a.ended_at is null and a.approval_id is null and a.carried_from is null"
        " order by f.userid, a.id limit $2",
        corp_id,
        limit,
    )


async def count_unconfirmed(corp_id: str) -> list[db.Row]:
    """How many of these there are, by owner and group."""
    return await db.fetch(
        "select f.userid, g.id::text as group_id, g.kind, count(*) as marks from assignment a"
        " join follow f on f.corp_id = a.corp_id and f.id = a.follow_id and f.ended_at is null"
        " join tag t on t.corp_id = a.corp_id and t.id = a.tag_id"
        " join tag_group g on g.corp_id = t.corp_id and g.id = t.group_id and g.kind = 'value'"
        " where a.corp_id = $1 and a.ended_at is null and a.approval_id is null and a.carried_from is null"
        " group by f.userid, g.id, g.kind order by f.userid, g.id",
        corp_id,
    )


_CARRIES = "select 1 from assignment a where a.corp_id = $1 and a.follow_id = f.id and a.ended_at is null and a.tag_id"
_NAMED = (
    "select 1 from customer c where c.corp_id = $1 and c.external_userid = f.external_userid"
    " and (strpos(lower(c.name), lower({text})) > 0 or c.external_userid = {text})"
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
    first and none of the second. Only what is asked for stands in the statement: the planner can walk the follows in the
    page's order, or begin with a rare tag's carriers.
    """
    args: list[Any] = [corp_id, limit]

    def given(value: object, kind: str) -> str:
        args.append(value)
        return f"${len(args)}::{kind}"

    wanted = ["f.corp_id = $1", "f.ended_at is null"]
    if owners is not None and len(owners) == 1:
        wanted.append(f"f.userid = {given(owners[0], 'text')}")  # the index of one owner is in the page's order
    elif owners is not None:
        wanted.append(f"f.userid = any({given(list(owners), 'text[]')})")
    if after is not None:
        wanted.append(f"f.external_userid > {given(after, 'text')}")
    if text is not None:
        wanted.append(f"exists ({_NAMED.format(text=given(text, 'text'))})")
    wanted += [f"exists ({_CARRIES} = {given(tag, 'uuid')})" for tag in dict.fromkeys(with_tags)]
    if without_tags:
        wanted.append(f"not exists ({_CARRIES} = any({given(list(without_tags), 'uuid[]')}))")
    return await db.fetch(
        "select c.external_userid, c.name, page.followers from"
        " (select f.external_userid, array_agg(f.userid order by f.since, f.id) as followers from follow f"
        f" where {' and '.join(wanted)} group by f.external_userid order by f.external_userid limit $2) page"
        " join customer c on c.corp_id = $1 and c.external_userid = page.external_userid order by c.external_userid",
        *args,
    )


async def tags_of_follows(corp_id: str, follow_ids: Iterable[UUID]) -> list[db.Row]:
    """Open assignments of follows with the names a reader needs; `until` where it will end the mark (`repository.due`)."""
    return await db.fetch(
        "select a.follow_id, a.tag_id, t.name as tag, g.id as group_id, g.name as group_name, g.kind, g.choice, a.since,"
        " case when g.kind = 'temporary' and a.since >= g.kind_since then a.until end as until,"
        " a.source, a.approval_id, (g.kind = 'value' and a.approval_id is null and a.carried_from is null) as unconfirmed"
        " from assignment a join tag t on t.corp_id = a.corp_id and t.id = a.tag_id"
        " join tag_group g on g.corp_id = t.corp_id and g.id = t.group_id"
        " where a.corp_id = $1 and a.follow_id = any($2::uuid[]) and a.ended_at is null"
        " order by g.sort desc, g.id, t.sort desc, t.id",
        corp_id,
        list(follow_ids),
    )


async def history(
    corp_id: str, external_userid: str, as_of: datetime | None, after: tuple[datetime, UUID] | None, limit: int
) -> list[db.Row]:
    """Assignments of a customer's follows, newest first, after (since, id) of the last one; with `as_of`, those that were
    open at that moment."""
    since, last = after or (None, None)
    return await db.fetch(
        "select a.id, f.userid, a.tag_id, t.name as tag, g.id as group_id, g.name as group_name, g.kind, a.source, a.actor,"
        " a.approval_id, a.since, a.until, a.ended_at, a.ended_by, a.ended_source"
        " from assignment a join follow f on f.corp_id = a.corp_id and f.id = a.follow_id"
        " join tag t on t.corp_id = a.corp_id and t.id = a.tag_id"
        " join tag_group g on g.corp_id = t.corp_id and g.id = t.group_id"
        " where a.corp_id = $1 and f.external_userid = $2"
        " and ($3::timestamptz is null or (a.since <= $3 and (a.ended_at is null or a.ended_at > $3)"
        "      and f.since <= $3 and (f.ended_at is null or f.ended_at > $3)))"
        " and ($4::timestamptz is null or (a.since, a.id) < ($4, $5::uuid))"
        " order by a.since desc, a.id desc limit $6",
        corp_id,
        external_userid,
        as_of,
        since,
        last,
        limit,
    )


async def marks_by_owner_and_group(corp_id: str, pairs: Sequence[tuple[str, UUID]]) -> list[db.Row]:
    """How many open marks each of these owners has in each of these groups, on open follows."""
    return await db.fetch(
        "select f.userid, t.group_id, count(*) as marks from unnest($2::text[], $3::uuid[]) as asked (userid, group_id)"
        " join follow f on f.corp_id = $1 and f.userid = asked.userid and f.ended_at is null"
        " join assignment a on a.corp_id = $1 and a.follow_id = f.id and a.ended_at is null"
        " join tag t on t.corp_id = $1 and t.id = a.tag_id and t.group_id = asked.group_id"
        " group by f.userid, t.group_id order by f.userid, t.group_id",
        corp_id,
        *db.columns(pairs, 2),
    )


async def desired_wecom_ids(corp_id: str, follow_id: UUID) -> list[dict[str, Any]]:
    """What a follow should carry in WeCom: each open mark with its WeCom id, or None where the tag is not there yet.

    A tag that WeCom renamed or deleted under our hands is not sent until somebody has decided what becomes of it.
    """
    return await db.fetch(
        "select a.tag_id, t.wecom_id from assignment a join tag t on t.corp_id = a.corp_id and t.id = a.tag_id"
        " and t.deleted_at is null and t.wecom_name is null and t.wecom_missing_at is null"
        " where a.corp_id = $1 and a.follow_id = $2 and a.ended_at is null",
        corp_id,
        follow_id,
    )


async def desired_of_follows(corp_id: str, follow_ids: Sequence[UUID]) -> dict[UUID, dict[str, UUID]]:
    """The same for many follows: our tags by WeCom id; a tag that is not there yet is left out."""
    rows = await db.fetch(
        # Follow, mark, tag, in this order and by their keys: never all follows again for every tag of the company.
        "select f as follow_id, a.tag_id, t.wecom_id from unnest($2::uuid[]) as f cross join lateral (select tag_id"
        " from assignment where corp_id = $1 and follow_id = f and ended_at is null offset 0) a cross join lateral"
        " (select corp_id, wecom_id from tag where id = a.tag_id and deleted_at is null and wecom_name is null"
        "  and wecom_missing_at is null and wecom_id is not null offset 0) t where t.corp_id = $1",
        corp_id,
        list(follow_ids),
    )
    found: dict[UUID, dict[str, UUID]] = {follow_id: {} for follow_id in follow_ids}
    for row in rows:
        found[row["follow_id"]][row["wecom_id"]] = row["tag_id"]
    return found


async def unconfirmed_groups(corp_id: str) -> set[UUID]:
    """Value groups in which an open follow carries a mark that nobody has confirmed."""
    rows = await db.fetch(
        "select g.id from tag_group g where g.corp_id = $1 and g.kind = 'value' and g.deleted_at is null and exists"
        " (select 1 from tag t join assignment a on a.corp_id = t.corp_id and a.tag_id = t.id and a.ended_at is null"
        "  and a.approval_id is null and a.carried_from is null"
        "  join follow f on f.corp_id = a.corp_id and f.id = a.follow_id and f.ended_at is null"
        "  where t.corp_id = g.corp_id and t.group_id = g.id)",
        corp_id,
    )
    return {row["id"] for row in rows}


async def marks_before(corp_id: str, follow_id: UUID, group_ids: Sequence[UUID], limit: int = 20) -> list[db.Row]:
    """What a follow carried in some groups, newest first: what a signer looks back on."""
    rows = await db.fetch(
        "select t.name as tag, g.name as group_name, a.since, a.ended_at, a.source, a.approval_id"
        " from assignment a join tag t on t.corp_id = a.corp_id and t.id = a.tag_id"
        " join tag_group g on g.corp_id = t.corp_id and g.id = t.group_id"
        " where a.corp_id = $1 and a.follow_id = $2 and t.group_id = any($3::uuid[]) order by a.since desc limit $4",
        corp_id,
        follow_id,
        list(group_ids),
        limit,
    )
    return [{**row, "approval_id": str(row["approval_id"]) if row["approval_id"] else None} for row in rows]


async def carriers(corp_id: str, tag_id: UUID) -> list[db.Row]:
    """Open marks of a tag on open follows: mark and follow, by follow."""
    return await db.fetch(
        "select a.id, a.follow_id from assignment a join follow f on f.corp_id = a.corp_id and f.id = a.follow_id"
        " and f.ended_at is null where a.corp_id = $1 and a.tag_id = $2 and a.ended_at is null order by a.follow_id",
        corp_id,
        tag_id,
    )


async def uses(corp_id: str, tag_ids: Sequence[UUID]) -> tuple[int, int]:
    """How many open marks on open follows carry one of the tags, and how many open requests would put one on.

    Whether somebody carries one is asked of the marks themselves; how many there are is the figure that is kept.
    """
    row = await db.fetch_one(
        "select exists (select 1 from assignment a join follow f on f.corp_id = a.corp_id and f.id = a.follow_id"
        " and f.ended_at is null where a.corp_id = $1 and a.tag_id = any($2::uuid[]) and a.ended_at is null) as carried,"
        " (select count(*) from approval p where p.corp_id = $1 and p.state in ('pending_level1', 'pending_level2')"
        " and (p.kind = 'tag_change' and p.payload -> 'add' ?| $3::text[]"
        "      or p.kind = 'tag_migration' and p.payload ->> 'target_id' = any($3))) as requested",
        corp_id,
        list(tag_ids),
        [str(tag_id) for tag_id in tag_ids],
    )
    if row is None or not row["carried"]:
        return 0, row["requested"] if row else 0
    kept = (await counts.by_tag(corp_id, tag_ids)).values()
    return max(1, sum(one.carried for one in kept)), row["requested"]


async def labels_of_follows(corp_id: str, follow_ids: Sequence[UUID]) -> list[db.Row]:
    """Personal and strategy tags of follows; a strategy tag known by its id alone takes its name from where it has one."""
    return await db.fetch(
        "select l.follow_id, l.kind, nullif(l.wecom_id, '') as wecom_id,"
        " coalesce(nullif(l.group_name, ''), named.group_name) as group_name, coalesce(nullif(l.name, ''), named.name) as name"
        " from follow_label l left join lateral (select o.group_name, o.name from follow_label o where o.corp_id = l.corp_id"
        "  and o.wecom_id = l.wecom_id and l.wecom_id <> '' and o.name <> '' limit 1) named on l.name = ''"
        " where l.corp_id = $1 and l.follow_id = any($2::uuid[]) and not exists"
        " (select 1 from tag t where t.corp_id = l.corp_id and t.wecom_id = l.wecom_id)"
        " order by l.kind, 4, 5, l.wecom_id",
        corp_id,
        list(follow_ids),
    )
