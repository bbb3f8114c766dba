"""What every controller shares: the problem document, its place in OpenAPI, cursors and ETags. No rules here."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from litestar import Response
from litestar.openapi.datastructures import ResponseSpec

from tagwarden.kernel.errors import Malformed

LARGEST_PAGE = 200


class Problem(msgspec.Struct, omit_defaults=True):
    """An RFC 9457 problem document; `code` is stable, `detail` is in the caller's language."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    items: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}


class CursorInvalid(Malformed):
    code = "cursor_invalid"
    zh = "分页游标无效"
    en = "The cursor is not one of ours"


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """OpenAPI entries for the problems a route may answer with; 400, 401, 403, 422 and 503 stand on every route."""
    return {
        status: ResponseSpec(Problem, description="Problem", media_type="application/problem+json", generate_examples=False)
        for status in sorted({400, 401, 403, 422, 503, *statuses})
    }


def encode_cursor(value: object) -> str:
    """An opaque keyset cursor."""
    return base64.urlsafe_b64encode(str(value).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> str | None:
    """What `encode_cursor` was given, as text; CursorInvalid for anything else."""
    if cursor is None:
        return None
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        raise CursorInvalid() from None


def with_etag(content: Any, etag: str, status: int = 200) -> Response[Any]:
    """A response that carries its strong ETag (RFC 9110 8.8.3)."""
    return Response(content, status_code=status, headers={"ETag": etag})
