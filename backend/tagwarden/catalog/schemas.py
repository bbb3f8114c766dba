"""Shapes of the tag library as HTTP shows them."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from tagwarden.catalog.model import Tag, TagGroup

Name = Annotated[str, msgspec.Meta(max_length=200)]
Text = Annotated[str, msgspec.Meta(max_length=1000)]
KindName = Literal["temporary", "standard", "value"]
ChoiceName = Literal["single", "multiple"]


class GroupIn(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    kind: KindName
    choice: ChoiceName = "multiple"
    description: Text = ""


class GroupPatch(msgspec.Struct, forbid_unknown_fields=True):
    name: Name | None = None
    kind: KindName | None = None
    choice: ChoiceName | None = None
    description: Text | None = None


class TagIn(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    meaning: Text = ""
    service_process: Text = ""
    ends_on: date | None = None
    parent_id: UUID | None = None


class TagPatch(msgspec.Struct, forbid_unknown_fields=True):
    name: Name | None = None
    meaning: Text | None = None
    service_process: Text | None = None
    retired: bool | None = None


class TagOut(msgspec.Struct):
    id: UUID
    group_id: UUID
    name: str
    parent_id: UUID | None
    meaning: str
    service_process: str
    ends_on: date | None
    retired: bool
    name_marked: bool
    in_wecom: bool
    etag: str


class GroupOut(msgspec.Struct):
    """`actions` are open to the caller; `name_marked` says the name came from WeCom and breaks our rules."""

    id: UUID
    name: str
    kind: str
    choice: str
    description: str
    name_marked: bool
    actions: list[str]
    etag: str
    tags: list[TagOut] = []


class GroupList(msgspec.Struct):
    items: list[GroupOut]


def tag_out(tag: Tag) -> TagOut:
    """A tag as HTTP shows it."""
    return TagOut(
        tag.id,
        tag.group_id,
        tag.name,
        tag.parent_id,
        tag.meaning,
        tag.service_process,
        tag.ends_on,
        tag.retired,
        tag.name_marked,
        tag.wecom_id is not None,
        tag.etag,
    )


def group_out(group: TagGroup, tags: list[Tag], actions: list[str]) -> GroupOut:
    """A group with its tags."""
    return GroupOut(
        group.id,
        group.name,
        group.kind.value,
        group.choice.value,
        group.description,
        group.name_marked,
        actions,
        group.etag,
        [tag_out(tag) for tag in tags],
    )
