"""Every query of the room."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID

from tagwarden.catalog.model import Choice, Tag, TagGroup
from tagwarden.kernel import db
from tagwarden.policy.model import Kind

_GROUP = "id, name, kind, choice, description, wecom_id, name_marked, version, created_at"
_TAG = (
    "id, group_id, name, parent_id, meaning, service_process, ends_on, wecom_id, made_by_us, name_marked, version,"
    " retired_at is not null as retired"
)


def _group(row: db.Row) -> TagGroup:
    return TagGroup(**{**row, "kind": Kind(row["kind"]), "choice": Choice(row["choice"])})


async def groups(corp_id: str) -> list[TagGroup]:
    """Every group that was not deleted, in display order."""
    rows = await db.fetch(
        f"select {_GROUP} from tag_group where corp_id = $1 and deleted_at is null order by sort desc, id", corp_id
    )
    return [_group(row) for row in rows]


async def group(corp_id: str, group_id: UUID, *, lock: bool = False) -> TagGroup | None:
    """One group; locked for the transaction when asked."""
    row = await db.fetch_one(
        f"select {_GROUP} from tag_group where corp_id = $1 and id = $2 and deleted_at is null"
        + (" for no key update" if lock else ""),
        corp_id,
        group_id,
    )
    return _group(row) if row else None


async def groups_by_id(corp_id: str, group_ids: Sequence[UUID]) -> dict[UUID, TagGroup]:
    """The groups of these ids."""
    rows = await db.fetch(f"select {_GROUP} from tag_group where corp_id = $1 and id = any($2::uuid[])", corp_id, list(group_ids))
    return {row["id"]: _group(row) for row in rows}


async def tags_of_group(corp_id: str, group_id: UUID) -> list[Tag]:
    """Tags of one group, in display order, retired ones included."""
    rows = await db.fetch(
        f"select {_TAG} from tag where corp_id = $1 and group_id = $2 and deleted_at is null order by sort desc, id",
        corp_id,
        group_id,
    )
    return [Tag(**row) for row in rows]


async def all_tags(corp_id: str) -> list[Tag]:
    """Every tag that was not deleted."""
    rows = await db.fetch(f"select {_TAG} from tag where corp_id = $1 and deleted_at is null order by sort desc, id", corp_id)
    return [Tag(**row) for row in rows]


async def tags_by_id(corp_id: str, tag_ids: Sequence[UUID]) -> dict[UUID, Tag]:
    """The tags of these ids that exist in this corp."""
    rows = await db.fetch(
        f"select {_TAG} from tag where corp_id = $1 and id = any($2::uuid[]) and deleted_at is null", corp_id, list(tag_ids)
    )
    return {row["id"]: Tag(**row) for row in rows}


async def tag(corp_id: str, tag_id: UUID, *, lock: bool = False) -> Tag | None:
    """One tag; locked for the transaction when asked."""
    row = await db.fetch_one(
        f"select {_TAG} from tag where corp_id = $1 and id = $2 and deleted_at is null" + (" for no key update" if lock else ""),
        corp_id,
        tag_id,
    )
    return Tag(**row) if row else None


async def insert_group(corp_id: str, row: dict[str, Any]) -> None:
    """Writes one group."""
    await db.execute(
        "insert into tag_group (corp_id, id, name, kind, choice, description, sort, wecom_id, name_marked)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        corp_id,
        row["id"],
        row["name"],
        row.get("kind", "unclassified"),
        row.get("choice", "multiple"),
        row.get("description", ""),
        row.get("sort", 0),
        row.get("wecom_id"),
        row.get("name_marked", False),
    )


async def insert_tag(corp_id: str, row: dict[str, Any]) -> None:
    """Writes one tag."""
    await db.execute(
        "insert into tag (corp_id, id, group_id, name, meaning, service_process, ends_on, parent_id, sort, wecom_id,"
        " made_by_us, name_marked) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        corp_id,
        row["id"],
        row["group_id"],
        row["name"],
        row.get("meaning", ""),
        row.get("service_process", ""),
        row.get("ends_on"),
        row.get("parent_id"),
        row.get("sort", 0),
        row.get("wecom_id"),
        row.get("made_by_us", False),
        row.get("name_marked", False),
    )


async def update_group(corp_id: str, group_id: UUID, *, name: str, kind: Kind, choice: Choice, description: str) -> int:
    """Writes the columns an admin may change; returns the new version."""
    return int(
        await db.fetch_value(
            "update tag_group set name = $3, kind = $4, choice = $5, description = $6, version = version + 1,"
            " name_marked = name_marked and name = $3 where corp_id = $1 and id = $2 returning version",
            corp_id,
            group_id,
            name,
            kind.value,
            choice.value,
            description,
        )
    )


async def update_tag(
    corp_id: str,
    tag_id: UUID,
    *,
    name: str,
    meaning: str,
    service_process: str,
    ends_on: date | None,
    retired: bool,
) -> int:
    """Writes the columns an admin may change; returns the new version."""
    return int(
        await db.fetch_value(
            "update tag set name = $3, meaning = $4, service_process = $5, ends_on = $6,"
            " retired_at = case when not $7 then null else coalesce(retired_at, now()) end, version = version + 1,"
            " name_marked = name_marked and name = $3 where corp_id = $1 and id = $2 returning version",
            corp_id,
            tag_id,
            name,
            meaning,
            service_process,
            ends_on,
            retired,
        )
    )


async def mark_deleted(corp_id: str, tag_id: UUID) -> None:
    """Deletes a tag here; its row stays for the history."""
    await db.execute("update tag set deleted_at = now(), version = version + 1 where corp_id = $1 and id = $2", corp_id, tag_id)


async def mark_group_deleted(corp_id: str, group_id: UUID) -> None:
    """Deletes a group here; its row stays for the history."""
    await db.execute(
        "update tag_group set deleted_at = now(), version = version + 1 where corp_id = $1 and id = $2", corp_id, group_id
    )


async def group_names(corp_id: str) -> set[str]:
    """Names taken by groups."""
    rows = await db.fetch("select name from tag_group where corp_id = $1 and deleted_at is null", corp_id)
    return {row["name"] for row in rows}


async def set_wecom_ids(corp_id: str, tag_id: UUID, wecom_id: str, group_id: UUID, group_wecom_id: str) -> None:
    """Keeps the ids WeCom gave to a tag of ours and to its group."""
    await db.execute(
        "update tag set wecom_id = $3, made_by_us = true where corp_id = $1 and id = $2 and wecom_id is null",
        corp_id,
        tag_id,
        wecom_id,
    )
    await db.execute(
        "update tag_group set wecom_id = $3 where corp_id = $1 and id = $2 and wecom_id is null",
        corp_id,
        group_id,
        group_wecom_id,
    )


async def rename_as_wecom(corp_id: str, tag_id: UUID, name: str) -> None:
    """Takes over the name a tag was given inside WeCom."""
    await db.execute("update tag set name = $3, version = version + 1 where corp_id = $1 and id = $2", corp_id, tag_id, name)
