"""Every query by which a given-up follow is tried again: whose line it is, putting it back, what it waits for."""

from __future__ import annotations

from uuid import UUID

from tagwarden.kernel import db, notices
from tagwarden.sync.model import DIRTY
from tagwarden.wecom.model import NO_RELATION

_AGAIN = (
    "update follow_sync set given_up = null, given_up_code = null, attempts = 0, next_try_at = null, version = version + 1,"
    " settle_at = now(), first_dirty_at = coalesce(first_dirty_at, now()),"
    " class = case when $3 then 'bulk' else class end where corp_id = $1 and dirty and given_up is not null"
)


async def follow_of_line(corp_id: str, line_id: UUID) -> UUID | None:
    """The follow that a line of the ledger is about: by its own id, or by that of a call."""
    found: UUID | None = await db.fetch_value(
        "select coalesce((select follow_id from follow_sync where corp_id = $1 and follow_id = $2),"
        " (select follow_id from wecom_call where corp_id = $1 and id = $2)) as follow_id",
        corp_id,
        line_id,
    )
    return found


async def owner_of(corp_id: str, follow_id: UUID) -> str | None:
    """Whose follow it is."""
    found: str | None = await db.fetch_value("select userid from follow where corp_id = $1 and id = $2", corp_id, follow_id)
    return found


async def retry_follow(corp_id: str, follow_id: UUID) -> bool:
    """Puts a given-up follow back into the queue."""
    row = await db.fetch_one(
        _AGAIN + " and follow_id = $2 returning true as done",
        corp_id,
        follow_id,
        False,
    )
    await notices.tell(DIRTY, corp_id)
    return row is not None


async def retry_now_that_related(corp_id: str, userid: str, external_userid: str) -> bool:
    """Puts back what was given up because the customer had not confirmed the employee: he has now."""
    row = await db.fetch_one(
        _AGAIN
        + " and given_up_code = any($2::integer[]) and follow_id in (select id from follow where corp_id = $1 and userid = $4"
        " and external_userid = $5 and ended_at is null) returning true as done",
        corp_id,
        sorted(NO_RELATION),
        False,
        userid,
        external_userid,
    )
    await notices.tell(DIRTY, corp_id)
    return row is not None


async def retry_follows(corp_id: str, code: int | None, limit: int) -> list[UUID]:
    """Puts follows that were given up with this code (None: any) back, at a batch's pace."""
    rows = await db.fetch(
        _AGAIN + " and follow_id in (select follow_id from follow_sync where corp_id = $1 and dirty and given_up is not null"
        " and ($2::integer is null or given_up_code = $2) order by follow_id limit $4 for update) returning follow_id",
        corp_id,
        code,
        True,
        limit,
    )
    await notices.tell(DIRTY, corp_id)
    return sorted(row["follow_id"] for row in rows)


async def count_given_up(corp_id: str, code: int | None) -> int:
    """Follows that are given up with this code, or with any."""
    return int(
        await db.fetch_value(
            "select count(*) from follow_sync where corp_id = $1 and dirty and given_up is not null"
            " and ($2::integer is null or given_up_code = $2)",
            corp_id,
            code,
        )
    )


async def tags_waited_for(corp_id: str, follow_id: UUID) -> list[UUID]:
    """Tags a follow carries that WeCom does not know yet."""
    rows = await db.fetch(
        "select a.tag_id from assignment a join tag t on t.corp_id = a.corp_id and t.id = a.tag_id and t.wecom_id is null"
        " where a.corp_id = $1 and a.follow_id = $2 and a.ended_at is null order by a.tag_id",
        corp_id,
        follow_id,
    )
    return [row["tag_id"] for row in rows]
