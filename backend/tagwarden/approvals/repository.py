"""Every query of the room."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from tagwarden.approvals.model import Approval, Signature, State, Verdict
from tagwarden.approvals.tables import ApprovalSignature
from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id

_COLUMNS = (
    "id, kind, state, round, payload, fingerprint, content_hash, requester, requester_person, act, reason, about_userid,"
    " about_customer, level1, level2, barred, closed_reason, version, created_at, updated_at, expires_at"
)


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
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)",
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
    )
    await db.execute(
        "insert into approval_effect (corp_id, approval_id, round, key) select $1, $2, $3, unnest($4::text[])",
        corp_id,
        approval.id,
        approval.round,
        list(effects),
    )


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
    rows = await (
        ApprovalSignature.select(
            ApprovalSignature.level,
            ApprovalSignature.signer,
            ApprovalSignature.signer_person,
            ApprovalSignature.by_asking,
            ApprovalSignature.verdict,
            ApprovalSignature.comment,
            ApprovalSignature.signed_at,
        )
        .where(
            (ApprovalSignature.corp_id == corp_id)
            & (ApprovalSignature.approval_id == approval_id)
            & (ApprovalSignature.round == round_)
        )
        .order_by(ApprovalSignature.level)
    )
    return [Signature(**{**row, "verdict": Verdict(row["verdict"])}) for row in rows]


async def sign(corp_id: str, approval: Approval, signature: Signature, epoch: int) -> None:
    """Writes one signature over the content and base as they stand in the request."""
    await db.execute(
        "insert into approval_signature (corp_id, id, approval_id, round, level, signer, signer_person, by_asking, verdict,"
        " comment, content_hash, fingerprint, epoch, signed_at)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
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
    )


async def move(corp_id: str, approval: Approval, state: State, moment: datetime, closed_reason: str | None = None) -> Approval:
    """Moves a request to a state and returns it as it stands then."""
    row = await db.fetch_one(
        "update approval set state = $3, updated_at = $4, closed_reason = $5, version = version + 1"
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


async def page(corp_id: str, *, requester: str | None, pending_only: bool, before: UUID | None, limit: int) -> list[Approval]:
    """Requests, newest first; filtered by requester and by being open."""
    rows = await db.fetch(
        f"select {_COLUMNS} from approval where corp_id = $1 and ($2::text is null or requester = $2)"
        " and ($3::uuid is null or id < $3) and (not $4 or state in ('pending_level1', 'pending_level2'))"
        " order by id desc limit $5",
        corp_id,
        requester,
        before,
        pending_only,
        limit,
    )
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
