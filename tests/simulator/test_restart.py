"""The state survives kill -9 of a real process, down to the last answered call."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from .driver import Receiver, Simulator, free_port

_START = """
import pathlib, sys
from tagwarden.simulator.server import run
run("127.0.0.1", int(sys.argv[1]), pathlib.Path(sys.argv[2]))
"""


@contextmanager
def process(state: Path) -> Iterator[tuple[Simulator, subprocess.Popen[bytes]]]:
    port = free_port()
    child = subprocess.Popen(
        [sys.executable, "-c", _START, str(port), str(state)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        with Simulator(f"http://127.0.0.1:{port}").open() as simulator:
            wait_until_up(simulator)
            yield simulator, child
    finally:
        child.kill()
        output, _ = child.communicate()
    assert output == b"", "the log of an undisturbed server is empty"


def wait_until_up(simulator: Simulator) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            if simulator.http.get("/control/health").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError


def test_everything_survives_kill_9(tmp_path: Path) -> None:
    state = tmp_path / "state" / "wecom.sqlite"
    with Receiver().listen() as receiver:
        receiver.statuses = [500]
        with process(state) as (simulator, child):
            app = {"name": "crm", "secret": "s", "agent_id": 7, "callback": receiver.callback}
            corp = simulator.load(apps=[app])
            receiver.corp_id = corp.corp_id
            corp.tokens["crm"] = corp.gettoken("s")["access_token"]
            simulator.switch(mark_in_both_lists="add", callback_retry_seconds=60)
            shift = simulator.control("POST", "clock", {"shift_seconds": 500})["shift_seconds"]
            corp.control("POST", "faults", {"kind": "errcode", "code": -1, "api": "user/get", "times": 2})
            corp.get("user/get", userid="wang")
            corp.edit("create_tag", group="客户价值", name="控制台")
            time.sleep(0.3)
            assert corp.mark("Li.Na", "wm1", [corp.tags["客户价值/高净值"]]) == 0
            child.kill()
            child.wait()
        assert receiver.events == []
        with process(state) as (simulator, _):
            corp.simulator = simulator
            assert corp.held("Li.Na", "wm1") == ["客户价值/高净值", "客户价值/普通"]
            assert corp.library()["客户价值"] == ["高净值", "普通", "控制台"]
            assert corp.get("user/get", userid="wang")["errcode"] == -1
            assert corp.get("user/get", userid="wang")["errcode"] == 0
            assert simulator.control("GET", "switches")["mark_in_both_lists"] == "add"
            assert simulator.control("POST", "clock", {"shift_seconds": 0})["shift_seconds"] == shift
            apis = [call["api"].rsplit("/")[-1] for call in corp.calls()]
            assert apis == ["gettoken", "get", "mark_tag", "get", "get"]
            arrivals = [call["at"] for call in corp.calls()]
            assert arrivals == sorted(arrivals)
            assert [event["ChangeType"] for event in receiver.wait(1)] == ["create"]


def test_corp_replaced_loses_all_it_had(tmp_path: Path) -> None:
    with process(tmp_path / "wecom.sqlite") as (simulator, _):
        corp = simulator.load()
        old = corp.token()
        simulator.control("POST", "corps", {"corp_id": corp.corp_id, "apps": [{"name": "crm", "secret": "s"}]})
        corp.tokens["crm"] = old
        assert corp.get("department/list")["errcode"] == 40014
        assert corp.library() == {}
        assert corp.control("GET", "follows")["follows"] == []
