"""Traces leave where they are asked for, with routes and ids of ours, and never with what a caller wrote."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.company import Company
from support.service import service_on
from tagwarden.kernel.embedded import EmbeddedUrls

TRACE = "0af7651916cd43dd8448eb211c80319c"
CANARY = "wm-canary-customer"


class Collector:
    """Keeps what exporters send."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    thread = threading.Thread(target=found.server.serve_forever, daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


async def test_a_request_is_a_span_with_its_template_and_nothing_else(
    redis_url: str, database: EmbeddedUrls, company: Company, collector: Collector
) -> None:
    async with service_on(database.application, REDIS_URL=redis_url, OTLP_ENDPOINT=collector.url) as service:
        web = service.web(company)
        header = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        await web.http.get(f"/v1/customers/{CANARY}/tags?q={CANARY}", headers={**web.headers("ann"), **header})
    spans = [
        span
        for body in collector.bodies
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    mine = next(span for span in spans if span.trace_id.hex() == TRACE)
    assert mine.name == "GET /v1/customers/{external_userid}/tags"
    attributes = {one.key: one.value for one in mine.attributes}
    assert attributes["http.response.status_code"].int_value == 404
    assert attributes["tagwarden.request_id"].string_value
    assert all(CANARY.encode() not in body for body in collector.bodies)
