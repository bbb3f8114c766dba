"""Runs of sync: reads WeCom page by page through the budgeted client and writes each page through a use case.

Never inside a transaction; resumable after kill -9, because a page and its cursor commit together. Bulk reads yield to
tag writes. A run is beaten while somebody works on it, so that a long wait for a turn is not taken for a death.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import structlog

from tagwarden.approvals.service import SYSTEM
from tagwarden.corps.model import Caller
from tagwarden.customers.model import ContactSeen
from tagwarden.kernel import db
from tagwarden.kernel.errors import TagwardenError
from tagwarden.sync import repository, service
from tagwarden.sync.model import RunKind, backoff, is_final
from tagwarden.wecom.client import WecomClient
from tagwarden.wecom.model import NoAnswer, WecomRefused

log = structlog.get_logger(__name__)
USERS_AT_ONCE = 100
READ_TRIES = 5
BEAT = 10.0
STATUS = {1: "active", 2: "disabled", 4: "inactive", 5: "left"}

Progress = Callable[[str, int, int | None], None]
T = TypeVar("T")


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
            RunKind.CUSTOMERS: self._customers,
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

    async def _org(self, caller: Caller, run: db.Row) -> dict[str, Any]:
        departments = await _patiently(lambda: self._client.department_list(caller.corp_id))
        users: dict[str, dict[str, Any]] = {}
        leads: dict[str, set[int]] = {}
        for number, department_id in enumerate([one["id"] for one in departments], 1):
            for user in await self._members(caller.corp_id, department_id):
                users[user["userid"]] = user
                leads.setdefault(user["userid"], set()).update(_led(user))
            await repository.advance_run(caller.corp_id, run["id"], {}, number, len(departments))
            self._progress("org", number, len(departments))
        return await service.mirror_org(caller, _org_seen(departments, users, leads))

    async def _members(self, corp_id: str, department_id: int) -> list[dict[str, Any]]:
        return await _patiently(lambda: self._client.user_list(corp_id, department_id))

    async def _catalog(self, caller: Caller, run: db.Row) -> dict[str, Any]:
        read_at = await repository.moment()
        library = await _patiently(lambda: self._client.tag_library(caller.corp_id))
        result = await service.mirror_catalog(caller, library, read_at)
        self._progress("catalog", 1, 1)
        return {
            "groups_new": result.groups_new,
            "tags_new": result.tags_new,
            "renamed": result.renamed,
            "marked": result.marked,
            "conflicts": result.conflicts,
            "missing": result.missing,
        }

    async def _customers(self, caller: Caller, run: db.Row) -> dict[str, Any]:
        """`through`: whose customers are all in; `batch`: whose are being read, for whom alone the cursor holds."""
        userids = sorted(await _patiently(lambda: self._client.follow_users(caller.corp_id)))
        state: dict[str, Any] = {"through": "", "batch": [], "cursor": "", "marks": 0, **run["cursor"]}
        done = int(run["done"])
        while batch := state["batch"] or [userid for userid in userids if userid > state["through"]][:USERS_AT_ONCE]:
            seen, following, read_at = await self._page(caller.corp_id, batch, state["cursor"])
            done += len(seen)
            position = {"batch": batch, "cursor": following}
            if not following:
                position = {"through": batch[-1], "batch": [], "cursor": ""}
            state = {**state, **position}
            state["marks"] += await service.mirror_contacts(caller, run["id"], seen, state, done, read_at)
            self._progress("customers", done, None)
        return {"follows": done, "marks": state["marks"], "employees": len(userids)}

    async def _page(self, corp_id: str, batch: list[str], cursor: str) -> tuple[list[ContactSeen], str, datetime]:
        """Follows of one page, the cursor of the next, and the moment before it was read."""
        await self._yield_to_writes(corp_id)
        read_at = await repository.moment()
        page = await _patiently(lambda: self._client.customers_page(corp_id, batch, cursor))
        return [_contact(contact, follow) for contact, follow in page.items], page.next_cursor, read_at

    async def _yield_to_writes(self, corp_id: str) -> None:
        while await repository.has_settled_writes(corp_id):
            await asyncio.sleep(0.5)


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


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Asks again after silence or a refusal that passes: a read does no harm, and an import is long."""
    for attempt in range(READ_TRIES):
        try:
            return await ask()
        except WecomRefused as refused:
            if is_final(refused.verdict, attempt) or attempt + 1 == READ_TRIES:
                raise
        except NoAnswer:
            if attempt + 1 == READ_TRIES:
                raise
        await asyncio.sleep(backoff(attempt).total_seconds())
    raise AssertionError


def _led(user: dict[str, Any]) -> set[int]:
    return {
        department
        for department, leader in zip(user.get("department", ()), user.get("is_leader_in_dept", ()), strict=False)
        if leader
    }


def _org_seen(departments: list[dict[str, Any]], users: dict[str, dict[str, Any]], leads: dict[str, set[int]]) -> service.OrgSeen:
    known = {department["id"] for department in departments}
    return service.OrgSeen(
        tuple((one["id"], one.get("name", ""), one.get("parentid", 0), one.get("order", 0)) for one in departments),
        tuple(
            (userid, user.get("name", userid), STATUS.get(user.get("status", 1), "inactive"), user.get("main_department"))
            for userid, user in users.items()
        ),
        tuple(
            (userid, department, department in leads[userid])
            for userid, user in users.items()
            for department in dict.fromkeys(user.get("department", ()))
            if department in known
        ),
    )


def _contact(contact: dict[str, Any], follow: dict[str, Any]) -> ContactSeen:
    return ContactSeen(
        follow["userid"],
        contact["external_userid"],
        contact.get("name", ""),
        contact.get("type", 1),
        contact.get("corp_name") or None,
        datetime.fromtimestamp(follow.get("createtime", 0), UTC),
        tuple(follow.get("tag_id", ())),
    )
