"""Bad input on every route of the running table: a problem document with the right status, and nothing half-written."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from support.company import Companies, Company
from support.service import Service, Web, check_problem
from tagwarden.audit import service as audit

from . import routes
from .foreign import of_another_corp
from .routes import Route

TABLE = routes.table()
WITH_BODY = [route for route in TABLE if route.body is not None]
WITH_ID = [route for route in TABLE if route.params and not route.public]
CLOSED = [route for route in TABLE if not route.public]
NO_ID = {"app"}
"""Path parameters that are words of ours, not ids of something that belongs to a corp."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
SENDERS = ("ann", "admin")
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
async def other(companies: Companies) -> Company:
    """Another corp whose things must not be found."""
    return await companies.make(customers=(("ann", "theirs", ()),))


@pytest.fixture(scope="module")
async def fixed(companies: Companies) -> Company:
    return await companies.make()


@pytest.fixture
async def company(fixed: Company, owner_sql: asyncpg.Connection) -> AsyncIterator[Company]:
    """One company for the whole module: whatever a test sends, its rows stay as they are and its chain holds."""
    before = await routes.contents(owner_sql, fixed.corp_id)
    yield fixed
    after = await routes.contents(owner_sql, fixed.corp_id)
    assert [name for name in after if after[name] != before[name]] == []
    assert (await audit.verify(fixed.corp_id)).sound


@pytest.fixture
def web(service: Service, company: Company) -> Web:
    return service.web(company)


async def send(web: Web, userid: str, route: Route, path: str, content: bytes | None = None, **more: Any) -> httpx.Response:
    headers = {**web.headers(userid), **(JSON if content is not None else {}), "If-Match": '"0"', **more}
    return await web.http.request(route.method, path, content=content, headers=headers)


async def send_body(web: Web, route: Route, content: bytes, statuses: set[int], **more: Any) -> None:
    """As several people: whoever may not even ask is refused for that."""
    for userid in SENDERS:
        answer = await send(web, userid, route, route.fill(), content, **more)
        check_problem(answer)
        assert answer.status_code in statuses, f"{route} as {userid}: {answer.status_code} {answer.text[:300]}"


def test_every_route_says_what_it_does_and_the_public_ones_are_these() -> None:
    assert [str(route) for route in TABLE if not route.action] == []
    assert {route.path for route in TABLE if route.public} == {
        "/callbacks/wecom/{corp_id}/{app}",
        "/health/live",
        "/health/ready",
        "/metrics",
    }
    assert len(TABLE) > 30


@pytest.mark.parametrize("route", CLOSED, ids=str)
async def test_without_a_token_nothing_is_answered(route: Route, service: Service) -> None:
    answer = await service.http.request(route.method, route.fill(), content=b"{" if route.body else None)
    check_problem(answer, 401, "unauthenticated")


NOT_JSON = [b"", b"{", b"nul", b"{'a': 1}", b'{"a" 1}', b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"{}{}", b"NaN", b"\0", b"--"]


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
async def test_what_is_not_json_is_refused(route: Route, web: Web) -> None:
    for content in NOT_JSON:
        await send_body(web, route, content, {400, 422})


async def test_what_is_not_utf8_is_refused(web: Web) -> None:
    for route in WITH_BODY:
        for _, body in routes.with_text(route.body, "PLACE"):
            await send_body(web, route, routes.encode(body).replace(b"PLACE", b"\xff\xfe"), {400, 422})


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
async def test_json_of_another_shape_is_refused(route: Route, web: Web) -> None:
    shapes: list[Any] = [[], None, 1, "x", True, [{}], [routes.least(route.body)]]
    for name in sorted(routes.required_of(route.body)):
        shapes.append({key: value for key, value in routes.least(route.body).items() if key != name})
    for shape in shapes:
        await send_body(web, route, routes.encode(shape), {422})


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
async def test_a_field_of_another_type_is_refused(route: Route, web: Web) -> None:
    wrong: list[Any] = [{"a": 1}, [[1]], 1.5, {"__proto__": {}}]
    for name, kind in routes.fields_of(route.body).items():
        for value in wrong:
            if isinstance(value, dict) and routes.takes_objects(kind):
                continue
            await send_body(web, route, routes.encode({**routes.least(route.body), name: value}), {422})


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
async def test_unknown_fields_are_refused(route: Route, web: Web) -> None:
    known = routes.fields_of(route.body)
    for name in {"nope", "corp_id", "level", "state", "epoch", "requester", "may_sign", "", "Reason", "add "} - known.keys():
        await send_body(web, route, routes.encode({**routes.least(route.body), name: 1}), {422})


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
async def test_deep_nesting_is_refused(route: Route, web: Web) -> None:
    deep = b"[" * 200_000 + b"]" * 200_000
    name = next(iter(routes.fields_of(route.body))).encode()
    for content in (deep, b'{"' + name + b'":' + deep + b"}", b'{"nope":' + deep + b"}", b'{"a":' * 100_000):
        await send_body(web, route, content, {400, 422})


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
async def test_an_oversized_body_is_413_declared_or_not(route: Route, web: Web) -> None:
    content = b'{"nope":"' + b"x" * (route.largest_body + 50_000) + b'"}'

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 65_536):
            yield content[start : start + 65_536]

    for body in (content, in_pieces()):
        headers = {**web.headers("ann"), **JSON}
        answer = await web.http.request(route.method, route.fill(), content=body, headers=headers)
        check_problem(answer, 413, "body_too_large")


async def test_another_content_type_is_415(web: Web) -> None:
    kinds = ("text/plain", "application/x-www-form-urlencoded", "application/xml", "multipart/form-data; boundary=x")
    for route, kind in itertools.product(WITH_BODY, kinds):
        await send_body(web, route, routes.encode(routes.least(route.body)), {415}, **{"Content-Type": kind})


TEXTS: dict[str, str] = {
    "nul": "a\0b",
    "very_long": "长" * 50_000,
    "sql": "'; drop table assignment; --",
    "format": "{why} %s {0.__class__} ${jndi:ldap://127.0.0.1/a}",
    "controls": "a\x01\x1b[31m\x7f\u200b\u202eb",
    "newlines": "a\r\nSet-Cookie: x=1\r\n",
    "outside_the_plane": "\U0010fffd\U000e0001",
}


@pytest.mark.parametrize("kind", TEXTS)
async def test_odd_text_in_any_field_is_answered_properly(kind: str, service: Service, companies: Companies) -> None:
    company = await companies.make()
    web = service.web(company)
    text = TEXTS[kind]
    for route in WITH_BODY:
        for name, body in routes.with_text(route.body, text):
            aimed = await aimed_body(company, route, body)
            for userid in SENDERS:
                answer = await send(web, userid, route, aimed[0], routes.encode(aimed[1]))
                where = f"{route} {name} as {userid}: {answer.status_code} {answer.text[:300]}"
                assert answer.status_code < 500, where
                assert "\n" not in str(answer.headers), where
                if answer.status_code >= 400:
                    check_problem(answer)
    assert (await audit.verify(company.corp_id)).sound


async def aimed_body(company: Company, route: Route, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Ids that exist, so that the text comes as far as it can."""
    known = {
        "group_id": str(company.groups["advice"]),
        "tag_id": str(company.tags["advice/asked"]),
        "external_userid": "c1",
        "userid": "bob",
        "approval_id": str(uuid4()),
    }
    aimed = {**body, "group_id": known["group_id"]} if "group_id" in body else dict(body)
    if "add" in routes.fields_of(route.body):
        aimed["add"] = [str(company.tags["value/high"])]
    return route.fill(**{name: known[name] for name, _ in route.params if name in known}), aimed


@pytest.mark.parametrize("route", [route for route in TABLE if any(kind is UUID for _, kind in route.params)], ids=str)
async def test_what_is_no_uuid_is_404(route: Route, web: Web) -> None:
    bad = ["nope", "0", "-1", "00000000-0000-0000-0000-00000000000g", "%00", "%27%20or%201=1", "a" * 500, "%F0%9F%98%80", "null"]
    names = [name for name, kind in route.params if kind is UUID]
    for name, value in itertools.product(names, bad):
        content = routes.encode(routes.least(route.body)) if route.body else None
        answer = await send(web, "admin", route, route.fill(**{name: value}), content)
        check_problem(answer, 404)


@pytest.mark.parametrize("route", [route for route in WITH_ID if any(kind is str for _, kind in route.params)], ids=str)
@pytest.mark.parametrize(
    "value", ["%0a", "%1b%5b31m", "%ff%fe", "a" * 1000, "%27%3b--", "..%2f..%2fv1%2fme", "%E5%AE%A2%E6%88%B7", "%F0%9F%98%80"]
)  # fmt: skip
async def test_odd_ids_in_the_path_are_not_found(route: Route, value: str, web: Web) -> None:
    for name in [name for name, kind in route.params if kind is str]:
        content = routes.encode(routes.least(route.body)) if route.body else None
        if route.body and "add" in routes.fields_of(route.body):
            content = routes.encode({"add": [str(uuid4())]})
        for userid in ("ann", "admin"):
            answer = await send(web, userid, route, route.fill(**{name: value}), content)
            check_problem(answer)
            assert answer.status_code in (403, 404, 409, 422), answer.text


async def test_nul_in_a_customers_id_is_not_found(web: Web, company: Company) -> None:
    for route in [one for one in WITH_ID if "{external_userid}" in one.path]:
        content = routes.encode(body_for(route, company)) if route.body else None
        answer = await send(web, "ann", route, route.fill(external_userid="a%00b"), content)
        assert answer.status_code in (400, 404, 422), answer.text


@pytest.fixture(scope="module")
async def foreign(other: Company) -> dict[str, str]:
    return await of_another_corp(other)


@pytest.mark.parametrize("route", [one for one in WITH_ID if {name for name, _ in one.params} - NO_ID], ids=str)
async def test_another_corps_id_is_answered_like_an_unknown_one(
    route: Route, web: Web, company: Company, foreign: dict[str, str]
) -> None:
    known = {name for name, _ in route.params}
    assert known <= foreign.keys(), f"{route}: name an id of another corp for {known - foreign.keys()}"
    content = routes.encode(body_for(route, company)) if route.body else None
    for userid in ("ann", "admin", "hq", "auditor"):
        theirs = await send(web, userid, route, route.fill(**{name: foreign[name] for name in known}), content)
        nowhere = await send(web, userid, route, route.fill(), content)
        assert plain(theirs) == plain(nowhere), f"{route} as {userid}"
        assert theirs.status_code in (403, 404, 409, 422), theirs.text


def body_for(route: Route, company: Company) -> dict[str, Any]:
    """A body that could be accepted."""
    body = routes.least(route.body)
    kinds = routes.fields_of(route.body)
    if "add" in kinds:
        body["add"] = [str(company.tags["advice/asked"])]
    if "group_id" in kinds:
        body["group_id"] = str(company.groups["advice"])
    return body


def plain(response: httpx.Response) -> dict[str, Any]:
    """A problem without what is new in each one."""
    body = check_problem(response)
    return {name: value for name, value in body.items() if name != "request_id"}


async def test_ids_of_another_corp_inside_a_body_are_unknown(web: Web, company: Company, other: Company) -> None:
    tag, group = str(other.tags["advice/asked"]), str(other.groups["advice"])
    for add in ([tag], [str(company.tags["advice/asked"]), tag]):
        check_problem(await web.tag("ann", "c1", add), 422, "tag_unknown")
    question = {"group_id": group, "action": "view"}
    check_problem(await web.call("ann", "POST", "/v1/decisions", question), 404, "tag_group_unknown")
    parent = {"name": "子标签", "parent_id": tag}
    path = f"/v1/tag-groups/{company.groups['advice']}/tags"
    check_problem(await web.call("admin", "POST", path, parent), 404, "tag_unknown")
    assert (await web.get("ann", "/v1/customers", tag=tag)).json()["items"] == []
    assert (await web.get("ann", "/v1/customers", not_tag=tag)).json()["items"] == []


async def test_a_follow_of_somebody_else_is_not_reached_by_naming_it(web: Web, company: Company) -> None:
    tag = company.tags["advice/asked"]
    follower = plain(await web.tag("ann", "c2", [tag], follow_userid="bob"))
    assert (follower["code"], follower["items"][0]["step"]) == ("tag_change_refused", "relation")
    for named in ("bob", "nobody", "boss", "ANN"):
        assert plain(await web.tag("ann", "c1", [tag], follow_userid=named)) == follower, "who follows whom is not told"
    check_problem(await web.tag("ann", "c2", [tag], follow_userid="ann"), 404, "follow_unknown")
    check_problem(await web.tag("east", "c2", [tag], follow_userid="ann"), 404, "follow_unknown")


QUERY_TEXTS = ["", " ", "-1", "0", "9" * 40, "1e9", "true", "[]", "{}", "%", "%25%25", "%27%20or%201=1%20--", "x" * 4000]
QUERY_TEXTS += ["%ff%fe", "%E4%B8%AD", "%ed%a0%80", "null", "%0d%0aX:1"]


@pytest.mark.parametrize("route", [route for route in CLOSED if route.query], ids=str)
async def test_odd_query_values_are_answered_properly(route: Route, web: Web) -> None:
    for name, value in itertools.product(route.query, QUERY_TEXTS):
        for userid in ("auditor", "hq"):
            answer = await send(web, userid, route, f"{route.fill(external_userid='c1')}?{name}={value}")
            assert answer.status_code < 500, f"{route} {name}={value[:40]} as {userid}"
            if answer.status_code >= 400:
                check_problem(answer)


async def test_nul_in_a_query_value_is_answered_properly(web: Web) -> None:
    for route in [route for route in CLOSED if route.query]:
        for name in route.query:
            answer = await send(web, "hq", route, f"{route.fill(external_userid='c1')}?{name}=a%00b")
            assert answer.status_code < 500, f"{route} {name}"


@pytest.mark.parametrize("route", [route for route in CLOSED if "limit" in route.query], ids=str)
async def test_a_limit_outside_1_to_200_is_422(route: Route, web: Web) -> None:
    for limit in ("0", "-1", "201", "9" * 30, "many", "", "1.5"):
        answer = await send(web, "auditor", route, f"{route.fill(external_userid='c1')}?limit={limit}")
        check_problem(answer, 422, "request_invalid")


CURSOR_TEXT = {"not_ascii": quote("中"), "not_utf8": "_w", "one_letter": "A", "not_base64": "!!!!", "nul": "AA"}


@pytest.mark.parametrize("kind", CURSOR_TEXT)
async def test_what_is_no_cursor_is_400(kind: str, web: Web) -> None:
    paged = [route for route in CLOSED if "cursor" in route.query]
    assert len(paged) >= 4
    for route in paged:
        answer = await send(web, "auditor", route, f"{route.fill()}?cursor={CURSOR_TEXT[kind]}")
        check_problem(answer, 400, "cursor_invalid")


async def test_an_audit_cursor_that_is_no_number_is_400(web: Web) -> None:
    for text in ("OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "wrI", "eHg"):  # 9…9, ², xx
        check_problem(await web.get("auditor", f"/v1/audit?cursor={text}"), 400, "cursor_invalid")


async def test_as_of_at_the_ends_of_time_is_answered_properly(web: Web) -> None:
    for moment in ("0001-01-01T00:00:00%2B23:00", "9999-12-31T23:59:59-23:00"):
        answer = await web.http.get(f"/v1/customers/c1/history?as_of={moment}", headers=web.headers("ann"))
        assert answer.status_code < 500


async def test_every_other_method_is_405(web: Web) -> None:
    allowed: dict[str, set[str]] = {}
    for route in TABLE:
        allowed.setdefault(route.path, set()).add(route.method)
    for path, methods in allowed.items():
        route = next(one for one in TABLE if one.path == path)
        for method in [*METHODS, "TRACE"]:
            if method not in methods:
                answer = await web.http.request(method, route.fill(), headers=web.headers("admin"))
                check_problem(answer, 405, "method_not_allowed")


async def test_an_unknown_address_is_404(web: Web) -> None:
    for path in ("/", "/v1", "/v2/me", "/v1/me/more", "/health", "/health/live/x", "/.env", "/v1/customers/a/b/c/d"):
        answer = await web.http.get(path, headers=web.headers("admin"))
        check_problem(answer, 404, "not_found")


async def test_every_problem_has_a_request_id(web: Web) -> None:
    for method, path in (("GET", "/v1/nothing"), ("DELETE", "/v1/me"), ("GET", "/v1/approvals/nope")):
        answer = await web.http.request(method, path, headers=web.headers("admin"))
        assert check_problem(answer)["request_id"]


async def test_request_ids_are_ours_and_new_each_time(web: Web) -> None:
    seen = set()
    for _ in range(5):
        answer = await web.call("ann", "POST", "/v1/decisions", {}, X_Request_Id="mine")
        seen.add(UUID(check_problem(answer, 422)["request_id"]))
    assert len(seen) == 5


@pytest.mark.parametrize(
    "key", ["", "k" * 201, "\x01", "a\x7fb", "\u00a0"], ids=["empty", "long", "control", "delete", "no_break_space"]
)
async def test_a_bad_idempotency_key_is_refused(key: str, web: Web, company: Company) -> None:
    body = routes.encode({"add": [str(company.tags["advice/asked"])]})
    known = {**web.headers("ann"), **JSON, "Idempotency-Key": key}
    headers = [(name.encode(), value.encode("latin-1")) for name, value in known.items()]
    try:
        answer = await web.http.post("/v1/customers/c1/tag-changes", content=body, headers=headers)
    except httpx.LocalProtocolError:
        return  # the client itself does not send such a header
    assert answer.status_code == 400, answer.text
