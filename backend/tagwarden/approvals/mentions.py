"""Which open requests name something: asked before it is deleted. Approvals know no tags, only ids in their payloads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from tagwarden.approvals import repository
from tagwarden.approvals.chain import Signer
from tagwarden.approvals.reading import can_see
from tagwarden.kernel import db
from tagwarden.policy.service import Picture

MOST_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Mentions:
    """Open requests that name it: those the caller may see (at most MOST_SHOWN), and how many more there are."""

    ids: tuple[UUID, ...]
    hidden: int


async def open_mentions(picture: Picture, signer: Signer, ids: Iterable[UUID]) -> Mentions:
    """Open requests whose payload holds one of these ids, as far as the caller may see them."""
    found = await _naming(picture.corp_id, [str(one) for one in ids])
    rows = [one for one in [await repository.get(picture.corp_id, id_) for id_ in found[:MOST_SHOWN]] if one is not None]
    signed = await repository.signatures_of(picture.corp_id, rows)
    shown = tuple(one.id for one in rows if can_see(picture, one, signer, signed.get(one.id, ())))
    return Mentions(shown, len(found) - len(shown))


async def _naming(corp_id: str, ids: list[str]) -> list[UUID]:
    rows = await db.fetch(
        "select p.id from approval p where p.corp_id = $1 and p.state in ('pending_level1', 'pending_level2')"
        " and exists (select 1 from jsonb_path_query(p.payload, 'strict $.**') v"
        " where jsonb_typeof(v) = 'string' and (v #>> '{}') = any($2::text[])) order by p.id",
        corp_id,
        ids,
    )
    return [row["id"] for row in rows]
