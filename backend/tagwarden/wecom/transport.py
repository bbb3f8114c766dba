"""One outgoing call, from slot to ledger: claim, record, send, read, judge, record again.

Everything that reaches WeCom passes `Transport.call`, gettoken too; so the budget and the ledger are complete. It never
retries and never logs; URLs carry tokens and secrets, so nothing of a request stands in an error.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tagwarden.kernel import db
from tagwarden.wecom import ledger
from tagwarden.wecom.budget import BEGIN_WITHIN, Budget, Slot
from tagwarden.wecom.model import NoAnswer, SendingPaused, VerdictKind, WecomRefused, verdict

Answer = dict[str, Any]

MAX_ANSWER_BYTES = 32 * 1024 * 1024
PARALLEL = 100


@dataclass(frozen=True, slots=True)
class Request:
    """What goes over the wire; `expects` is a field a good answer holds when WeCom leaves `errcode` out."""

    method: str
    path: str
    params: Mapping[str, str] = field(repr=False)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    expects: str | None = None


class Transport:
    """One HTTP session to WeCom; `timeout` (seconds) counts from the claim of the slot."""

    def __init__(self, api_base: str, budget: Budget, timeout: float) -> None:
        if timeout > budget.call_timeout:
            raise ValueError("a call may not outlast the time its slot is taken for")
        self._base = api_base.rstrip("/") + "/cgi-bin/"
        self._budget = budget
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Opens the session; WeCom sets no cookies we want."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=PARALLEL),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        # By itself it sends a GET once more when a kept connection breaks: a second call that no slot was taken for.
        self._session._retry_connection = False

    async def close(self) -> None:
        """Closes the session and its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, entry: ledger.Entry, request: Request) -> Answer:
        """WeCom's answer with code 0, or WecomRefused, NoAnswer, SendingPaused; waits for a slot first, however long."""
        if db.in_transaction():
            raise RuntimeError("WeCom is never called inside a transaction")
        slot = await self._begin(entry)
        try:
            answer = await self._send(request, slot)
            code = code_of(answer, request.expects)
        except NoAnswer as unknown:
            await slot.unanswered()
            await ledger.given_up(entry, unknown.reason)
            raise
        await slot.answered()
        if code == 0:
            await ledger.accepted(entry)
            return answer
        await self._refused(entry, code)
        raise WecomRefused(code, verdict(code))

    async def _begin(self, entry: ledger.Entry) -> Slot:
        while True:
            slot = await self._budget.claim(entry.corp_id, entry.call_class)
            recorded = await ledger.sent(entry)
            if recorded and slot.age() <= BEGIN_WITHIN:
                return slot
            await slot.give_back()
            if not recorded:
                await ledger.given_up(entry, "paused")  # where an earlier claim of this call had recorded it
                raise SendingPaused()

    async def _refused(self, entry: ledger.Entry, code: int) -> None:
        await ledger.refused(entry, code)
        meaning = verdict(code)
        if meaning.kind is VerdictKind.SLOW_DOWN:
            await self._budget.hold(entry.corp_id, meaning.seconds)

    async def _send(self, request: Request, slot: Slot) -> Answer:
        # Raised outside the `except`: aiohttp's errors name the URL, and `__context__` would keep them.
        reason = "network"
        try:
            async with asyncio.timeout(max(0.0, self._timeout - slot.age())):
                status, body = await self._exchange(request)
                return parse(status, body)
        except NoAnswer as unknown:
            reason = unknown.reason
        except TimeoutError:
            reason = "timeout"
        except (aiohttp.ClientError, OSError, ValueError):
            pass
        raise NoAnswer(reason)

    async def _exchange(self, request: Request) -> tuple[int, bytes]:
        if self._session is None:
            raise RuntimeError("the WeCom client is not started")
        data = json.dumps(request.body, ensure_ascii=False).encode() if request.body is not None else None
        headers = {"Content-Type": "application/json; charset=utf-8"} if data is not None else {}
        url = self._base + request.path
        async with self._session.request(
            request.method, url, params=request.params, data=data, headers=headers, allow_redirects=False
        ) as response:
            return response.status, await _read(response)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(65536):
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise NoAnswer("too_large")
        chunks.append(chunk)
    return b"".join(chunks)


def parse(status: int, body: bytes) -> Answer:
    """The JSON object of a 200, or NoAnswer: a gateway's page proves nothing about what WeCom did."""
    if status != 200:
        raise NoAnswer("http_status")
    if not body.strip():
        raise NoAnswer("empty")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if answer is None:
        raise NoAnswer("not_json")
    if not isinstance(answer, dict):
        raise NoAnswer("not_wecom")
    return answer


def code_of(answer: Answer, expects: str | None) -> int:
    """The error code of an answer. Some APIs omit it on success: then the field asked for must be there (90664)."""
    code = answer.get("errcode")
    if isinstance(code, int) and not isinstance(code, bool):
        if code == 0 and expects is not None and expects not in answer:
            raise NoAnswer("not_wecom")
        return code
    if code is None and expects is not None and expects in answer:
        return 0
    raise NoAnswer("not_wecom")
