"""Reads of the ledger that join rooms: what waits or was given up, and every call made. Who may see which line is a filter.

`owners` None stands for a reader of everything; a list, for one who sees the follows of these people and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tagwarden.kernel import db

WAITING, GIVEN_UP = "waiting", "given_up"
MARK_TAG = "externalcontact/mark_tag"


@dataclass(frozen=True, slots=True)
class Filter:
    """What somebody wants to see; None leaves a column open."""

    owners: Sequence[str] | None = None
    follow_id: UUID | None = None
    external_userid: str | None = None
    userid: str | None = None
    api: str | None = None
    code: int | None = None
    since: datetime | None = None


_FOLLOWS = (
    "select 'follow' as what, s.follow_id as id, s.follow_id, f.userid, f.external_userid, null::text as subject,"
    f" '{MARK_TAG}' as api, coalesce(s.first_dirty_at, to_timestamp(0)) as since, s.attempts, s.next_try_at,"
    " coalesce(s.leased_until > now(), false) as under_way, s.given_up, s.given_up_code"
    " from follow_sync s join follow f on f.corp_id = s.corp_id and f.id = s.follow_id where s.corp_id = $1 and s.dirty"
)
_TAGS = (
    "select 'tag', s.tag_id, null::uuid, null, null, t.name,"
    " case when t.wecom_id is null then 'externalcontact/add_corp_tag' when t.deleted_at is not null"
    "  then 'externalcontact/del_corp_tag' else 'externalcontact/edit_corp_tag' end,"
    " coalesce(s.dirty_at, to_timestamp(0)), s.attempts, s.next_try_at, coalesce(s.leased_until > now(), false), s.given_up,"
    " s.given_up_code from library_sync s join tag t on t.corp_id = s.corp_id and t.id = s.tag_id"
    " where s.corp_id = $1 and s.dirty"
)
_GROUPS = (
    "select 'tag_group', s.group_id, null::uuid, null, null, g.name, 'externalcontact/edit_corp_tag',"
    " coalesce(s.dirty_at, to_timestamp(0)), s.attempts, s.next_try_at, coalesce(s.leased_until > now(), false), s.given_up,"
    " s.given_up_code from library_group_sync s join tag_group g on g.corp_id = s.corp_id and g.id = s.group_id"
    " where s.corp_id = $1 and s.dirty"
)
_CARDS = (
    "select 'card', s.id, null::uuid, s.userid, null, s.task_id,"
    " case when s.state = 'closing' then 'message/update_template_card' else 'message/send' end, s.created_at, s.attempts,"
    " s.next_try_at, coalesce(s.leased_until > now(), false), s.given_up, s.given_up_code from approval_card s"
    " where s.corp_id = $1 and s.state in ('waiting', 'closing', 'given_up')"
)


async def unsent(
    corp_id: str, wanted: Filter, *, given_up: bool, after: tuple[datetime, UUID] | None, limit: int
) -> list[db.Row]:
    """What waits, or with `given_up` what is not tried any more, the oldest first."""
    return await db.fetch(
        f"select * from ({_FOLLOWS} union all {_TAGS} union all {_GROUPS} union all {_CARDS}) w"
        " where (given_up is not null) = $2 and ($3::text[] is null or (what = 'follow' and userid = any($3)))"
        " and ($4::uuid is null or follow_id = $4) and ($5::text is null or external_userid = $5)"
        " and ($6::text is null or userid = $6) and ($7::text is null or api = $7)"
        " and ($8::integer is null or given_up_code = $8) and ($9::timestamptz is null or since >= $9)"
        " and ($10::timestamptz is null or (since, id) > ($10, $11::uuid))"
        " order by since, id limit $12",
        corp_id,
        given_up,
        list(wanted.owners) if wanted.owners is not None else None,
        wanted.follow_id,
        wanted.external_userid,
        wanted.userid,
        wanted.api,
        wanted.code,
        wanted.since,
        after[0] if after else None,
        after[1] if after else None,
        limit,
    )


async def calls(corp_id: str, wanted: Filter, *, state: str | None, before: UUID | None, limit: int) -> list[db.Row]:
    """Calls, the newest first; the next try of a follow is told on its newest call.

    Only what is asked for stands in the statement: the planner can walk the newest calls, or begin with a few follows.
    """
    args: list[object] = [corp_id, limit]

    def given(value: object, kind: str) -> str:
        args.append(value)
        return f"${len(args)}::{kind}"

    asked: dict[str, tuple[object, str]] = {
        "id <": (before, "uuid"),
        "state =": (state, "text"),
        "follow_id =": (wanted.follow_id, "uuid"),
        "api =": (wanted.api, "text"),
        "code =": (wanted.code, "integer"),
        "sent_at >=": (wanted.since, "timestamptz"),
    }
    where = [f"{column} {given(value, kind)}" for column, (value, kind) in asked.items() if value is not None]
    about = {"external_userid =": (wanted.external_userid, "text"), "userid =": (wanted.userid, "text")}
    follows = [f"o.{column} {given(value, kind)}" for column, (value, kind) in about.items() if value is not None]
    if wanted.owners is not None:
        follows.append(f"o.userid = any({given(list(wanted.owners), 'text[]')})")
    if follows:
        where.append(f"follow_id in (select o.id from follow o where o.corp_id = $1 and {' and '.join(follows)})")
    return await db.fetch(
        "select c.id, c.follow_id, f.userid, f.external_userid, c.subject, c.api, c.sent_at as since, c.attempt, c.state, c.code,"
        " c.message, c.add_tags, c.remove_tags, c.answered_at, s.next_try_at from"
        f" (select * from wecom_call where corp_id = $1{''.join(f' and {one}' for one in where)} order by id desc limit $2) c"
        " left join follow f on f.corp_id = $1 and f.id = c.follow_id"
        " left join follow_sync s on s.corp_id = $1 and s.follow_id = c.follow_id and s.dirty and s.given_up is null"
        "  and not exists (select 1 from wecom_call n where n.corp_id = $1 and n.follow_id = c.follow_id and n.id > c.id)"
        " order by c.id desc",
        *args,
    )


async def count_unsent(corp_id: str, owners: Sequence[str] | None) -> tuple[int, int]:
    """How many follows of these people wait, and how many were given up."""
    row = await db.fetch_one(
        "select count(*) filter (where s.given_up is null) as waiting, count(s.given_up) as given_up from follow_sync s"
        " join follow f on f.corp_id = s.corp_id and f.id = s.follow_id"
        " where s.corp_id = $1 and s.dirty and ($2::text[] is null or f.userid = any($2))",
        corp_id,
        list(owners) if owners is not None else None,
    )
    return (row["waiting"], row["given_up"]) if row else (0, 0)


async def group_of_wecom_tags(corp_id: str, wecom_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Id and kind of the group of each WeCom tag id that we know, deleted ones included."""
    rows = await db.fetch(
        "select t.wecom_id, g.id, g.kind from tag t join tag_group g on g.corp_id = t.corp_id and g.id = t.group_id"
        " where t.corp_id = $1 and t.wecom_id = any($2::text[])",
        corp_id,
        list(wecom_ids),
    )
    return {row["wecom_id"]: (str(row["id"]), row["kind"]) for row in rows}
