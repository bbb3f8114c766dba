"""What sync does when other rooms report a fact: rows only, in their transaction. Bound in `app/wiring.py`."""

from __future__ import annotations

from uuid import UUID

from tagwarden.sync import outbox, repository


async def on_tags_changed(corp_id: str, follow_id: UUID, bulk: bool) -> None:
    """The follow is dirty until WeCom holds the same."""
    await repository.mark_dirty(corp_id, follow_id, bulk)


async def on_library_changed(corp_id: str, tag_id: UUID) -> None:
    """The tag goes out to WeCom's library."""
    await outbox.mark_library_dirty(corp_id, tag_id)
