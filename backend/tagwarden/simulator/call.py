"""What an endpoint is given: one call that has been attributed, and readers of its parameters.

The readers answer WeCom's code for what is missing or malformed; they know no endpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tagwarden.simulator import errcodes
from tagwarden.simulator.model import Refused, Switches
from tagwarden.simulator.store import Store

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class App:
    """A self-built app (`kind` "app") or the contact assistant (`kind` "contacts") of a corp."""

    corp_id: str
    name: str
    kind: str
    agent_id: int
    customer_contact: bool


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an authenticated app. `query` holds the URL's parameters, `body` the decoded JSON object."""

    store: Store
    app: App
    query: dict[str, str]
    body: Json

    @property
    def corp_id(self) -> str:
        return self.app.corp_id

    @property
    def switches(self) -> Switches:
        return self.store.switches

    def ids(self, key: str) -> list[str]:
        """An optional array of strings in the body; empty if left out. Raises 40058."""
        value = self.body.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise Refused(errcodes.BAD_PARAMETER, f"{key} must be an array of strings")
        return value

    def text(self, key: str) -> str:
        """An optional string in the body; empty if left out. Raises 40058."""
        value = self.body.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise Refused(errcodes.BAD_PARAMETER, f"{key} must be a string")
        return value

    def limit(self, default: int, most: int) -> int:
        """The page size asked for in the body, within 1..most. Raises 40058."""
        value = self.body.get("limit", default)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise Refused(errcodes.BAD_PARAMETER, f"limit must lie in 1..{most}")
        return value


def read_number(value: str | None, default: int) -> int:
    """A whole number from the query; the default if left out. Raises 40058."""
    if value is None or value == "":
        return default
    if not value.isdecimal():
        raise Refused(errcodes.BAD_PARAMETER, "not a number")
    return int(value)


def make_cursor(position: int) -> str:
    """An opaque paging cursor that stands for a position."""
    return f"c{position:x}z"


def read_cursor(cursor: str) -> int:
    """The position a cursor stands for, 0 for none. Raises 50100."""
    if not cursor:
        return 0
    try:
        if cursor[0] != "c" or cursor[-1] != "z":
            raise ValueError(cursor)
        return int(cursor[1:-1], 16)
    except ValueError as error:
        raise Refused(errcodes.BAD_CURSOR) from error


def make_place(userid: str, position: int) -> str:
    """An opaque paging cursor that stands for a position among one employee's rows."""
    return f"{make_cursor(position)}{userid.encode().hex()}"


def read_place(cursor: str) -> tuple[str, int]:
    """The employee and the position a cursor stands for, ("", 0) for none. Raises 50100."""
    if not cursor:
        return "", 0
    head, _, userid = cursor.rpartition("z")
    if not userid:
        raise Refused(errcodes.BAD_CURSOR)
    try:
        return bytes.fromhex(userid).decode(), read_cursor(f"{head}z")
    except ValueError as error:
        raise Refused(errcodes.BAD_CURSOR) from error
