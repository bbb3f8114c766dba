"""Facts of the catalog that other rooms act on."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class TagLibraryChanged:
    """A tag was made, renamed, retired or deleted here: WeCom's library must follow."""

    corp_id: str
    tag_id: UUID


@dataclass(frozen=True, slots=True)
class TagGroupChanged:
    """A group was renamed or placed elsewhere here: WeCom's library must follow where the group is of our making."""

    corp_id: str
    group_id: UUID


@dataclass(frozen=True, slots=True)
class OwnershipClaimed:
    """An admin says that this app made a group, or (with `tag_id`) a tag of it: WeCom must be asked."""

    corp_id: str
    group_id: UUID
    tag_id: UUID | None
