"""The running route table, and bodies made from the declared shapes: a new route is tested without being named here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from msgspec import inspect

from support.service import settings_of
from tagwarden.app.asgi import create_app

INJECTED = {"asking", "caller", "picture", "language", "state", "request", "data", "if_match", "scope"}
REFUSALS_MAY_WRITE = {"audit_line", "audit_head", "refusal_tally"}


@dataclass(frozen=True)
class Route:
    """One operation: `path` has `{name}` for its parameters, `query` the names of its query parameters."""

    method: str
    path: str
    params: tuple[tuple[str, type], ...]
    query: tuple[str, ...]
    body: Any
    public: bool
    action: str | None
    largest_body: int = 0

    def fill(self, **values: str) -> str:
        """The path with parameters as given; what is not given is an unknown id."""
        unknown = {name: str(uuid4()) if kind is UUID else "unknown" for name, kind in self.params}
        return self.path.format(**{**unknown, **values})

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def table() -> list[Route]:
    """Every operation of the application except the framework's OPTIONS and the pages of OpenAPI."""
    app = create_app(settings_of("postgresql://nowhere"), opens_database=False)
    found = []
    for route in app.routes:
        if isinstance(route, HTTPRoute) and not route.path.startswith("/schema"):
            for handler in route.route_handlers:
                if handler.http_methods != {"OPTIONS"}:
                    found.append(_route(route, handler))
    return sorted(found, key=str)


def _route(route: HTTPRoute, handler: HTTPRouteHandler) -> Route:
    parts = [part if isinstance(part, str) else "{" + part.name + "}" for part in route.path_components]
    params = tuple((part.name, part.type) for part in route.path_components if not isinstance(part, str))
    names = set(handler.parsed_fn_signature.parameters) - INJECTED - {name for name, _ in params}
    body = handler.parsed_data_field.annotation if handler.parsed_data_field else None
    method = next(iter(sorted(str(one) for one in handler.http_methods)))
    public, action = bool(handler.opt.get("public")), handler.opt.get("action")
    largest = handler.resolve_request_max_body_size() or 0
    return Route(method, "/" + "/".join(parts), params, tuple(sorted(names)), body, public, action, largest)


def fields_of(body: Any) -> dict[str, inspect.Type]:
    """The fields of a body's struct."""
    info = inspect.type_info(body)
    assert isinstance(info, inspect.StructType), f"{body}: teach tests/app/routes.py this kind of body"
    return {field.encode_name: field.type for field in info.fields}


def required_of(body: Any) -> set[str]:
    """Fields without which a body is refused."""
    info = inspect.type_info(body)
    assert isinstance(info, inspect.StructType)
    return {field.encode_name for field in info.fields if field.required}


def value_of(kind: inspect.Type) -> Any:
    """A value that a field of this kind takes."""
    if isinstance(kind, inspect.Metadata):
        return value_of(kind.type)
    if isinstance(kind, inspect.UnionType):
        return value_of(next(one for one in kind.types if not isinstance(one, inspect.NoneType)))
    if isinstance(kind, inspect.LiteralType):
        return kind.values[0]
    if isinstance(kind, inspect.ListType):
        return [value_of(kind.item_type)]
    if isinstance(kind, inspect.StructType):
        return {field.encode_name: value_of(field.type) for field in kind.fields if field.required}
    if isinstance(kind, inspect.StrType):
        return "x" * max(1, kind.min_length or 1)
    by_kind: dict[type, Any] = {
        inspect.BoolType: True,
        inspect.IntType: 1,
        inspect.UUIDType: str(uuid4()),
        inspect.DateType: "2026-12-31",
        inspect.DateTimeType: "2026-12-31T00:00:00Z",
    }
    assert type(kind) in by_kind, f"{kind}: teach tests/app/routes.py this kind of field"
    return by_kind[type(kind)]


def takes_objects(kind: inspect.Type) -> bool:
    """Whether a field takes any object: what may stand in it is its kind's own affair."""
    if isinstance(kind, inspect.UnionType):
        return any(takes_objects(one) for one in kind.types)
    return isinstance(kind, inspect.DictType)


def takes_text(kind: inspect.Type) -> bool:
    """Whether a field takes any text."""
    if isinstance(kind, inspect.Metadata):
        return takes_text(kind.type)
    if isinstance(kind, inspect.UnionType):
        return any(takes_text(one) for one in kind.types)
    return isinstance(kind, inspect.StrType)


def least(body: Any) -> dict[str, Any]:
    """The smallest body of the right shape."""
    kinds = fields_of(body)
    return {name: value_of(kinds[name]) for name in sorted(required_of(body))}


def with_text(body: Any, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Bodies of the right shape with this text in one field each."""
    for name, kind in fields_of(body).items():
        if takes_text(kind):
            yield name, {**least(body), name: text}


def encode(body: Any) -> bytes:
    """JSON."""
    return msgspec.json.encode(body)


async def contents(sql: asyncpg.Connection, corp_id: str) -> dict[str, str]:
    """A hash of every row of one corp by table; what a refusal itself may write is left out."""
    tables = await sql.fetch(
        "select distinct table_name from information_schema.columns where table_schema = 'public' and column_name = 'corp_id'"
    )
    hashes = {}
    for row in tables:
        name = row["table_name"]
        if name not in REFUSALS_MAY_WRITE:
            rows = "string_agg(t::text, chr(10) order by t::text)"
            hashes[name] = await sql.fetchval(f"select md5(coalesce({rows}, '')) from {name} t where corp_id = $1", corp_id)
    return hashes
