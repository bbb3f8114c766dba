"""What stands inside a proven callback: an event as WeCom describes it (path/92130, 90970 to 90972). Pure.

wechatpy knows neither `change_contact` nor what is new in the others and hands out an unknown message; so the few flat
fields are read here, by the same reader that refuses declarations in the envelope. Nothing here is believed beyond what
it names: who works on an event reads again what it is about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from tagwarden.wecom.envelope import BadEnvelope, xml_fields

CONTACT = "change_external_contact"
LIBRARY = "change_external_tag"
ORGANISATION = "change_contact"
LONGEST_ID = 128
_NUMBER = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Event:
    """`name` and `change` as WeCom calls them; `fields` are the flat texts beside them; `sent_at` is CreateTime."""

    name: str
    change: str
    fields: Mapping[str, str]
    sent_at: datetime

    def id(self, field: str) -> str | None:
        """An id among the fields; None where it is missing, or longer than any id of WeCom's."""
        value = self.fields.get(field, "")
        return value if 0 < len(value) <= LONGEST_ID and value.isprintable() else None


def read_event(message: str) -> Event | None:
    """The event of a message in XML or JSON; None when it is none."""
    try:
        fields = _json(message) if message.lstrip()[:1] == "{" else xml_fields(message.encode())
    except (BadEnvelope, UnicodeError):
        return None
    name, stamp = fields.get("Event", ""), fields.get("CreateTime", "")
    if fields.get("MsgType", "event") != "event" or not name or len(name) > LONGEST_ID or not _NUMBER.fullmatch(stamp):
        return None
    try:
        sent_at = datetime.fromtimestamp(int(stamp), UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return Event(name, fields.get("ChangeType", "")[:LONGEST_ID], fields, sent_at)


def _json(message: str) -> dict[str, str]:
    try:
        found = json.loads(message)
    except (ValueError, RecursionError):
        raise BadEnvelope("not JSON") from None
    if not isinstance(found, dict):
        raise BadEnvelope("not an object")
    return {str(key): str(value) for key, value in found.items() if isinstance(value, str | int)}
