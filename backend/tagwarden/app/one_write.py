"""An answer's head and body leave in one write: each write is a call of the kernel that wakes the reader.

It must not change what is written, nor keep it longer than the turn of the loop in which it was written.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST = 65_536
"""Bytes that are kept back at most: a stream that never waits must still feel its reader's pace."""


class _Gathered:
    """A transport whose writes of one turn of the event loop leave together; the rest is the real one's."""

    __slots__ = ("_loop", "_parts", "_real", "_size")

    def __init__(self, real: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._real = real
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def write(self, data: bytes) -> None:
        """Joins what was written in this turn."""
        if not self._parts:
            self._loop.call_soon(self._leave)
        self._parts.append(data)
        self._size += len(data)
        if self._size > LARGEST:
            self._leave()

    def close(self) -> None:
        """What was written still leaves."""
        self._leave()
        self._real.close()

    def _leave(self) -> None:
        if self._parts:
            parts, self._parts, self._size = self._parts, [], 0
            self._real.write(parts[0] if len(parts) == 1 else b"".join(parts))


class OneWrite(HttpToolsProtocol):
    """uvicorn's protocol over httptools, writing as said above."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override,unused-ignore]
        """A connection begins."""
        super().connection_made(_Gathered(transport, self.loop))  # type: ignore[arg-type]
