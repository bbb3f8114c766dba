"""Runs of sync: reads WeCom page by page through the budgeted client and writes each page through a use case.

Never inside a transaction; resumable after kill -9, because a page and its cursor commit together. Bulk reads yield to
tag writes. A run is beaten while somebody works on it, so that a long wait for a turn is not taken for a death.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from typing import Any
from uuid import UUID

import structlog

from tagwarden.approvals.service import SYSTEM
from tagwarden.corps.model import Caller
from tagwarden.kernel import db
from tagwarden.kernel.errors import TagwardenError
from tagwarden.sync import readings, repository, service, shapes
from tagwarden.sync.customers_run import CustomersRun
from tagwarden.sync.model import RunKind
from tagwarden.sync.patience import patiently
from tagwarden.wecom.client import WecomClient

log = structlog.get_logger(__name__)
BEAT = 10.0

Progress = Callable[[str, int, int | None], None]


def _quiet(_kind: str, _done: int, _total: int | None) -> None:
    return None


class Importer:
    """Executes claimed runs; one instance per process."""

    def __init__(self, client: WecomClient, progress: Progress = _quiet) -> None:
        self._client = client
        self._progress = progress

    async def run_next(self, corp_id: str, run_id: UUID | None = None) -> bool:
        """Claims and executes one run; False when there was none. A failure ends the run with its plain words.

        Without the database, or cancelled, it leaves the run for others to go on with.
        """
        run = await repository.claim_run(corp_id, run_id, service.SILENT_AFTER)
        if run is None:
            return False
        try:
            async with _beating(corp_id, run["id"]):
                await self._finish(corp_id, run)
        except asyncio.CancelledError:
            with contextlib.suppress(db.DatabaseUnavailable):
                await asyncio.shield(repository.release_run(corp_id, run["id"]))
            raise
        return True

    async def _finish(self, corp_id: str, run: db.Row) -> None:
        work: dict[str, Callable[[Caller, db.Row], Awaitable[dict[str, Any]]]] = {
            RunKind.ORG: self._org,
            RunKind.CATALOG: self._catalog,
            RunKind.CUSTOMERS: CustomersRun(self._client, self._progress).execute,
            RunKind.DRIFT: CustomersRun(self._client, self._progress).reconcile,
        }
        caller = Caller(corp_id, run["started_by"], SYSTEM, request_id=str(run["id"]))
        result: dict[str, Any] = {}
        problem = None
        try:
            result = await work[run["kind"]](caller, run)
        except db.DatabaseUnavailable:
            raise
        except TagwardenError as error:
            problem = error.text("zh")
        except Exception as error:
            log.error("sync.run_failed", corp_id=corp_id, kind=run["kind"], error=type(error).__name__, exc_info=error)
            problem = f"内部错误（{type(error).__name__}），详见服务日志"
        await repository.finish_run(corp_id, run["id"], result, problem)
        await readings.forget_ended(corp_id)

    async def _org(self, caller: Caller, run: db.Row) -> dict[str, Any]:
        departments = await patiently(lambda: self._client.department_list(caller.corp_id))
        users: dict[str, dict[str, Any]] = {}
        leads: dict[str, set[int]] = {}
        for number, department_id in enumerate([one["id"] for one in departments], 1):
            for user in await self._members(caller.corp_id, department_id):
                users[user["userid"]] = user
                leads.setdefault(user["userid"], set()).update(shapes.led(user))
            await repository.advance_run(caller.corp_id, run["id"], {}, number, len(departments))
            self._progress("org", number, len(departments))
        return await service.mirror_org(caller, shapes.organisation(departments, users, leads))

    async def _members(self, corp_id: str, department_id: int) -> list[dict[str, Any]]:
        return await patiently(lambda: self._client.user_list(corp_id, department_id))

    async def _catalog(self, caller: Caller, run: db.Row) -> dict[str, Any]:
        read_at = await repository.moment()
        library = await patiently(lambda: self._client.tag_library(caller.corp_id))
        result = await service.mirror_catalog(caller, library, read_at)
        self._progress("catalog", 1, 1)
        return asdict(result)


@contextlib.asynccontextmanager
async def _beating(corp_id: str, run_id: UUID) -> AsyncIterator[None]:
    """Tells the others, for as long as the block lasts, that the run is in good hands."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(BEAT)
            with contextlib.suppress(db.DatabaseUnavailable):
                await repository.beat_run(corp_id, run_id)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
