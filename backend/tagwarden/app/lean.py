"""What most answers are, a struct as JSON and nothing else, without the framework's way to everything else.

It must not differ from what the framework would send: whatever is more than a body, a status and a kind goes its way.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from litestar import Request, Response
from litestar.serialization import default_serializer
from litestar.types import ASGIApp, HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Scope, Send

T = TypeVar("T")
_ENCODER = msgspec.json.Encoder(enc_hook=default_serializer)
_JSON = (b"content-type", b"application/json")


class _Plain:
    """An answer that is its body."""

    __slots__ = ("_body", "_status")

    def __init__(self, status: int, body: bytes) -> None:
        self._status = status
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = [_JSON, (b"content-length", str(len(self._body)).encode())]
        start: HTTPResponseStartEvent = {"type": "http.response.start", "status": self._status, "headers": head}
        body: HTTPResponseBodyEvent = {"type": "http.response.body", "body": self._body, "more_body": False}
        await send(start)
        await send(body)


class LeanResponse(Response[T]):
    """The response of every handler that returns a struct."""

    def to_asgi_response(self, request: Request[Any, Any, Any], **more: Any) -> ASGIApp:  # type: ignore[override]
        """The short way where there is one."""
        said = more.get("headers") or more.get("cookies") or self.headers or self.cookies or self.background
        status = self.status_code or more.get("status_code") or 200
        if said or not isinstance(self.content, msgspec.Struct) or request.method == "HEAD" or status == 204:
            return super().to_asgi_response(request=request, **more)
        return _Plain(status, _ENCODER.encode(self.content))
