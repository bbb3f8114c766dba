"""`tagwarden demo --keep` on an existing, complete folder: from the command to the OpenAPI page. The folder is made first."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from bench.ground import Ground
from bench.processes import Process, free_port, plain_environment
from bench.report import Options, Row, Runs

COMMAND = "python -m bench demo"
MAKING_SECONDS = 900


def measure(ground: Ground, options: Options) -> list[Row]:
    """Seconds to the page."""
    data = ground.folder / "demo"
    making = _make(data)
    measured = []
    noise = Runs(options.runs)
    for _ in noise:
        port = free_port()
        since = time.perf_counter()
        process = Process(["demo", "--keep", "--data", str(data), "--port", str(port)], plain_environment())
        try:
            process.wait_for(f"http://127.0.0.1:{port}/schema")
            measured.append(f"{time.perf_counter() - since:.1f} s")
        finally:
            process.stop()
    note = f"making the folder with --once took {making:.0f} s; {noise.note}"
    return [Row("`tagwarden demo --keep` to the OpenAPI page", "≤ 10 s", measured, COMMAND, note)]


def _make(data: Path) -> float:
    command = [sys.executable, "-m", "tagwarden", "demo", "--once", "--data", str(data), "--port", str(free_port())]
    since = time.perf_counter()
    done = subprocess.run(command, env=plain_environment(), capture_output=True, text=True, timeout=MAKING_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"the demo ended with {done.returncode}: {done.stdout[-1500:]} {done.stderr[-1500:]}")
    return time.perf_counter() - since
