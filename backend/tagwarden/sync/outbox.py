"""Every query over the tag library's outbox: tags and groups on their way to WeCom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from tagwarden.kernel import clock, db, notices
from tagwarden.sync.model import DIRTY, LEASE
from tagwarden.wecom.model import CallClass, code_at_head

LEDGER_LOOKED_AT = timedelta(hours=1)
"""A library is read and written within the hour; older calls say nothing about it."""

PUT_BACK_AT_MOST = 3
"""Tries to put a thing back where nobody tells that it was moved: a WeCom that keeps no places is not told for ever."""


class Piece(StrEnum):
    """What of the library is on its way: its table and its key."""

    TAG = "tag"
    GROUP = "group"

    @property
    def table(self) -> str:
        return "library_sync" if self is Piece.TAG else "library_group_sync"

    @property
    def key(self) -> str:
        return "tag_id" if self is Piece.TAG else "group_id"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claimed tag or group of the library's outbox."""

    piece: Piece
    id: UUID
    version: int
    attempts: int
    lease: datetime
    bulk: bool
    claimed: bool

    @property
    def call_class(self) -> CallClass:
        return CallClass.BULK if self.bulk else CallClass.INTERACTIVE

    @property
    def tag_id(self) -> UUID:
        return self.id


async def mark_library_dirty(corp_id: str, tag_id: UUID) -> None:
    """Notes that a tag's place in WeCom's library must follow."""
    await _mark(corp_id, Piece.TAG, tag_id)


async def mark_group_dirty(corp_id: str, group_id: UUID) -> None:
    """The same of a group's name and place."""
    await _mark(corp_id, Piece.GROUP, group_id)


async def mark_claimed(corp_id: str, piece: Piece, id_: UUID) -> None:
    """Notes that WeCom is to be asked whether this app made it."""
    await _mark(corp_id, piece, id_)
    await db.execute(f"update {piece.table} set claimed = true where corp_id = $1 and {piece.key} = $2", corp_id, id_)


async def _mark(corp_id: str, piece: Piece, id_: UUID) -> None:
    await db.execute(
        f"insert into {piece.table} as s (corp_id, {piece.key}, dirty_at) values ($1, $2, now()) on conflict ({piece.key})"
        " do update set dirty = true, version = s.version + 1, given_up = null, given_up_code = null, attempts = 0,"
        " next_try_at = null, bulk = false, put_back = 0,"
        " dirty_at = case when s.dirty then coalesce(s.dirty_at, now()) else now() end",
        corp_id,
        id_,
    )
    await notices.tell(DIRTY, corp_id)


async def put_back(corp_id: str, piece: Piece, ids: Sequence[UUID], *, told_anew: bool) -> list[UUID]:
    """Sends places of ours that WeCom shows otherwise once more, behind everything else; returns those that go.

    Not what went so PUT_BACK_AT_MOST times in a row and is still elsewhere, unless WeCom told that somebody moved it.
    """
    rows = await db.fetch(
        f"insert into {piece.table} as s (corp_id, {piece.key}, dirty_at, bulk, put_back)"
        f" select $1, t, now(), true, 1 from unnest($2::uuid[]) t order by t on conflict ({piece.key}) do update set"
        " dirty = true, bulk = true, version = s.version + 1, given_up = null, given_up_code = null, attempts = 0,"
        " next_try_at = null, dirty_at = now(), put_back = case when $4 then 1 else s.put_back + 1 end"
        f" where not s.dirty and ($4 or s.put_back < $3) returning {piece.key} as id",
        corp_id,
        list(ids),
        PUT_BACK_AT_MOST,
        told_anew,
    )
    if rows:
        await notices.tell(DIRTY, corp_id)
    return [row["id"] for row in rows]


async def in_place(corp_id: str, piece: Piece, ids: Sequence[UUID]) -> None:
    """WeCom shows these where they belong."""
    await db.execute(
        f"update {piece.table} set put_back = 0 where corp_id = $1 and {piece.key} = any($2::uuid[]) and put_back > 0",
        corp_id,
        list(ids),
    )


async def need_in_library(corp_id: str, tag_ids: Sequence[UUID]) -> dict[UUID, str | None]:
    """Puts tags without a WeCom id into the outbox unless they are there; says why where one was given up."""
    await db.execute(
        "insert into library_sync (corp_id, tag_id, dirty_at) select $1, t, now() from unnest($2::uuid[]) t order by t"
        " on conflict (tag_id) do update set dirty = true, version = library_sync.version + 1, given_up = null,"
        " given_up_code = null, attempts = 0, next_try_at = null, bulk = false, dirty_at = now()"
        " where not library_sync.dirty or library_sync.bulk",
        corp_id,
        list(tag_ids),
    )
    rows = await db.fetch(
        "select s.tag_id, t.name || ': ' || s.given_up as problem from library_sync s"
        " join tag t on t.corp_id = s.corp_id and t.id = s.tag_id where s.corp_id = $1 and s.tag_id = any($2::uuid[])",
        corp_id,
        list(tag_ids),
    )
    return {row["tag_id"]: row["problem"] for row in rows}


async def claim_tag(corp_id: str, *, bulk: bool = False) -> Claimed | None:
    """Leases the oldest tag of the library's outbox that is due, one at a time in a corp; None while sending is paused.

    Two tags of one new group must not make it twice. Whoever else claims waits for the row and then sees its lease.
    Places that are put back (`bulk`) are known to WeCom, keep nobody waiting and wait for all else of the library.
    """
    return await _claim(corp_id, Piece.TAG, Piece.GROUP, bulk)


async def claim_group(corp_id: str, *, bulk: bool = False) -> Claimed | None:
    """The same for a group; it waits for a tag under way, which may be making the group."""
    return await _claim(corp_id, Piece.GROUP, Piece.TAG, bulk)


async def _claim(corp_id: str, piece: Piece, other: Piece, bulk: bool) -> Claimed | None:
    row = await db.fetch_one(
        f"with picked as (select {piece.key} as id, leased_until, next_try_at from {piece.table} where corp_id = $1 and dirty"
        " and given_up is null and bulk = $3 order by coalesce(leased_until, '-infinity') >= now() desc,"
        f" coalesce(next_try_at, '-infinity') <= now() desc, {piece.key} limit 1 for update)"
        f" update {piece.table} s set leased_until = now() + $2::interval from picked where s.{piece.key} = picked.id"
        " and coalesce(picked.leased_until, '-infinity') < now() and coalesce(picked.next_try_at, '-infinity') <= now()"
        f" and not exists (select 1 from {other.table} where corp_id = $1 and leased_until >= now() and ($3 or not bulk))"
        " and not exists (select 1 from wecom_pause where corp_id = $1 and paused)"
        f" returning s.{piece.key} as id, s.version, s.attempts, s.leased_until as lease, s.bulk, s.claimed",
        corp_id,
        LEASE,
        bulk,
    )
    return Claimed(piece, **row) if row else None


async def settle(corp_id: str, claimed: Claimed) -> None:
    """The library holds the tag or group as it was at the claimed version."""
    await db.execute(
        f"update {claimed.piece.table} set leased_until = null, attempts = 0, next_try_at = null, dirty = version <> $4,"
        " claimed = claimed and version <> $4"
        f" where corp_id = $1 and {claimed.piece.key} = $2 and leased_until = $3",
        corp_id,
        claimed.id,
        claimed.lease,
        claimed.version,
    )


async def postpone(corp_id: str, claimed: Claimed, wait: timedelta, given_up: str | None = None, *, counted: bool = True) -> None:
    """Tries again later, or stops with a reason unless it was edited meanwhile."""
    await db.execute(
        f"update {claimed.piece.table} set leased_until = null, attempts = attempts + $5, next_try_at = now() + $4::interval,"
        " given_up = case when version = $7 then $6 end, given_up_code = case when version = $7 then $8::integer end"
        f" where corp_id = $1 and {claimed.piece.key} = $2 and leased_until = $3",
        corp_id,
        claimed.id,
        claimed.lease,
        wait,
        int(counted),
        given_up,
        claimed.version,
        code_at_head(given_up) if given_up else None,
    )


async def retry(corp_id: str, id_: UUID) -> bool:
    """Puts a given-up tag or group back into the outbox; false where there is none of this id."""
    return any([await _again(corp_id, piece, f"{piece.key} = $2", id_) for piece in Piece])


async def retry_all(corp_id: str, code: int | None) -> int:
    """The same of all that were given up with this code (None: any); returns how many."""
    wanted = "($2::integer is null or given_up_code = $2)"
    return sum([await _again(corp_id, piece, wanted, code) for piece in Piece])


async def _again(corp_id: str, piece: Piece, wanted: str, value: UUID | int | None) -> int:
    rows = await db.fetch(
        f"update {piece.table} set given_up = null, given_up_code = null, attempts = 0, next_try_at = null, version = version + 1"
        f" where corp_id = $1 and dirty and given_up is not null and {wanted} returning {piece.key}",
        corp_id,
        value,
    )
    await notices.tell(DIRTY, corp_id)
    return len(rows)


async def library_waiting(corp_id: str) -> list[db.Row]:
    """Tags on their way to WeCom's library."""
    return await db.fetch(
        "select s.tag_id, t.name, s.attempts, s.next_try_at, s.given_up from library_sync s"
        " join tag t on t.corp_id = s.corp_id and t.id = s.tag_id where s.corp_id = $1 and s.dirty order by s.tag_id",
        corp_id,
    )


async def groups_waiting(corp_id: str) -> list[db.Row]:
    """Groups whose name or place is on its way to WeCom's library."""
    return await db.fetch(
        "select s.group_id, g.name, s.attempts, s.next_try_at, s.given_up from library_group_sync s"
        " join tag_group g on g.corp_id = s.corp_id and g.id = s.group_id where s.corp_id = $1 and s.dirty order by s.group_id",
        corp_id,
    )


async def places(corp_id: str, piece: Piece, id_: UUID) -> db.Row | None:
    """The place of a tag with that of its group, or of a group: bigger sorts first, as in WeCom."""
    if piece is Piece.GROUP:
        return await db.fetch_one("select sort from tag_group where corp_id = $1 and id = $2", corp_id, id_)
    return await db.fetch_one(
        "select t.sort, g.sort as group_sort from tag t join tag_group g on g.corp_id = t.corp_id and g.id = t.group_id"
        " where t.corp_id = $1 and t.id = $2",
        corp_id,
        id_,
    )


async def named_by_us(corp_id: str, read_at: datetime | None) -> set[UUID]:
    """Tags and groups whose name or place is on its way to WeCom, or got there after the library was read at `read_at`.

    What was given up because another app made it is on no way any more.
    """
    rows = await db.fetch(
        "select s.tag_id as id from library_sync s join tag t on t.corp_id = s.corp_id and t.id = s.tag_id"
        " where s.corp_id = $1 and s.dirty and (s.given_up is null or t.made_by_us or t.wecom_id is null) union"
        " select s.group_id from library_group_sync s join tag_group g on g.corp_id = s.corp_id and g.id = s.group_id"
        " where s.corp_id = $1 and s.dirty and (s.given_up is null or g.made_by_us or g.wecom_id is null) union"
        " select o.id from wecom_call c join (select id, wecom_id from tag where corp_id = $1"
        "  union all select id, wecom_id from tag_group where corp_id = $1) o on o.wecom_id = c.subject"
        " where c.corp_id = $1 and c.id > $3 and c.api = 'externalcontact/edit_corp_tag'"
        " and coalesce(c.answered_at, c.sent_at + interval '1 minute') >= $2",
        corp_id,
        read_at or clock.now(),
        _oldest_id(clock.now() - LEDGER_LOOKED_AT),
    )
    return {row["id"] for row in rows}


async def made_since(corp_id: str, read_at: datetime | None) -> bool:
    """Whether a tag of ours may have been made in WeCom after the library was read at `read_at`."""
    return bool(
        await db.fetch_value(
            "select exists (select 1 from wecom_call c where c.corp_id = $1 and c.id > $3"
            " and c.api = 'externalcontact/add_corp_tag' and coalesce(c.answered_at, c.sent_at + interval '1 minute') >= $2)"
            " as made",
            corp_id,
            read_at or clock.now(),
            _oldest_id(clock.now() - LEDGER_LOOKED_AT),
        )
    )


def _oldest_id(moment: datetime) -> UUID:
    # A UUIDv7 begins with 48 bits of milliseconds (RFC 9562): a bound on ids spares the index the whole history.
    return UUID(int=int(moment.timestamp() * 1000) << 80)
