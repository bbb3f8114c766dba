"""Liveness and readiness. Liveness never touches the database: a restart does not heal a database that is away."""

from __future__ import annotations

import asyncio

import msgspec
from litestar import Controller, Response, get

from tagwarden.kernel import db
from tagwarden.kernel.http import answers

PATIENCE = 2.0


class Health(msgspec.Struct):
    status: str


class HealthController(Controller):
    """Public, exact paths."""

    path = "/health"
    tags = ("operation",)

    @get("/live", operation_id="check_live", opt={"action": "health", "public": True})
    async def live(self) -> Health:
        """The process answers."""
        return Health("ok")

    @get(
        "/ready",
        operation_id="check_ready",
        opt={"action": "health", "public": True},
        responses={503: answers(Health, "The database does not answer.")},
    )
    async def ready(self) -> Response[Health]:
        """The process can serve: the database answers within two seconds."""
        look = asyncio.create_task(db.fetch_value("select 1 as one"))
        await asyncio.wait({look}, timeout=PATIENCE)
        if look.done() and look.exception() is None:
            return Response(Health("ok"))
        # Not awaited: a server that hangs would keep its cancellation waiting as well.
        look.cancel()
        return Response(Health("database_unavailable"), status_code=503)
