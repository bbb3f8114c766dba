"""Every query of the room."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from tagwarden.approvals.model import Approval, Signature, State, Verdict
from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id

_COLUMNS = (
    "id, kind, state, round, payload, fingerprint, content_hash, requester, requester_person, act, reason, about_userid,"
    " about_customer, level1, level2, barred, closed_reason, version, created_at, updated_at, expires_at,"
    " escalations, level_since, reminded_at, resubmitted_from"
)
_SIGNATURE = "level, signer, signer_person, by_asking, verdict, comment, signed_at, on_behalf_of"


def _approval(row: db.Row) -> Approval:
    values: dict[str, Any] = {
        **row,
        "state": State(row["state"]),
        "payload": msgspec.json.decode(row["payload"]),
        "level1": tuple(row["level1"]),
        "level2": tuple(row["level2"]),
        "barred": tuple(row["barred"]),
    }
    return Approval(**values)


async def insert(corp_id: str, approval: Approval, effects: Sequence[str]) -> None:
    """Writes a request and its effects; signatures follow."""
    await db.execute(
        f"insert into approval (corp_id, {_COLUMNS})"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,"
        " $25, $26)",
        corp_id,
        approval.id,
        approval.kind,
        approval.state.value,
        approval.round,
        msgspec.json.encode(approval.payload).decode(),
        approval.fingerprint,
        approval.content_hash,
        approval.requester,
        approval.requester_person,
        approval.act,
        approval.reason,
        approval.about_userid,
        approval.about_customer,
        list(approval.level1),
        list(approval.level2),
        list(approval.barred),
        approval.closed_reason,
        approval.version,
        approval.created_at,
        approval.updated_at,
        approval.expires_at,
        approval.escalations,
        approval.level_since,
        approval.reminded_at,
        approval.resubmitted_from,
    )
    await _insert_effects(corp_id, approval, effects)


async def _insert_effects(corp_id: str, approval: Approval, effects: Sequence[str]) -> None:
    await db.execute(
        "insert into approval_effect (corp_id, approval_id, round, key) select $1, $2, $3, unnest($4::text[])",
        corp_id,
        approval.id,
        approval.round,
        list(effects),
    )


async def begin_round(corp_id: str, approval: Approval, effects: Sequence[str]) -> None:
    """Writes an edited request as its next round, which carries no signature; its effects are written anew."""
    await db.execute(
        "update approval set round = $3, state = $4, payload = $5, fingerprint = $6, content_hash = $7, reason = $8,"
        " about_userid = $9, about_customer = $10, level1 = $11, level2 = $12, barred = $13, updated_at = $14,"
        " level_since = $14, reminded_at = null, version = version + 1 where corp_id = $1 and id = $2",
        corp_id,
        approval.id,
        approval.round,
        approval.state.value,
        msgspec.json.encode(approval.payload).decode(),
        approval.fingerprint,
        approval.content_hash,
        approval.reason,
        approval.about_userid,
        approval.about_customer,
        list(approval.level1),
        list(approval.level2),
        list(approval.barred),
        approval.updated_at,
    )
    await _insert_effects(corp_id, approval, effects)


async def get(corp_id: str, approval_id: UUID, *, lock: bool = False) -> Approval | None:
    """One request; locked for the transaction when asked."""
    row = await db.fetch_one(
        f"select {_COLUMNS} from approval where corp_id = $1 and id = $2" + (" for update" if lock else ""), corp_id, approval_id
    )
    return _approval(row) if row else None


async def effects(corp_id: str, approval_id: UUID, round_: int) -> list[str]:
    """The effect keys of one round, sorted."""
    rows = await db.fetch(
        "select key from approval_effect where corp_id = $1 and approval_id = $2 and round = $3 order by key",
        corp_id,
        approval_id,
        round_,
    )
    return [row["key"] for row in rows]


async def signatures(corp_id: str, approval_id: UUID, round_: int) -> list[Signature]:
    """The signatures of one round, by level."""
    rows = await db.fetch(
        f"select {_SIGNATURE} from approval_signature where corp_id = $1 and approval_id = $2 and round = $3 order by level",
        corp_id,
        approval_id,
        round_,
    )
    return [Signature(**{**row, "verdict": Verdict(row["verdict"])}) for row in rows]


async def signatures_of(corp_id: str, approvals: Sequence[Approval]) -> dict[UUID, list[Signature]]:
    """The signatures of many requests, each of its round; requests nobody signed are missing."""
    rows = await db.fetch(
        "select s.approval_id, s.level, s.signer, s.signer_person, s.by_asking, s.verdict, s.comment, s.signed_at, s.on_behalf_of"
        " from approval_signature s join approval a on a.corp_id = s.corp_id and a.id = s.approval_id and a.round = s.round"
        " where s.corp_id = $1 and s.approval_id = any($2::uuid[]) order by s.level",
        corp_id,
        [one.id for one in approvals],
    )
    found: dict[UUID, list[Signature]] = {}
    for row in rows:
        values = {**row, "verdict": Verdict(row["verdict"])}
        found.setdefault(values.pop("approval_id"), []).append(Signature(**values))
    return found


async def sign(corp_id: str, approval: Approval, signature: Signature, epoch: int) -> None:
    """Writes one signature over the content and base as they stand in the request."""
    await db.execute(
        "insert into approval_signature (corp_id, id, approval_id, round, level, signer, signer_person, by_asking, verdict,"
        " comment, content_hash, fingerprint, epoch, signed_at, on_behalf_of)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        corp_id,
        new_id(),
        approval.id,
        approval.round,
        signature.level,
        signature.signer,
        signature.signer_person,
        signature.by_asking,
        signature.verdict.value,
        signature.comment,
        approval.content_hash,
        approval.fingerprint,
        epoch,
        signature.signed_at,
        signature.on_behalf_of,
    )


async def move(corp_id: str, approval: Approval, state: State, moment: datetime, closed_reason: str | None = None) -> Approval:
    """Moves a request to a state and returns it as it stands then."""
    row = await db.fetch_one(
        "update approval set state = $3, updated_at = $4, closed_reason = $5, version = version + 1,"
        " level_since = case when state = $3 then level_since else $4 end"
        f" where corp_id = $1 and id = $2 returning {_COLUMNS}",
        corp_id,
        approval.id,
        state.value,
        moment,
        closed_reason,
    )
    if row is None:
        raise LookupError(approval.id)
    return _approval(row)


async def select(condition: str, corp_id: str, *args: Any) -> list[Approval]:
    """Requests of a corp ($1) by one more condition, which is this room's own."""
    rows = await db.fetch(f"select {_COLUMNS} from approval where corp_id = $1 and {condition}", corp_id, *args)
    return [_approval(row) for row in rows]


async def expired(corp_id: str, moment: datetime, limit: int = 100) -> list[UUID]:
    """Open requests past their time."""
    rows = await db.fetch(
        "select id from approval where corp_id = $1 and state in ('pending_level1', 'pending_level2') and expires_at <= $2"
        " order by id limit $3",
        corp_id,
        moment,
        limit,
    )
    return [row["id"] for row in rows]


async def escalate(corp_id: str, approval: Approval, escalations: int, level1: Sequence[str], moment: datetime) -> None:
    """Lets the next leader in line sign level 1 too."""
    await db.execute(
        "update approval set escalations = $3, level1 = $4, updated_at = $5, version = version + 1"
        " where corp_id = $1 and id = $2",
        corp_id,
        approval.id,
        escalations,
        list(level1),
        moment,
    )


async def set_reminded(corp_id: str, approval_id: UUID, moment: datetime) -> None:
    """Notes the reminder; nothing a reader sees changes, so the version stays."""
    await db.execute("update approval set reminded_at = $3 where corp_id = $1 and id = $2", corp_id, approval_id, moment)


async def waiting(corp_id: str, after: UUID | None, limit: int) -> list[Approval]:
    """Open requests by id, page by page."""
    rows = await db.fetch(
        f"select {_COLUMNS} from approval where corp_id = $1 and state in ('pending_level1', 'pending_level2')"
        " and ($2::uuid is null or id > $2) order by id limit $3",
        corp_id,
        after,
        limit,
    )
    return [_approval(row) for row in rows]


async def siblings(corp_id: str, approval: Approval) -> list[Approval]:
    """Other open requests about the same employee and customer, locked; those somebody works on right now are left out."""
    rows = await db.fetch(
        f"select {_COLUMNS} from approval where corp_id = $1 and state in ('pending_level1', 'pending_level2') and id <> $2"
        " and about_userid = $3 and about_customer is not distinct from $4 and kind = $5 order by id for update skip locked",
        corp_id,
        approval.id,
        approval.about_userid,
        approval.about_customer,
        approval.kind,
    )
    return [_approval(row) for row in rows]


async def earlier(corp_id: str, approval: Approval, limit: int) -> list[Approval]:
    """Older requests about the same customer, newest first."""
    if approval.about_customer is None:
        return []
    rows = await db.fetch(
        f"select {_COLUMNS} from approval where corp_id = $1 and about_customer = $2 and id < $3 order by id desc limit $4",
        corp_id,
        approval.about_customer,
        approval.id,
        limit,
    )
    return [_approval(row) for row in rows]


async def open_with_content(corp_id: str, requester: str, content_hash: str) -> Approval | None:
    """An open request of this person for exactly this content on this base."""
    row = await db.fetch_one(
        f"select {_COLUMNS} from approval where corp_id = $1 and requester = $2 and content_hash = $3"
        " and state in ('pending_level1', 'pending_level2') limit 1",
        corp_id,
        requester,
        content_hash,
    )
    return _approval(row) if row else None


async def open_again(corp_id: str, approval_id: UUID) -> UUID | None:
    """The open request by which a closed one was submitted again."""
    found: UUID | None = await db.fetch_value(
        "select id from approval where corp_id = $1 and resubmitted_from = $2 and state in ('pending_level1', 'pending_level2')"
        " limit 1",
        corp_id,
        approval_id,
    )
    return found


async def open_with_effects(corp_id: str, keys: Sequence[str]) -> UUID | None:
    """An open request that would already have every one of these effects."""
    found = await db.fetch_value(
        "select a.id from approval a where a.corp_id = $1 and a.state in ('pending_level1', 'pending_level2')"
        " and (select count(*) from approval_effect e where e.corp_id = $1 and e.approval_id = a.id and e.round = a.round"
        "      and e.key = any($2::text[])) = $3 order by a.id limit 1",
        corp_id,
        list(keys),
        len(keys),
    )
    return found if isinstance(found, UUID) else None


async def open_about_follows(corp_id: str, follow_ids: Sequence[UUID]) -> list[UUID]:
    """Open changes of tags on one of these follows."""
    rows = await db.fetch(
        "select id from approval where corp_id = $1 and state in ('pending_level1', 'pending_level2')"
        " and kind = 'tag_change' and payload ->> 'follow_id' = any($2::text[]) order by id",
        corp_id,
        [str(follow_id) for follow_id in follow_ids],
    )
    return [row["id"] for row in rows]
