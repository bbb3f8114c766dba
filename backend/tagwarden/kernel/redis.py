"""Redis, where there is one: notices between processes, inbound limits, a shared token. Nothing that cannot be rebuilt.

Flush it, stop it, restart it: slower, never different. So nothing here raises to a caller, and whatever is told
through it is found by a sweep as well. One that hangs is not asked by everybody: after a failure one caller in a while
finds out whether it is back, and the others go without.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator

import structlog
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)
GONE = (RedisError, OSError, TimeoutError)
PATIENCE = 0.5
"""Seconds to wait for a connection and for an answer."""
PAUSE = 1.0
"""Seconds between two attempts at a Redis that is away."""
QUIET_SECONDS = 30.0


class Relay:
    """One process's door to Redis; a door that may lead nowhere."""

    def __init__(self) -> None:
        self._redis: Redis | None = None
        self._url: str | None = None
        self._warned = 0.0
        self._away = False
        self._next_attempt = 0.0

    @property
    def configured(self) -> bool:
        """Whether there is a Redis at all; it may be away."""
        return self._redis is not None

    @property
    def url(self) -> str | None:
        """For libraries that bring their own client; holds a password, never logged."""
        return self._url

    @property
    def pool(self) -> ConnectionPool | None:
        """The connections, for libraries that would open their own and leave them open."""
        return self._redis.connection_pool if self._redis is not None else None

    def open(self, url: str | None) -> None:
        """Names the Redis; connects when first used."""
        if url is None:
            return
        pool = BlockingConnectionPool.from_url(
            url, max_connections=8, timeout=PATIENCE, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE
        )
        self._url, self._redis = url, Redis(connection_pool=pool)

    async def close(self) -> None:
        """Lets go of every connection."""
        if self._redis is not None:
            with contextlib.suppress(*GONE):
                await self._redis.aclose(close_connection_pool=True)
        self._redis = self._url = None

    async def answers(self) -> bool:
        """Whether Redis is there right now; for who wants to know, not for who wants to use it."""
        if self._redis is None:
            return False
        try:
            return bool(await self._redis.ping())
        except GONE:
            return False

    def may_ask(self) -> bool:
        """Whether to ask now: while it answers always; while it is away one caller in a while, who then must `attempt`."""
        if self._redis is None or (self._away and time.monotonic() < self._next_attempt):
            return False
        self._next_attempt = time.monotonic() + PAUSE
        return True

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Notes whether Redis answered what is asked inside; the error goes on to whoever asked."""
        try:
            yield
        except GONE as error:
            self._away, self._next_attempt = True, time.monotonic() + PAUSE
            self._warn(error)
            raise
        self._away = False

    async def publish(self, channel: str, message: str) -> None:
        """Tells whoever listens now; lost when nobody does or Redis is away."""
        if self._redis is None or not self.may_ask():
            return
        with contextlib.suppress(*GONE), self.attempt():
            await self._redis.publish(channel, message)

    async def get(self, key: str) -> bytes | None:
        """A value, or None when it is not there or cannot be had."""
        if self._redis is None or not self.may_ask():
            return None
        with contextlib.suppress(*GONE), self.attempt():
            found = await self._redis.get(key)
            return found if isinstance(found, bytes) else None
        return None

    async def put(self, key: str, value: bytes, seconds: float) -> None:
        """Keeps a value for so long, if it can."""
        if self._redis is None or not self.may_ask():
            return
        with contextlib.suppress(*GONE), self.attempt():
            await self._redis.set(key, value, px=max(1, int(seconds * 1000)))

    async def drop(self, key: str) -> None:
        """Forgets a value; where that fails its reader must find out by itself."""
        if self._redis is None or not self.may_ask():
            return
        with contextlib.suppress(*GONE), self.attempt():
            await self._redis.delete(key)

    async def listen(self, channel: str, heard: Callable[[], None], stop: asyncio.Event) -> None:
        """Calls `heard` at every message until `stop`; subscribes anew after a lost connection."""
        while not stop.is_set() and self._redis is not None:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.subscribe(channel)
                    heard()  # what was told while nobody listened
                    while not stop.is_set():
                        if await subscription.get_message(ignore_subscribe_messages=True, timeout=PATIENCE):
                            heard()
            except GONE as error:
                self._warn(error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), PAUSE)

    def _warn(self, error: BaseException) -> None:
        if time.monotonic() - self._warned > QUIET_SECONDS:
            self._warned = time.monotonic()
            log.warning("redis.away", error=type(error).__name__)


RELAY = Relay()
