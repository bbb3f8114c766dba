"""A web hook on this machine that takes heads, and the reading of what it took."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from support.service import free_port
from tagwarden.audit.heads import read_witnesses

from .chains import SIGNER

HOOK_SECRET = "canary-in-the-hooks-path"


@dataclass
class Hook:
    """A web hook on this machine and what it was sent."""

    port: int
    heads: list[dict[str, Any]] = field(default_factory=list)
    calls: int = 0
    status: int = 200
    location: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{HOOK_SECRET}"

    async def take(self, request: web.Request) -> web.Response:
        """One delivery."""
        self.calls += 1
        if request.path != f"/{HOOK_SECRET}":
            self.heads.append({"elsewhere": request.path})
        elif self.status == 200:
            self.heads += (await request.json())["heads"]
        return web.Response(status=self.status, headers={"Location": self.location} if self.location else {})


@contextlib.asynccontextmanager
async def a_hook(**more: Any) -> AsyncIterator[Hook]:
    """A small HTTP server."""
    hook = Hook(free_port(), **more)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", hook.take)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", hook.port).start()
    try:
        yield hook
    finally:
        await runner.cleanup()


def said_by(lines: list[dict[str, Any]], corp_id: str) -> dict[int, str]:
    """What the heads in these lines, log lines or not, say of a corp once checked with the public key alone."""
    return dict(read_witnesses([json.dumps(line) for line in lines], SIGNER.public_key, corp_id).heads)
