"""Facts of approvals that other rooms act on."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ApprovalClosedEvent:
    """A request ended; the requester is told."""

    corp_id: str
    approval_id: UUID
    state: str


@dataclass(frozen=True, slots=True)
class SignersChanged:
    """A step of a request became somebody's to sign: it was asked, signed, edited or escalated."""

    corp_id: str
    approval_id: UUID
