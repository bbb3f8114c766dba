"""Many callers, one read: each is answered by a read of the database that *started after it asked*.

Nobody is given something older than his own question, and the database is asked once at a time however many wait.
It keeps no answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from tagwarden.kernel.errors import Unavailable

K = TypeVar("K")
V = TypeVar("V")


class SharedRead(Generic[K, V]):
    """`read` is asked for every key that waits at once; a key that it does not answer is None."""

    def __init__(self, read: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._read = read
        self._waiting: dict[K, list[asyncio.Future[V | None]]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def __call__(self, key: K) -> V | None:
        """What a read finds that starts after this call."""
        future: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(future)
        if self._reader is None or self._reader.done():
            # In a context of its own: the first caller's transaction and log names are not those of the others.
            self._reader = asyncio.get_running_loop().create_task(self._until_nobody_waits(), context=Context())
        return await future

    async def _until_nobody_waits(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, {}
            await self._answer(waiting)

    async def _answer(self, waiting: dict[K, list[asyncio.Future[V | None]]]) -> None:
        try:
            found = await self._read(list(waiting))
        except Exception as error:
            if len(waiting) == 1 or isinstance(error, Unavailable):
                _tell(waiting, error)
                return
            for key, futures in waiting.items():  # what one of them asked for must not fail the others
                await self._answer({key: futures})
            return
        for key, futures in waiting.items():
            for future in futures:
                if not future.done():
                    future.set_result(found.get(key))


def _tell(waiting: Mapping[K, Sequence[asyncio.Future[V | None]]], error: Exception) -> None:
    for futures in waiting.values():
        for future in futures:
            if not future.done():
                future.set_exception(error)
