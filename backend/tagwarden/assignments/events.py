"""Facts of assignments that other rooms act on."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class TagsChanged:
    """A follow carries other tags than before: WeCom must be made equal. `bulk` yields to people at a screen.

    `batch_id` names the batch it is part of: batches take turns with each other.
    """

    corp_id: str
    follow_id: UUID
    bulk: bool = False
    batch_id: UUID | None = None
