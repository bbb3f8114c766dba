"""Sync over HTTP: status and runs; the ledger and its switches stand in `ledger_controllers.py`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from litestar import Controller, Request, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody
from litestar.response import ServerSentEvent

from tagwarden.corps.model import Caller
from tagwarden.identity.model import Module, RoleName
from tagwarden.kernel.http import CursorInvalid, problems
from tagwarden.policy.service import Picture
from tagwarden.sync import cards_rows, drift_reading, estimate, live, outbox, repository, service
from tagwarden.sync.model import RunKind, RunUnknown
from tagwarden.wecom.pause import Pause

STREAM = ResponseSpec(str, description="The events.", media_type="text/event-stream", generate_examples=False)


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


class PauseOut(msgspec.Struct):
    """Sending is paused: what changes WeCom's tags waits, reads and cards to signers go on."""

    since: datetime
    by: str
    reason: str


class Inbound(msgspec.Struct):
    """What WeCom reported and is not worked on yet: callbacks to open, things to read again, readings given up."""

    callbacks: int
    readings: int
    given_up: int
    oldest: datetime | None


class Reconcile(msgspec.Struct):
    """All customers are read again by slices at night; `nights_a_pass` is about how long a whole pass takes."""

    calls_a_night: int
    nights_a_pass: int | None
    pass_began_at: datetime | None
    last_pass_finished_at: datetime | None
    last_pass_nights: int | None
    last_pass_calls: int | None
    through: str | None


class SyncStatus(msgspec.Struct):
    """`estimate_seconds` is null where nothing moves: sending is `paused`, or `stopped` says why WeCom refuses the
    credential. `given_up` counts follows."""

    waiting: int
    given_up: int
    oldest: datetime | None
    estimate_seconds: float | None
    estimate: str
    library_waiting: int
    cards_waiting: int
    paused: PauseOut | None
    stopped: str | None
    runs: list[dict[str, Any]]
    inbound: Inbound
    reconcile: Reconcile


class SyncController(Controller):
    """How equal WeCom is to what was decided."""

    path = "/v1/sync"
    tags = ("sync",)

    @get("/status", operation_id="get_sync_status", opt={"action": "sync"}, responses=problems())
    async def status(
        self, picture: NamedDependency[Picture], caller: NamedDependency[Caller], state: State, language: NamedDependency[str]
    ) -> SyncStatus:
        """What waits, since when, for how long still, whether sending is paused, and the last run of each kind."""
        require_reader(picture, caller)
        counted = await repository.counts(picture.corp_id)
        library = await outbox.library_waiting(picture.corp_id)
        cards = await cards_rows.counts(picture.corp_id)
        found = await estimate.of(state.budget, picture.corp_id)
        waits = await drift_reading.inbound(picture.corp_id)
        return SyncStatus(
            waiting=counted["waiting"],
            given_up=counted["given_up"],
            oldest=counted["oldest"],
            estimate_seconds=found.seconds,
            estimate=found.in_words(language),
            library_waiting=len(library),
            cards_waiting=cards["waiting"],
            paused=paused(found.pause),
            stopped=found.stopped,
            runs=[{**row, "id": str(row["id"])} for row in await repository.last_runs(picture.corp_id)],
            inbound=Inbound(**{name: waits[name] for name in Inbound.__struct_fields__}),
            reconcile=Reconcile(**await drift_reading.reconciliation(picture.corp_id, state.reconcile_calls)),
        )

    @post("/runs", operation_id="start_sync_run", opt={"action": "sync"}, status_code=202, responses=problems(409))
    async def start(self, caller: NamedDependency[Caller], data: JSONBody[RunIn]) -> RunOut:
        """Queues an import; a worker executes it."""
        run_id = await service.request_run(caller, RunKind(data.kind))
        return await _run(caller.corp_id, run_id)

    @get("/runs/{run_id:uuid}", operation_id="get_sync_run", opt={"action": "sync"}, responses=problems(404))
    async def run(self, picture: NamedDependency[Picture], caller: NamedDependency[Caller], run_id: FromPath[UUID]) -> RunOut:
        """One run with its progress."""
        require_reader(picture, caller)
        return await _run(picture.corp_id, run_id)

    @get(
        "/runs/{run_id:uuid}/events",
        operation_id="watch_sync_run",
        opt={"action": "sync"},
        media_type="text/event-stream",
        responses={200: STREAM, **problems(404)},
    )
    async def watch(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        state: State,
        request: Request[Any, Any, State],
        run_id: FromPath[UUID],
    ) -> ServerSentEvent:
        """The run as it goes, as Server-Sent Events: `progress` at once and at each change, `end` with the last one.

        The data is the run as `GET /v1/sync/runs/{run_id}` shows it. `closed` says why a stream ends before its run:
        `lifetime` (ten minutes; ask again), `refused` (the caller may not read it any more), `stopping` (ask again).
        """
        require_reader(picture, caller)
        await _run(picture.corp_id, run_id)

        async def read() -> RunOut:
            require_reader(await state.establish_anew(request), caller)
            return await _run(caller.corp_id, run_id)

        stream = live.follow(f"{caller.corp_id} {caller.subject}", read, lambda run: run.state in ("done", "failed"))
        return ServerSentEvent(await live.begin(stream))


def require_reader(picture: Picture, caller: Caller) -> None:
    """Raises ModuleMissing unless the caller is an auditor, an admin, or a sub-admin with the sync module."""
    employee = picture.directory.employee(caller.userid)
    if not employee.holds(RoleName.AUDITOR):
        picture.directory.require_module(employee, Module.SYNC)


async def _run(corp_id: str, run_id: UUID) -> RunOut:
    row = await repository.run(corp_id, run_id)
    if row is None:
        raise RunUnknown()
    return RunOut(**{name: row[name] for name in RunOut.__struct_fields__})


def paused(found: Pause | None) -> PauseOut | None:
    """The pause as HTTP shows it."""
    return PauseOut(found.since, found.actor, found.reason) if found else None


def uuid_of(text: str | None) -> UUID | None:
    """A cursor that holds an id; CursorInvalid for anything else."""
    try:
        return UUID(text) if text else None
    except ValueError:
        raise CursorInvalid() from None
