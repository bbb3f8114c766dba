"""A stream of writes over HTTP by people who never give up, and the account of what they were answered.

Each write has an Idempotency-Key of its own and is repeated with it, through refused connections, lost answers and 503,
until it is answered. Each lane is one follow and one write at a time, so what it must end with is known exactly.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from support.service import Web, check_problem
from support.town import Town

PATIENCE = 90.0
LEVEL1 = {"ann": "east", "bob": "east", "cat": "east", "dan": "south"}


@dataclass(frozen=True)
class Write:
    """What one person asks for, under one key."""

    userid: str
    path: str
    body: dict[str, Any]
    key: str = field(default_factory=lambda: str(uuid4()))


@dataclass(frozen=True)
class Answer:
    """The first answer to a write; `tries` counts the requests it took."""

    write: Write
    status: int
    body: bytes
    tries: int

    @property
    def json(self) -> Any:
        return httpx.Response(200, content=self.body).json()


class Stubborn:
    """A client that repeats a write until it is answered."""

    def __init__(self, web: Web) -> None:
        self._web = web

    async def send(self, write: Write) -> Answer:
        """AssertionError for any answer that says neither yes nor "again, please"."""
        end, tries = time.monotonic() + PATIENCE, 0
        while time.monotonic() < end:
            tries += 1
            response = await self._try(write)
            if response is not None and not self._asks_again(response):
                assert response.status_code in (200, 202), f"{write} {response.status_code} {response.text}"
                return Answer(write, response.status_code, response.content, tries)
            await asyncio.sleep(0.05)
        raise AssertionError(f"never answered: {write}")

    async def _try(self, write: Write) -> httpx.Response | None:
        headers = {**self._web.headers(write.userid), "Idempotency-Key": write.key, "If-Match": "*"}
        try:
            return await self._web.http.post(write.path, json=write.body, headers=headers)
        except httpx.TransportError:
            return None

    @staticmethod
    def _asks_again(response: httpx.Response) -> bool:
        if response.status_code == 503:
            return bool(check_problem(response))
        return response.status_code == 409 and check_problem(response)["code"] == "idempotency_running"


@dataclass
class Lane:
    """One owner and one customer: what was asked, what was answered, and what must be so because of it."""

    town: Town
    client: Stubborn
    owner: str
    customer: str
    dice: random.Random
    carried: set[str]
    version: int
    answers: list[Answer] = field(default_factory=list)
    changes: int = 0
    asked: int = 0
    signed: int = 0
    applied: int = 0
    refused: int = 0

    async def run(self, goes_on: Callable[[], bool]) -> None:
        """Writes as long as it may; a write begun is always brought to its answer."""
        while goes_on():
            await self.dice.choice((self.change, self.change, self.change, self.ask))()

    async def change(self) -> None:
        """Adds or removes advice tags: applied at once."""
        add, remove = self._some_advice()
        answer = await self._tag(add, remove)
        assert answer.status == 200
        self._check_items(answer, "applied", {*add, *remove})
        self._apply(add, remove)

    async def ask(self) -> None:
        """Asks for another value, now and then together with advice, and lets two people sign or one refuse."""
        value = self.dice.choice(sorted({"value/high", "value/mid", "value/low"} - self.carried))
        add, remove = self._some_advice() if self.dice.random() < 0.3 else (set(), set())
        answer = await self._tag({*add, value}, remove)
        assert answer.status == 202
        self.asked += 1
        self._check_items(answer, "applied", {*add, *remove})
        self._apply(add, remove)
        await self._bring_to_an_end(answer.json["approval_id"], value)

    async def _bring_to_an_end(self, approval_id: str, value: str) -> None:
        how = self.dice.random()
        if how < 0.15:
            return  # left to wait
        if self.dice.random() < 0.3:
            await self.change()
        first = await self._sign(LEVEL1[self.owner], approval_id, "reject" if how < 0.3 else "approve")
        if how < 0.3:
            assert first["state"] == "rejected"
            self.refused += 1
            return
        assert first["state"] == "pending_level2"
        last = await self._sign(self.dice.choice(("boss", "hq")), approval_id, "approve")
        assert last["state"] == "applied"
        self.applied += 1
        self._apply({value}, {tag for tag in self.carried if tag.startswith("value/")})

    async def _sign(self, signer: str, approval_id: str, verdict: str) -> dict[str, Any]:
        body = {"verdict": verdict, "comment": "no" if verdict == "reject" else ""}
        answer = await self._send(Write(signer, f"/v1/approvals/{approval_id}/decisions", body))
        self.signed += 1
        approval: dict[str, Any] = answer.json["approval"]
        return approval

    async def _tag(self, add: set[str], remove: set[str]) -> Answer:
        ids = {name: sorted(str(self.town.tags[tag]) for tag in tags) for name, tags in (("add", add), ("remove", remove))}
        answer = await self._send(Write(self.owner, f"/v1/customers/{self.customer}/tag-changes", ids))
        self.answers.append(answer)
        return answer

    async def _send(self, write: Write) -> Answer:
        answer = await self.client.send(write)
        if self.dice.random() < 0.2:
            await self.replay(answer)
        return answer

    async def replay(self, answer: Answer) -> None:
        """The same key again is answered as the first time, byte for byte."""
        again = await self.client.send(answer.write)
        assert (again.status, again.body) == (answer.status, answer.body), answer.write

    def _some_advice(self) -> tuple[set[str], set[str]]:
        """(to add, to remove); every one of them is a change."""
        some = set(self.dice.sample(["advice/asked", "advice/cheap", "advice/keen"], self.dice.randint(1, 2)))
        return some - self.carried, some & self.carried

    def _check_items(self, answer: Answer, outcome: str, tags: set[str]) -> None:
        """Nothing was "unchanged": a write made twice, or one that was lost before, would show here."""
        said = {item["tag_id"] for item in answer.json["items"] if item["outcome"] == outcome}
        assert said == {str(self.town.tags[tag]) for tag in tags}, (answer.write, answer.body)

    def _apply(self, add: set[str], remove: set[str]) -> None:
        if add or remove:
            self.carried = (self.carried | add) - (remove - add)
            self.changes += 1
