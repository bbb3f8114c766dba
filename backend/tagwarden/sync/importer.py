"""Runs of sync: reads WeCom page by page through the budgeted client and writes each page through a use case.

Never inside a transaction; resumable after kill -9, because a page and its cursor commit together. Bulk reads yield to
tag writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tagwarden.approvals.service import SYSTEM
from tagwarden.corps.model import Caller
from tagwarden.customers.model import ContactSeen
from tagwarden.kernel import db
from tagwarden.kernel.errors import TagwardenError
from tagwarden.sync import repository, service
from tagwarden.sync.model import RunKind
from tagwarden.wecom.client import WecomClient

USERS_AT_ONCE = 100
STATUS = {1: "active", 2: "disabled", 4: "inactive", 5: "left"}

Progress = Callable[[str, int, int | None], None]


def _quiet(_kind: str, _done: int, _total: int | None) -> None:
    return None


class Importer:
    """Executes claimed runs; one instance per process."""

    def __init__(self, client: WecomClient, progress: Progress = _quiet) -> None:
        self._client = client
        self._progress = progress

    async def run_next(self, corp_id: str, run_id: UUID | None = None) -> bool:
        """Claims and executes one run; False when there was none. A failure ends the run with its plain words."""
        run = await repository.claim_run(corp_id, run_id, service.SILENT_AFTER)
        if run is None:
            return False
        work: dict[str, Callable[[Caller, db.Row], Awaitable[dict[str, Any]]]] = {
            RunKind.ORG: self._org,
            RunKind.CATALOG: self._catalog,
            RunKind.CUSTOMERS: self._customers,
        }
        caller = Caller(corp_id, run["started_by"], SYSTEM, request_id=str(run["id"]))
        try:
            result = await work[run["kind"]](caller, run)
        except TagwardenError as error:
            await repository.finish_run(corp_id, run["id"], {}, error.text("zh"))
            return True
        await repository.finish_run(corp_id, run["id"], result, None)
        return True

    async def _org(self, caller: Caller, run: db.Row) -> dict[str, Any]:
        departments = await self._client.department_list(caller.corp_id)
        users: dict[str, dict[str, Any]] = {}
        leads: dict[str, set[int]] = {}
        for number, department in enumerate(departments, 1):
            for user in await self._client.user_list(caller.corp_id, department["id"]):
                users[user["userid"]] = user
                leads.setdefault(user["userid"], set()).update(_led(user))
            await repository.advance_run(caller.corp_id, run["id"], {}, number, len(departments))
            self._progress("org", number, len(departments))
        return await service.mirror_org(caller, _org_seen(departments, users, leads))

    async def _catalog(self, caller: Caller, run: db.Row) -> dict[str, Any]:
        library = await self._client.tag_library(caller.corp_id)
        result = await service.mirror_catalog(caller, library)
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
        userids = sorted(await self._client.follow_users(caller.corp_id))
        state = {"batch": 0, "cursor": "", "marks": 0, **run["cursor"]}
        done = int(run["done"])
        while state["batch"] * USERS_AT_ONCE < len(userids):
            await self._yield_to_writes(caller.corp_id)
            batch = userids[state["batch"] * USERS_AT_ONCE : (state["batch"] + 1) * USERS_AT_ONCE]
            page = await self._client.customers_page(caller.corp_id, batch, state["cursor"])
            seen = [_contact(contact, follow) for contact, follow in page.items]
            done += len(seen)
            if page.next_cursor:
                state = {**state, "cursor": page.next_cursor}
            else:
                state = {**state, "batch": state["batch"] + 1, "cursor": ""}
            state["marks"] += await service.mirror_contacts(caller, run["id"], seen, state, done)
            self._progress("customers", done, None)
        return {"follows": done, "marks": state["marks"], "employees": len(userids)}

    async def _yield_to_writes(self, corp_id: str) -> None:
        while await repository.has_settled_writes(corp_id):
            await asyncio.sleep(0.5)


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
