"""Around the whole application: one log line and one measurement for every request that ended, matched or not.

A line names the request, its route as a template, and who was verified to ask: employees by WeCom id, because an
operator must find whom a failure hit. Paths, query strings, headers and bodies are never looked at: they carry customers'
ids, names and signatures. The request id is that of the problem document and of the audit lines.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import structlog
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, clear_contextvars

from tagwarden.app.metrics import Metrics
from tagwarden.kernel.errors import TagwardenError
from tagwarden.kernel.ids import new_id

log = structlog.get_logger(__name__)

UNMATCHED = "unmatched"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBES = frozenset({"/health/live", "/health/ready", "/metrics"})


class Observed:
    """An ASGI application that passes everything on and notes how each request ended."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = str(new_id())
        clear_contextvars()
        bind_contextvars(request_id=state["request_id"])
        status = 500  # what the caller sees when nothing answers
        began = time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            self._ended(scope, status, time.perf_counter() - began)

    def _ended(self, scope: HTTPScope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        route = scope.get("path_template") or UNMATCHED
        state = scope["state"]
        self._metrics.request_ended(method, route, status, seconds)
        log.log(
            _level(route, status),
            "request.ended",
            method=method,
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
            **{**_who(state), "request_id": state["request_id"], **state.get("refusal", {})},
        )


def _level(route: str, status: int) -> int:
    if status >= 500:
        return logging.ERROR
    if route in PROBES:
        return logging.DEBUG
    return logging.WARNING if status >= 400 else logging.INFO


def _who(state: dict[str, Any]) -> dict[str, str]:
    claims = state.get("claims")
    if claims is None:
        return {}
    who = {"corp_id": claims.corp_id, "userid": claims.userid}
    return {**who, "act": claims.act} if claims.act else who


class NamedInLogs(ASGIMiddleware):
    """Behind authentication: every line of this request carries its id and who was verified to ask."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Binds and passes on; the next request begins anew, so nothing is unbound while an error is still to be told."""
        state = scope["state"]
        bind_contextvars(request_id=state["request_id"], **_who(state))
        await next_app(scope, receive, send)


async def note_refusal(error: Exception, scope: Scope) -> None:
    """Keeps why a request ended so for its line: the stable code, of a decision the step that failed, or a mistake's type."""
    if not isinstance(error, TagwardenError):
        if getattr(error, "status_code", 500) >= 500:
            scope["state"]["refusal"] = {"error": type(error).__qualname__}
        return
    code = error.code.format(**error.facts) if "{" in error.code else error.code
    step = error.facts.get("step") or (getattr(error, "audit", None) or {}).get("step")
    scope["state"]["refusal"] = {"code": code, "step": str(step)} if step else {"code": code}
