"""The load generator, a process of its own: keep-alive connections, each a client with its own list of requests.

Closed loop: a client sends its next request when the last was answered. With a rate: arrivals are random (Poisson) and
whoever is free takes the next; its time counts from the arrival, not from the sending, so a stall is not left out.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp
import uvloop

from bench.processes import plain_environment
from bench.report import percentile


@dataclass(frozen=True, slots=True)
class Client:
    """One connection to `url`; its (token, path, body) requests are sent in order, again and again; no body: GET."""

    url: str
    requests: Sequence[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class Load:
    """What to send. Nothing counts in the first `warm` seconds; `rate` in requests a second, None: as fast as answered."""

    clients: Sequence[Client]
    seconds: float
    warm: float = 2.0
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of it; times in milliseconds. `sent` and `statuses` count the warm-up too; `cpu` is the generator's share."""

    per_second: float
    p50: float
    p99: float
    most: float
    sent: int
    statuses: dict[str, int]
    cpu: float

    def require(self, status: int) -> Answered:
        """Itself, where every answer had this status; RuntimeError otherwise."""
        if set(self.statuses) != {str(status)}:
            raise RuntimeError(f"answers: {self.statuses}")
        return self


def put_on(load: Load) -> Answered:
    """Runs the load in a process of its own."""
    command = [sys.executable, "-m", "bench.load"]
    given = json.dumps(asdict(load)).encode()
    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, env=plain_environment(), check=True)
    return Answered(**json.loads(done.stdout))


@dataclass
class _Run:
    load: Load
    start: float = 0.0
    took: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    arrivals: Iterator[float] = field(default_factory=lambda: iter(()))

    async def go(self) -> Answered:
        """Every client until the time is over."""
        self.start = time.perf_counter()
        if self.load.rate is not None:
            self.arrivals = self._poisson(self.load.rate)
        cpu = time.process_time()
        await asyncio.gather(*(self._one(client) for client in self.load.clients))
        took = self.took or [math.nan]  # a service that answered nothing in this time
        whole = self.load.warm + self.load.seconds
        return Answered(
            len(self.took) / self.load.seconds,
            percentile(took, 0.5) * 1000,
            percentile(took, 0.99) * 1000,
            max(took) * 1000,
            self.statuses.total(),
            dict(self.statuses),
            (time.process_time() - cpu) / whole,
        )

    def _poisson(self, rate: float) -> Iterator[float]:
        chance = random.Random(20_261_121)  # noqa: S311
        at = self.start
        while at < self.start + self.load.warm + self.load.seconds:
            at += chance.expovariate(rate)
            yield at

    async def _one(self, client: Client) -> None:
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(client.url, connector=connector) as session:
            for token, path, body in itertools.cycle(client.requests):
                due = await self._turn()
                if due is None:
                    return
                await self._send(session, token, path, body, due)

    async def _turn(self) -> float | None:
        """When the next request is due (it waits until then), or None when the time is over."""
        if self.load.rate is None:
            now = time.perf_counter()
            return now if now < self.start + self.load.warm + self.load.seconds else None
        due = next(self.arrivals, None)
        if due is not None and (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        return due

    async def _send(self, session: aiohttp.ClientSession, token: str, path: str, body: str, due: float) -> None:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        call: Any = session.post(path, data=body, headers=headers) if body else session.get(path, headers=headers)
        async with call as response:
            await response.read()
            self.statuses[str(response.status)] += 1
        now = time.perf_counter()
        if self.start + self.load.warm <= now <= self.start + self.load.warm + self.load.seconds:
            self.took.append(now - due)


def main() -> None:
    """Reads the load from standard input, writes what came of it."""
    given = json.load(sys.stdin)
    clients = [Client(one["url"], [tuple(request) for request in one["requests"]]) for one in given.pop("clients")]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answered = runner.run(_Run(Load(clients, **given)).go())
    json.dump(asdict(answered), sys.stdout)


if __name__ == "__main__":
    main()
