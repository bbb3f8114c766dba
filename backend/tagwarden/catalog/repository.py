"""Every query of the room."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from tagwarden.catalog.model import Choice, Tag, TagGroup
from tagwarden.kernel import db
from tagwarden.policy.model import Kind

_GROUP = "id, name, kind, choice, description, wecom_id, name_marked, version, created_at, sort, made_by_us"
_TAG = (
    "id, group_id, name, parent_id, meaning, service_process, ends_on, wecom_id, made_by_us, name_marked, version,"
    " retired_at is not null as retired, sort"
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


async def tags_by_id(corp_id: str, tag_ids: Sequence[UUID], *, lock: bool = False) -> dict[UUID, Tag]:
    """The tags of these ids that exist in this corp; with `lock` none is changed or deleted until the transaction ends."""
    rows = await db.fetch(
        f"select {_TAG} from tag where corp_id = $1 and id = any($2::uuid[]) and deleted_at is null"
        + (" order by id for share" if lock else ""),
        corp_id,
        list(tag_ids),
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


async def lock_tags(corp_id: str, tag_ids: Sequence[UUID]) -> list[Tag]:
    """These tags, locked in the order of their ids: nobody changes, gives or takes one until the transaction ends."""
    rows = await db.fetch(
        f"select {_TAG} from tag where corp_id = $1 and id = any($2::uuid[]) and deleted_at is null order by id"
        " for no key update",
        corp_id,
        list(tag_ids),
    )
    return [Tag(**row) for row in rows]


async def lock_groups(corp_id: str, group_ids: Sequence[UUID]) -> None:
    """These groups, locked in the order of their ids: until the transaction ends nobody takes a name in one."""
    await db.execute(
        "select 1 as one from tag_group where corp_id = $1 and id = any($2::uuid[]) order by id for no key update",
        corp_id,
        list(group_ids),
    )


async def lock_tag_in_group(corp_id: str, tag_id: UUID) -> Tag | None:
    """One tag and then its group, locked: whoever else changes that group's tree waits until the transaction ends."""
    locked = await lock_tags(corp_id, [tag_id])
    await lock_groups(corp_id, [tag.group_id for tag in locked])
    return locked[0] if locked else None


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


async def update_group(corp_id: str, group: TagGroup, now: datetime) -> int:
    """Writes the columns an admin may change; returns the new version."""
    return int(
        await db.fetch_value(
            "update tag_group set name = $3, kind = $4, choice = $5, description = $6, sort = $7, version = version + 1,"
            " kind_since = case when kind = $4 then kind_since else $8::timestamptz end,"
            " name_marked = name_marked and name = $3 where corp_id = $1 and id = $2 returning version",
            corp_id,
            group.id,
            group.name,
            group.kind.value,
            group.choice.value,
            group.description,
            group.sort,
            now,
        )
    )


async def update_tag(corp_id: str, tag: Tag) -> int:
    """Writes the columns an admin may change; returns the new version."""
    return int(
        await db.fetch_value(
            "update tag set name = $3, meaning = $4, service_process = $5, ends_on = $6, parent_id = $8, sort = $9,"
            " retired_at = case when not $7 then null else coalesce(retired_at, now()) end, version = version + 1,"
            " name_marked = name_marked and name = $3 where corp_id = $1 and id = $2 returning version",
            corp_id,
            tag.id,
            tag.name,
            tag.meaning,
            tag.service_process,
            tag.ends_on,
            tag.retired,
            tag.parent_id,
            tag.sort,
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


async def set_wecom_ids(
    corp_id: str, tag_id: UUID, wecom_id: str, group_id: UUID, group_wecom_id: str, *, group_ours: bool = False
) -> None:
    """Keeps the ids WeCom gave to a tag of ours and to its group; `group_ours`: the group was made with it."""
    await db.execute(
        "update tag set wecom_id = $3, made_by_us = true where corp_id = $1 and id = $2 and wecom_id is null",
        corp_id,
        tag_id,
        wecom_id,
    )
    await db.execute(
        "update tag_group set wecom_id = $3, made_by_us = $4 where corp_id = $1 and id = $2 and wecom_id is null",
        corp_id,
        group_id,
        group_wecom_id,
        group_ours,
    )


async def rename_as_wecom(corp_id: str, tag_id: UUID, name: str, *, marked: bool = False) -> None:
    """Takes over the name a tag was given inside WeCom; `marked` where it breaks our rules."""
    await db.execute(
        "update tag set name = $3, name_marked = $4, version = version + 1 where corp_id = $1 and id = $2",
        corp_id,
        tag_id,
        name,
        marked,
    )


async def disown_tag(corp_id: str, tag_id: UUID) -> None:
    """WeCom says that a tag is another app's: from now on it is used and never edited."""
    await db.execute("update tag set made_by_us = false where corp_id = $1 and id = $2", corp_id, tag_id)


async def disown_group(corp_id: str, group_id: UUID) -> None:
    """The same of a group."""
    await db.execute(
        "update tag_group set made_by_us = false, disowned_at = now() where corp_id = $1 and id = $2", corp_id, group_id
    )


async def retire(corp_id: str, tag_id: UUID) -> None:
    """Retires a tag: it stays where it is carried and is given to nobody any more."""
    await db.execute(
        "update tag set retired_at = now(), version = version + 1 where corp_id = $1 and id = $2 and retired_at is null",
        corp_id,
        tag_id,
    )


async def deleted_tag(corp_id: str, tag_id: UUID) -> Tag | None:
    """A tag that was deleted here, for whoever has to take it out of WeCom."""
    row = await db.fetch_one(f"select {_TAG} from tag where corp_id = $1 and id = $2 and deleted_at is not null", corp_id, tag_id)
    return Tag(**row) if row else None


async def sendable(corp_id: str, wecom_ids: Collection[str]) -> dict[str, UUID]:
    """Which of these are tags of ours, but those that are held back: WeCom renamed or deleted them under our hands."""
    rows = await db.fetch(
        "select id, wecom_id from tag where corp_id = $1 and wecom_id = any($2::text[]) and deleted_at is null"
        " and wecom_name is null and wecom_missing_at is null",
        corp_id,
        list(wecom_ids),
    )
    return {row["wecom_id"]: row["id"] for row in rows}


async def held_back(corp_id: str) -> dict[UUID, tuple[str | None, datetime | None]]:
    """Tags that are not sent: by id, the name WeCom gave them, and since when WeCom has them no more."""
    rows = await db.fetch(
        "select id, wecom_name, wecom_missing_at from tag where corp_id = $1 and deleted_at is null"
        " and (wecom_name is not null or wecom_missing_at is not null)",
        corp_id,
    )
    return {row["id"]: (row["wecom_name"], row["wecom_missing_at"]) for row in rows}


async def set_held_back(corp_id: str, tag_id: UUID, wecom_name: str | None, missing_at: datetime | None) -> None:
    """Holds a tag back, or (both None) lets it go."""
    await db.execute(
        "update tag set wecom_name = $3, wecom_missing_at = $4 where corp_id = $1 and id = $2",
        corp_id,
        tag_id,
        wecom_name,
        missing_at,
    )


async def leave_wecom_group(corp_id: str, group_id: UUID) -> None:
    """Forgets a group's WeCom id with its last tag there: WeCom drops an empty group, and the next tag makes it anew."""
    await db.execute(
        "update tag_group set wecom_id = null where corp_id = $1 and id = $2 and not exists (select 1 from tag t"
        " where t.corp_id = $1 and t.group_id = $2 and t.wecom_id is not null and t.deleted_at is null)",
        corp_id,
        group_id,
    )


async def unbind(corp_id: str, tag_id: UUID, group_id: UUID) -> None:
    """Lets go of the id of a tag that WeCom lost, and of its group's where no tag is left there."""
    await db.execute(
        "update tag set wecom_id = null, wecom_name = null, wecom_missing_at = null, version = version + 1"
        " where corp_id = $1 and id = $2",
        corp_id,
        tag_id,
    )
    await db.execute(
        "update tag_group set wecom_id = null where corp_id = $1 and id = $2 and not exists (select 1 from tag t"
        " where t.corp_id = $1 and t.group_id = $2 and t.wecom_id is not null and t.wecom_missing_at is null"
        " and t.deleted_at is null)",
        corp_id,
        group_id,
    )
