"""The ledger as one list: what waits, what was given up, then every call, each segment by its own keyset.

Who sees which line: admins, the sync module and auditors all; anybody else the follows he may see, and of their tags those
he may view. So a line never shows what the customer's own page would not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from tagwarden.assignments import reading
from tagwarden.assignments.sight import Sight
from tagwarden.corps.model import Caller
from tagwarden.identity.model import Module, ModuleMissing, RoleName
from tagwarden.kernel import clock
from tagwarden.kernel.db import Row
from tagwarden.kernel.http import CursorInvalid
from tagwarden.policy.service import Picture
from tagwarden.sync import queries
from tagwarden.sync.queries import Filter
from tagwarden.wecom.ledger import in_english
from tagwarden.wecom.model import code_at_head, verdict


class LineState(StrEnum):
    """`waiting`: not sent yet, or to be tried again. `sent`: no answer yet. `given_up`: not tried any more, or a call whose
    outcome stayed unknown."""

    WAITING = "waiting"
    SENT = "sent"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Position:
    """Where the next page begins: a segment, and the last line seen of it."""

    segment: int = 0
    moment: datetime | None = None
    id: UUID | None = None

    def __str__(self) -> str:
        return f"{self.segment},{self.moment.isoformat() if self.moment else ''},{self.id or ''}"

    @staticmethod
    def read(text: str | None) -> Position:
        """What `str` wrote; CursorInvalid."""
        if text is None:
            return Position()
        try:
            segment, moment, id_ = text.split(",")
            found = Position(int(segment), datetime.fromisoformat(moment) if moment else None, UUID(id_) if id_ else None)
        except ValueError:
            raise CursorInvalid() from None
        if found.segment not in (0, 1, 2) or (found.moment is not None and found.moment.tzinfo is None):
            raise CursorInvalid()
        if found.segment < 2 and (found.moment is None) != (found.id is None):
            raise CursorInvalid()
        return found


def sees_everything(picture: Picture, caller: Caller) -> bool:
    """Whether the caller reads the whole ledger: admin, auditor, or a sub-admin with the sync switch."""
    employee = picture.directory.employee(caller.userid)
    if employee.holds(RoleName.AUDITOR):
        return True
    try:
        picture.directory.require_module(employee, Module.SYNC)
    except ModuleMissing:
        return False
    return True


async def owners_seen(picture: Picture, caller: Caller) -> list[str] | None:
    """Of whose follows the caller sees lines; None: of everything."""
    if sees_everything(picture, caller):
        return None
    owners = Sight(picture, caller.userid, clock.now()).owners()
    return list(picture.directory.employees) if owners is None else owners


async def page(
    picture: Picture, caller: Caller, wanted: Filter, state: LineState | None, at: Position, limit: int
) -> tuple[list[Row], Position | None]:
    """Lines from a position on, and where the next page begins; None after the last."""
    wanted = replace(wanted, owners=await owners_seen(picture, caller))
    lines: list[Row] = []
    for segment in range(at.segment, 3):
        if not _holds(segment, state):
            continue
        start = at if segment == at.segment else Position(segment)
        rows = await _segment(picture.corp_id, wanted, state, start, limit + 1 - len(lines))
        lines += [{**row, "segment": segment} for row in rows]
        if len(lines) > limit:
            break
    following = _position(lines[limit - 1]) if len(lines) > limit else None
    shown = lines[:limit]
    if wanted.owners is not None:
        await _hide_tags(picture, caller, shown)
    return shown, following


def _holds(segment: int, state: LineState | None) -> bool:
    if state is None:
        return True
    if segment == 0:
        return state is LineState.WAITING
    return state is LineState.GIVEN_UP if segment == 1 else state is not LineState.WAITING


async def _segment(corp_id: str, wanted: Filter, state: LineState | None, start: Position, limit: int) -> list[Row]:
    if start.segment == 2:
        named = state.value if state else None
        return await queries.calls(corp_id, wanted, state=named, before=start.id, limit=limit)
    after = (start.moment, start.id) if start.moment is not None and start.id is not None else None
    return await queries.unsent(corp_id, wanted, given_up=start.segment == 1, after=after, limit=limit)


def _position(last: Row) -> Position:
    return Position(last["segment"], last["since"] if last["segment"] < 2 else None, last["id"])


async def _hide_tags(picture: Picture, caller: Caller, lines: Iterable[Row]) -> None:
    calls = [line for line in lines if line["segment"] == 2]
    ids = {tag for line in calls for tag in (*line["add_tags"], *line["remove_tags"])}
    groups = await queries.group_of_wecom_tags(picture.corp_id, sorted(ids))

    sight = Sight(picture, caller.userid, clock.now())

    def may_view(owner: str, tag: str) -> bool:
        group = groups.get(tag)
        return group is not None and sight.views(owner, *group)

    for line in calls:
        for op in ("add_tags", "remove_tags"):
            line[op] = [tag for tag in line[op] if may_view(line["userid"], tag)]


def moment(since: datetime | None) -> datetime | None:
    """The moment asked for, which names its zone; MomentWithoutZone."""
    if since is not None and since.tzinfo is None:
        raise reading.MomentWithoutZone()
    return since


def words(line: Row, language: str) -> str | None:
    """The code, or the reason without one, in plain words."""
    kept: str | None = line["message"] if line["segment"] == 2 else line["given_up"]
    code = line["code"] if line["segment"] == 2 else line["given_up_code"]
    if code:
        found = verdict(code)
        return found.words_zh if language == "zh" else found.words_en
    if language == "zh" or kept is None:
        return kept
    return "; ".join(_in_english(part) for part in kept.split("; "))


def _in_english(reason: str) -> str:
    """A reason that stands for another one: "name: 40126 …", of a tag the follow waits for."""
    name, mark, rest = reason.rpartition(": ")
    code = code_at_head(rest)
    return f"{name}{mark}{code} {verdict(code).words_en}" if code else in_english(reason) or reason


def shown(line: Row, language: str) -> dict[str, Any]:
    """A line by the names under which HTTP shows it."""
    called = line["segment"] == 2
    return {
        "id": line["id"],
        "what": "call" if called else line["what"],
        "state": line["state"] if called else ("given_up", "waiting")[line["segment"] == 0],
        "api": line["api"],
        "follow_id": line["follow_id"],
        "userid": line["userid"],
        "external_userid": line["external_userid"],
        "subject": line["subject"],
        "add_tags": line["add_tags"] if called else [],
        "remove_tags": line["remove_tags"] if called else [],
        "attempt": line["attempt"] if called else line["attempts"],
        "under_way": line["state"] == "sent" if called else line["under_way"],
        "code": line["code"] if called else line["given_up_code"],
        "words": words(line, language),
        "since": line["since"],
        "answered_at": line["answered_at"] if called else None,
        "next_try_at": line["next_try_at"] if called or line["given_up"] is None else None,
        "may_retry": line["segment"] == 1,
    }
