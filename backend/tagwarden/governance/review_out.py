"""The access review as JSON and as a table for a spreadsheet. No queries and no rules here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from tagwarden.audit.export import table_row, table_rows
from tagwarden.governance.review import Open, Review, Reviewed, homes_through, row_name
from tagwarden.kernel.clock import iso
from tagwarden.policy.model import Grant

Drawn = TypeVar("Drawn")
BOM = "\ufeff"
COLUMNS = (
    "userid",
    "name",
    "holds",
    "what",
    "action",
    "on",
    "row",
    "through",
    "reach",
    "since",
    "until",
    "by",
    "why",
    "approval_id",
)
"""`holds` is role, module, department, group, delegation, or nothing."""


class ReviewedRole(msgspec.Struct):
    """`approval_id` where two people signed it; `given_by` is who gave it, asked for it, or `operator`."""

    role: str
    modules: list[str]
    since: datetime
    given_by: str
    reason: str | None
    approval_id: UUID | None


class ReviewedDepartment(msgspec.Struct):
    id: int
    name: str
    leads: bool


class ReviewedGroup(msgspec.Struct):
    """`on`: whose customers, or `group` for the group itself. `row` decides; a grant's is of department `through`."""

    group_id: UUID
    name: str
    action: str
    on: list[str]
    row: str
    through: int | None
    departments: list[int]
    reach: str | None
    since: datetime | None
    revision: int | None
    published_by: str | None
    note: str | None


class ReviewedDelegation(msgspec.Struct):
    """Somebody this person signs for."""

    id: UUID
    stands_for: str
    starts_at: datetime
    ends_at: datetime
    reason: str
    approval_id: UUID | None


class ReviewedEmployee(msgspec.Struct):
    userid: str
    name: str
    departments: list[ReviewedDepartment]
    roles: list[ReviewedRole]
    groups: list[ReviewedGroup]
    delegations: list[ReviewedDelegation]


class AccessReview(msgspec.Struct):
    """Everybody of the page by one epoch."""

    revision: int
    epoch: int
    items: list[ReviewedEmployee]
    next_cursor: str | None


def employee_out(review: Review, one: Reviewed) -> ReviewedEmployee:
    """Everything one person holds."""
    employee, departments = one.employee, review.picture.directory.departments
    return ReviewedEmployee(
        employee.userid,
        employee.name,
        [
            ReviewedDepartment(home, departments[home].name if home in departments else "", home in employee.leads)
            for home in sorted(employee.departments)
        ],
        [
            ReviewedRole(role.role, _modules(one, role.role), role.since, role.given_by, role.reason, role.approval_id)
            for role in one.roles
        ],
        _drawn(review, "groups", one, lambda: [_group(review, one, each) for each in one.open]),
        [
            ReviewedDelegation(each.id, each.userid, each.starts_at, each.ends_at, each.reason, each.approval_id)
            for each in one.stands_for
        ],
    )


def _drawn(review: Review, form: str, one: Reviewed, draw: Callable[[], list[Drawn]]) -> list[Drawn]:
    """Drawn once for all people of one standing."""
    key = (form, review.picture.subject(one.employee.userid).standing)
    known: list[Drawn] | None = review.drawn.get(key)
    if known is None:
        known = review.drawn[key] = draw()
    return known


def _modules(one: Reviewed, role: str) -> list[str]:
    return sorted(module.value for module in one.employee.modules) if role == "subadmin" else []


def _group(review: Review, one: Reviewed, each: Open) -> ReviewedGroup:
    row = each.row
    grant = row if isinstance(row, Grant) else None
    since = review.since.get(grant.id) if grant else None
    return ReviewedGroup(
        UUID(each.group_id),
        review.picture.groups[each.group_id].name,
        each.action.value,
        list(each.on),
        row_name(row),
        grant.department if grant else None,
        homes_through(review.picture, one.employee, row),
        grant.reach.value if grant and grant.reach else None,
        since.since if since else None,
        since.revision if since else None,
        since.published_by if since else None,
        since.note if since else None,
    )


async def as_table(review: Review, *, bom: bool) -> AsyncIterator[str]:
    """A row for each thing each person holds, part by part (RFC 4180); with `bom` Excel knows it is UTF-8."""
    yield (BOM if bom else "") + table_row(COLUMNS)
    async for people in review.everybody():
        for one in people:
            yield table_rows(_rows(review, one))
            await asyncio.sleep(0)


def _rows(review: Review, one: Reviewed) -> Iterator[tuple[str, ...]]:
    shown = employee_out(review, one)
    who = (shown.userid, shown.name)
    held = [_tail(cells) for cells in (*_roles(shown), *_departments(shown))]
    held += _drawn(review, "table", one, lambda: [_tail(cells) for cells in _groups(shown)])
    held += [_tail(cells) for cells in _delegations(shown)]
    for tail in held or [_tail({"holds": "nothing"})]:
        yield (*who, *tail)


def _tail(cells: dict[str, Any]) -> tuple[str, ...]:
    """The columns after whom it is about."""
    return tuple(_text(cells.get(name)) for name in COLUMNS[2:])


def _roles(shown: ReviewedEmployee) -> Iterator[dict[str, Any]]:
    for role in shown.roles:
        why = {"since": role.since, "by": role.given_by, "why": role.reason, "approval_id": role.approval_id}
        yield {"holds": "role", "what": role.role, **why}
        for module in role.modules:
            yield {"holds": "module", "what": module, **why}


def _departments(shown: ReviewedEmployee) -> Iterator[dict[str, Any]]:
    for home in shown.departments:
        yield {"holds": "department", "what": home.name, "action": "leads" if home.leads else "member", "through": home.id}


def _groups(shown: ReviewedEmployee) -> Iterator[dict[str, Any]]:
    for group in shown.groups:
        yield {
            "holds": "group",
            "what": group.name,
            "action": group.action,
            "on": " ".join(group.on),
            "row": group.row,
            "through": group.through,
            "reach": group.reach,
            "since": group.since,
            "by": group.published_by,
            "why": group.note,
        }


def _delegations(shown: ReviewedEmployee) -> Iterator[dict[str, Any]]:
    for each in shown.delegations:
        yield {
            "holds": "delegation",
            "what": each.stands_for,
            "since": each.starts_at,
            "until": each.ends_at,
            "by": each.stands_for,
            "why": each.reason,
            "approval_id": each.approval_id,
        }


def _text(value: Any) -> str:
    if value is None:
        return ""
    return iso(value) if isinstance(value, datetime) else str(value)
