"""Runs as they go: one stream a watcher, every event read from the run's row.

A notice only says that it is time to look again. Where none comes (Redis gone, a notice lost) each watcher looks every
POLL seconds, so a stream is slower then and never different. While it waits, a stream holds a place in memory and nothing
else: one listener a process hears for all of them, and only while somebody watches.

Nobody is told more than he may read when he is told: the caller is established anew before each event.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
import structlog

from tagwarden.kernel import notices
from tagwarden.kernel.errors import Limited, TagwardenError, Unavailable
from tagwarden.sync.model import PROGRESS

log = structlog.get_logger(__name__)
POLL = 2.0
"""Seconds after which a watcher looks without having been told to."""
BREATH = 0.25
"""Seconds between two looks of one watcher: progress faster than that is told in one event."""
LIFE = 600.0
"""Seconds after which a stream ends; whoever still watches asks again."""
SILENCE = 15.0
"""Seconds after which a word without meaning is sent, so that nobody between takes the stream for dead."""
STREAMS_OF_ONE = 4
"""Streams that one person may have open at one process."""
RELISTEN = 1.0

T = TypeVar("T")


class TooManyStreams(Limited):
    code = "too_many_streams"
    zh = "同时打开的进度流过多（每人最多 {limit} 个），请先关闭其他页面"
    en = "Too many progress streams are open (at most {limit} for one person); close another one first"


class Said(StrEnum):
    """What an event is called. After `end` and `closed` nothing follows."""

    PROGRESS = "progress"
    END = "end"
    CLOSED = "closed"


class Why(StrEnum):
    """Why a stream closed before its run had ended."""

    LIFETIME = "lifetime"
    REFUSED = "refused"
    STOPPING = "stopping"


class Watchers:
    """Everybody who watches at this process."""

    def __init__(self) -> None:
        self._places: dict[asyncio.Event, str] = {}
        self._enough = asyncio.Event()
        self._listeners: set[asyncio.Task[None]] = set()
        self.stopping = False

    @property
    def listening(self) -> bool:
        """Whether somebody listens for notices: only while somebody watches, and a moment longer."""
        return bool(self._listeners)

    def open_of(self, person: str) -> int:
        """How many streams one person has open."""
        return sum(owner == person for owner in self._places.values())

    @contextlib.contextmanager
    def place(self, person: str) -> Iterator[asyncio.Event]:
        """A place for one stream, whose event is set when it is time to look; TooManyStreams."""
        if self.open_of(person) >= STREAMS_OF_ONE:
            raise TooManyStreams(limit=STREAMS_OF_ONE)
        if not self._places:
            self._begin_to_listen()
        wake = asyncio.Event()
        self._places[wake] = person
        try:
            yield wake
        finally:
            del self._places[wake]
            if not self._places:
                self._enough.set()

    def stop(self) -> None:
        """The process ends: every stream says so and closes, instead of being waited for."""
        self.stopping = True
        self._wake()

    def _wake(self) -> None:
        for wake in self._places:
            wake.set()

    def _begin_to_listen(self) -> None:
        self._enough = asyncio.Event()
        listener = asyncio.create_task(self._listen(self._enough))
        self._listeners.add(listener)
        listener.add_done_callback(self._listeners.discard)

    async def _listen(self, enough: asyncio.Event) -> None:
        while not enough.is_set():
            try:
                await notices.listen(PROGRESS, self._wake, enough)
            except Exception as error:  # nobody depends on being told: each watcher looks by itself
                log.warning("live.deaf", error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(enough.wait(), RELISTEN)


WATCHERS = Watchers()

Event = dict[str, Any]
Read = Callable[[], Awaitable[T]]


async def begin(stream: AsyncGenerator[Event, None]) -> AsyncIterator[Event]:
    """The stream, begun: what refuses it is raised here, while the answer has not begun."""
    first = await anext(stream)
    return _all_of(first, stream)


async def _all_of(first: Event, stream: AsyncGenerator[Event, None]) -> AsyncIterator[Event]:
    async with contextlib.aclosing(stream):
        yield first
        async for event in stream:
            yield event


async def follow(person: str, read: Read[T], is_over: Callable[[T], bool], *, life: float = LIFE) -> AsyncGenerator[Event, None]:
    """An event for each change of what `read` returns, the first at once, the last when `is_over`.

    `read` establishes the caller anew and raises what a request would be refused with, which closes the stream.
    Unavailable is waited out: while nobody can be established nothing is told. TooManyStreams before the first event.
    """
    loop = asyncio.get_running_loop()
    ends_at, told_at = loop.time() + life, loop.time()
    last: bytes | None = None
    with WATCHERS.place(person) as wake:
        while (why := _why_to_close(loop.time() >= ends_at)) is None:
            wake.clear()
            seen = await _look(read)
            if isinstance(seen, Why):
                why = seen
                break
            if seen is not None and (text := msgspec.json.encode(seen)) != last:
                over, last, told_at = is_over(seen), text, loop.time()
                yield {"event": Said.END if over else Said.PROGRESS, "data": text}
                if over:
                    return
            elif loop.time() - told_at > SILENCE:
                told_at = loop.time()
                yield {"comment": "still here", "data": None}
            await _wait(wake, min(POLL, ends_at - loop.time()))
        yield {"event": Said.CLOSED, "data": msgspec.json.encode({"why": why})}


def _why_to_close(lived: bool) -> Why | None:
    if WATCHERS.stopping:
        return Why.STOPPING
    return Why.LIFETIME if lived else None


async def _look(read: Read[T]) -> T | Why | None:
    """What is to be read; None when it cannot be looked at now; why to close when it may not be."""
    try:
        return await read()
    except Unavailable:
        return None
    except TagwardenError:
        return Why.REFUSED


async def _wait(wake: asyncio.Event, seconds: float) -> None:
    """Until it is time to look again: a breath at least, so many seconds at most."""
    await asyncio.sleep(min(BREATH, max(0.0, seconds)))
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(wake.wait(), max(0.0, seconds - BREATH))
