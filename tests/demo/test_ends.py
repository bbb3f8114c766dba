"""However a demo ends, nothing of it lives on, nobody sees a traceback, and its folder works again."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.stagehand import CORP, Demo, demo, environment, tagwarden
from tagwarden.app.demo.folder import FolderEmpty, require_whole

IMPORTING = "$ tagwarden import"
LINUX = sys.platform == "linux"
pytestmark = pytest.mark.skipif(not LINUX, reason="looks into /proc")

Moment = Callable[[Demo], None]


def at_the_lock(running: Demo) -> None:
    running.wait_until((running.data / "lock").exists)


def at_the_cluster(running: Demo) -> None:
    running.wait_until(lambda: any(running.data.glob("pg.tmp.*/cluster")))


def at_the_server(running: Demo) -> None:
    running.wait_for("PostgreSQL is up")


def at_the_import(running: Demo) -> None:
    running.wait_for(IMPORTING)


ENDS: dict[str, list[tuple[Moment, signal.Signals, bool]]] = {
    "before the import": [
        (at_the_lock, signal.SIGKILL, False),
        (at_the_cluster, signal.SIGINT, False),
        (at_the_server, signal.SIGTERM, False),
    ],
    "during the import": [
        (at_the_import, signal.SIGKILL, False),
        (at_the_import, signal.SIGINT, True),
        (at_the_import, signal.SIGTERM, False),
    ],
}


@pytest.mark.parametrize("when", ENDS)
def test_ends_leave_nothing_behind_and_the_folder_works_again(folder: Path, when: str) -> None:
    data = folder / "销售 [/dim] 演示"
    # What the environment says of a real installation is not the demo's.
    env = {"TAGWARDEN_DATABASE_URL": "postgresql://x@127.0.0.1:1/x", "TAGWARDEN_WECOM_CALLS_PER_MINUTE": "none"}
    for moment, number, to_group in ENDS[when]:
        with demo(data, **env) as running:
            moment(running)
            running.send(number, to_group=to_group)
            code = running.exit_code()
            where = f"{moment.__name__} {number.name}: {running.said}"
            assert code == (-number if number == signal.SIGKILL else 130), where
            assert running.still_alive() == [], where
            if number != signal.SIGKILL:
                assert "Traceback" not in running.said, where
                assert running.said.rstrip().endswith("Stopped."), where
    with pytest.raises(FolderEmpty):
        require_whole(data)


LOST = """
import asyncio, os, signal, sys
from tagwarden.app.demo import stage

async def work():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        pass  # as a driver's C code does that cannot hand it on
    await asyncio.sleep(5)

stage._prepare_process()
try:
    asyncio.run(work())
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("ctrl_c", [signal.SIG_DFL, signal.SIG_IGN], ids=["at a terminal", "in the background"])
def test_a_signal_that_meets_a_drivers_c_code_is_not_lost(ctrl_c: signal.Handlers) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOST],
        env=environment(),
        timeout=30,
        preexec_fn=lambda: signal.signal(signal.SIGINT, ctrl_c) and None,
    )
    assert ended.returncode == 130


def test_a_second_start_leaves_the_first_unharmed(folder: Path) -> None:
    with demo(folder / "first") as first:
        first.wait_for(IMPORTING)
        for words in (("--data", str(first.data)), ("--data", str(folder / "other"), "--port", str(first.port))):
            second = tagwarden("demo", *words)
            assert (second.returncode, second.stdout) == (1, "")
            assert "in use" in second.stderr
            assert len(second.stderr.strip().splitlines()) == 1
        assert not (folder / "other").exists()
        status = tagwarden("audit", "verify", "--data", str(first.data))
        assert (status.returncode, CORP in status.stdout) == (0, True), status.stderr
        # WeCom refuses the import: the demo ends at once, with what went wrong and exit code 1.
        simulator = json.loads((first.data / "demo.json").read_text())["simulator_port"]
        fault = json.dumps({"kind": "errcode", "code": 60011, "times": -1}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{simulator}/control/corps/{CORP}/faults", fault)
        request.add_header("Content-Type", "application/json")
        urllib.request.urlopen(request).close()
        assert first.exit_code(60) == 1
        assert "command_failed" in first.said
        assert "Traceback" not in first.said
        assert first.still_alive() == []


def test_a_taken_port_is_one_sentence(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = tagwarden("demo", "--data", str(folder / "data"), "--port", str(taken.getsockname()[1]))
    assert (refused.returncode, "port_taken" in refused.stderr) == (1, True)
    assert not (folder / "data").exists()


def test_commands_beside_no_demo_say_so(folder: Path) -> None:
    for words in (("audit", "verify"), ("sync", "status")):
        refused = tagwarden(*words, "--data", str(folder / "none"))
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "nothing_runs" in refused.stderr
    assert not (folder / "none").exists()
