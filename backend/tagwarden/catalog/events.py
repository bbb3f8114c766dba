"""Facts of the catalog that other rooms act on."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class TagLibraryChanged:
    """A tag was made, renamed, retired or deleted here: WeCom's library must follow."""

    corp_id: str
    tag_id: UUID
