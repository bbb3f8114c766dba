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
