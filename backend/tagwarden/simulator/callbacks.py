"""Sending callbacks: signed, encrypted, retried as WeCom does (path/90238, 90930). The only HTTP client in this room.

Anything but HTTP 200 within the time-out counts as a failure; after the last attempt the event is lost, as in WeCom.
Pending deliveries are rows, so a restart goes on with them.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
from functools import partial

import aiohttp

from tagwarden.simulator import crypto
from tagwarden.simulator.call import Json
from tagwarden.simulator.events import write_xml
from tagwarden.simulator.schemas import CallbackSetup
from tagwarden.simulator.store import Store

_AT_ONCE = 20
_VERIFY_SECONDS = 1.0
_HTTP_OK = 200


class CallbackSender:
    """Delivers what `events.announce` queued. `start` and `stop` belong to the server's lifespan."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self.wake()

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def wake(self) -> None:
        """Begin every pending delivery that is not under way."""
        for row in self._store.rows("SELECT id FROM deliveries WHERE state = 'pending' ORDER BY id"):
            if row["id"] not in self._tasks:
                task = asyncio.create_task(self._deliver(row["id"]))
                self._tasks[row["id"]] = task
                task.add_done_callback(partial(self._forget, row["id"]))

    async def verify(self, corp_id: str, callback: CallbackSetup) -> str:
        """Let a callback URL prove its keys by GET; "" if it answered the plain echo within a second, else why not."""
        echo = str(secrets.randbelow(10**19))
        encrypted = crypto.encrypt(callback.aes_key, corp_id, echo)
        query = {**_signed(callback.token, encrypted, self._stamp()), "echostr": encrypted}
        timeout = aiohttp.ClientTimeout(total=_VERIFY_SECONDS)
        try:
            async with self._client.get(callback.url, params=query, timeout=timeout, allow_redirects=False) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__
        if response.status != _HTTP_OK:
            return f"HTTP {response.status}"
        return "" if answer == echo.encode() else "the answer is not the echo"

    def _forget(self, delivery_id: int, _: asyncio.Task[None]) -> None:
        self._tasks.pop(delivery_id, None)

    @property
    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("not started")
        return self._session

    async def _deliver(self, delivery_id: int) -> None:
        stamp = self._stamp()
        async with self._slots:
            while True:
                row = self._pending(delivery_id)
                if row is None:
                    return
                if not self._store.switches.callback_retry_repeats_nonce:
                    stamp = self._stamp()
                outcome = await self._post(row, stamp)
                if self._record(delivery_id, outcome):
                    return
                await asyncio.sleep(self._store.switches.callback_retry_seconds)

    def _pending(self, delivery_id: int) -> sqlite3.Row | None:
        return self._store.row(
            "SELECT d.*, a.agent_id, a.callback_url, a.callback_token, a.callback_aes_key FROM deliveries d "
            "JOIN apps a ON a.corp_id = d.corp_id AND a.name = d.app WHERE d.id = ? AND d.state = 'pending'",
            delivery_id,
        )

    async def _post(self, row: sqlite3.Row, stamp: tuple[str, str]) -> str:
        fields = json.loads(row["event"])
        encrypted = crypto.encrypt(row["callback_aes_key"], row["corp_id"], write_xml(fields))
        envelope = {"ToUserName": row["corp_id"], "Encrypt": encrypted}
        if fields["Event"] == "template_card_event":  # AgentID comes with callbacks about an app only
            envelope["AgentID"] = str(row["agent_id"])
        query = _signed(row["callback_token"], encrypted, stamp)
        timeout = aiohttp.ClientTimeout(total=self._store.switches.callback_timeout_seconds)
        headers = {"Content-Type": "text/xml"}
        try:
            async with self._client.post(
                row["callback_url"], params=query, data=write_xml(dict(envelope)).encode(), headers=headers,
                timeout=timeout, allow_redirects=False,
            ) as response:  # fmt: skip
                await response.read()
                return str(response.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__

    def _record(self, delivery_id: int, outcome: str) -> bool:
        """Write down an attempt and say whether it was the last."""
        attempts = 1 + self._store.count("SELECT attempts FROM deliveries WHERE id = ?", delivery_id)
        if outcome == str(_HTTP_OK):
            state = "delivered"
        else:
            state = "failed" if attempts >= self._store.switches.callback_attempts else "pending"
        self._store.run(
            "UPDATE deliveries SET attempts = ?, state = ?, outcome = ? WHERE id = ?",
            attempts,
            state,
            outcome,
            delivery_id,
        )
        return state != "pending"

    def _stamp(self) -> tuple[str, str]:
        return str(int(self._store.now())), str(secrets.randbelow(10**10))


def list_deliveries(store: Store, corp_id: str) -> list[Json]:
    """Every callback of a corp: to which app, what event, its state, attempts and last outcome."""
    rows = store.rows("SELECT * FROM deliveries WHERE corp_id = ? ORDER BY id", corp_id)
    keys = ("id", "app", "state", "attempts", "outcome")
    return [{**{key: row[key] for key in keys}, "event": json.loads(row["event"])} for row in rows]


def _signed(token: str, encrypted: str, stamp: tuple[str, str]) -> dict[str, str]:
    timestamp, nonce = stamp
    return {"msg_signature": crypto.sign(token, timestamp, nonce, encrypted), "timestamp": timestamp, "nonce": nonce}
