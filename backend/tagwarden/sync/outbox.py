"""Every query over the tag library's outbox: tags on their way to WeCom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from tagwarden.kernel import clock, db, notices
from tagwarden.sync.model import DIRTY, LEASE

LEDGER_LOOKED_AT = timedelta(hours=1)
"""A library is read and written within the hour; older calls say nothing about it."""


@dataclass(frozen=True, slots=True)
class LibraryTag:
    """A claimed tag of the library's outbox."""

    tag_id: UUID
    version: int
    attempts: int
    lease: datetime


async def mark_library_dirty(corp_id: str, tag_id: UUID) -> None:
    """Notes that a tag's place in WeCom's library must follow."""
    await db.execute(
        "insert into library_sync (corp_id, tag_id) values ($1, $2) on conflict (tag_id) do update set dirty = true,"
        " version = library_sync.version + 1, given_up = null, attempts = 0, next_try_at = null",
        corp_id,
        tag_id,
    )
    await notices.tell(DIRTY, corp_id)


async def need_in_library(corp_id: str, tag_ids: Sequence[UUID]) -> dict[UUID, str | None]:
    """Puts tags without a WeCom id into the outbox unless they are there; says why where one was given up."""
    await db.execute(
        "insert into library_sync (corp_id, tag_id) select $1, t from unnest($2::uuid[]) t order by t"
        " on conflict (tag_id) do update set dirty = true, version = library_sync.version + 1, given_up = null, attempts = 0,"
        " next_try_at = null where not library_sync.dirty",
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


async def claim_tag(corp_id: str) -> LibraryTag | None:
    """Leases the oldest tag of the library's outbox that is due, one at a time in a corp.

    Two tags of one new group must not make it twice. Whoever else claims waits for the row and then sees its lease.
    """
    row = await db.fetch_one(
        "with picked as (select tag_id, leased_until, next_try_at from library_sync where corp_id = $1 and dirty"
        " and given_up is null order by coalesce(leased_until, '-infinity') >= now() desc,"
        " coalesce(next_try_at, '-infinity') <= now() desc, tag_id limit 1 for update)"
        " update library_sync s set leased_until = now() + $2::interval from picked where s.tag_id = picked.tag_id"
        " and coalesce(picked.leased_until, '-infinity') < now() and coalesce(picked.next_try_at, '-infinity') <= now()"
        " returning s.tag_id, s.version, s.attempts, s.leased_until as lease",
        corp_id,
        LEASE,
    )
    return LibraryTag(**row) if row else None


async def settle_tag(corp_id: str, claimed: LibraryTag) -> None:
    """The library holds the tag as it was at the claimed version."""
    await db.execute(
        "update library_sync set leased_until = null, attempts = 0, next_try_at = null, dirty = version <> $4"
        " where corp_id = $1 and tag_id = $2 and leased_until = $3",
        corp_id,
        claimed.tag_id,
        claimed.lease,
        claimed.version,
    )


async def postpone_tag(
    corp_id: str, claimed: LibraryTag, wait: timedelta, given_up: str | None = None, *, counted: bool = True
) -> None:
    """Tries again later, or stops with a reason unless the tag was edited meanwhile."""
    await db.execute(
        "update library_sync set leased_until = null, attempts = attempts + $5, next_try_at = now() + $4::interval,"
        " given_up = case when version = $7 then $6 end where corp_id = $1 and tag_id = $2 and leased_until = $3",
        corp_id,
        claimed.tag_id,
        claimed.lease,
        wait,
        int(counted),
        given_up,
        claimed.version,
    )


async def library_waiting(corp_id: str) -> list[db.Row]:
    """Tags on their way to WeCom's library."""
    return await db.fetch(
        "select s.tag_id, t.name, s.attempts, s.next_try_at, s.given_up from library_sync s"
        " join tag t on t.corp_id = s.corp_id and t.id = s.tag_id where s.corp_id = $1 and s.dirty order by s.tag_id",
        corp_id,
    )


async def named_by_us(corp_id: str, read_at: datetime | None) -> set[UUID]:
    """Tags whose name is on its way to WeCom, or got there after the library was read at `read_at`."""
    rows = await db.fetch(
        "select tag_id from library_sync where corp_id = $1 and dirty union"
        " select t.id from wecom_call c join tag t on t.corp_id = c.corp_id and t.wecom_id = c.subject"
        " where c.corp_id = $1 and c.id > $3 and c.api = 'externalcontact/edit_corp_tag'"
        " and coalesce(c.answered_at, c.sent_at + interval '1 minute') >= $2",
        corp_id,
        read_at or clock.now(),
        _oldest_id(clock.now() - LEDGER_LOOKED_AT),
    )
    return {row["tag_id"] for row in rows}


def _oldest_id(moment: datetime) -> UUID:
    # A UUIDv7 begins with 48 bits of milliseconds (RFC 9562): a bound on ids spares the index the whole history.
    return UUID(int=int(moment.timestamp() * 1000) << 80)
