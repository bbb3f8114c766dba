"""The one place that reads the wall clock, so that rules take *now* as a parameter and never look."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The current instant, in UTC and aware of it."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """UTC ISO-8601 with microseconds and `Z`, the one spelling used in JSON and audit lines."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
