"""The OpenAPI document and a page for it that works offline: drawn on the server, without script or foreign hosts.

The framework draws what stands at each route; `document` adds what follows from a route's shape, once for all of them,
and puts everything in one order, so that two documents can be compared line by line. `python -m tagwarden.app.openapi`
writes it without a database. No rule of the service stands here, and no example that nobody wrote.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import lru_cache
from html import escape
from typing import Any

from litestar import Litestar, Router
from litestar.connection import Request
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, License, SecurityScheme, Tag
from litestar.routes import HTTPRoute
from pydantic import SecretStr

from tagwarden.kernel.http import EPOCH, EPOCH_AT_LEAST, PROBLEMS
from tagwarden.kernel.settings import Settings

Json = dict[str, Any]

DESCRIPTION = """\
Governed customer tags for WeCom: one write path, two signatures for lasting value tags.

Refusals are RFC 9457 problems with a stable `code`; their words are Chinese, or English where `Accept-Language` asks for it.
Ids of ours are UUIDs, ids of WeCom pass unchanged, times are UTC. Unknown fields are refused. Lists go on at `next_cursor`."""

TAGS = {
    "approvals": "Held changes and their two sign-offs.",
    "audit": "The chain of everything that was done and refused.",
    "callbacks": "What WeCom calls; it proves itself by signature, not by token.",
    "catalog": "Tag groups and tags.",
    "corp": "The tenant: its state, its WeCom credentials, the way from `setup` to `live`.",
    "customers": "Customers, the tags they carry, and the one write path.",
    "identity": "Who is who: the caller, departments, employees, roles.",
    "operation": "Whether the process lives and can serve.",
    "policy": "Who may do what: the published policy, and questions without doing.",
    "sync": "How equal WeCom is to what was decided.",
}

NAMES = {"assignments_schemas_TagOut": "CarriedTag", "catalog_schemas_TagOut": "TagOut"}
"""Two rooms call a shape alike; the framework then puts the room into the name."""

KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Repeats with the same key and body within 24 hours get the first answer; another body is refused.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
    "required": False,
}
AT_LEAST = {
    "name": EPOCH_AT_LEAST,
    "in": "header",
    "description": "An epoch that some answer named: this one stands on it or on a later one. One that does not exist is 412.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
    "required": False,
}
HOLDS = {EPOCH: {"schema": {"type": "integer"}, "description": "The epoch that holds after this answer."}}
WORDS = {
    "If-Match": "The ETag that was read, or `*` for whatever is current; required by the rule, not by the syntax (428).",
    "cursor": "`next_cursor` of the page before.",
    "limit": "How many items at most.",
}
BODIES = {
    "receive_wecom_callback": {
        "description": "The envelope as WeCom sends it, in XML or JSON.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        "required": True,
    }
}
FILES = {
    "export_audit_lines": ("application/jsonl", "text/csv"),
    "export_access_review": ("text/csv",),
    "export_policy_impact": ("text/csv",),
}
"""Operations that answer with a file, and its kinds."""
CONSTANT = 401
"""An answer that tells nothing, not even the epoch."""
HEADERS: dict[int, Json] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "The scheme to use: Bearer."}},
    503: {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
}
METHODS = ("get", "post", "put", "patch", "delete")

STYLE = (
    "body{font:15px/1.6 system-ui,'PingFang SC','Microsoft YaHei',sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#1f2328}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem;border-bottom:1px solid #d0d7de}"
    "code{background:#f6f8fa;padding:.1rem .3rem;border-radius:4px}.m{display:inline-block;width:4.5rem;font-weight:600}"
    "summary{cursor:pointer;padding:.3rem 0}table{border-collapse:collapse;margin:.3rem 0 1rem 1rem}"
    "td,th{border:1px solid #d0d7de;padding:.2rem .6rem;text-align:left;vertical-align:top}"
)


class PlainPagePlugin(OpenAPIRenderPlugin):
    """Lists every operation with its parameters, body and answers."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: Json) -> bytes:
        """The page as HTML."""
        drawn = document(request.app)
        groups: dict[str, list[str]] = {}
        for path, operations in drawn["paths"].items():
            for method, operation in operations.items():
                groups.setdefault(operation["tags"][0], []).append(_operation(path, method, operation))
        info = drawn["info"]
        body = "".join(f"<h2>{escape(tag)}</h2>{''.join(rows)}" for tag, rows in sorted(groups.items()))
        return (
            f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(info['title'])}</title><style>{STYLE}</style>"
            f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info.get('description', ''))}</p>"
            f"<p>The document itself: <a href='/schema/openapi.json'><code>/schema/openapi.json</code></a></p>{body}</html>"
        ).encode()


def _operation(path: str, method: str, operation: Json) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one['in'])}</td><td>{_type(one.get('schema', {}))}</td></tr>"
        for one in operation.get("parameters", ())
    )
    content = operation.get("requestBody", {}).get("content", {})
    body = "".join(
        f"<tr><td>body</td><td>{escape(kind)}</td><td>{_type(one['schema'])}</td></tr>" for kind, one in content.items()
    )
    answers = "".join(
        f"<tr><td>{escape(code)}</td><td colspan=2>{_answer(one)}</td></tr>" for code, one in operation["responses"].items()
    )
    return (
        f"<details><summary><span class='m'>{method.upper()}</span><code>{escape(path)}</code> "
        f"{escape(operation.get('description') or operation.get('summary') or '')}</summary>"
        f"<table>{rows}{body}{answers}</table></details>"
    )


def _answer(response: Json) -> str:
    if "$ref" in response:
        return escape(response["$ref"].rsplit("/", 1)[-1])
    schemas = [_type(one.get("schema", {})) for one in response.get("content", {}).values()]
    return f"{escape(response.get('description', ''))} {' '.join(schemas)}"


def _type(schema: Json) -> str:
    if "$ref" in schema:
        return f"<code>{escape(schema['$ref'].rsplit('/', 1)[-1])}</code>"
    for key in ("oneOf", "anyOf"):
        if key in schema:
            return " | ".join(_type(one) for one in schema[key])
    if schema.get("type") == "array":
        return f"[{_type(schema.get('items', {}))}]"
    kind = schema.get("format") or schema.get("type") or "any"
    return escape(" | ".join(kind) if isinstance(kind, list) else str(kind))


def document(app: Litestar) -> Json:
    """The document as readers and generators get it, in an order that does not depend on the process."""
    drawn: Json = _tidy(app.openapi_schema.to_schema())
    components: Json = drawn["components"]
    schemas = {NAMES.get(name, name): schema for name, schema in components["schemas"].items()}
    for path, method, handler in _operations(app):
        operation = drawn["paths"][path][method]
        _complete(operation, method, handler)
        for name in _bodies(operation):
            schemas[name]["additionalProperties"] = False
    drawn["paths"] = {
        path: {method: item[method] for method in METHODS if method in item} for path, item in sorted(drawn["paths"].items())
    }
    components["responses"] = {name: _problem(status) for status, (name, _) in PROBLEMS.items()}
    components["schemas"] = dict(sorted(schemas.items()))
    return drawn


@lru_cache(maxsize=1)
def rendered(app: Litestar) -> str:
    """The document as text, ending with a line break; an application's routes do not change."""
    return json.dumps(document(app), ensure_ascii=False, indent=2) + "\n"


def _operations(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for method, (handler, _) in route.route_handler_map.items():
            if handler.resolve_include_in_schema() and method.lower() in METHODS:
                yield route.path_format, method.lower(), handler


def _complete(operation: Json, method: str, handler: HTTPRouteHandler) -> None:
    """Adds what every route of this shape takes and may answer."""
    public = bool(handler.opt.get("public"))
    parameters = operation.setdefault("parameters", [])
    if method == "post" and not public and handler.opt["action"] != "ask":
        parameters.append(dict(KEY))
    if not public:
        parameters.append(dict(AT_LEAST))
    for one in parameters:
        one["schema"] = _without_null(one["schema"])
        one.update({"description": WORDS[one["name"]]} if one["name"] in WORDS else {})
    parameters.sort(key=lambda one: (one["in"] != "path", one["in"], one["name"]))
    operation["summary"] = operation["operationId"].replace("_", " ").capitalize().replace("wecom", "WeCom")
    if operation["operationId"] in BODIES:
        operation["requestBody"] = BODIES[operation["operationId"]]
    answers = operation["responses"]
    own = {int(status) for status in answers if status >= "400" and "application/problem+json" in answers[status]["content"]}
    plain = {status: answer for status, answer in answers.items() if status < "400" or "application/json" in answer["content"]}
    plain.pop("400", None)
    if "204" in plain:  # nothing to read, so neither a body nor the 200 a typed handler is drawn with
        plain["204"].pop("content", None)
        plain.pop("200", None)
    for answer in plain.values() if not public else ():
        answer["headers"] = {**answer.get("headers", {}), **HOLDS}
    problems = own | _statuses(operation, public)
    if kinds := FILES.get(operation["operationId"]):
        plain["200"]["content"] = {kind: {"schema": {"type": "string"}} for kind in kinds}
    operation["responses"] = dict(sorted({**plain, **{str(status): _reference(status) for status in problems}}.items()))
    if public:
        operation["security"] = []
    if not parameters:
        del operation["parameters"]


def _statuses(operation: Json, public: bool) -> set[int]:
    """What a route of this shape may refuse with. A path that holds no UUID where one belongs is no address (404)."""
    free = {
        one["name"]
        for one in operation["parameters"]
        if (one["in"], one["schema"].get("format")) != ("path", "uuid") and one["name"] != EPOCH_AT_LEAST
    }
    has_body = "requestBody" in operation
    found = set() if public else {400, 401, 403, 412, 429, 503}
    found |= {422} if free or has_body else set()
    found |= {400, 413, 415} if has_body else set()
    found |= {409} if "Idempotency-Key" in free else set()
    return found


def _bodies(operation: Json) -> list[str]:
    content = operation.get("requestBody", {}).get("content", {}).values()
    return [one["schema"]["$ref"].rsplit("/", 1)[-1] for one in content if "$ref" in one["schema"]]


def _reference(status: int) -> Json:
    return {"$ref": f"#/components/responses/{PROBLEMS[status][0]}"}


def _problem(status: int) -> Json:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    headers = {**(HOLDS if status != CONSTANT else {}), **HEADERS.get(status, {})}
    return {"description": PROBLEMS[status][1], **({"headers": headers} if headers else {}), "content": content}


def _without_null(schema: Json) -> Json:
    """In an address a value is there or it is not: there is no null."""
    if None in schema.get("enum", ()):
        schema = {**schema, "enum": [one for one in schema["enum"] if one is not None]}
    if "oneOf" in schema:
        (kept,) = (one for one in schema["oneOf"] if one.get("type") != "null")
        return {**{name: value for name, value in schema.items() if name != "oneOf"}, **kept}
    if isinstance(schema.get("type"), list):
        (kind,) = (one for one in schema["type"] if one != "null")
        return {**schema, "type": kind}
    return schema


def _tidy(value: Any) -> Any:
    """The same without defaults spelled out, with whole numbers as such and `null` as a second type."""
    if isinstance(value, list):
        return [_tidy(one) for one in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, dict):
        return value
    noise: Json = {"deprecated": False, "allowEmptyValue": False, "allowReserved": False, "headers": {}, "required": []}
    kept = {name: _tidy(one) for name, one in value.items() if name not in noise or one != noise[name]}
    if isinstance(kept.get("title"), str) and "type" in kept:
        del kept["title"]
    if isinstance(kept.get("$ref"), str):
        path, _, name = kept["$ref"].rpartition("/")
        kept["$ref"] = f"{path}/{NAMES.get(name, name)}"
    return _nullable(kept)


def _nullable(schema: Json) -> Json:
    first, *others = schema.get("oneOf", [{}])
    if others != [{"type": "null"}] or "enum" in first or "type" not in first:
        return schema
    return {**first, **{name: one for name, one in schema.items() if name != "oneOf"}, "type": [first["type"], "null"]}


class DocumentPlugin(JsonRenderPlugin):
    """Serves the finished document."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: Json) -> bytes:
        """The document as JSON."""
        return rendered(request.app).encode()


def config(version: str) -> OpenAPIConfig:
    """The OpenAPI configuration: bearer tokens everywhere, our own page at `/schema`, open to everybody."""
    return OpenAPIConfig(
        title="Tagwarden",
        version=version,
        description=DESCRIPTION,
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        openapi_router=Router("/schema", route_handlers=[], include_in_schema=False, opt={"public": True}),
        render_plugins=[PlainPagePlugin(), DocumentPlugin(path="/openapi.json")],
        security=[{"bearer": []}],
        components=Components(security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}),
        tags=[Tag(name=name, description=words) for name, words in TAGS.items()],
        use_handler_docstrings=True,
        create_examples=False,
    )


def _print() -> None:
    from tagwarden.app.asgi import create_app  # it imports this module

    nobody = Settings.model_construct(secret_key=SecretStr("nothing is sealed with it, nothing is read"))
    sys.stdout.write(rendered(create_app(nobody, opens_database=False)))


if __name__ == "__main__":
    _print()
