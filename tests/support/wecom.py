"""The simulated WeCom as tests see it: its control API for one corp."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp


@dataclass
class Control:
    """The simulator's control API, for one corp."""

    url: str
    corp_id: str
    session: aiohttp.ClientSession
    tags: dict[str, str]
    since: int = field(default_factory=time.monotonic_ns)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request below /control."""
        async with self.session.request(method, f"{self.url}/control{path}", json=body) as response:
            text = await response.text()
            assert response.status < 300, f"{response.status} {text}"
            return await response.json() if text else None

    async def corp(self, method: str, path: str, body: Any = None) -> Any:
        """One request below this corp's part of it."""
        return await self.ask(method, f"/corps/{self.corp_id}{path}", body)

    async def fault(self, **fault: Any) -> None:
        """Queues a fault."""
        await self.corp("POST", "/faults", fault)

    async def calls(self, api: str = "") -> list[dict[str, Any]]:
        """Calls that arrived in this test, oldest first."""
        # A call whose token belongs to nobody is listed under every corp, so earlier tests' are left out by time.
        found = await self.corp("GET", f"/calls?since={self.since}" + (f"&api={api}" if api else ""))
        return list(found["calls"])

    async def wait_for(self, api: str, count: int) -> None:
        """Returns when so many calls of an API have arrived."""
        async with asyncio.timeout(90):
            while len(await self.calls(api)) < count:
                await asyncio.sleep(0.02)

    async def held(self, userid: str, external_userid: str) -> set[str]:
        """The names ("group/tag") on one follow."""
        return set((await self.corp("GET", f"/follows/{userid}/{external_userid}"))["tags"])

    async def switch(self, **switches: Any) -> None:
        """Changes how this WeCom behaves; the switches belong to the server, not to the corp."""
        await self.ask("PATCH", "/switches", switches)
