"""What sync does when other rooms report a fact: rows only, in their transaction. Bound in `app/wiring.py`."""

from __future__ import annotations

from uuid import UUID

from tagwarden.sync import cards_rows, outbox, repository
from tagwarden.sync.outbox import Piece


async def on_tags_changed(corp_id: str, follow_id: UUID, bulk: bool, batch_id: UUID | None) -> None:
    """The follow is dirty until WeCom holds the same."""
    await repository.mark_dirty(corp_id, follow_id, bulk, batch_id)


async def on_library_changed(corp_id: str, tag_id: UUID) -> None:
    """The tag goes out to WeCom's library."""
    await outbox.mark_library_dirty(corp_id, tag_id)


async def on_group_changed(corp_id: str, group_id: UUID) -> None:
    """The group's name and place go out to WeCom's library."""
    await outbox.mark_group_dirty(corp_id, group_id)


async def on_ownership_claimed(corp_id: str, group_id: UUID, tag_id: UUID | None) -> None:
    """WeCom is asked whether this app made it."""
    if tag_id is not None:
        await outbox.mark_claimed(corp_id, Piece.TAG, tag_id)
    else:
        await outbox.mark_claimed(corp_id, Piece.GROUP, group_id)


async def on_request_moved(corp_id: str, approval_id: UUID) -> None:
    """The cards of a request's signers are drawn anew: some are sent, others closed."""
    await cards_rows.mark_dirty(corp_id, approval_id)
