"""The ledger over HTTP, with pause, resume and retry."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from tagwarden.corps.model import Caller
from tagwarden.kernel.http import LARGEST_PAGE, decode_cursor, encode_cursor, problems
from tagwarden.policy.service import Picture
from tagwarden.sync import estimate, ledger_lines, queries, sending
from tagwarden.sync.controllers import PauseOut, paused
from tagwarden.sync.ledger_lines import LineState, Position
from tagwarden.sync.queries import Filter
from tagwarden.wecom import pause

Wanted = Annotated[Literal["all", "waiting", "sent", "accepted", "refused", "given_up"], QueryParameter(name="state")]
StateName = Literal["waiting", "sent", "accepted", "refused", "given_up"]
Name = Annotated[str | None, QueryParameter(min_length=1, max_length=128)]
Code = Annotated[int | None, QueryParameter(ge=-1_000_000, le=9_999_999)]


class LineOut(msgspec.Struct):
    """One thing that waits or was given up (`id` is its own), or one call. `words` say the code, or why there is none.

    `attempt`: the call's number, or how many there were. `may_retry`: `POST /v1/sync/ledger/{id}/retry` tries it again.
    """

    id: UUID
    what: Literal["follow", "tag", "tag_group", "card", "call"]
    state: StateName
    api: str
    follow_id: UUID | None
    userid: str | None
    external_userid: str | None
    subject: str | None
    add_tags: list[str]
    remove_tags: list[str]
    attempt: int
    under_way: bool
    code: int | None
    words: str | None
    since: datetime
    answered_at: datetime | None
    next_try_at: datetime | None
    may_retry: bool


class LedgerPage(msgspec.Struct):
    """What waits, the oldest first, then what was given up, then calls, the newest first.

    `estimate_seconds`: until everything that waits in the company has been sent, 0 where nothing waits that the caller sees;
    null while nothing moves. `estimate` counts what the caller sees.
    """

    waiting_total: int
    given_up_total: int
    estimate_seconds: float | None
    estimate: str
    paused: PauseOut | None
    items: list[LineOut]
    next_cursor: str | None


class PauseIn(msgspec.Struct, forbid_unknown_fields=True):
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class SendingOut(msgspec.Struct):
    """Whether sending is paused now; `under_way` calls had left before and end as they end."""

    paused: PauseOut | None
    under_way: int


class RetryIn(msgspec.Struct, forbid_unknown_fields=True):
    """`code` left out: all that was given up, whatever WeCom said."""

    code: Annotated[int, msgspec.Meta(ge=-1_000_000, le=9_999_999)] | None = None


class RetriedOut(msgspec.Struct):
    """`left`: given up with the same code and not tried again yet; ask once more."""

    retried: int
    left: int


class LedgerController(Controller):
    """Everything that leaves for WeCom: what waits, what became of it, and the switches over it."""

    path = "/v1/sync"
    tags = ("sync",)

    @get("/ledger", operation_id="get_sync_ledger", opt={"action": "view"}, responses=problems())
    async def ledger(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        state: State,
        language: NamedDependency[str],
        line_state: Wanted = "all",
        follow_id: FromQuery[UUID | None] = None,
        external_userid: Name = None,
        userid: Name = None,
        api: Name = None,
        code: Code = None,
        since: FromQuery[datetime | None] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE)] = 50,
        cursor: FromQuery[str | None] = None,
    ) -> LedgerPage:
        """All lines for admins, the sync module and auditors; for anybody else those of the follows he may see."""
        named = picture.directory.named(userid) if userid else None
        wanted = Filter(None, follow_id, external_userid, named, api, code, ledger_lines.moment(since))
        at = Position.read(decode_cursor(cursor))
        chosen = None if line_state == "all" else LineState(line_state)
        lines, following = await ledger_lines.page(picture, caller, wanted, chosen, at, limit)
        owners = await ledger_lines.owners_seen(picture, caller)
        found = await estimate.of(state.budget, picture.corp_id)
        if owners is not None:
            found = found.as_seen(*await queries.count_unsent(picture.corp_id, owners))
        return LedgerPage(
            waiting_total=found.waiting,
            given_up_total=found.given_up,
            estimate_seconds=found.seconds,
            estimate=found.in_words(language),
            paused=paused(found.pause),
            items=[LineOut(**ledger_lines.shown(line, language)) for line in lines],
            next_cursor=encode_cursor(following) if following else None,
        )

    @post("/ledger/retry", operation_id="retry_sync_lines", opt={"action": "sync"}, status_code=200, responses=problems(409))
    async def retry_many(self, caller: NamedDependency[Caller], data: JSONBody[RetryIn]) -> RetriedOut:
        """Tries again all that was given up with one code (sync module); at most 500 follows, at a batch's pace."""
        done = await sending.retry_code(caller, data.code)
        return RetriedOut(done.retried, done.left)

    @post(
        "/ledger/{line_id:uuid}/retry",
        operation_id="retry_sync_line",
        opt={"action": "view"},
        status_code=200,
        responses=problems(404, 409),
    )
    async def retry(self, caller: NamedDependency[Caller], line_id: FromPath[UUID]) -> RetriedOut:
        """Tries again what one given-up line is about; a call's line stands for its follow."""
        return RetriedOut(await sending.retry_line(caller, line_id), 0)

    @post("/pause", operation_id="pause_sync", opt={"action": "sync"}, status_code=200, responses=problems(409))
    async def pause(self, caller: NamedDependency[Caller], data: JSONBody[PauseIn]) -> SendingOut:
        """Holds back everything that changes WeCom's tags, until it is resumed (sync module). Reads and cards go on."""
        await sending.pause_sending(caller, data.reason)
        return await _sending(caller)

    @post("/resume", operation_id="resume_sync", opt={"action": "sync"}, status_code=200, responses=problems(409))
    async def resume(self, caller: NamedDependency[Caller], data: JSONBody[PauseIn]) -> SendingOut:
        """Lets it go on (sync module)."""
        await sending.resume_sending(caller, data.reason)
        return await _sending(caller)


async def _sending(caller: Caller) -> SendingOut:
    return SendingOut(paused(await pause.read(caller.corp_id)), await sending.under_way(caller.corp_id))
