"""What every controller shares: the problem document, its place in OpenAPI, cursors and ETags. No rules here."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from litestar import Response
from litestar.datastructures import ResponseHeader
from litestar.openapi.datastructures import ResponseSpec

from tagwarden.kernel.errors import Malformed

LARGEST_PAGE = 200
EPOCH = "Tagwarden-Epoch"
"""The epoch that holds after an answer: what was decided before it is in it."""
EPOCH_AT_LEAST = "Tagwarden-Epoch-At-Least"
"""The epoch that a request demands at least, as some answer named it."""

ETAG = [ResponseHeader(name="ETag", value="", description="Strong; what a later If-Match names.", documentation_only=True)]

PROBLEMS = {
    400: ("Malformed", "The request cannot be read."),
    401: ("Unauthenticated", "No proof of identity, or one that does not stand; the answer never says why."),
    403: ("Refused", "Somebody is established and may not; `items` name every reason."),
    404: ("NotFound", "No such thing in this corp, or none the caller may know of."),
    409: ("Conflict", "The state of things does not allow it now, or the same Idempotency-Key is at work."),
    412: ("Outdated", "If-Match does not name the current ETag."),
    413: ("TooLarge", "The body is larger than the service takes."),
    415: ("UnsupportedMedia", "The body says it is something else than JSON."),
    422: ("Invalid", "Readable, and not acceptable as it stands."),
    428: ("PreconditionRequired", "If-Match is missing."),
    429: ("TooMany", "Too many requests of one person in a minute; try again later."),
    503: ("Unavailable", "Something the service stands on is not there; nothing was half-done. Try again later."),
}
"""Every problem a route may answer with: its name in the OpenAPI document and what it means."""


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
    """OpenAPI entries for the problems that are a route's own.

    400, 401, 403, 413, 422 and 503 follow from a route's shape and are added in `app/openapi.py`. KeyError for a status
    that no error of ours has.
    """
    return {
        status: ResponseSpec(
            Problem, description=PROBLEMS[status][1], media_type="application/problem+json", generate_examples=False
        )
        for status in sorted(statuses)
    }


def answers(content: type, description: str) -> ResponseSpec:
    """The OpenAPI entry for a second answer of a route, beside its first and its problems."""
    return ResponseSpec(content, description=description, generate_examples=False)


def encode_cursor(value: object) -> str:
    """An opaque keyset cursor."""
    return base64.urlsafe_b64encode(str(value).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> str | None:
    """What `encode_cursor` was given, as text; CursorInvalid for anything else."""
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        raise CursorInvalid() from None
    if "\0" in text or encode_cursor(text) != cursor or not text:
        raise CursorInvalid()
    return text


def number_in(text: str | None, largest: int = 2**31 - 1) -> int | None:
    """The number that a cursor holds; CursorInvalid for anything else."""
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) > largest:
        raise CursorInvalid()
    return int(text)


def with_etag(content: Any, etag: str, status: int = 200) -> Response[Any]:
    """A response that carries its strong ETag (RFC 9110 8.8.3)."""
    return Response(content, status_code=status, headers={"ETag": etag})
