"""Tenants never meet: every table has its corp, every statement names it, and every route says what it is for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
from litestar import Litestar
from litestar.routes import HTTPRoute
from litestar.testing import TestClient
from pydantic import SecretStr

from tagwarden.app.asgi import create_app
from tagwarden.kernel.settings import Settings

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "backend" / "tagwarden"

# Tables of the installation, not of a corp.
OF_NOBODY = {"process_heartbeat", "migration"}
OF_THE_JOB_ENGINE = re.compile(r"pgqueuer")

# Statements on tenants' tables that name no corp, each with its reason.
ACROSS_CORPS = {
    "select corp_id from corp order by corp_id": "a worker serves every corp",
    "select c.corp_id from corp c where (((exists (select 1 from follow_sync s": "a worker asks which corps have work",
    "select c.corp_id from corp c where exists (select 1 from wecom_callback w": "a worker asks which corps have reports",
    "r.given_up is null and r.due_at <= now()": "a condition of two statements, of which one asks for all corps",
    "select (select coalesce(jsonb_object_agg(role, alive)": "figures of the installation, for the operator",
}

PUBLIC = {
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/callbacks/wecom/{corp_id:str}/{app:str}"),
    ("POST", "/callbacks/wecom/{corp_id:str}/{app:str}"),
    ("GET", "/metrics"),  # figures by corp, never a person: for the operator's collector
    ("GET", "/schema"),
    ("GET", "/schema/openapi.json"),
    ("GET", "/schema/{path:str}"),
}


def _app() -> Litestar:
    return create_app(Settings(secret_key=SecretStr("a secret of this test, long enough to be one")), opens_database=False)


def _routes() -> Iterator[tuple[str, str, dict[str, object]]]:
    for route in _app().routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            for method in handler.http_methods - {"OPTIONS"}:  # the framework's own, without a body
                yield str(method), route.path, handler.opt


def test_every_route_says_which_action_it_is() -> None:
    ours = [(method, path, opt) for method, path, opt in _routes() if not path.startswith("/schema")]  # the framework draws it
    assert len(ours) > 30
    assert [(method, path) for method, path, opt in ours if not opt.get("action")] == []


def test_only_health_callbacks_and_the_schema_are_open_without_a_token() -> None:
    assert {(method, path) for method, path, opt in _routes() if opt.get("public")} == PUBLIC


def test_what_is_not_public_answers_401_without_a_token() -> None:
    with TestClient(_app()) as client:
        for method, path, _ in _routes():
            if (method, path) in PUBLIC:
                continue
            plain = re.sub(r"\{\w+:uuid\}", "00000000-0000-7000-8000-000000000000", re.sub(r"\{\w+:str\}", "x", path))
            answer = client.request(method, plain)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), (method, path)


async def test_every_table_has_a_corp(sql: asyncpg.Connection) -> None:
    rows = await sql.fetch(
        "select t.table_name, exists (select 1 from information_schema.columns c where c.table_schema = t.table_schema"
        " and c.table_name = t.table_name and c.column_name = 'corp_id' and c.is_nullable = 'NO') as has_corp"
        " from information_schema.tables t where t.table_schema = 'public' and t.table_type = 'BASE TABLE'"
    )
    without = {row["table_name"] for row in rows if not row["has_corp"] and not OF_THE_JOB_ENGINE.match(row["table_name"])}
    assert len(rows) > 20
    assert without <= OF_NOBODY


def test_every_statement_on_a_tenants_table_names_the_corp() -> None:
    open_ = {" ".join(text.split()) for text in _statements() if _touches_tenants(text) and not SCOPED.search(text)}
    known = {text for text in open_ for start in ACROSS_CORPS if text.startswith(start)}
    assert open_ - known == set()
    assert len(known) == len(ACROSS_CORPS), "an exception that nothing needs any more"


def test_the_scan_sees_statements_and_their_corp() -> None:
    assert _touches_tenants("update tag set name = $1 where id = $2")
    assert _touches_tenants("select 1 from assignment a join follow f on f.id = a.follow_id")
    assert not _touches_tenants("select 1 from process_heartbeat")
    assert not SCOPED.search("select corp_id from tag where id = $1")
    assert not SCOPED.search("select 1 from tag t join tag_group g on g.corp_id = t.corp_id where t.id = $1")
    assert SCOPED.search("delete from tag where corp_id = $1 and id = $2")
    assert sum(map(_touches_tenants, _statements())) > 80


# A condition with a value, or a row that is written with it. Naming it among the columns or joining on it is not enough.
SCOPED = re.compile(r"\bcorp_id\s*=\s*(?:\$\d|any\b)|\binto \w+ \(corp_id\b", re.IGNORECASE)


def _tenant_tables() -> set[str]:
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "migrations").rglob("*.sql"))]
    tables = re.findall(r"create table (\w+) \((.*?)\n\)", "\n".join(texts), re.DOTALL | re.IGNORECASE)
    return {name for name, columns in tables if re.search(r"^\s*corp_id\b", columns, re.MULTILINE)}


TENANT_TABLE = re.compile(
    rf"\b(?:from|join|update|into)\s+(?:only\s+)?(?:{'|'.join(sorted(_tenant_tables()))})\b(?!\()", re.IGNORECASE
)


def _touches_tenants(text: str) -> bool:
    return bool(TENANT_TABLE.search(text))


def _statements() -> Iterator[str]:
    """Every text in the package's code; the simulator keeps a file of its own and no tenant of ours."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if PACKAGE / "simulator" not in path.parents:
            yield from _texts(ast.parse(path.read_text(encoding="utf-8")))


def _texts(tree: ast.Module) -> Iterator[str]:
    """Whole texts: pieces that are added up or filled in are put together where their names stand in the same file."""
    named = {
        node.targets[0].id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, TEXTUAL)
    }
    pieces: set[int] = set()
    for node in ast.walk(tree):  # from the outside in
        if isinstance(node, TEXTUAL) and id(node) not in pieces:
            pieces.update(id(piece) for piece in ast.walk(node))
            yield _folded(node, named)


TEXTUAL = (ast.Constant, ast.JoinedStr, ast.BinOp)


def _folded(node: ast.AST, named: dict[str, ast.expr], depth: int = 0) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_folded(part, named, depth) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _folded(node.value, named, depth)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _folded(node.left, named, depth) + _folded(node.right, named, depth)
    if isinstance(node, ast.Name) and node.id in named and depth < 5:
        return _folded(named[node.id], named, depth + 1)
    return "?"
