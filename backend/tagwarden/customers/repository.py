"""Every query of the room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from tagwarden.customers.model import ContactSeen, Follow, Label
from tagwarden.customers.tables import Customer
from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id
from tagwarden.kernel.shared_read import SharedRead

Pair = tuple[str, str]
_FOLLOW = "id, userid, external_userid, since, ended_at, customer_left_at"


def _follow(row: db.Row) -> Follow:
    return Follow(row["id"], row["userid"], row["external_userid"], row["since"], row["ended_at"], row["customer_left_at"])


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


async def owners_of_follows(corp_id: str, follow_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Whose follows these are or were."""
    rows = await db.fetch(
        "select id, userid from follow where corp_id = $1 and id = any($2::uuid[])", corp_id, list(dict.fromkeys(follow_ids))
    )
    return {row["id"]: row["userid"] for row in rows}


async def owners_of(corp_id: str, customers: Sequence[str]) -> dict[str, list[str]]:
    """Who follows each of these customers now, oldest first, in one query; customers nobody follows are not in it."""
    rows = await db.fetch(
        "select external_userid, array_agg(userid order by since, id) as owners from follow"
        " where corp_id = $1 and external_userid = any($2::text[]) and ended_at is null group by external_userid",
        corp_id,
        list(customers),
    )
    return {row["external_userid"]: row["owners"] for row in rows}


async def _owners_of_many(keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for corp_id in dict.fromkeys(corp_id for corp_id, _ in keys):
        owners = await owners_of(corp_id, [customer for corp, customer in keys if corp == corp_id])
        found.update(((corp_id, customer), userids) for customer, userids in owners.items())
    return found


_owners = SharedRead(_owners_of_many)


async def owners_now(corp_id: str, external_userid: str) -> list[str]:
    """Who follows the customer, oldest first, by a read that starts after this call and that many callers share."""
    return await _owners((corp_id, external_userid)) or []


async def lock_follows(corp_id: str, follow_ids: Sequence[UUID]) -> list[Follow]:
    """The open ones of these follows, locked in the order of their ids until the transaction ends."""
    rows = await db.fetch(
        f"select {_FOLLOW} from follow where corp_id = $1 and id = any($2::uuid[]) and ended_at is null order by id for update",
        corp_id,
        list(follow_ids),
    )
    return [_follow(row) for row in rows]


async def mirror_contacts(corp_id: str, seen: Sequence[ContactSeen], standing: Mapping[Pair, UUID]) -> dict[Pair, UUID]:
    """Upserts customers and opens follows but those in `standing`; returns the id of every (userid, external_userid) seen.

    What is as it was is not touched, and not locked either.
    """
    customers = {one.external_userid: one for one in seen}
    await db.execute(
        "insert into customer (corp_id, external_userid, name, type, corp_name, updated_at)"
        " select $1, e, n, t, c, now() from unnest($2::text[], $3::text[], $4::smallint[], $5::text[]) as s (e, n, t, c)"
        " where not exists (select 1 from customer k where k.corp_id = $1 and k.external_userid = e and k.name = n"
        "  and k.type = t and k.corp_name is not distinct from c offset 0) order by e"
        " on conflict (corp_id, external_userid) do update set name = excluded.name, type = excluded.type,"
        " corp_name = excluded.corp_name, updated_at = excluded.updated_at",
        corp_id,
        *db.columns([(one.external_userid, one.name, one.type, one.corp_name) for one in customers.values()], 4),
    )
    found = {pair: standing[pair] for one in seen if (pair := (one.userid, one.external_userid)) in standing}
    new = {pair: one for one in seen if (pair := (one.userid, one.external_userid)) not in standing}
    if new:
        await _open_follows(corp_id, [new[pair] for pair in sorted(new)])
        found |= {(follow.userid, follow.external_userid): follow.id for follow in await open_pairs(corp_id, list(new))}
    return found


async def _open_follows(corp_id: str, seen: Sequence[ContactSeen]) -> None:
    rows = [(new_id(), one.userid, one.external_userid, one.since) for one in seen]
    await db.execute(
        "insert into follow (corp_id, id, userid, external_userid, since)"
        " select $1, * from unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[])"
        " on conflict (corp_id, userid, external_userid) where ended_at is null do nothing",
        corp_id,
        *db.columns(rows, 4),
    )


async def open_pairs(corp_id: str, pairs: Sequence[tuple[str, str]]) -> list[Follow]:
    """The open follows among these (userid, external_userid)."""
    rows = await db.fetch(  # lateral: a plan made while there were few follows must not read them all for ever
        f"select {_FOLLOW} from (select distinct u, e from unnest($2::text[], $3::text[]) as s (u, e)) asked cross join lateral"
        f" (select {_FOLLOW} from follow where corp_id = $1 and userid = u and external_userid = e and ended_at is null"
        "  offset 0) found",
        corp_id,
        *db.columns(pairs, 2),
    )
    return [_follow(row) for row in rows]


async def end_missing_follows(corp_id: str, userids: Sequence[str], seen: Sequence[UUID], reason: str) -> int:
    """Ends open follows of these employees that a complete listing did not show; returns how many."""
    rows = await db.fetch(
        "select id from follow where corp_id = $1 and userid = any($2::text[]) and ended_at is null and id <> all($3::uuid[])",
        corp_id,
        list(userids),
        list(seen),
    )
    return await end_follows(corp_id, [row["id"] for row in rows], reason)


async def end_follows(corp_id: str, follow_ids: Sequence[UUID], reason: str) -> int:
    """Ends open follows; returns how many. Their marks stay untouched and stop counting."""
    rows = await db.fetch(
        "update follow set ended_at = now(), ended_reason = $3 where corp_id = $1 and id = any($2::uuid[])"
        " and ended_at is null returning id",
        corp_id,
        list(follow_ids),
        reason,
    )
    return len(rows)


async def set_customer_left(corp_id: str, userid: str, external_userid: str, moment: datetime | None) -> None:
    """Notes that the customer deleted the employee at `moment`, unless the follow began after it; None: came back."""
    await db.execute(
        "update follow set customer_left_at = $4 where corp_id = $1 and userid = $2 and external_userid = $3"
        " and ended_at is null and ($4::timestamptz is null or since < $4) and customer_left_at is distinct from $4",
        corp_id,
        userid,
        external_userid,
        moment,
    )


async def put_labels(
    corp_id: str, rows: Sequence[tuple[UUID, Label]], whole: Sequence[UUID], listed: Sequence[UUID] = ()
) -> None:
    """Keeps labels of follows; of those in `whole` exactly these, of those `listed` exactly these strategy tags."""
    await db.execute("delete from follow_label where corp_id = $1 and follow_id = any($2::uuid[])", corp_id, list(whole))
    table = [(follow_id, one.kind, one.wecom_id, one.group_name, one.name) for follow_id, one in rows]
    await db.execute(
        "delete from follow_label where corp_id = $1 and follow_id = any($2::uuid[]) and kind = 'strategy'"
        " and (follow_id, wecom_id) not in (select f, i from unnest($3::uuid[], $4::text[]) as s (f, i))",
        corp_id,
        list(listed),
        *db.columns([(row[0], row[2]) for row in table], 2),
    )
    named = "exists (select 1 from follow_label l where l.corp_id = $1 and l.follow_id = s.f and l.wecom_id = s.i and s.i <> '')"
    await db.execute(
        "insert into follow_label (corp_id, follow_id, kind, wecom_id, group_name, name) select $1, s.* from"
        f" unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[]) as s (f, k, i, g, n) where not {named}"
        " on conflict do nothing",
        corp_id,
        *db.columns(table, 5),
    )


async def drop_labels_of(corp_id: str, wecom_ids: Sequence[str]) -> None:
    """Tags that were taken for strategy tags until the library showed them."""
    await db.execute(
        "delete from follow_label where corp_id = $1 and kind = 'strategy' and wecom_id = any($2::text[])",
        corp_id,
        list(wecom_ids),
    )


async def count_strategy_tags(corp_id: str) -> int:
    """How many different strategy tags stand on customers; leaps from one to the next, however many carry it."""
    return int(
        await db.fetch_value(
            "with recursive ids as ((select min(wecom_id) as id from follow_label where corp_id = $1 and kind = 'strategy')"
            " union all select (select min(wecom_id) from follow_label where corp_id = $1 and kind = 'strategy'"
            "  and wecom_id > ids.id) from ids where ids.id is not null)"
            " select count(*) as tags from ids where id is not null and exists (select 1 from follow_label l join follow f"
            "  on f.corp_id = l.corp_id and f.id = l.follow_id and f.ended_at is null"
            "  where l.corp_id = $1 and l.kind = 'strategy' and l.wecom_id = ids.id)",
            corp_id,
        )
    )
