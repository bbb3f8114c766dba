"""Shapes of approvals as HTTP shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from tagwarden.approvals.model import Approval, Signature


class DecisionIn(msgspec.Struct, forbid_unknown_fields=True):
    verdict: Literal["approve", "reject"]
    comment: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class SignatureOut(msgspec.Struct):
    level: int
    signer: str
    by_asking: bool
    verdict: str
    comment: str
    signed_at: datetime


class ApprovalSummary(msgspec.Struct):
    id: UUID
    kind: str
    state: str
    requester: str
    about_userid: str
    about_customer: str | None
    reason: str
    closed_reason: str | None
    level1: list[str]
    level2: list[str]
    created_at: datetime
    expires_at: datetime
    etag: str


class ApprovalOut(msgspec.Struct):
    """A signer always sees what he is asked to sign: `change` is before → after."""

    approval: ApprovalSummary
    change: dict[str, Any]
    signatures: list[SignatureOut]


class ApprovalPage(msgspec.Struct):
    items: list[ApprovalSummary]
    next_cursor: str | None


def summary(approval: Approval) -> ApprovalSummary:
    """A request without its change."""
    return ApprovalSummary(
        approval.id,
        approval.kind,
        approval.state.value,
        approval.requester,
        approval.about_userid,
        approval.about_customer,
        approval.reason,
        approval.closed_reason,
        list(approval.level1),
        list(approval.level2),
        approval.created_at,
        approval.expires_at,
        approval.etag,
    )


def whole(approval: Approval, signatures: list[Signature], change: dict[str, Any]) -> ApprovalOut:
    """A request with its change and signatures."""
    signed = [
        SignatureOut(one.level, one.signer, one.by_asking, one.verdict.value, one.comment, one.signed_at) for one in signatures
    ]
    return ApprovalOut(summary(approval), change, signed)
