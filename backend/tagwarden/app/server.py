"""Running the service: uvicorn and, where one process does both, the worker beside it. Drains on SIGTERM and Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from litestar import Litestar

from tagwarden.app import alone, wiring
from tagwarden.app.asgi import create_app, require_serviceable, sealer_of
from tagwarden.app.heartbeat import beating
from tagwarden.app.observed import Observed
from tagwarden.app.one_write import OneWrite
from tagwarden.app.tracing import Traced, tracing
from tagwarden.app.witness import Witness
from tagwarden.app.worker import Worker
from tagwarden.kernel import db
from tagwarden.kernel.errors import Conflict
from tagwarden.kernel.redis import RELAY
from tagwarden.kernel.settings import Settings
from tagwarden.sync import live
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.client import WecomClient

WORKER_SECONDS = 4.0  # to finish the call under way; what is cut off is repeated after its lease


class PortTaken(Conflict):
    code = "port_taken"
    zh = "端口 {host}:{port} 无法使用（{why}），请用 --port 换一个"
    en = "Cannot listen on {host}:{port} ({why}); choose another with --port"


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, or PortTaken with one sentence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP: asyncio turns Nagle's algorithm off only then, and with it on every answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)  # at once: a port that is bound but does not listen can be bound by others too
    except (OSError, OverflowError) as error:
        listener.close()
        raise PortTaken(host=host, port=port, why=getattr(error, "strerror", None) or type(error).__name__) from None
    return listener


class _QuietServer(uvicorn.Server):
    """Signals belong to the process that runs us, not to uvicorn."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


@contextlib.asynccontextmanager
async def listening(app: Litestar, listener: socket.socket, tracer: Any = None) -> AsyncIterator[None]:
    """Serves the application until the block ends, then drains; observed, and with a heartbeat while it listens."""
    observed = Observed(app, app.state.metrics)
    config = uvicorn.Config(
        Traced(observed, tracer) if tracer is not None else observed,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=10,
        lifespan="on",
        server_header=False,
        http=OneWrite,
    )
    server = _QuietServer(config)
    async with beating("serve"):
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                if task.done():
                    await task
                    raise RuntimeError("the server did not start")
                await asyncio.sleep(0.01)
            yield
        finally:
            live.WATCHERS.stop()  # else the server would wait for streams until it loses patience
            server.should_exit = True
            await task


@contextlib.asynccontextmanager
async def working(settings: Settings, stop: asyncio.Event) -> AsyncIterator[None]:
    """Runs a worker until the block ends. It acts on requests and tells of what it does, so it needs the table of wiring."""
    wiring.wire()
    budget = Budget(settings.wecom_calls_per_minute)
    client = WecomClient(settings.wecom_api_base, sealer_of(settings), budget)
    await client.start()
    task = asyncio.create_task(_worker(client, budget, settings).run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait({task}, timeout=WORKER_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()


def _worker(client: WecomClient, budget: Budget, settings: Settings) -> Worker:
    nightly = (settings.reconcile_hour, settings.reconcile_calls)
    public_url = str(settings.public_url) if settings.public_url else None
    return Worker(client, budget, witness=Witness.of(settings), nightly=nightly, public_url=public_url)


def stop_on_signals(stop: asyncio.Event) -> None:
    """SIGTERM and Ctrl-C ask for the end; a second Ctrl-C is the default one."""
    loop = asyncio.get_running_loop()

    def ask() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)


async def serve(settings: Settings, listener: socket.socket, *, with_worker: bool) -> None:
    """`tagwarden serve`: until a signal."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    await db.DB.open(url, size=settings.database_connections)
    RELAY.open(settings.redis_url.get_secret_value() if settings.redis_url else None)
    try:
        await require_serviceable()
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(alone.serving(stop))
            if with_worker:
                await stack.enter_async_context(working(settings, asyncio.Event()))
            tracer = stack.enter_context(tracing(settings))
            await stack.enter_async_context(listening(create_app(settings, opens_database=False), listener, tracer))
            await stop.wait()
    finally:
        await RELAY.close()
        await db.DB.close()


async def work(settings: Settings) -> None:
    """`tagwarden worker`: until a signal."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    await db.DB.open(url, size=settings.database_connections)
    RELAY.open(settings.redis_url.get_secret_value() if settings.redis_url else None)
    try:
        await require_serviceable()
        async with working(settings, asyncio.Event()):
            await stop.wait()
    finally:
        await RELAY.close()
        await db.DB.close()
