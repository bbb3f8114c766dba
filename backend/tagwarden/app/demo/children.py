"""The demo's child processes: the simulated WeCom, and the public command line as an operator would type it.

None outlives us, however we end: the simulator holds a pipe of ours, a command loses its database. Each has a session of
its own, so Ctrl-C at the terminal reaches us alone and we end them in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tagwarden.app.demo.folder import WECOM_STATE
from tagwarden.kernel.errors import Conflict

PROGRAM = (sys.executable, "-m", "tagwarden")
START_SECONDS = 30.0
ATTEMPTS = 3
COMMAND_PATIENCE = 5.0


class SimulatorFailed(Conflict):
    code = "simulator_failed"
    zh = "模拟的企业微信没有启动"
    en = "The simulated WeCom did not start"


class CommandFailed(Conflict):
    code = "command_failed"
    zh = "命令 tagwarden {command} 以 {exit} 结束"
    en = "The command `tagwarden {command}` ended with {exit}"


@contextlib.contextmanager
def simulator(data_dir: Path) -> Iterator[int]:
    """The simulated WeCom on a free port of the loopback interface; its state is a file in the folder."""
    child, port = _start_simulator(data_dir / WECOM_STATE)
    try:
        yield port
    finally:
        _end_simulator(child)


def _start_simulator(state: Path) -> tuple[subprocess.Popen[bytes], int]:
    for _ in range(ATTEMPTS):
        port = _free_port()
        command = [*PROGRAM, "simulator", "--port", str(port), "--state", str(state), "--while-stdin-open"]
        # Its state holds the apps' secrets, and the folder may be open to others.
        child = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, umask=0o077)
        try:
            if _listens(port, child):
                return child, port
        except BaseException:
            _end_simulator(child)
            raise
        _end_simulator(child)  # somebody else may have taken the port meanwhile
    raise SimulatorFailed()


def _end_simulator(child: subprocess.Popen[bytes]) -> None:
    if child.stdin:
        child.stdin.close()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int, child: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and child.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False


async def command(
    words: list[str], data_dir: Path, *, stdin: str = "", env: dict[str, str] | None = None, quiet: bool = False
) -> tuple[int, str]:
    """Runs one command; its exit code and, where `quiet` keeps it off the terminal, what it said. Ends it when cancelled."""
    encoding = "utf-8" if quiet or sys.stdout is None else sys.stdout.encoding
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *words,
        "--data",
        str(data_dir),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if quiet else None,
        env={**os.environ, "PYTHONIOENCODING": f"{encoding}:replace", **(env or {})},
        start_new_session=True,
    )
    try:
        said, _ = await process.communicate(stdin.encode())
    except asyncio.CancelledError:
        await _end_command(process)
        raise
    return process.returncode or 0, (said or b"").decode()


async def _end_command(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()  # an interrupt would print a traceback while it is still starting
    try:
        await asyncio.wait_for(process.wait(), COMMAND_PATIENCE)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
