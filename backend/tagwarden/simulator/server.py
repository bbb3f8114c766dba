"""Serving the simulator with uvicorn, and cutting connections on request, which ASGI alone cannot do."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tagwarden.simulator.asgi import create_app
from tagwarden.simulator.faults import RESET_EXTENSION

_KEEP_ALIVE_SECONDS = 65
_LINGER_OFF_AND_RESET = struct.pack("ii", 1, 0)


class CuttableProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which also offers the app an extension that answers a request with a TCP reset."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, dict[Any, Any]] = {RESET_EXTENSION: {"cut": self._cut}}
        self.scope["extensions"] = extensions

    def _cut(self) -> None:
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF_AND_RESET)
        self.transport.abort()


def build_server(host: str, port: int, state_path: Path | None) -> uvicorn.Server:
    """A server that is not started; for whoever runs it beside other things (`await server.serve()`)."""
    config = uvicorn.Config(
        create_app(state_path),
        host=host,
        port=port,
        http=CuttableProtocol,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def run(host: str = "127.0.0.1", port: int = 8090, state_path: Path | None = None) -> None:
    """Serve until stopped by a signal. The control API is open to whoever reaches the address: keep it on loopback."""
    build_server(host, port, state_path).run()
