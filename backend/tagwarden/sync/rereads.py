"""What an event makes us read again. Pure.

An event says where to look, never how things are: so events may come twice, late, in any order or not at all, and what
is read afterwards is right all the same. The one thing no reading shows is that an account was renamed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from tagwarden.wecom.events import CONTACT, LIBRARY, ORGANISATION, Event

SETTLE = timedelta(seconds=1)
"""How long to wait for more events about the same thing before it is read once for all of them."""


class Kind(StrEnum):
    LIBRARY = "library"
    DEPARTMENTS = "departments"
    ORGANISATION = "organisation"
    EMPLOYEE = "employee"
    CONTACT = "contact"


@dataclass(frozen=True, slots=True)
class Reread:
    """One thing to read again: `key` names it among its kind, `note` is what the event said."""

    kind: Kind
    key: str = ""
    note: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rename:
    """An account has another userid in WeCom since `sent_at`."""

    old: str
    new: str
    sent_at: datetime


def of_event(event: Event) -> tuple[list[Reread], Rename | None]:
    """What to read again, nothing for an event that is none of ours; and the rename it tells of."""
    if event.name == LIBRARY:
        return [Reread(Kind.LIBRARY, note={"change": event.change})], None
    if event.name == CONTACT:
        return _contact(event), None
    if event.name == ORGANISATION:
        return _organisation(event)
    return [], None


def _contact(event: Event) -> list[Reread]:
    userid, customer = event.id("UserID"), event.id("ExternalUserID")
    if userid is None or customer is None:
        return []
    note = {"change": event.change, "userid": userid, "at": int(event.sent_at.timestamp())}
    for name in ("Source", "FailReason"):
        if (value := event.id(name)) is not None:
            note[name.lower()] = value
    return [Reread(Kind.CONTACT, customer, note)]


def _organisation(event: Event) -> tuple[list[Reread], Rename | None]:
    if event.change.endswith("_party"):
        return [Reread(Kind.DEPARTMENTS, note={"change": event.change})], None
    userid = event.id("UserID")
    if userid is None or not event.change.endswith("_user"):
        return [], None
    renamed = event.id("NewUserID")
    key = renamed or userid
    rename = Rename(userid, renamed, event.sent_at) if renamed is not None and renamed != userid else None
    return [Reread(Kind.EMPLOYEE, key.lower(), {"change": event.change, "userid": key})], rename
