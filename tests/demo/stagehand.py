"""Starts the real `tagwarden demo` as a person at a terminal would, and sees what of it is still alive."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

EXIT_SECONDS = 30.0  # 15 is the promise; a loaded test machine gets twice that
GONE_SECONDS = 20.0  # a command that is still starting finds its database gone only then
CORP = "ww00000000demo0001"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more}


def tagwarden(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    command = [sys.executable, "-m", "tagwarden", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**env), timeout=60)


class Demo:
    """A running demo in a process group of its own, as a shell with a terminal gives it."""

    def __init__(self, data: Path, *words: str, port: int | None = None, **env: str) -> None:
        self.data = data
        self.port = port or free_port()
        beside = next(parent for parent in data.parents if parent.exists())
        self._said = beside / f"said-{time.monotonic_ns()}.txt"
        with self._said.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tagwarden", "demo", "--port", str(self.port), "--data", str(data), *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment(**env),
                start_new_session=True,
                # A test run in the background hands down an ignored SIGINT; a terminal does not.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
            )

    @property
    def said(self) -> str:
        return self._said.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, text: str, seconds: float = 150.0) -> None:
        self.wait_until(lambda: text in self.said, seconds)

    def wait_until(self, look: Callable[[], bool], seconds: float = 150.0) -> None:
        until = time.monotonic() + seconds
        while not look():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < until, self.said
            time.sleep(0.02)

    def send(self, number: signal.Signals, *, to_group: bool = False) -> None:
        """To the demo alone, as `kill` does, or to its whole group, as Ctrl-C at a terminal does."""
        os.killpg(self.process.pid, number) if to_group else self.process.send_signal(number)

    def exit_code(self, seconds: float = EXIT_SECONDS) -> int:
        return self.process.wait(seconds)

    def still_alive(self) -> list[str]:
        """Processes that work on the folder, after a few seconds' patience."""
        until = time.monotonic() + GONE_SECONDS
        while (found := list(_working_on(self.data))) and time.monotonic() < until:
            time.sleep(0.1)
        return found


@contextlib.contextmanager
def demo(data: Path, *words: str, port: int | None = None, **env: str) -> Iterator[Demo]:
    """A demo that is gone when the block ends."""
    running = Demo(data, *words, port=port, **env)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


def _working_on(data: Path) -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            inside = (entry / "cwd").resolve().is_relative_to(data.resolve())
            if command and (str(data) in command or inside):
                yield f"{entry.name} {command}"
