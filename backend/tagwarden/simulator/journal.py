"""The log of arriving calls, on the machine's monotonic clock.

It is the evidence for the call budget, so it is written before the call is judged and does not follow the shiftable
clock. Times are `time.monotonic_ns()`, which all processes share until the machine reboots.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from tagwarden.simulator.call import Json
from tagwarden.simulator.model import worst_window
from tagwarden.simulator.store import Store

_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One logged call. A call whose token or corpid belongs to nobody is a stray, logged under corp_id ""."""

    at: int
    corp_id: str
    api: str
    app: str | None
    fault: str | None
    body: Json | None


def open_entry(store: Store, entry: Entry) -> int:
    """Log an arrival; answers the entry's id."""
    body = None if entry.body is None else json.dumps(entry.body)
    return store.run(
        "INSERT INTO calls (at, corp_id, api, app, fault, body) VALUES (?, ?, ?, ?, ?, ?)",
        entry.at, entry.corp_id, entry.api, entry.app, entry.fault, body,
    )  # fmt: skip


def close_entry(store: Store, entry_id: int, code: int | None, app: str | None) -> None:
    """Add what was answered; None where no errcode was. An entry never closed was in flight when the server died."""
    store.run("UPDATE calls SET code = ?, app = ?, answered = ? WHERE id = ?", code, app, time.monotonic_ns(), entry_id)


def list_calls(store: Store, corp_id: str, since: int = 0, api: str | None = None) -> list[Json]:
    """Calls that arrived after `since`, oldest first, "" for the strays; `api` is a path below /cgi-bin/ or its end."""
    rows = store.rows("SELECT * FROM calls WHERE corp_id = ? AND at > ? ORDER BY at, id", corp_id, since)
    keys = ("at", "answered", "api", "app", "code", "fault")
    return [
        {**{key: row[key] for key in keys}, "body": json.loads(row["body"]) if row["body"] else None}
        for row in rows
        if api is None or names_api(api, row["api"])
    ]


def measure_window(store: Store, corp_id: str, seconds: float, since: int = 0, api: str | None = None) -> Json:
    """The most calls that arrived in any rolling window of that length, and how many there were."""
    rows = store.rows("SELECT at, api FROM calls WHERE corp_id = ? AND at > ? ORDER BY at", corp_id, since)
    arrivals = [row["at"] for row in rows if api is None or names_api(api, row["api"])]
    return {"worst": worst_window(arrivals, int(seconds * _SECOND)), "calls": len(arrivals)}


def names_api(wanted: str, api: str) -> bool:
    """Whether `wanted` is "*", the API's path, or the end of it after a slash."""
    return wanted in ("*", api) or api.endswith("/" + wanted)
