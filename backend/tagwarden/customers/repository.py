"""Every query of the room."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from tagwarden.customers.model import ContactSeen, Follow
from tagwarden.customers.tables import Customer
from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id

_FOLLOW = "id, userid, external_userid, since, ended_at"


def _follow(row: db.Row) -> Follow:
    return Follow(row["id"], row["userid"], row["external_userid"], row["since"], row["ended_at"])


async def customer(corp_id: str, external_userid: str) -> db.Row | None:
    """One customer of this corp."""
    return await (
        Customer.select(Customer.external_userid, Customer.name, Customer.type, Customer.corp_name)
        .where((Customer.corp_id == corp_id) & (Customer.external_userid == external_userid))
        .first()
    )


async def open_follows(corp_id: str, external_userid: str) -> list[Follow]:
    """Who follows the customer now, oldest first."""
    rows = await db.fetch(
        f"select {_FOLLOW} from follow where corp_id = $1 and external_userid = $2 and ended_at is null order by since, id",
        corp_id,
        external_userid,
    )
    return [_follow(row) for row in rows]


async def lock_follows(corp_id: str, follow_ids: Sequence[UUID]) -> list[Follow]:
    """The open ones of these follows, locked in the order of their ids until the transaction ends."""
    rows = await db.fetch(
        f"select {_FOLLOW} from follow where corp_id = $1 and id = any($2::uuid[]) and ended_at is null order by id for update",
        corp_id,
        list(follow_ids),
    )
    return [_follow(row) for row in rows]


async def mirror_contacts(corp_id: str, seen: Sequence[ContactSeen]) -> dict[tuple[str, str], UUID]:
    """Upserts customers and opens follows; returns the follow id of every (userid, external_userid) seen."""
    customers = {one.external_userid: one for one in seen}
    await db.execute(
        "insert into customer (corp_id, external_userid, name, type, corp_name, updated_at)"
        " select $1, e, n, t, c, now() from unnest($2::text[], $3::text[], $4::smallint[], $5::text[]) as s (e, n, t, c)"
        " on conflict (corp_id, external_userid) do update set name = excluded.name, type = excluded.type,"
        " corp_name = excluded.corp_name, updated_at = excluded.updated_at"
        " where (customer.name, customer.type, customer.corp_name)"
        " is distinct from (excluded.name, excluded.type, excluded.corp_name)",
        corp_id,
        *db.columns([(one.external_userid, one.name, one.type, one.corp_name) for one in customers.values()], 4),
    )
    rows = [(new_id(), one.userid, one.external_userid, one.since) for one in seen]
    await db.execute(
        "insert into follow (corp_id, id, userid, external_userid, since)"
        " select $1, * from unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[])"
        " on conflict (corp_id, userid, external_userid) where ended_at is null do nothing",
        corp_id,
        *db.columns(rows, 4),
    )
    found = await db.fetch(
        "select id, userid, external_userid from follow where corp_id = $1 and external_userid = any($2::text[])"
        " and ended_at is null",
        corp_id,
        list(customers),
    )
    return {(row["userid"], row["external_userid"]): row["id"] for row in found}


async def end_missing_follows(corp_id: str, userids: Sequence[str], seen: Sequence[UUID], reason: str) -> int:
    """Ends open follows of these employees that a complete listing did not show; returns how many."""
    rows = await db.fetch(
        "update follow set ended_at = now(), ended_reason = $4 where corp_id = $1 and userid = any($2::text[])"
        " and ended_at is null and id <> all($3::uuid[]) returning id",
        corp_id,
        list(userids),
        list(seen),
        reason,
    )
    return len(rows)
