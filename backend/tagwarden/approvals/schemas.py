"""Shapes of approvals as HTTP shows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Response

from tagwarden.approvals.model import Approval, Signature


class DecisionIn(msgspec.Struct, forbid_unknown_fields=True):
    verdict: Literal["approve", "reject"]
    comment: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class EditIn(msgspec.Struct, forbid_unknown_fields=True):
    """`change` depends on the kind: of a tag change, the lists `add` and `remove`. Left out: as it stands."""

    change: dict[str, Any] | None = None
    reason: Annotated[str, msgspec.Meta(max_length=1000)] | None = None


class BulkDecisionIn(msgspec.Struct, forbid_unknown_fields=True):
    id: UUID
    etag: Annotated[str, msgspec.Meta(max_length=64)]
    verdict: Literal["approve", "reject"]
    comment: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class BulkIn(msgspec.Struct, forbid_unknown_fields=True):
    """At most 50: each is looked at, not waved through."""

    items: Annotated[list[BulkDecisionIn], msgspec.Meta(min_length=1, max_length=50)]


class BulkItemOut(msgspec.Struct, omit_defaults=True):
    """What became of one: the state it reached, or the problem's code and sentence."""

    id: UUID
    outcome: Literal["decided", "refused"]
    state: str | None = None
    closed_reason: str | None = None
    code: str | None = None
    detail: str | None = None


class BulkOut(msgspec.Struct):
    items: list[BulkItemOut]


class HeldOut(msgspec.Struct):
    """A protected change that waits for two signatures."""

    outcome: Literal["pending_approval"]
    approval_id: UUID


WAITS = "It is a protected change and waits for two signatures."


def held(approval_id: UUID) -> Response[HeldOut]:
    """The answer to a change that waits."""
    return Response(HeldOut("pending_approval", approval_id), status_code=202)


class DelegationIn(msgspec.Struct, forbid_unknown_fields=True):
    """`starts_at` left out: now. At most 92 days."""

    delegate: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    ends_at: Annotated[datetime, msgspec.Meta(tz=True)]
    starts_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""


class DelegationOut(msgspec.Struct):
    id: UUID
    userid: str
    delegate: str
    starts_at: datetime
    ends_at: datetime
    reason: str
    approval_id: UUID | None
    ended_at: datetime | None


class Delegations(msgspec.Struct):
    items: list[DelegationOut]
    next_cursor: str | None


class NotificationOut(msgspec.Struct):
    """What the caller was told; `event` is the fact. Of a request: `state` is how it stands now. Of anything else (drift,
    tags held back, the company's WeCom credentials): `subject` names what it is about, and there is no request."""

    id: UUID
    event: str
    approval_id: UUID | None
    kind: str | None
    state: str | None
    about_userid: str | None
    about_customer: str | None
    subject: str | None
    reason: str | None
    created_at: datetime
    read_at: datetime | None


class NotificationPage(msgspec.Struct):
    items: list[NotificationOut]
    next_cursor: str | None


class ReadIn(msgspec.Struct, forbid_unknown_fields=True):
    ids: Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=200)]


class ReadOut(msgspec.Struct):
    marked: int


class SignatureOut(msgspec.Struct):
    """`on_behalf_of`: the signer stood in for this person."""

    level: int
    signer: str
    on_behalf_of: str | None
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
    round: int
    escalations: int
    created_at: datetime
    waiting_since: datetime
    expires_at: datetime
    resubmitted_from: UUID | None
    etag: str


class ApprovalOut(msgspec.Struct):
    """A signer always sees what he is asked to sign: `change` is before → after; `earlier`, what was asked about the same
    customer before."""

    approval: ApprovalSummary
    change: dict[str, Any]
    signatures: list[SignatureOut]
    earlier: list[ApprovalSummary]


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
        approval.round,
        approval.escalations,
        approval.created_at,
        approval.level_since,
        approval.expires_at,
        approval.resubmitted_from,
        approval.etag,
    )


def whole(
    approval: Approval, signatures: Sequence[Signature], change: dict[str, Any], earlier: Sequence[Approval]
) -> ApprovalOut:
    """A request with its change, its signatures and what came before."""
    signed = [
        SignatureOut(one.level, one.signer, one.on_behalf_of, one.by_asking, one.verdict.value, one.comment, one.signed_at)
        for one in signatures
    ]
    return ApprovalOut(summary(approval), change, signed, [summary(one) for one in earlier])
