"""A wire between a service and its PostgreSQL that a test can cut at one exact moment: COMMIT was sent, its answer is lost."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

CHUNK = 65536


@dataclass
class Wire:
    """`url` leads through it. While `armed`, the next COMMIT's answer is lost with its connection."""

    url: str
    far: str
    armed: bool = False
    cut: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the service."""
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, forth = await asyncio.open_unix_connection(self.far)
        answers = asyncio.create_task(self._copy(far, back))
        try:
            while chunk := await near.read(CHUNK):
                if self.armed and b"COMMIT;" in chunk:
                    self.armed = False
                    self.cut += 1
                    answers.cancel()
                    await asyncio.gather(answers, return_exceptions=True)
                    forth.write(chunk)
                    assert await far.read(1), "the server's answer, which nobody gets"
                    return
                forth.write(chunk)
                await forth.drain()
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            for writer in (forth, back):
                writer.close()

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
        writer.close()

    async def end(self) -> None:
        """Lets go of every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.contextmanager
def wire_to(url: str) -> Iterator[Wire]:
    """A wire to the server behind a URL with a socket folder; it has a thread of its own, for tests that block theirs."""
    asked = parse_qs(urlsplit(url).query)
    folder, name = asked["host"][0], f".s.PGSQL.{asked['port'][0]}"
    with tempfile.TemporaryDirectory(prefix="tw-wire-", dir="/tmp") as made:
        wire = Wire(url.partition("?")[0] + f"?host={made}&port={asked['port'][0]}", f"{folder}/{name}")
        loop, ready = asyncio.new_event_loop(), threading.Event()
        over = asyncio.Event()

        async def live() -> None:
            server = await asyncio.start_unix_server(wire.accept, f"{made}/{name}")
            ready.set()
            await over.wait()
            server.close()
            await wire.end()

        thread = threading.Thread(target=loop.run_until_complete, args=(live(),))
        thread.start()
        try:
            ready.wait(10)
            yield wire
        finally:
            loop.call_soon_threadsafe(over.set)
            thread.join(10)
            loop.close()
