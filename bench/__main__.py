"""`python -m bench [--runs N] [--out FILE] [name ...]`: measures the named figures, or all, and prints the table."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

from bench.ground import Ground
from bench.report import Row, machine, table

FIGURES = ("decision", "epoch", "http_decisions", "tag_changes", "audit", "postgres", "demo", "customers", "batch")


def main() -> None:
    """Measures and prints; a figure's rows are shown as soon as it is done."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(FIGURES)}; default: all")
    parser.add_argument("--runs", type=int, default=3, help="how often each figure is measured")
    parser.add_argument("--out", type=Path, default=None, help="also write the table to this file")
    given = parser.parse_args()
    if unknown := set(given.names) - set(FIGURES):
        parser.error(f"no such figure: {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    sys.stdout.write(f"{machine()}\n\n")
    for name in given.names or FIGURES:
        started = time.monotonic()
        with Ground() as ground:
            found = importlib.import_module(f"bench.{name}").measure(ground, given.runs)
        rows += found
        sys.stdout.write(f"{table(found)}\n\n({name}: {time.monotonic() - started:.0f} s)\n\n")
        sys.stdout.flush()
    if given.out is not None:
        given.out.write_text(f"{machine()}\n\n{table(rows)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
