"""The embedded PostgreSQL: from nothing to usable (cold), and again on its folder (warm). Without migrations."""

from __future__ import annotations

import time

from bench.ground import Ground
from bench.report import Options, Row, Runs
from tagwarden.kernel.embedded import EmbeddedPostgres

COMMAND = "python -m bench postgres"


def measure(ground: Ground, options: Options) -> list[Row]:
    """Both start-ups, each run on a new folder."""
    cold: list[str] = []
    warm: list[str] = []
    noise = Runs(options.runs)
    for run in noise:
        server = EmbeddedPostgres(ground.folder / f"start-{run.number}")
        for times in (cold, warm):
            since = time.perf_counter()
            server.start()
            times.append(f"{time.perf_counter() - since:.2f} s")
            server.stop()
    return [
        Row("embedded PostgreSQL, cold start", "", cold, COMMAND, noise.note),
        Row("embedded PostgreSQL, warm start", "", warm, COMMAND, ""),
    ]
