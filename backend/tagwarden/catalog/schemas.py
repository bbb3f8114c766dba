"""Shapes of the tag library as HTTP shows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from tagwarden.catalog import counts, limits, names, naming
from tagwarden.catalog.counts import Counts
from tagwarden.catalog.limits import LibraryUse
from tagwarden.catalog.model import Tag, TagGroup
from tagwarden.catalog.tree import DEEPEST, Tree

Name = Annotated[str, msgspec.Meta(max_length=200)]
Text = Annotated[str, msgspec.Meta(max_length=1000)]
Sort = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
KindName = Literal["temporary", "standard", "value"]
ChoiceName = Literal["single", "multiple"]


class GroupIn(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    kind: KindName
    choice: ChoiceName = "multiple"
    description: Text = ""
    sort: Sort = 0


class GroupPatch(msgspec.Struct, forbid_unknown_fields=True):
    """`reason` is read by the signers of what has to wait. Larger `sort` stands first."""

    name: Name | None = None
    kind: KindName | None = None
    choice: ChoiceName | None = None
    description: Text | None = None
    sort: Sort | None = None
    reason: Text = ""


class TagIn(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    meaning: Text = ""
    service_process: Text = ""
    ends_on: date | None = None
    parent_id: UUID | None = None
    sort: Sort = 0


class TagPatch(msgspec.Struct, forbid_unknown_fields=True):
    """`reason` is read by the signers of what has to wait. `ends_on` and `parent_id` are emptied by null."""

    name: Name | None = None
    meaning: Text | None = None
    service_process: Text | None = None
    retired: bool | None = None
    ends_on: date | msgspec.UnsetType | None = msgspec.UNSET
    parent_id: UUID | msgspec.UnsetType | None = msgspec.UNSET
    sort: Sort | None = None
    reason: Text = ""


class InWecom(msgspec.Struct):
    """`present`: WeCom has it. `ours`: this service made it, so its name and place go to WeCom; what WeCom's console or
    another app made is used from here and never edited."""

    present: bool
    ours: bool


class TagOut(msgspec.Struct):
    """`depth` is 1 at the top of its group's tree; `carried` counts open follows. Where a name from WeCom breaks our rules
    (`name_marked`), `suggested_name` offers a cleaned one that is free."""

    id: UUID
    group_id: UUID
    name: str
    parent_id: UUID | None
    depth: int
    meaning: str
    service_process: str
    ends_on: date | None
    sort: int
    retired: bool
    carried: int
    name_marked: bool
    name_fault: str | None
    suggested_name: str | None
    in_wecom: bool
    wecom: InWecom
    etag: str


class GroupOut(msgspec.Struct):
    """`actions` are open to the caller; `name_marked` says the name came from WeCom and breaks our rules.

    `unconfirmed` are marks of a value group that nobody here approved; `adoption` is where they are.
    """

    id: UUID
    name: str
    kind: str
    choice: str
    description: str
    sort: int
    marks: int
    unconfirmed: int
    adoption: str | None
    name_marked: bool
    name_fault: str | None
    suggested_name: str | None
    in_wecom: bool
    actions: list[str]
    wecom: InWecom
    etag: str
    tags: list[TagOut] = []


class LimitsOut(msgspec.Struct):
    """What WeCom takes at most. `tags_used` of `tags`: ours, its strategy tags (规则组), and tags kept out of our library.

    `strategy_tags` are those seen on customers: WeCom lists no app the strategies of others, so there may be more of them.
    Personal tags do not count.
    """

    tags_used: int
    tags: int
    strategy_tags: int
    kept_out: int
    nearly_full: bool
    name_characters: int
    name_characters_in_wecom: int
    tree_levels: int
    tags_on_one_customer: int


class GroupList(msgspec.Struct):
    items: list[GroupOut]
    limits: LimitsOut


class GroupHeldOut(msgspec.Struct):
    """A protected change that waits for two signatures; `unconfirmed_marks` nobody approved, once the group is a value group."""

    outcome: Literal["pending_approval"]
    approval_id: UUID
    unconfirmed_marks: int


def tag_out(tag: Tag, siblings: Sequence[Tag], kept: Counts) -> TagOut:
    """A tag among the tags of its group, as HTTP shows it."""
    tree = Tree(siblings)
    return _tag_out(tag, tree, siblings, kept)


def _tag_out(tag: Tag, tree: Tree, siblings: Sequence[Tag], kept: Counts) -> TagOut:
    parent = tree.parent(tag)
    offered = names.offer(tag.name, [one.name for one in siblings if one.id != tag.id]) if tag.name_marked else None
    return TagOut(
        tag.id,
        tag.group_id,
        tag.name,
        parent.id if parent else None,
        tree.depth(tag),
        tag.meaning,
        tag.service_process,
        tag.ends_on,
        tag.sort,
        tag.retired,
        kept.get(tag.id, counts.NONE).carried,
        tag.name_marked,
        offered.reason if offered else None,
        offered.name or None if offered else None,
        tag.wecom_id is not None,
        InWecom(tag.wecom_id is not None, tag.made_by_us),
        tag.etag,
    )


def group_out(group: TagGroup, tags: list[Tag], actions: list[str], kept: Counts, taken: Sequence[str]) -> GroupOut:
    """A group with its tags; `taken` are the names of the corp's groups."""
    tree, unconfirmed = Tree(tags), counts.unconfirmed(group, kept, tags)
    offered = names.offer(group.name, [name for name in taken if name != group.name]) if group.name_marked else None
    return GroupOut(
        group.id,
        group.name,
        group.kind.value,
        group.choice.value,
        group.description,
        group.sort,
        counts.total(kept, tags).carried,
        unconfirmed,
        "/v1/adoptions" if unconfirmed else None,
        group.name_marked,
        offered.reason if offered else None,
        offered.name or None if offered else None,
        group.wecom_id is not None,
        actions,
        InWecom(group.wecom_id is not None, not group.foreign),
        group.etag,
        [_tag_out(tag, tree, tags, kept) for tag in tags],
    )


def limits_out(use: LibraryUse) -> LimitsOut:
    """WeCom's limits and ours, and how full the library is."""
    return LimitsOut(
        use.used,
        limits.TAGS,
        use.strategy_tags,
        use.kept_out,
        use.is_nearly_full,
        names.naming_rules().longest,
        naming.LONGEST_IN_WECOM,
        DEEPEST,
        limits.TAGS_ON_ONE,
    )
