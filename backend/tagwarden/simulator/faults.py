"""Faults queued through the control API, and the spoilt answers they produce.

A fault hits one call and is counted before that call is judged, so a restart does not repeat it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import msgspec
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Receive, Scope, Send

from tagwarden.simulator.journal import names_api
from tagwarden.simulator.schemas import FaultSetup
from tagwarden.simulator.store import Store

_HTML = "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>"
_KEEP_EFFECT = frozenset({"slow", "reset", "truncated", "empty", "without"})
JSON_MEDIA_TYPE = "application/json; charset=UTF-8"
RESET_EXTENSION = "tagwarden.reset"


def queue_fault(store: Store, corp_id: str, fault: FaultSetup) -> None:
    """Put a fault at the end of a corp's queue."""
    doc = msgspec.json.encode(fault).decode()
    store.run("INSERT INTO faults (corp_id, api, times, doc) VALUES (?, ?, ?, ?)", corp_id, fault.api, fault.times, doc)


def take_fault(store: Store, corp_id: str, api: str) -> FaultSetup | None:
    """The oldest fault waiting for this API, used once."""
    for row in store.rows("SELECT * FROM faults WHERE corp_id = ? AND times != 0 ORDER BY id", corp_id):
        if names_api(row["api"], api):
            if row["times"] > 0:
                store.run("UPDATE faults SET times = times - 1 WHERE id = ?", row["id"])
                store.run("DELETE FROM faults WHERE id = ? AND times = 0", row["id"])
            return msgspec.json.decode(row["doc"], type=FaultSetup)
    return None


def takes_effect(fault: FaultSetup | None) -> bool:
    """Whether the call is carried out although its answer will be spoilt."""
    if fault is None:
        return True
    return fault.kind in _KEEP_EFFECT if fault.effect is None else fault.effect


def spoil(fault: FaultSetup, answer: bytes) -> ASGIApp:
    """What is sent instead of `answer`, the JSON a healthy WeCom would have sent."""
    if fault.kind == "reset":
        return _reset
    if fault.kind == "http":
        return ASGIResponse(status_code=fault.status or 500, media_type="text/plain")
    if fault.kind == "html":
        return ASGIResponse(body=_HTML, status_code=fault.status or 200, media_type="text/html")
    if fault.kind == "truncated":
        return ASGIResponse(body=answer[: len(answer) // 2], status_code=fault.status or 200, media_type=JSON_MEDIA_TYPE)
    if fault.kind == "without":
        left = {key: value for key, value in msgspec.json.decode(answer).items() if key not in fault.fields}
        return ASGIResponse(body=msgspec.json.encode(left), status_code=200, media_type=JSON_MEDIA_TYPE)
    if fault.kind == "empty":
        return ASGIResponse(status_code=fault.status or 200, media_type=JSON_MEDIA_TYPE)
    return ASGIResponse(body=answer, status_code=fault.status or 200, media_type=JSON_MEDIA_TYPE)


async def _reset(scope: Scope, receive: Receive, send: Send) -> None:
    """Cut the connection without an answer; `server.py` offers the means to the app as an ASGI extension."""
    extensions = cast("dict[str, dict[str, Callable[[], None]]]", scope.get("extensions") or {})
    if RESET_EXTENSION not in extensions:
        raise RuntimeError("this server cannot cut connections")
    extensions[RESET_EXTENSION]["cut"]()
    while (await receive())["type"] != "http.disconnect":
        continue
