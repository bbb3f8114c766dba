"""Drift over HTTP: each case, what became of it, whose edits are put back again and again, and the brake."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from tagwarden.corps.model import Caller
from tagwarden.kernel import clock
from tagwarden.kernel.http import LARGEST_PAGE, decode_cursor, encode_cursor, problems
from tagwarden.policy.service import Picture
from tagwarden.sync import drift, drift_reading
from tagwarden.sync.controllers import require_reader, uuid_of
from tagwarden.sync.drift_model import OFTEN, OFTEN_IN_DAYS

States = Literal["all", "pending", "open", "reported", "put_back", "taken_in", "asked", "gone"]


class DriftCase(msgspec.Struct):
    """One tag of one follow that WeCom and our decision disagree (or disagreed) about.

    `case`: what was done inside WeCom. `state`: `open` waits for the guard; `reported` is left as it is, `reason` says
    why; `put_back` WeCom is made what was decided, `reason` the step at which the owner's edit would have been refused,
    if it was asked; `taken_in` the edit stands; `asked` put back, and `approval_id` asks for it; `gone` no longer so.
    The follow is named where the caller may view this group on it.
    """

    id: UUID
    follow_userid: str | None
    external_userid: str | None
    tag_id: UUID
    tag: str
    group_id: UUID
    group_name: str
    kind: str
    case: str
    state: str
    reason: str | None
    approval_id: UUID | None
    run_id: UUID | None
    first_seen_at: datetime
    last_seen_at: datetime
    age_seconds: float
    done_at: datetime | None


class Guard(msgspec.Struct):
    """Whether the guard has stopped and asks, why, and for how many follows; a release counts for a day."""

    stopped: bool
    stopped_at: datetime | None
    reason: str | None
    waiting: int
    released_by: str | None
    released_until: datetime | None


class HeldBack(msgspec.Struct):
    """A tag that WeCom renamed (`wecom_name`) or deleted (`missing_since`): nothing more of it is sent."""

    tag_id: UUID
    tag: str
    wecom_name: str | None
    missing_since: datetime | None


class Drift(msgspec.Struct):
    """`counts`: cases that wait, and those of the last thirty days by what became of them."""

    items: list[DriftCase]
    next_cursor: str | None
    guard: Guard
    counts: dict[str, int]
    tags_held_back: list[HeldBack]


class Offender(msgspec.Struct):
    userid: str
    put_back: int
    last_at: datetime


class Offenders(msgspec.Struct):
    """Owners whose edits inside WeCom were put back at least `at_least` times in `days` days."""

    items: list[Offender]
    at_least: int = OFTEN
    days: int = OFTEN_IN_DAYS


class Released(msgspec.Struct):
    """How many follows the guard may put back now beyond what it may by itself."""

    follows: int


class DriftController(Controller):
    """Where WeCom and our decision disagree."""

    path = "/v1/sync/drift"
    tags = ("sync",)

    @get("/", operation_id="list_drift", opt={"action": "sync"}, responses=problems())
    async def cases(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        limit: Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE)] = 50,
        cursor: FromQuery[str | None] = None,
        case_state: Annotated[States, QueryParameter(name="state")] = "all",
    ) -> Drift:
        """Cases, newest first, with the brake and the tags that are held back. `pending`: nothing became of them yet."""
        require_reader(picture, caller)
        before = uuid_of(decode_cursor(cursor))
        wanted = None if case_state == "all" else case_state
        found = await drift_reading.cases(picture, caller.userid, wanted, before, limit)
        following = encode_cursor(found[-1]["id"]) if len(found) == limit else None
        guard, counts, held = await drift_reading.standing(picture.corp_id)
        now = clock.now()
        items = [_case(row, now) for row in found]
        return Drift(items, following, Guard(**guard), counts, [HeldBack(**row) for row in held])

    @get("/offenders", operation_id="list_drift_offenders", opt={"action": "sync"}, responses=problems())
    async def offenders(self, picture: NamedDependency[Picture], caller: NamedDependency[Caller]) -> Offenders:
        """Owners whose edits inside WeCom had to be put back again and again."""
        require_reader(picture, caller)
        return Offenders([Offender(**row) for row in await drift_reading.offenders(picture.corp_id)])

    @post("/confirm", operation_id="confirm_drift", opt={"action": "sync"}, status_code=200, responses=problems(409))
    async def confirm(self, caller: NamedDependency[Caller]) -> Released:
        """Lets the guard go on after it stopped and asked."""
        return Released(await drift.confirm(caller))


def _case(row: dict[str, Any], now: datetime) -> DriftCase:
    until = row["done_at"] or now
    return DriftCase(
        row["id"],
        row["userid"],
        row["external_userid"],
        row["tag_id"],
        row["tag"],
        row["group_id"],
        row["group_name"],
        row["group_kind"],
        row["case"],
        row["state"],
        row["reason"],
        row["approval_id"],
        row["run_id"],
        row["first_seen_at"],
        row["last_seen_at"],
        max(0.0, (until - row["first_seen_at"]).total_seconds()),
        row["done_at"],
    )
