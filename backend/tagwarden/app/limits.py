"""Inbound limits per principal, so that one client cannot take the service from the others.

Counted in Redis where several processes serve, in memory where one does. With Redis away each process counts alone:
the limit is looser for a while, and nobody is refused for it.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from tagwarden.identity.tokens import Claims
from tagwarden.kernel.errors import Limited
from tagwarden.kernel.redis import GONE, RELAY


class TooManyRequests(Limited):
    code = "too_many_requests"
    zh = "请求过于频繁，请稍后再试（每分钟最多 {limit} 次）"
    en = "Too many requests; try again later (at most {limit} a minute)"


class Alone:
    """The same sliding window in this process's own memory: two counts a principal, and none older than two minutes."""

    def __init__(self, per_minute: int) -> None:
        self._most = per_minute
        self._minute = 0.0
        self._counts: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def hit(self, principal: str, now: float) -> bool:
        """Counts one, or says that it would be one too many; `now` in seconds."""
        minute, second = divmod(now, 60.0)
        if minute != self._minute:
            self._before = self._counts if minute == self._minute + 1 else {}
            self._counts, self._minute = {}, minute
        counted = self._counts.get(principal, 0)
        if self._before.get(principal, 0) * (1 - second / 60) + counted + 1 > self._most:
            return False
        self._counts[principal] = counted + 1
        return True


class InboundLimits(ASGIMiddleware):
    """Runs behind authentication: a principal is a person in a corp, with the machine that acts for him."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, per_minute: int) -> None:
        self._limit = RateLimitItemPerMinute(per_minute)
        self._alone = Alone(per_minute)
        self._shared: SlidingWindowCounterRateLimiter | None = None

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Lets the request through, or raises TooManyRequests."""
        claims: Claims | None = scope["state"].get("claims")
        if claims is not None and not await self._hit(f"{claims.corp_id}|{claims.userid}|{claims.act or ''}"):
            raise TooManyRequests(limit=self._limit.amount)
        await next_app(scope, receive, send)

    async def _hit(self, principal: str) -> bool:
        shared = self._over_redis()
        if shared is not None and RELAY.may_ask():
            with contextlib.suppress(*GONE), RELAY.attempt():
                return await shared.hit(self._limit, principal)
        return self._alone.hit(principal, time.monotonic())

    def _over_redis(self) -> SlidingWindowCounterRateLimiter | None:
        if self._shared is None and RELAY.url is not None:
            # Our own connections: those that `limits` opens are never closed, and keep the process from ending.
            options: Any = {"implementation": "redispy", "wrap_exceptions": False, "connection_pool": RELAY.pool}
            storage: Storage = RedisStorage(f"async+{RELAY.url}", **options)
            self._shared = SlidingWindowCounterRateLimiter(storage)
        return self._shared
