"""Rows of the table, percentiles, and how much of the machine other programs took while we measured.

A figure is measured several times; every run is shown, in order, none is left out, and nothing is averaged.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
BUSY_FIELDS = (0, 1, 2, 5, 6)  # user, nice, system, irq, softirq of /proc/stat (proc(5)); guest is in user
DISTURBED = 0.5
"""Cores used by others from which on a run counts as disturbed and is made once more."""
PATIENCE = 20.0
"""Seconds that the runs of one figure wait, together, for others to leave the machine alone."""


@dataclass(frozen=True, slots=True)
class Options:
    """How often each figure is measured, and whether in the size or length that takes an hour."""

    runs: int
    large: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One line: `measured` is what each run gave, in order."""

    figure: str
    goal: str
    measured: Sequence[str]
    command: str
    note: str
    failed: bool = False


@dataclass(slots=True)
class Run:
    """One run and the noise around it: load average when it began, cores others used meanwhile (None: unknown)."""

    number: int
    load: float
    others: float | None = None

    def __str__(self) -> str:
        used = "unknown" if self.others is None else f"{self.others:.2f}"
        return f"{self.load:.1f}/{used}"


@dataclass
class Runs:
    """So many runs of a figure, and at most `more` for those that other programs disturbed."""

    wanted: int
    more: int = 1
    made: list[Run] = field(default_factory=list)
    patience: float = PATIENCE

    def __iter__(self) -> Iterator[Run]:
        quiet = 0
        while quiet < self.wanted and len(self.made) < self.wanted + self.more:
            self.patience -= _wait_for_quiet(self.patience)
            run = Run(len(self.made) + 1, os.getloadavg()[0])
            before, since = _cpu_of_others(), time.monotonic()
            yield run
            after = _cpu_of_others()
            if before is not None and after is not None:
                run.others = max(0.0, (after - before) / (time.monotonic() - since))
            self.made.append(run)
            quiet += (run.others or 0.0) < DISTURBED

    @property
    def note(self) -> str:
        """For the table: load average at the start and cores used by others, run by run."""
        return f"load/others' cores: {', '.join(map(str, self.made))}"


def percentile(values: Iterable[float], share: float) -> float:
    """Nearest rank, never interpolated: a value that was measured. ValueError for no values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| figure | goal | measured, run by run | command | machine note |", "|---|---|---|---|---|"]
    for row in rows:
        cells = (row.figure, row.goal, " · ".join(row.measured), f"`{row.command}`", row.note)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def machine() -> str:
    """Cores, memory and Python, without a name or a date."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1024**3 if hasattr(os, "sysconf") else 0.0
    processor = platform.machine().replace("_", "-")
    return (
        f"{os.cpu_count()} shared cores, {processor}, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"
    )


def cpu_seconds(pid: int) -> float:
    """CPU time of one process, without its children; 0.0 where there is no /proc."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0


def _wait_for_quiet(patience: float) -> float:
    """Waits until others leave the machine alone for two seconds, `patience` at most; what they do then is on record.

    Returns how long it waited in vain. Where others stay, a run is not worth waiting for again and again.
    """
    began = time.monotonic()
    while time.monotonic() - began < patience:
        before = _cpu_of_others()
        time.sleep(2)
        after = _cpu_of_others()
        if before is None or after is None or (after - before) / 2 < DISTURBED:
            return 0.0
    return time.monotonic() - began


def _cpu_of_others() -> float | None:
    """CPU seconds of this machine since it started that neither we nor anything we started used."""
    try:
        total = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    busy = sum(int(total[number]) for number in BUSY_FIELDS) / TICKS
    return busy - _cpu_of_family()


def _cpu_of_family() -> float:
    """CPU seconds of this process and its living descendants; the dead are counted with who waited for them."""
    stats = {int(entry.name): _stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    family, grew = {os.getpid()}, True
    while grew:
        found = {pid for pid, fields in stats.items() if fields and int(fields[1]) in family and pid not in family}
        family |= found
        grew = bool(found)
    used = (sum(int(fields[number]) for number in (11, 12, 13, 14)) for pid in family if (fields := stats.get(pid)))
    return sum(used) / TICKS


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name (proc(5)): [1] parent, [11..14] user, system, and the children's."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
