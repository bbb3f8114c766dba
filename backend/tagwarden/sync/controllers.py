"""Sync over HTTP: status, the ledger with what waits, and runs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from tagwarden.corps.model import Caller
from tagwarden.identity.model import Module, RoleName
from tagwarden.kernel.http import LARGEST_PAGE, CursorInvalid, decode_cursor, encode_cursor, problems
from tagwarden.policy.service import Picture
from tagwarden.sync import outbox, repository, service
from tagwarden.sync.model import RunKind, RunUnknown
from tagwarden.wecom import ledger


class RunIn(msgspec.Struct, forbid_unknown_fields=True):
    kind: Literal["org", "catalog", "customers", "drift"]


class RunOut(msgspec.Struct):
    id: UUID
    kind: str
    state: str
    done: int
    total: int | None
    problem: str | None
    result: dict[str, Any]
    created_at: datetime
    finished_at: datetime | None


class Waiting(msgspec.Struct):
    """A follow whose tags are on their way to WeCom."""

    follow_id: UUID
    userid: str
    external_userid: str
    state: str
    since: datetime | None
    next_try_at: datetime | None
    attempts: int
    problem: str | None


class Call(msgspec.Struct):
    """One call to WeCom, with its code in plain words."""

    id: UUID
    api: str
    state: str
    attempt: int
    subject: str | None
    add_tags: list[str]
    remove_tags: list[str]
    code: int | None
    words_zh: str | None
    words_en: str | None
    sent_at: datetime
    answered_at: datetime | None


class Ledger(msgspec.Struct):
    """`estimate_seconds`: until everything that waits has been sent, at the corp's budget."""

    waiting_total: int
    estimate_seconds: float
    estimate: str
    waiting: list[Waiting]
    calls: list[Call]
    next_cursor: str | None


class SyncStatus(msgspec.Struct):
    waiting: int
    given_up: int
    oldest: datetime | None
    estimate_seconds: float
    library_waiting: int
    runs: list[dict[str, Any]]


class SyncController(Controller):
    """How equal WeCom is to what was decided."""

    path = "/v1/sync"
    tags = ("sync",)

    @get("/status", operation_id="get_sync_status", opt={"action": "sync"}, responses=problems())
    async def status(self, picture: NamedDependency[Picture], caller: NamedDependency[Caller], state: State) -> SyncStatus:
        """What waits, since when, and the last run of each kind."""
        _require_reader(picture, caller)
        counted = await repository.counts(picture.corp_id)
        library = await outbox.library_waiting(picture.corp_id)
        runs = [{**row, "id": str(row["id"])} for row in await repository.last_runs(picture.corp_id)]
        seconds = await state.budget.estimate(picture.corp_id, counted["waiting"])
        return SyncStatus(counted["waiting"], counted["given_up"], counted["oldest"], seconds, len(library), runs)

    @get("/ledger", operation_id="get_sync_ledger", opt={"action": "sync"}, responses=problems())
    async def ledger(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        state: State,
        language: NamedDependency[str],
        limit: Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE)] = 50,
        cursor: FromQuery[str | None] = None,
    ) -> Ledger:
        """What waits, with an estimate, and every call made, newest first."""
        _require_reader(picture, caller)
        counted = await repository.counts(picture.corp_id)
        waiting = await repository.waiting(picture.corp_id, limit)
        seconds = await state.budget.estimate(picture.corp_id, counted["waiting"])
        calls = await ledger.page(picture.corp_id, limit, _uuid(decode_cursor(cursor)))
        shown = [Call(**{name: row[name] for name in Call.__struct_fields__}) for row in calls]
        following = encode_cursor(shown[-1].id) if len(shown) == limit else None
        words = _in_words(counted["waiting"], seconds, language)
        return Ledger(counted["waiting"], seconds, words, [_waiting(row) for row in waiting], shown, following)

    @post("/runs", operation_id="start_sync_run", opt={"action": "sync"}, status_code=202, responses=problems(409))
    async def start(self, caller: NamedDependency[Caller], data: JSONBody[RunIn]) -> RunOut:
        """Queues an import; a worker executes it."""
        run_id = await service.request_run(caller, RunKind(data.kind))
        return await _run(caller.corp_id, run_id)

    @get("/runs/{run_id:uuid}", operation_id="get_sync_run", opt={"action": "sync"}, responses=problems(404))
    async def run(self, picture: NamedDependency[Picture], caller: NamedDependency[Caller], run_id: FromPath[UUID]) -> RunOut:
        """One run with its progress."""
        _require_reader(picture, caller)
        return await _run(picture.corp_id, run_id)


def _require_reader(picture: Picture, caller: Caller) -> None:
    employee = picture.directory.employee(caller.userid)
    if not employee.holds(RoleName.AUDITOR):
        picture.directory.require_module(employee, Module.SYNC)


async def _run(corp_id: str, run_id: UUID) -> RunOut:
    row = await repository.run(corp_id, run_id)
    if row is None:
        raise RunUnknown()
    return RunOut(**{name: row[name] for name in RunOut.__struct_fields__})


def _waiting(row: dict[str, Any]) -> Waiting:
    state = "given_up" if row["given_up"] else "under_way" if row["under_way"] else "waiting"
    return Waiting(
        row["follow_id"],
        row["userid"],
        row["external_userid"],
        state,
        row["first_dirty_at"],
        row["next_try_at"],
        row["attempts"],
        row["given_up"],
    )


def _in_words(waiting: int, seconds: float, language: str) -> str:
    minutes, whole = round(seconds / 60), max(1, round(seconds))
    if language == "zh":
        if waiting == 0:
            return "没有等待同步的更改"
        return f"{waiting} 位客户等待同步，约 {f'{whole} 秒' if seconds < 90 else f'{minutes} 分钟'}"
    if waiting == 0:
        return "nothing is waiting"
    return f"{waiting} waiting, about {f'{whole} seconds' if seconds < 90 else f'{minutes} minutes'}"


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise CursorInvalid() from None
