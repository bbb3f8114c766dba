"""`python -m bench [--runs N] [--large] [--write] [name ...]`: measures the named figures, or all, and prints the table.

`make bench FIGURES="--write"` measures all and writes docs/figures.md. A figure that cannot be measured has a row that says
why, the others are measured all the same, and the command ends with 1.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import time
from pathlib import Path

from bench.ground import Ground
from bench.report import Options, Row, machine, table

FIGURES = (
    "decision",
    "epoch",
    "draft",
    "http_decisions",
    "tag_changes",
    "batch",
    "interactive",
    "customers",
    "import_",
    "reconcile",
    "callbacks",
    "audit",
    "postgres",
    "demo",
)
PAGE = Path(__file__).parent.parent / "docs" / "figures.md"
ABOUT = """# Figures

What `make bench` measured on {machine}. Everything ran on that one machine: PostgreSQL, the service, the workers, the simulated
WeCom and the program that sends the requests share its cores. Every run is shown, in order, none is left out and nothing is
averaged. The note holds the load average when a run began and the cores that other programs used during it. Figures move with
the machine: compare what stands in one run.
"""


def main() -> None:
    """Measures and prints; a figure's rows are shown as soon as it is done."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(FIGURES)}; default: all")
    parser.add_argument("--runs", type=int, default=2, help="how often each figure is measured (default 2)")
    parser.add_argument(
        "--large",
        action="store_true",
        help="100,000 customers to import, 1,000,000 follows to reconcile, the batch in real time",
    )
    parser.add_argument("--write", action="store_true", help="also write docs/figures.md")
    given = parser.parse_args()
    if unknown := set(given.names) - set(FIGURES):
        parser.error(f"no such figure: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what we started is stopped and its folder goes
    rows: list[Row] = []
    sys.stdout.write(f"{machine()}\n\n")
    for name in given.names or FIGURES:
        started = time.monotonic()
        found = _measured(name, Options(given.runs, given.large))
        rows += found
        sys.stdout.write(f"{table(found)}\n\n({name}: {time.monotonic() - started:.0f} s)\n\n")
        sys.stdout.flush()
    if given.write:
        PAGE.write_text(f"{ABOUT.format(machine=machine())}\n{table(rows)}\n", encoding="utf-8")
    sys.exit(any(row.failed for row in rows))


def _measured(name: str, options: Options) -> list[Row]:
    """The figure's rows, or one that says why there are none."""
    try:
        with Ground() as ground:
            return list(importlib.import_module(f"bench.{name}").measure(ground, options))
    except Exception as error:
        why = " ".join(str(error).split())[:300]
        return [Row(name, "", [f"not measured: {type(error).__name__}"], f"python -m bench {name}", why, failed=True)]


if __name__ == "__main__":
    main()
