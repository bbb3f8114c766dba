"""Key sets of issuers that publish theirs (RFC 7517): fetched over HTTPS, kept, and fetched again when they rotate.

An unknown key id makes one fetch, however many tokens ask, and at most one in ten seconds; a set is fetched anew every
five minutes, so that a key taken away stops counting. A failed fetch keeps the set that was there: an issuer that is
away refuses nobody it has vouched for, and nobody new gets in. Nothing of a token decides where keys are fetched from.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import msgspec
import structlog

log = structlog.get_logger(__name__)
FRESH_SECONDS = 300.0
AT_MOST_EVERY = 10.0
LARGEST_SET = 262_144
TIMEOUT = aiohttp.ClientTimeout(total=5)
Jwk = dict[str, Any]


class KeySets:
    """The published keys of some issuers, by issuer and key id. `urls` come from settings alone."""

    def __init__(self, urls: Mapping[str, str], *, rotated: Callable[[], None]) -> None:
        self._urls = dict(urls)
        self._rotated = rotated
        self._keys: dict[str, dict[str, Jwk]] = {}
        self._fetched: dict[str, float] = {}
        self._tried: dict[str, float] = {}
        self._flights: dict[str, asyncio.Task[None]] = {}

    @property
    def any(self) -> bool:
        """Whether any issuer publishes its keys."""
        return bool(self._urls)

    def publishes(self, issuer: str) -> bool:
        """Whether the issuer's keys are a published set."""
        return issuer in self._urls

    def key(self, issuer: str, kid: str | None) -> Jwk | None:
        """The key of that id as it was last published; without an id, the only key of the set."""
        known = self._keys.get(issuer, {})
        if kid is None:
            return next(iter(known.values())) if len(known) == 1 else None
        return known.get(kid)

    async def prepare(self, issuer: str, kid: str | None) -> None:
        """Fetches the set where it is missing, stale, or lacks the key; never raises."""
        if issuer not in self._urls or not self._due(issuer, kid):
            return
        flight = self._flights.get(issuer)
        if flight is None:
            # A task of its own: one caller's cancellation must not take the fetch from the others.
            flight = self._flights[issuer] = asyncio.create_task(self._fetch(issuer))
            flight.add_done_callback(lambda _: self._flights.pop(issuer, None))
        await asyncio.shield(flight)

    def _due(self, issuer: str, kid: str | None) -> bool:
        moment = time.monotonic()
        if moment - self._tried.get(issuer, -AT_MOST_EVERY) < AT_MOST_EVERY:
            return issuer in self._flights
        stale = moment - self._fetched.get(issuer, -FRESH_SECONDS) >= FRESH_SECONDS
        return stale or self.key(issuer, kid) is None

    async def _fetch(self, issuer: str) -> None:
        self._tried[issuer] = time.monotonic()
        try:
            published = await _read(self._urls[issuer])
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, msgspec.MsgspecError) as error:
            log.warning("keyset.unavailable", issuer=issuer, error=type(error).__name__)
            return
        self._fetched[issuer] = time.monotonic()
        if published != self._keys.get(issuer):
            self._keys[issuer] = published
            self._rotated()


async def _read(url: str) -> dict[str, Jwk]:
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT) as session,
        session.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as response,
    ):
        if response.status != 200:
            raise ValueError("status")
        body = await response.content.read(LARGEST_SET + 1)
    if len(body) > LARGEST_SET:
        raise ValueError("size")
    keys = msgspec.json.decode(body, type=dict[str, Any]).get("keys", [])
    # Only keys meant for signatures, and never a shared secret: a published secret is nobody's.
    usable = [
        one for one in keys if isinstance(one, dict) and one.get("kty") in ("RSA", "EC", "OKP") and one.get("use", "sig") == "sig"
    ]
    return {str(one.get("kid", "")): one for one in usable}
