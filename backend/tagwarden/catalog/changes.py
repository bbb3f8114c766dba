"""What is asked of the library, as values: drafts, changes, and how an approval's payload holds a change. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any
from uuid import UUID

from tagwarden.catalog.model import Choice
from tagwarden.policy.model import Kind


class Keep(Enum):
    """Said for a column that may be emptied: leave it as it is."""

    KEEP = "keep"


KEEP = Keep.KEEP


@dataclass(frozen=True, slots=True)
class GroupDraft:
    name: str
    kind: Kind = Kind.UNCLASSIFIED
    choice: Choice = Choice.MULTIPLE
    description: str = ""
    sort: int = 0


@dataclass(frozen=True, slots=True)
class GroupChange:
    """None leaves a column as it is. `reason` is for the signers of what has to wait."""

    name: str | None = None
    kind: Kind | None = None
    choice: Choice | None = None
    description: str | None = None
    reason: str = ""
    sort: int | None = None


@dataclass(frozen=True, slots=True)
class TagDraft:
    name: str
    meaning: str = ""
    service_process: str = ""
    ends_on: date | None = None
    parent_id: UUID | None = None
    sort: int = 0


@dataclass(frozen=True, slots=True)
class TagChange:
    """None leaves a column as it is, KEEP one that None empties."""

    name: str | None = None
    meaning: str | None = None
    service_process: str | None = None
    retired: bool | None = None
    reason: str = ""
    ends_on: date | Keep | None = KEEP
    parent_id: UUID | Keep | None = KEEP
    sort: int | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """What was changed; with `approval_id`, what will be when two people have signed."""

    id: UUID
    approval_id: UUID | None = None


def read_group_change(fields: dict[str, Any]) -> GroupChange:
    """The change a payload names (`protection.group_payload`)."""
    kind, choice = fields.get("kind"), fields.get("choice")
    return GroupChange(
        fields.get("name"),
        Kind(kind) if kind else None,
        Choice(choice) if choice else None,
        fields.get("description"),
        sort=fields.get("sort"),
    )


def read_tag_change(fields: dict[str, Any]) -> TagChange:
    """The change a payload names (`protection.tag_payload`)."""
    ends_on, parent_id = fields.get("ends_on"), fields.get("parent_id")
    return TagChange(
        fields.get("name"),
        fields.get("meaning"),
        fields.get("service_process"),
        fields.get("retired"),
        ends_on=(date.fromisoformat(ends_on) if ends_on else None) if "ends_on" in fields else KEEP,
        parent_id=(UUID(parent_id) if parent_id else None) if "parent_id" in fields else KEEP,
        sort=fields.get("sort"),
    )
