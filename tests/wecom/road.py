"""A bad road to WeCom: a TCP relay that delays what passes, singly or all at once. Bytes and order stay as they are."""

from __future__ import annotations

import asyncio
import contextlib
import random
from urllib.parse import urlsplit


class Road:
    """Relays connections to `url`; one chunk in twenty waits up to `delay` seconds, and `open` stops all traffic."""

    def __init__(self, url: str, delay: float = 0.0) -> None:
        target = urlsplit(url)
        self._target = (target.hostname or "127.0.0.1", target.port or 80)
        self._delay = delay
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.open = asyncio.Event()
        self.open.set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        out: asyncio.StreamWriter | None = None
        try:
            back, out = await asyncio.open_connection(*self._target)
            await asyncio.gather(self._pump(reader, out), self._pump(back, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for stream in (writer, out):
                if stream is not None:
                    stream.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                if random.random() < 0.05:
                    await asyncio.sleep(random.random() * self._delay)
                await self.open.wait()
                writer.write(chunk)
                await writer.drain()
        writer.close()
