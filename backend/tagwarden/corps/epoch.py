"""One row per corp says which epoch of roles, organisation, kinds and policy is in force.

`barrier` makes a revoke immediate: a request waits for a read of that row which *started after it arrived*. Many
requests share one read, so the barrier costs one query at a time however many wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tagwarden.corps.model import CorpUnknown
from tagwarden.kernel import db


class EpochMoved(Exception):
    """The epoch under the lock is not the one loaded: roll back, `reload`, begin again."""

    def __init__(self, reload: Callable[[], Awaitable[object]]) -> None:
        self.reload = reload
        super().__init__("epoch moved")


class EpochBarrier:
    """Coalesces reads of `corp_epoch` in one process; at most one is in flight."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[int | None]]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def current(self, corp_id: str) -> int:
        """The epoch by a read that started after this call; CorpUnknown when there is no such corp."""
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(corp_id, []).append(future)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read_until_nobody_waits())
        epoch = await future
        if epoch is None:
            raise CorpUnknown()
        return epoch

    async def _read_until_nobody_waits(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, {}
            try:
                rows = await db.fetch("select corp_id, epoch from corp_epoch where corp_id = any($1)", list(waiting))
            except Exception as error:
                self._answer(waiting, error)
                continue
            self._answer(waiting, {row["corp_id"]: row["epoch"] for row in rows})

    @staticmethod
    def _answer(waiting: dict[str, list[asyncio.Future[int | None]]], answer: Exception | dict[str, int]) -> None:
        for corp_id, futures in waiting.items():
            for future in futures:
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer.get(corp_id))


barrier = EpochBarrier()


async def bump(corp_id: str) -> int:
    """Moves the epoch; the caller holds its row exclusively."""
    return int(await db.fetch_value("update corp_epoch set epoch = epoch + 1 where corp_id = $1 returning epoch", corp_id))
