"""Which changes of the library two people have to sign: those whose effects the database guards. Pure.

The keys are formed as the database forms them from the row that is written (`migrations/sql`): a change with none is
nobody's second look, a change with one is made by its applier alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any
from uuid import UUID

from tagwarden.catalog.changes import KEEP
from tagwarden.catalog.model import Tag, TagGroup
from tagwarden.policy.model import Kind

GROUP_CHANGE = "tag_group_change"
TAG_EDIT = "tag_edit"


def of_group(before: TagGroup, after: TagGroup) -> tuple[str, ...]:
    """Effects of a group's change: kind to or from `value`, a value group's choice."""
    keys = []
    if before.kind != after.kind and Kind.VALUE in (before.kind, after.kind):
        keys.append(f"group:{after.id}:kind:{after.kind.value}")
    if before.kind is Kind.VALUE and before.choice != after.choice:
        keys.append(f"group:{after.id}:choice:{after.choice.value}")
    return tuple(keys)


def of_tag(kind: Kind, before: Tag, after: Tag) -> tuple[str, ...]:
    """Effects of a tag's change in a group of this kind: name, retirement and end of a value tag.

    Not its place in the tree, its meaning or order: they change neither what a mark is called nor who may carry it.
    """
    if kind is not Kind.VALUE:
        return ()
    keys = []
    if before.name != after.name:
        keys.append(f"tag:{after.id}:rename:{after.name}")
    if before.retired != after.retired:
        keys.append(f"tag:{after.id}:{'retire' if after.retired else 'restore'}")
    if before.ends_on != after.ends_on:
        keys.append(f"tag:{after.id}:end:{after.ends_on.isoformat() if after.ends_on else 'never'}")
    return tuple(keys)


def group_payload(group: TagGroup, change: object) -> dict[str, Any]:
    """What an approval of a group's change holds: the fields it names, and how they stood."""
    fields = _named(change, ("name", "kind", "choice", "description", "sort"), ())
    return {"group_id": str(group.id), "change": fields, "before": as_is(group, fields)}


def tag_payload(tag: Tag, change: object) -> dict[str, Any]:
    """The same of a tag's change."""
    fields = _named(change, ("name", "meaning", "service_process", "retired", "sort"), ("ends_on", "parent_id"))
    return {"tag_id": str(tag.id), "change": fields, "before": as_is(tag, fields)}


def as_is(row: object, fields: Iterable[str]) -> dict[str, Any]:
    """These columns of a row, as JSON holds them."""
    return {field: _plain(getattr(row, field)) for field in fields}


def _plain(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else getattr(value, "value", value)


def _named(change: object, fields: tuple[str, ...], emptied: tuple[str, ...]) -> dict[str, Any]:
    """The fields a change names; of those that can be emptied, None is a value."""
    named = {field for field in fields if getattr(change, field) is not None}
    named |= {field for field in emptied if getattr(change, field) is not KEEP}
    return as_is(change, sorted(named))
