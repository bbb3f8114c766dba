"""Queries over the library as a whole: what counts against WeCom's limit, and what many of its rows take over at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from tagwarden.kernel import db


async def use(corp_id: str) -> dict[str, int]:
    """Living tags here, and what else of WeCom's library was last seen to count."""
    row = await db.fetch_one(
        "select (select count(*) from tag t where t.corp_id = $1 and t.deleted_at is null) as here,"
        " coalesce(max(l.strategy_tags), 0) as strategy_tags, coalesce(max(l.kept_out), 0) as kept_out"
        " from tag_library l where l.corp_id = $1",
        corp_id,
    )
    return dict(row) if row else {"here": 0, "strategy_tags": 0, "kept_out": 0}


async def lock(corp_id: str) -> None:
    """Whoever makes a tag waits here for whoever else does, until that transaction ends."""
    await db.execute(
        "insert into tag_library (corp_id) values ($1) on conflict (corp_id) do update set corp_id = excluded.corp_id", corp_id
    )


async def note_kept_out(corp_id: str, wecom_ids: Sequence[str]) -> None:
    """Which tags WeCom's library was seen to hold that are no rows here."""
    await db.execute(
        "insert into tag_library (corp_id, kept_out, kept_out_ids, noted_at) values ($1, cardinality($2::text[]), $2, now())"
        " on conflict (corp_id) do update set kept_out = excluded.kept_out, kept_out_ids = excluded.kept_out_ids,"
        " noted_at = excluded.noted_at",
        corp_id,
        list(wecom_ids),
    )


async def in_library(corp_id: str) -> set[str]:
    """WeCom's ids of every tag that is or was in its library, kept out ones too: they are no strategy tags."""
    rows = await db.fetch(
        "select wecom_id from tag where corp_id = $1 and wecom_id is not null"
        " union select unnest(kept_out_ids) from tag_library where corp_id = $1",
        corp_id,
    )
    return {row["wecom_id"] for row in rows}


async def note_strategy_tags(corp_id: str, tags: int) -> None:
    """How many strategy tags (规则组) WeCom was seen to hold."""
    await db.execute(
        "insert into tag_library (corp_id, strategy_tags, noted_at) values ($1, $2, now()) on conflict (corp_id) do update"
        " set strategy_tags = excluded.strategy_tags, noted_at = excluded.noted_at"
        " where tag_library.strategy_tags <> excluded.strategy_tags",
        corp_id,
        tags,
    )


async def take_places(corp_id: str, table: Literal["tag", "tag_group"], places: Sequence[tuple[UUID, int]]) -> None:
    """Takes over where WeCom has tags or groups that are not ours to move; bigger sorts first."""
    await db.execute(
        f"update {table} o set sort = s.sort, version = o.version + 1"
        " from unnest($2::uuid[], $3::bigint[]) as s (id, sort) where o.corp_id = $1 and o.id = s.id and o.sort <> s.sort",
        corp_id,
        *db.columns(list(places), 2),
    )


async def rename_groups(corp_id: str, names: Sequence[tuple[UUID, str, bool]]) -> None:
    """Takes over names that groups were given inside WeCom; two may have changed names with each other."""
    ids, texts, marked = db.columns(list(names), 3)
    passing = "update tag_group set name = id::text where corp_id = $1 and id = any($2::uuid[])"
    await db.execute(passing, corp_id, ids)
    await db.execute(
        "update tag_group g set name = s.name, name_marked = s.marked, version = g.version + 1"
        " from unnest($2::uuid[], $3::text[], $4::boolean[]) as s (id, name, marked) where g.corp_id = $1 and g.id = s.id",
        corp_id,
        ids,
        texts,
        marked,
    )


async def made_here(corp_id: str, group_ids: Sequence[UUID]) -> None:
    """WeCom proved that this app made these groups."""
    await db.execute(
        "update tag_group set made_by_us = true, disowned_at = null, version = version + 1"
        " where corp_id = $1 and id = any($2::uuid[])",
        corp_id,
        list(group_ids),
    )


async def own_tag(corp_id: str, tag_id: UUID) -> None:
    """The same of a tag."""
    await db.execute(
        "update tag set made_by_us = true, version = version + 1 where corp_id = $1 and id = $2 and not made_by_us",
        corp_id,
        tag_id,
    )


async def disowned_groups(corp_id: str) -> set[UUID]:
    """Groups of which WeCom said that another app made them."""
    rows = await db.fetch("select id from tag_group where corp_id = $1 and disowned_at is not null", corp_id)
    return {row["id"] for row in rows}
