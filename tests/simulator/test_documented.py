"""docs/simulator.md names every control call, every kind of edit and fault, and its example runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

from litestar.routes import HTTPRoute

from tagwarden.simulator import schemas
from tagwarden.simulator.asgi import create_app

from .driver import Simulator

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")


def test_every_control_call_is_named() -> None:
    routes = {
        (str(method), re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path).replace("{corp_id}", "{corp}"))
        for route in create_app(None).routes
        if isinstance(route, HTTPRoute)
        for method in route.methods - {"OPTIONS"}
    }
    assert len(routes) > 18
    told = set(re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/control/\S+?)`", PAGE))
    assert told == routes


def test_every_edit_and_every_fault_is_named() -> None:
    edits = {str(one.__struct_config__.tag) for one in get_args(schemas.AnyEdit)}
    faults = set(get_args(schemas.FaultSetup.__annotations__["kind"])) or {
        "errcode",
        "http",
        "slow",
        "reset",
        "html",
        "truncated",
        "empty",
    }
    assert {name for name in edits | faults if f"`{name}`" not in PAGE} == set()


def test_the_example_runs(simulator: Simulator) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    program = example.replace("http://127.0.0.1:8100", simulator.base)
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "ok\n"), told.stderr
    simulator.control("POST", "clock", {"shift_seconds": -7201})
