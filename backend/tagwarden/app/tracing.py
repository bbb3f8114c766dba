"""Traces over OpenTelemetry, where an installation asks for them (`TAGWARDEN_OTLP_ENDPOINT`, extra `otel`).

One span a request, continued from the caller's `traceparent` (W3C Trace Context). A span carries the route as a template,
the status and the request id; never a path, a query, a header or an error's words, which may name customers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from tagwarden.kernel.errors import Conflict
from tagwarden.kernel.settings import Settings


class TracingMissing(Conflict):
    code = "tracing_missing"
    zh = "已设置 TAGWARDEN_OTLP_ENDPOINT，但未安装 OpenTelemetry；请安装 tagwarden[otel]"
    en = "TAGWARDEN_OTLP_ENDPOINT is set and OpenTelemetry is not installed; install tagwarden[otel]"


@contextlib.contextmanager
def tracing(settings: Settings) -> Iterator[Any]:
    """A tracer that exports until the block ends, or None where none is asked for; TracingMissing without the extra."""
    if settings.otlp_endpoint is None:
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise TracingMissing() from None
    provider = TracerProvider(resource=Resource.create({"service.name": "tagwarden"}))
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(f"{settings.otlp_endpoint.rstrip('/')}/v1/traces", timeout=5))
    )
    try:
        yield provider.get_tracer("tagwarden")
    finally:
        provider.shutdown()


class Traced:
    """An ASGI application that passes everything on inside a span."""

    def __init__(self, app: ASGIApp, tracer: Any) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"}
        options: dict[str, Any] = {"kind": SpanKind.SERVER, "record_exception": False, "set_status_on_exception": False}
        with self._tracer.start_as_current_span("request", context=extract(carrier), **options) as span:

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            try:
                await self._app(scope, receive, noted)
            finally:
                route = str(scope.get("path_template") or "unmatched")
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.request.method", scope["method"])
                span.set_attribute("http.route", route)
                span.set_attribute("tagwarden.request_id", scope["state"].get("request_id", ""))
