"""Server processes: start one that dies with us, recognise one, end one.

Why it exists: a database must not outlive the demo that started it, and a process number in an old file must never cost
an unrelated process its life. It must not know what a data folder looks like beyond the cluster itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tagwarden.kernel.embedded.binaries import RunAs

_ON_LINUX: bool = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1  # prctl(2)
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
_FAST_SECONDS = 30.0
_HARD_SECONDS = 10.0
_POLL_SECONDS = 0.01


@dataclass(frozen=True)
class ServerStatus:
    """What a running server says of itself in `postmaster.pid` (PostgreSQL manual, 66.1)."""

    pid: int
    port: int
    socket_folder: Path
    ready: bool


def read_status(cluster: Path) -> ServerStatus | None:
    """None while the file is absent or still being written. Raises `OSError` when it may not be read."""
    try:
        lines = os.fsdecode((cluster / "postmaster.pid").read_bytes()).splitlines()
        return ServerStatus(int(lines[0]), int(lines[3]), Path(lines[4]), lines[7].strip() == "ready")
    except (FileNotFoundError, IndexError, ValueError):
        return None


def spawn(command: Sequence[str], run_as: RunAs, log: int, death_signal: signal.Signals) -> subprocess.Popen[bytes]:
    """Start a program that gets `death_signal` when we end, however we end.

    Linux only, and bound to the calling *thread*: call it from the main thread. The child has a process group of its
    own, so Ctrl-C reaches us alone and we can end it in order.
    """
    return subprocess.Popen(
        [*run_as.prefix, *command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=_environment(),
        user=run_as.user,
        group=run_as.group,
        extra_groups=run_as.extra_groups,
        process_group=0,
        preexec_fn=_die_with(os.getpid(), death_signal),
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Fast shutdown and wait; harder ways only when the server does not answer."""
    for how, seconds in ((signal.SIGINT, _FAST_SECONDS), (signal.SIGQUIT, _HARD_SECONDS)):
        process.send_signal(how)
        try:
            process.wait(seconds)
            return
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    process.wait()


def end_left_over(cluster: Path) -> bool:
    """End a server that outlived its parent; returns False when it is still there.

    A process is ended only if it is a PostgreSQL running on this very cluster. Lock files that name anybody else's
    process are removed, because PostgreSQL would refuse to start for as long as that process lives. Only for the holder
    of the folder's lock.
    """
    pid = _recorded_pid(cluster / "postmaster.pid")
    for how, seconds in ((signal.SIGINT, _FAST_SECONDS), (signal.SIGQUIT, _HARD_SECONDS)):
        if pid is None or not is_server(pid, cluster):
            break
        os.kill(pid, how)
        _wait_until(lambda: not is_server(pid, cluster), seconds)
    if pid is not None and is_server(pid, cluster):
        return False
    for lock_file in (cluster / "postmaster.pid", *cluster.glob(".s.PGSQL.*.lock")):
        lock_file.unlink(missing_ok=True)
    return True


def is_server(pid: int, cluster: Path) -> bool:
    """Whether this process is a PostgreSQL server working on this cluster."""
    words = _command_line(pid)
    if not words or os.path.basename(words[0]) != "postgres":
        return False
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", cluster)  # a server works inside its cluster
    except OSError:
        return words[1:3] == ["-D", str(cluster)]


def _command_line(pid: int) -> list[str]:
    if _ON_LINUX:
        try:
            return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).rstrip("\0").split("\0")
        except OSError:
            return []
    shown = subprocess.run(["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True)
    program, _, rest = os.fsdecode(shown.stdout).strip().partition(" -D ")
    return [program, "-D", rest.partition(" -c ")[0]]


def _recorded_pid(lock_file: Path) -> int | None:
    try:
        return int(lock_file.read_bytes().split(b"\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _wait_until(done: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not done() and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)


def _die_with(parent: int, death_signal: signal.Signals) -> Callable[[], None] | None:
    prctl = _PRCTL
    if prctl is None:
        return None

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:  # it ended before the line above could count
            os._exit(1)

    return arrange


def _environment() -> dict[str, str]:
    """Nothing of ours: neither our secrets nor libpq's variables. UTC also spares initdb a search of all time zones."""
    kept = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C", "TZ": "UTC"}
