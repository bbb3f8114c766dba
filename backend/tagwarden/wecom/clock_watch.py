"""Notices when the database's clock jumps, by comparing it with a monotonic clock of this process.

It decides nothing: the budget stalls when it says so. It must stay free of I/O and of any clock of its own.
"""

from __future__ import annotations


class ClockWatch:
    """Keeps the narrowest bounds known for (database clock - monotonic clock).

    A reading of the database's clock was taken somewhere between two monotonic readings, so a slow round trip only
    widens its bounds; it is never mistaken for a jump, and never hides one from the next reading.
    """

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._bounds: tuple[float, float] | None = None

    def jumped(self, database: float, before: float, after: float) -> bool:
        """Whether the clocks moved more than the tolerance (seconds) against each other since the last reading."""
        low, high = database - after, database - before
        if self._bounds is None:
            self._bounds = (low, high)
            return False
        last_low, last_high = self._bounds
        gap = max(low - last_high, last_low - high)
        if gap <= 0:
            self._bounds = (max(low, last_low), min(high, last_high))
            return False
        self._bounds = (low, high)
        return gap > self._tolerance
