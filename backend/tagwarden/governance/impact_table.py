"""The whole impact of a draft as a table for a spreadsheet: one line a person and group, owner, request or decision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tagwarden.audit.export import table_row
from tagwarden.governance.impact import Impact
from tagwarden.policy.service import Picture

COLUMNS = ("what", "userid", "tag_group", "action", "before", "after", "count", "reference")


def table(picture: Picture, found: Impact) -> str:
    """CSV (RFC 4180) with a header; cells that a spreadsheet would take for formulas begin with an apostrophe."""
    return "".join(table_row(row) for row in (COLUMNS, *_rows({id_: group.name for id_, group in picture.groups.items()}, found)))


def _rows(names: dict[str, str], found: Impact) -> Iterator[tuple[Any, ...]]:
    for one in found.access:
        group = names[one.group_id]
        yield "access", one.userid, group, one.action.value, " ".join(one.before), " ".join(one.after), "", one.group_id
    for marks in found.marks:
        yield "marks", marks.owner, names[marks.group_id], "use", "allowed", "refused", marks.marks, marks.group_id
    for request in found.approvals:
        yield "approval", "", "", request.kind, "open", request.reason, "", request.approval_id
    for change in found.past.reversals:
        was, will_be = ("allowed", "refused") if change.allowed_before else ("refused", "allowed")
        yield "decision", change.actor, names[change.group_id], "use", was, will_be, "", f"audit:{change.seq}"
