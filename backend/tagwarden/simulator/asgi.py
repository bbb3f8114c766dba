"""The simulator as an ASGI app: WeCom below /cgi-bin, the control API below /control.

The control API has no authentication; serve this on the loopback interface only.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from litestar import Litestar, asgi
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.types import Scope

from tagwarden.simulator.callbacks import CallbackSender
from tagwarden.simulator.control import CorpController, ServerController, answer_refusal
from tagwarden.simulator.corps import BadSetup
from tagwarden.simulator.gateway import Gateway
from tagwarden.simulator.model import Refused
from tagwarden.simulator.store import Store

_log = logging.getLogger(__name__)
_LARGEST_BODY = 256 * 1024 * 1024  # a whole corp in one request


def create_app(state_path: Path | None) -> Litestar:
    """Build the app on a state file, which is made if it does not exist; None keeps the state in memory."""
    store = Store(state_path)
    sender = CallbackSender(store)
    gateway = Gateway(store)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await sender.start()
        try:
            yield
        finally:
            await sender.stop()
            store.close()

    return Litestar(
        route_handlers=[
            asgi("/cgi-bin", is_mount=True, copy_scope=True)(gateway.handle),
            ServerController,
            CorpController,
        ],
        dependencies={
            "store": Provide(lambda: store, sync_to_thread=False),
            "sender": Provide(lambda: sender, sync_to_thread=False),
        },
        exception_handlers={
            Refused: answer_refusal,
            BadSetup: answer_refusal,
            msgspec.ValidationError: answer_refusal,
        },
        after_exception=[_log_unexpected],
        lifespan=[lifespan],
        openapi_config=None,
        logging_config=None,  # Litestar's default would set the whole process to INFO
        request_max_body_size=_LARGEST_BODY,
    )


async def _log_unexpected(error: Exception, _: Scope) -> None:
    """Only what is our own mistake; the URL, which holds the token, stays out of the log."""
    if not isinstance(error, (HTTPException, Refused, BadSetup, msgspec.ValidationError)):
        _log.error("the simulator failed", exc_info=error)
