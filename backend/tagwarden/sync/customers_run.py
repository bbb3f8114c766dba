"""Reading who follows whom and what WeCom holds on each follow, owner by owner: for an import, and to reconcile.

Resumable after kill -9: a page and its cursor commit together, and a batch of owners is left behind only when what it
did not show has been ended. One run may read everybody; the nightly ones read a slice by userid and go on the next night
where they stopped: a million follows are ten thousand calls, which is more than one night may take from the budget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from tagwarden.corps.model import Caller
from tagwarden.kernel import db
from tagwarden.sync import contacts_in, drift, drift_rows, passes, repository, service, shapes
from tagwarden.sync.patience import patiently, yield_to_writes
from tagwarden.wecom.client import CustomersPage, WecomClient

USERS_AT_ONCE = 100
Page = tuple[CustomersPage, datetime]
State = dict[str, Any]
"""`through`: whose customers are all in; `batch`: whose are being read since `began`, for whom alone `cursor` holds;
`unlicensed`: of those, whom WeCom left out; `ending`: all pages of the batch are in. Of a slice also `slice`, how many
calls it may make, and `calls`."""


class CustomersRun:
    """Executes runs about customers."""

    def __init__(self, client: WecomClient, progress: Callable[[str, int, int | None], None]) -> None:
        self._client = client
        self._progress = progress
        self._ahead: tuple[tuple[list[str], str], asyncio.Task[Page]] | None = None

    async def reconcile(self, caller: Caller, run: db.Row) -> dict[str, Any]:
        """The library, then every follow of the run's owners, then the guard; a slice takes its place in the pass."""
        read_at = await repository.moment()
        library = await patiently(lambda: self._client.tag_library(caller.corp_id))
        taken = await service.mirror_catalog(caller, library, read_at)
        result = await self.execute(caller, run)
        await drift_rows.reopen_reported(caller.corp_id, run["id"])
        acted = await drift.act_on_all(caller.corp_id, run["id"])
        stopped = (await drift_rows.guard(caller.corp_id))["stopped_at"] is not None
        held_back = asdict(taken)["held_back"]
        return {**result, "acted_on": acted, "stopped": stopped, "held_back": held_back}

    async def execute(self, caller: Caller, run: db.Row) -> dict[str, Any]:
        """Reads what is left of the run."""
        try:
            return await self._execute(caller, run)
        finally:
            await self._drop_ahead()

    async def _execute(self, caller: Caller, run: db.Row) -> dict[str, Any]:
        userids = sorted(await patiently(lambda: self._client.follow_users(caller.corp_id)))
        state: State = {"through": "", "batch": [], "cursor": "", "marks": 0, "ended": 0, **run["cursor"]}
        done = int(run["done"])
        while batch := state["batch"] or self._next(userids, state):
            if not state["batch"]:
                began = await repository.moment()
                state = {**state, "batch": batch, "cursor": "", "began": began.isoformat(), "unlicensed": [], "ending": False}
            if not state.get("ending"):
                state, done = await self._read_page(caller, run, state, done)
            if state.get("ending"):
                state = await self._end_batch(caller, run, state, done)
        if state.get("slice"):
            finished = not [userid for userid in userids if userid > state["through"]]
            await passes.close_slice(caller.corp_id, state["through"], state["calls"], finished=finished)
        await contacts_in.count_strategy_tags(caller.corp_id)
        counted = {"follows": done, "marks": state["marks"], "ended": state["ended"], "employees": len(userids)}
        return {**counted, "through": state["through"]} if state.get("slice") else counted

    def _next(self, userids: list[str], state: State) -> list[str]:
        if state.get("slice") and state["calls"] >= state["slice"]:
            return []
        return [userid for userid in userids if userid > state["through"]][:USERS_AT_ONCE]

    async def _read_page(self, caller: Caller, run: db.Row, state: State, done: int) -> tuple[State, int]:
        page, read_at = await self._page(caller.corp_id, state["batch"], state["cursor"])
        seen = [shapes.listed_contact(contact, follow) for contact, follow in page.items]
        done += len(seen)
        state = {
            **state,
            "cursor": page.next_cursor,
            "ending": not page.next_cursor,
            "unlicensed": sorted({*state.get("unlicensed", ()), *page.unlicensed}),
            "calls": state.get("calls", 0) + 1,
        }
        marks = await service.mirror_contacts(caller, run["id"], seen, state, done, read_at)
        self._progress("customers", done, None)
        return {**state, "marks": state["marks"] + marks}, done

    async def _end_batch(self, caller: Caller, run: db.Row, state: State, done: int) -> State:
        """What the complete reading of these owners did not show has ended; then they are left behind."""
        owners = [one for one in state["batch"] if one not in state.get("unlicensed", ())]
        behind = {**state, "through": state["batch"][-1], "batch": [], "cursor": ""}
        ended = await contacts_in.leave_owners(caller, run["id"], owners, behind, done)
        return {**behind, "ended": behind["ended"] + ended}

    async def _page(self, corp_id: str, batch: list[str], cursor: str) -> Page:
        """One page; the next one is being read while this one is written: there is never more than one ahead."""
        if self._ahead is not None and self._ahead[0] == (batch, cursor):
            page, read_at = await self._ahead[1]
        else:
            page, read_at = await self._read(corp_id, batch, cursor)
        self._ahead = None
        if page.next_cursor:
            following = asyncio.create_task(self._read(corp_id, batch, page.next_cursor))
            self._ahead = ((batch, page.next_cursor), following)
        return page, read_at

    async def _read(self, corp_id: str, batch: list[str], cursor: str) -> Page:
        """Follows of one page, and the moment before it was read."""
        await yield_to_writes(corp_id)
        read_at = await repository.moment()
        return await patiently(lambda: self._client.customers_page(corp_id, batch, cursor)), read_at

    async def _drop_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead[1].cancel()
            await asyncio.gather(self._ahead[1], return_exceptions=True)
            self._ahead = None
