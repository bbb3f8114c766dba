"""The OpenAPI document and a page for it that works offline: drawn on the server, without script or foreign hosts."""

from __future__ import annotations

from html import escape
from typing import Any

from litestar.connection import Request
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

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

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page as HTML."""
        groups: dict[str, list[str]] = {}
        for path, operations in sorted(openapi_schema["paths"].items()):
            for method, operation in operations.items():
                if isinstance(operation, dict) and "responses" in operation:
                    tag = (operation.get("tags") or ["other"])[0]
                    groups.setdefault(tag, []).append(_operation(path, method, operation))
        info = openapi_schema["info"]
        body = "".join(f"<h2>{escape(tag)}</h2>{''.join(rows)}" for tag, rows in sorted(groups.items()))
        return (
            f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(info['title'])}</title><style>{STYLE}</style>"
            f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info.get('description', ''))}</p>"
            f"<p>The document itself: <a href='/schema/openapi.json'><code>/schema/openapi.json</code></a></p>{body}</html>"
        ).encode()


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
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


def _answer(response: dict[str, Any]) -> str:
    schemas = [_type(one.get("schema", {})) for one in response.get("content", {}).values()]
    return f"{escape(response.get('description', ''))} {' '.join(schemas)}"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return f"<code>{escape(schema['$ref'].rsplit('/', 1)[-1].rsplit('_', 1)[-1])}</code>"
    for key in ("oneOf", "anyOf"):
        if key in schema:
            return " | ".join(_type(one) for one in schema[key])
    if schema.get("type") == "array":
        return f"[{_type(schema.get('items', {}))}]"
    return escape(str(schema.get("format") or schema.get("type") or "any"))


def config(version: str) -> OpenAPIConfig:
    """The OpenAPI configuration: bearer tokens everywhere, our own page at `/schema`."""
    return OpenAPIConfig(
        title="Tagwarden",
        version=version,
        description="Governed customer tags for WeCom: one write path, two signatures for lasting value tags.",
        path="/schema",
        render_plugins=[PlainPagePlugin(), JsonRenderPlugin(path="/openapi.json")],
        security=[{"bearer": []}],
        components=Components(security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}),
        use_handler_docstrings=True,
    )
