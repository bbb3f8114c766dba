"""What WeCom takes at most (92117, 92118), and how much of it is used. Refused here before WeCom would (40126, 40144).

An import is never refused: what it brings is in WeCom already.
"""

from __future__ import annotations

from dataclasses import dataclass

from tagwarden.catalog import library_rows
from tagwarden.catalog.model import LibraryFull

TAGS = 10_000
"""Enterprise tags of a corp, strategy tags among them."""
TAGS_ON_ONE = 3_000
"""Tags that one employee can put on one customer."""
WARN_AT = 0.9


@dataclass(frozen=True, slots=True)
class LibraryUse:
    """What counts against TAGS: ours, WeCom's strategy tags, and tags there that were kept out of our library."""

    here: int
    strategy_tags: int
    kept_out: int

    @property
    def used(self) -> int:
        return self.here + self.strategy_tags + self.kept_out

    @property
    def is_nearly_full(self) -> bool:
        return self.used >= TAGS * WARN_AT


async def use(corp_id: str) -> LibraryUse:
    """How full the library is."""
    return LibraryUse(**await library_rows.use(corp_id))


async def require_room(corp_id: str, tags: int = 1) -> None:
    """LibraryFull unless so many more tags fit; who makes one meanwhile waits until this transaction ends."""
    await library_rows.lock(corp_id)
    used = (await use(corp_id)).used
    if used + tags > TAGS:
        raise LibraryFull(limit=TAGS, used=used)
