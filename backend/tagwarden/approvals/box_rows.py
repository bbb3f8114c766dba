"""Every query over boxes: a person's requests, newest first, by the reasons there are to see one.

What is found here may be too much, never too little: whether it is shown is asked of each with `reading.can_see`.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from tagwarden.approvals import repository
from tagwarden.approvals.model import Approval
from tagwarden.kernel import db

LAST = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Sight:
    """Why somebody sees requests: as the one they name, as who signs, by the people below him, by the kinds he may sign."""

    userid: str
    signs: bool
    people: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


async def newest(corp_id: str, before: UUID | None, limit: int) -> list[Approval]:
    """Requests of a corp, for those who see nearly all of them."""
    return await repository.select("id < $2 order by id desc limit $3", corp_id, LAST if before is None else before, limit)


async def of_requester(corp_id: str, userid: str, before: UUID | None, limit: int) -> list[Approval]:
    """What somebody asked for."""
    return await repository.select(
        "requester = $2 and id < $3 order by id desc limit $4", corp_id, userid, LAST if before is None else before, limit
    )


async def waiting_for(corp_id: str, sight: Sight | None, before: UUID | None, limit: int) -> list[Approval]:
    """Open requests; with `sight`, those of its people and kinds."""
    return await repository.select(
        "id < $2 and state in ('pending_level1', 'pending_level2')"
        " and ($3 or about_userid = any($4::text[]) or requester = any($4::text[]) or kind = any($5::text[]))"
        " order by id desc limit $6",
        corp_id,
        LAST if before is None else before,
        sight is None,
        list(sight.people) if sight else [],
        list(sight.kinds) if sight else [],
        limit,
    )


async def in_sight(corp_id: str, sight: Sight, before: UUID | None, limit: int) -> list[Approval]:
    """Requests of any state that `sight` gives a reason for: so many of each reason, from its own index, then the newest."""
    rows = await db.fetch(
        _IN_SIGHT,
        *(corp_id, LAST if before is None else before, limit),
        *(sight.userid, sight.signs, list(sight.people), list(sight.kinds)),
    )
    ids = [row["id"] for row in rows]
    return await repository.select("id = any($2::uuid[]) order by id desc", corp_id, ids)


def _newest_where(condition: str, table: str = "approval", key: str = "id") -> str:
    return f"(select {key} as id from {table} where corp_id = $1 and {condition} and {key} < $2 order by {key} desc limit $3)"


def _newest_of_each(column: str, given: str) -> str:
    return f"(select one.id from unnest({given}::text[]) wanted cross join lateral {_newest_where(f'{column} = wanted')} one)"


_REASONS = (
    _newest_where("requester = $4"),
    _newest_where("about_userid = $4"),
    _newest_where("people_of_corp(corp_id, barred) @> array[$1 || '/' || $4]"),
    _newest_where("signer = $4", "approval_signature", "approval_id"),
    _newest_where("on_behalf_of = $4", "approval_signature", "approval_id"),
    _newest_where("$5 and people_of_corp(corp_id, level1 || level2) @> array[$1 || '/' || $4]"),
    _newest_of_each("requester", "$6"),
    _newest_of_each("about_userid", "$6"),
    _newest_of_each("kind", "$7"),
)
_IN_SIGHT = f"select id from ({' union '.join(_REASONS)}) found order by id desc limit $3"
