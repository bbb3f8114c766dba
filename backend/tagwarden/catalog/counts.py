"""How many open follows carry a tag. The database keeps the figures (`migrations/sql/0011_catalog.sql`); reads only.

`unbacked` are marks that no two people signed for: in a value group they are "not confirmed", elsewhere they mean
nothing. A count names no customer, so whoever sees the group sees it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from tagwarden.catalog.model import Tag, TagGroup
from tagwarden.kernel import db
from tagwarden.policy.model import Kind

FOLD_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Count:
    carried: int = 0
    unbacked: int = 0


NONE = Count()
Counts = dict[UUID, Count]


async def by_tag(corp_id: str, tag_ids: Iterable[UUID] | None = None) -> Counts:
    """Every tag's count, or those of these tags; sums and what is not folded yet in one statement."""
    wanted = None if tag_ids is None else list(tag_ids)
    rows = await db.fetch(
        "select tag_id, sum(carried)::bigint as carried, sum(unbacked)::bigint as unbacked from ("
        " select tag_id, carried, unbacked from tag_count where corp_id = $1"
        " and ($2::uuid[] is null or tag_id = any($2)) union all"
        " select tag_id, carried, unbacked from tag_count_delta where corp_id = $1"
        " and ($2::uuid[] is null or tag_id = any($2))) c group by tag_id",
        corp_id,
        wanted,
    )
    return {row["tag_id"]: Count(row["carried"], row["unbacked"]) for row in rows}


async def by_owner(corp_id: str, tag_ids: Iterable[UUID]) -> dict[str, Count]:
    """The marks of these tags by whose customers carry them."""
    rows = await db.fetch(
        "select userid, sum(carried)::bigint as carried, sum(unbacked)::bigint as unbacked from ("
        " select userid, carried, unbacked from tag_owner_count where corp_id = $1 and tag_id = any($2) union all"
        " select userid, carried, unbacked from tag_count_delta where corp_id = $1 and tag_id = any($2)) c"
        " group by userid having sum(carried) > 0 order by 2 desc, 1",
        corp_id,
        list(tag_ids),
    )
    return {row["userid"]: Count(row["carried"], row["unbacked"]) for row in rows}


def total(counts: Counts, tags: Iterable[Tag]) -> Count:
    """The counts of several tags together: marks, not customers."""
    found = [counts.get(tag.id, NONE) for tag in tags]
    return Count(sum(one.carried for one in found), sum(one.unbacked for one in found))


def unconfirmed(group: TagGroup, counts: Counts, tags: Iterable[Tag]) -> int:
    """Marks of a value group that nobody here approved."""
    return total(counts, tags).unbacked if group.kind is Kind.VALUE else 0


async def unbacked_of(corp_id: str, group_id: UUID) -> int:
    """Marks that are not confirmed in a value group, or would not be if this group became one."""
    return int(
        await db.fetch_value(
            "select coalesce(sum(unbacked), 0)::bigint from ("
            " select tag_id, unbacked from tag_count where corp_id = $1 union all"
            " select tag_id, unbacked from tag_count_delta where corp_id = $1) c"
            " where tag_id in (select id from tag where corp_id = $1 and group_id = $2)",
            corp_id,
            group_id,
        )
    )


async def fold(corp_id: str) -> int:
    """Adds what changes left behind to the sums, so that reading stays cheap; the worker's. Returns how many rows."""
    folded, taken = 0, FOLD_AT_ONCE
    while taken == FOLD_AT_ONCE:
        taken = int(await db.fetch_value("select fold_tag_counts($1, $2)", corp_id, FOLD_AT_ONCE))
        folded += taken
    return folded
