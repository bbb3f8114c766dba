"""Problems and texts in the reader's language, the OpenAPI document, and the socket the service listens on."""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest

from support.company import PEOPLE, Companies, Company
from support.service import Service, Web, check_problem
from tagwarden.app import server
from tagwarden.app.problems import language_of

from . import routes


@pytest.fixture(scope="module")
async def company(companies: Companies) -> Company:
    return await companies.make(people={**PEOPLE, "lone": (1, False, ("staff",))})


@pytest.fixture
def web(service: Service, company: Company) -> Web:
    return service.web(company)


def chinese(text: str) -> bool:
    """Whether a text has Chinese in it."""
    return any("\u4e00" <= character <= "\u9fff" for character in text)


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        ("", "zh"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9", "en"),
        ("en;q=0.5, zh;q=0.9", "zh"),
        ("fr, de", "zh"),
        ("fr;q=1, en;q=0.1", "en"),
        ("*", "zh"),
        ("EN", "en"),
        ("zh-TW", "zh"),
        ("en;q=x, zh", "zh"),
        (";;;,,,=q", "zh"),
        ("en;q=nan, zh;q=0.1", "zh"),
        ("zh; q=0.1, en; q=0.9", "en"),
        ("en;q=0", "zh"),
    ],
)  # fmt: skip
def test_the_language_is_the_preferred_of_the_two(accept: str, language: str) -> None:
    assert language_of(accept) == language


async def problem(
    web: Web, language: str, userid: str, method: str, path: str, body: Any = None, **headers: str
) -> dict[str, Any]:
    sent = {**web.headers(userid), "Accept-Language": language, **headers}
    return check_problem(await web.http.request(method, path, json=body, headers=sent))


async def test_every_kind_of_problem_speaks_chinese_and_english(web: Web, company: Company) -> None:
    tag, group = str(company.tags["advice/asked"]), str(company.groups["advice"])
    asked: list[tuple[str, str, str, Any]] = [
        ("ann", "POST", "/v1/customers/c1/tag-changes", {"nope": 1}),
        ("ann", "POST", "/v1/customers/c1/tag-changes", {}),
        ("ann", "POST", "/v1/customers/nobody/tag-changes", {"add": [tag]}),
        ("ann", "POST", "/v1/customers/c2/tag-changes", {"add": [tag]}),
        ("ann", "GET", "/v1/customers/c2", None),
        ("ann", "GET", "/v1/audit", None),
        ("ann", "GET", "/v1/nothing", None),
        ("ann", "DELETE", "/v1/me", None),
        ("ann", "GET", "/v1/customers?limit=0", None),
        ("admin", "PATCH", f"/v1/tag-groups/{group}", {"description": "x"}),
        ("admin", "POST", f"/v1/tag-groups/{group}/tags", {"name": "a b"}),
        ("admin", "POST", f"/v1/tag-groups/{group}/tags", {"name": "asked"}),
        ("admin", "POST", "/v1/corp/activate", None),
        ("nobody", "GET", "/v1/me", None),
    ]
    for userid, method, path, body in asked:
        zh, en = [await problem(web, language, userid, method, path, body) for language in ("zh-CN", "en")]
        assert (zh["code"], zh["status"], zh["type"]) == (en["code"], en["status"], en["type"])
        assert chinese(zh["title"]), zh
        assert chinese(zh["detail"]), zh
        assert not chinese(en["title"]), en
        assert not chinese(en["detail"]), en
        assert "{" not in zh["detail"] + en["detail"], "a sentence misses one of its facts"


async def test_every_refused_item_says_why_in_the_readers_language(web: Web, company: Company) -> None:
    body = {"add": [str(company.tags["advice/asked"]), str(company.tags["activity/hot"])]}
    for language, is_chinese in (("zh", True), ("en", False)):
        answer = await problem(web, language, "ann", "POST", "/v1/customers/c2/tag-changes", body)
        assert [item["step"] for item in answer["items"]] == ["relation", "relation"]
        assert [chinese(item["text"]) for item in answer["items"]] == [is_chinese] * 2


async def test_the_nearest_change_is_in_the_readers_language(web: Web, company: Company) -> None:
    body = {"add": [str(company.tags["advice/asked"])]}
    answer = await problem(web, "en", "ann", "POST", "/v1/customers/c2/tag-changes", body)
    assert not chinese(answer["items"][0]["nearest"])


async def test_deep_nesting_is_told_in_chinese_too(web: Web) -> None:
    headers = {**web.headers("ann"), "Accept-Language": "zh", "Content-Type": "application/json"}
    answer = await web.http.post("/v1/decisions", content=b"[" * 200_000, headers=headers)
    assert chinese(check_problem(answer, 400)["detail"])


async def test_who_has_no_group_is_told_so_and_whom_to_ask(web: Web) -> None:
    answer = (await web.http.get("/v1/me", headers={**web.headers("lone"), "Accept-Language": "zh"})).json()
    assert answer["groups"] == []
    assert answer["ask"] == ["admin"]
    assert "admin" in answer["message"]
    assert chinese(answer["message"])
    assert "message" not in (await web.get("ann", "/v1/me")).json()


async def test_sentences_outside_problems_are_in_the_readers_language_too(web: Web) -> None:
    assert not chinese((await web.get("lone", "/v1/me")).json()["message"])
    assert not chinese((await web.get("admin", "/v1/sync/ledger")).json()["estimate"])


async def test_the_openapi_page_opens_without_a_token_and_without_foreign_hosts(service: Service) -> None:
    page, document = await service.http.get("/schema"), await service.http.get("/schema/openapi.json")
    assert (page.status_code, document.status_code) == (200, 200)
    assert "<script" not in page.text
    assert "http" not in re.sub("https?://127.0.0.1", "", page.text)


def named(document: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    """A response itself, or the shared one it points to."""
    for part in response.get("$ref", "#").split("/")[1:]:
        document = document[part]
    return document if "$ref" in response else response


async def test_the_openapi_document_names_every_route_and_no_other_kind_of_refusal(service: Service) -> None:
    document = (await service.http.get("/schema/openapi.json")).json()
    shown = {f"{method.upper()} {path}" for path, ways in document["paths"].items() for method in ways if method != "parameters"}
    assert {str(route) for route in routes.table()} - {"GET /metrics"} == shown, "metrics are for machines of another kind"
    assert document["security"] == [{"bearer": []}]
    for path, ways in document["paths"].items():
        for method, way in ways.items():
            for status in [status for status in way["responses"] if status >= "400"]:
                content = named(document, way["responses"][status])["content"]
                if (path, status) != ("/health/ready", "503"):
                    assert list(content) == ["application/problem+json"], f"{method} {path} {status}"


def test_answers_leave_at_once() -> None:
    # asyncio sets TCP_NODELAY on accepted sockets only where the listener's protocol says TCP (base_events._set_nodelay).
    listener = server.bind("127.0.0.1", 0)
    try:
        assert listener.proto == socket.IPPROTO_TCP
    finally:
        listener.close()


async def test_no_answer_carries_more_headers_than_it_should(web: Web) -> None:
    answer = await web.get("ann", "/v1/me")
    assert "server" not in answer.headers
    assert answer.headers["content-type"] == "application/json"
    assert "etag" not in answer.headers
