"""The log lines of a running service: one for each request, what stands in it, and what never does.

Canaries (a name, a mobile number, tokens, secrets) are planted in every input there is; none may come out.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from support.company import Company
from support.service import Process, Service, bearer, client_of, serving, token_for
from tagwarden.kernel.embedded import EmbeddedUrls

NAME = "金丝雀先生"
PHONE = "13912345678"
SECRET = "canary-secret-8a1f"
TOKEN = "eyJjYW5hcnkiOiJjYW5hcnkifQ.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl"
CUSTOMER = "wmCanaryCustomer01"
NO_REDIS = "redis://:canary-secret-8a1f@127.0.0.1:1/0"  # a second process may serve, and Redis is away
ECHO = ("msg_signature", "timestamp", "nonce", "echostr")
UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade"
CANARIES = (NAME, PHONE, SECRET, TOKEN, CUSTOMER)


def lines_of(log: str, event: str = "request.ended") -> list[dict[str, Any]]:
    """The lines of one kind."""
    return [line for text in log.splitlines() if text.startswith("{") and (line := json.loads(text))["event"] == event]


async def line_of(service: Service, answer: httpx.Response) -> dict[str, Any]:
    """The line of an answer: its problem's request id, else the newest; it is written after the answer was sent."""
    await asyncio.sleep(0.05)
    lines = lines_of(service.process.log)
    if answer.status_code < 400:
        return lines[-1]
    return next(line for line in lines if line["request_id"] == answer.json()["request_id"] != "")


@pytest.fixture(scope="module", params=["json", "console"])
async def talkative(database: EmbeddedUrls, request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """A service that logs as much as it can."""
    with serving(database.application, LOG_LEVEL="debug", LOG_FORMAT=request.param, REDIS_URL=NO_REDIS) as process:
        async with client_of(process) as http:
            yield Service(process, http)


async def test_a_request_leaves_one_line_that_names_it(service: Service, company: Company) -> None:
    before = len(lines_of(service.process.log))
    line = await line_of(service, await service.web(company).get("ann", "/v1/customers/c1/tags", nothing=1))
    assert len(lines_of(service.process.log)) == before + 1
    assert line.pop("timestamp").endswith("Z")
    assert len(line.pop("request_id")) == 36
    assert 0 < line.pop("ms") < 30_000
    assert line == {
        "event": "request.ended",
        "level": "info",
        "method": "GET",
        "route": "/v1/customers/{external_userid}/tags",
        "status": 200,
        "corp_id": company.corp_id,
        "userid": "ann",
    }


async def test_the_id_is_that_of_the_problem_document(service: Service, company: Company) -> None:
    for answer in (
        await service.web(company).get("ann", "/v1/customers/nobody/tags"),
        await service.http.get("/v1/me"),
        await service.http.get("/no/such/address"),
        await service.http.delete("/v1/me"),
    ):
        line = await line_of(service, answer)
        assert (line["status"], line["level"]) == (answer.status_code, "warning")


async def test_a_refused_decision_carries_its_code_and_step(service: Service, company: Company) -> None:
    answer = await service.web(company).tag("ann", "c4", [company.tags["advice/asked"]])
    line = await line_of(service, answer)
    assert answer.status_code == 403
    assert (line["code"], line["step"]) == (answer.json()["code"], "relation")


async def test_who_asked_is_only_told_when_proven(service: Service, company: Company) -> None:
    forged = await service.http.get("/v1/me", headers=bearer(token_for(company.corp_id, "ann")[:-3] + "abc"))
    assert not {"corp_id", "userid"} & (await line_of(service, forged)).keys()
    address = f"/callbacks/wecom/{company.corp_id}/crm?msg_signature=a&timestamp=1&nonce=1&echostr=x"
    line = await line_of(service, await service.http.get(address))
    assert line["route"] == "/callbacks/wecom/{corp_id}/{app}"
    assert not {"corp_id", "userid"} & line.keys()


async def test_a_userid_that_is_a_phone_number_is_blacked_out(service: Service, company: Company) -> None:
    answer = await service.http.get("/v1/me", headers=bearer(token_for(company.corp_id, PHONE)))
    assert (await line_of(service, answer))["userid"] == "***"


async def test_a_userid_that_is_no_text_breaks_nothing(service: Service, company: Company) -> None:
    answer = await service.http.get("/v1/me", headers=bearer(token_for(company.corp_id, "\ud800 \n\x00")))
    line = await line_of(service, answer)
    assert answer.status_code == 401
    assert "userid" not in line, "who is not established is not named"


async def test_probes_are_quiet(service: Service) -> None:
    before = len(lines_of(service.process.log))
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert (await service.http.get(path)).status_code == 200
    assert len(lines_of(service.process.log)) == before


async def test_a_failure_of_ours_is_told_with_its_request_and_without_its_message(
    talkative: Service, company: Company, owner_sql: Any
) -> None:
    """A table that is gone makes PostgreSQL quote the statement; the line names type, place and request."""
    await owner_sql.execute("alter table follow rename to follow_away")
    try:
        answer = await talkative.http.get(f"/v1/customers/{CUSTOMER}/tags", headers=bearer(token_for(company.corp_id, "ann")))
    finally:
        await owner_sql.execute("alter table follow_away rename to follow")
    assert answer.status_code == 500
    log = talkative.process.log
    assert "UndefinedTableError" in log
    assert "42P01" in log
    assert "does not exist" not in log
    assert CUSTOMER not in log
    told = [text for text in log.splitlines() if "request.failed" in text]
    assert told
    assert answer.json()["request_id"] in told[-1]
    assert "userid" in told[-1]


async def test_no_canary_comes_out(talkative: Service, company: Company) -> None:
    web = talkative.web(company)
    statuses = [await _send(talkative.http, *one, headers=web.headers("ann")) for one in _requests(company)]
    statuses += [await _send(talkative.http, *one, headers={}) for one in _requests(company)]
    statuses += [await _callback(talkative.http, company)]
    _garbage(talkative.process)
    assert {200, 401, 404, 422} <= set(statuses)
    assert not [status for status in statuses if status >= 500]
    log = talkative.process.log
    assert log.count("request.ended") > 100
    spelled = {text for canary in CANARIES for text in (canary, quote(canary), json.dumps(canary)[1:-1], canary.encode().hex())}
    assert not [text for text in spelled if text in log]


Request = tuple[str, str, dict[str, str], dict[str, str], Any]


def _requests(company: Company) -> list[Request]:
    tag = str(company.tags["advice/asked"])
    return [request for canary in CANARIES for request in _with(canary, tag)]


def _with(canary: str, tag: str) -> list[Request]:
    """Method, path, query, headers, body."""
    ascii_ = quote(canary)
    body = {"add": [tag], "remove": [], "reason": canary}
    return [
        ("GET", f"/v1/customers/{ascii_}/tags", {}, {}, None),
        ("GET", f"/{ascii_}", {"x": canary}, {}, None),
        ("GET", f"/v1/approvals/{ascii_}", {}, {}, None),
        ("GET", "/v1/customers", {"q": canary}, {}, None),
        ("GET", "/v1/customers", {"cursor": canary}, {}, None),
        ("GET", "/v1/customers", {"limit": canary}, {}, None),
        ("GET", "/v1/customers", {canary: canary}, {}, None),
        ("GET", "/v1/customers/c1/history", {"as_of": canary}, {}, None),
        ("GET", "/v1/me", {"access_token": canary}, {}, None),
        ("GET", "/v1/me", {}, {"Authorization": f"Bearer {ascii_}"}, None),
        ("GET", "/v1/me", {}, {"Authorization": f"Basic {ascii_}"}, None),
        ("GET", "/v1/me", {}, {"Cookie": f"session={ascii_}", "X-Request-Id": ascii_, "Accept-Language": ascii_}, None),
        ("GET", "/v1/me", {}, {"User-Agent": ascii_, "Referer": f"http://x/?token={ascii_}", "X-Forwarded-For": ascii_}, None),
        ("POST", "/v1/customers/c1/tag-changes", {}, {"Idempotency-Key": ascii_}, body),
        ("POST", "/v1/customers/c1/tag-changes", {}, {"Content-Type": ascii_}, body),
        ("POST", "/v1/customers/c1/tag-changes", {}, {}, {**body, "add": [canary]}),
        ("POST", "/v1/customers/c1/tag-changes", {}, {}, {**body, canary: canary}),
        ("POST", "/v1/customers/c1/tag-changes", {}, {}, canary),
        ("POST", f"/v1/customers/{ascii_}/tag-changes", {}, {}, body),
        ("POST", "/v1/decisions", {}, {}, {"group_id": canary, "action": canary, "external_userid": canary}),
        ("POST", "/v1/tag-groups", {}, {}, {"name": canary, "kind": "standard", "description": canary}),
        ("PUT", f"/v1/employees/{ascii_}/roles", {}, {"If-Match": f'"{ascii_}"'}, {"roles": [canary]}),
        ("GET", f"/callbacks/wecom/{ascii_}/{ascii_}", dict.fromkeys(ECHO, canary), {}, None),
        ("POST", f"/health/{ascii_}", {}, {}, canary),
    ]  # fmt: skip


async def _send(
    http: httpx.AsyncClient,
    method: str,
    path: str,
    query: dict[str, str],
    more: dict[str, str],
    body: Any,
    *,
    headers: dict[str, str],
) -> int:
    answer = await http.request(method, path, params=query, headers={**headers, **more}, json=body)
    return answer.status_code


async def _callback(http: httpx.AsyncClient, company: Company) -> int:
    """An envelope of a corp we know, with canaries in every part that is read before the signature is judged."""
    query = dict.fromkeys(("msg_signature", "nonce"), SECRET) | {"timestamp": PHONE}
    body = f"<xml><ToUserName>{NAME}</ToUserName><Encrypt>{SECRET}</Encrypt><AgentID>{PHONE}</AgentID></xml>"
    answer = await http.post(f"/callbacks/wecom/{company.corp_id}/crm", params=query, content=body.encode())
    return answer.status_code


def _garbage(process: Process) -> None:
    """What is not HTTP at all, a broken body and an upgrade: the server's own log speaks then."""
    port = urlsplit(process.url).port
    for text in (
        f"{SECRET} {PHONE} {TOKEN}\r\n\r\n",
        f"GET /{SECRET} HTTP/9.9\r\nHost: x\r\n\r\n",
        f"GET /{SECRET} HTTP/1.1\r\nHost: {PHONE} {SECRET}\r\n\r\n",
        f"GET /{SECRET}?t={TOKEN} HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\nSec-WebSocket-Key: {SECRET}\r\n\r\n",
        f"POST /v1/{SECRET} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{PHONE}\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port or 0), timeout=5) as raw:
            raw.sendall(text.encode())
            raw.shutdown(socket.SHUT_WR)
            raw.recv(4096)


SPEAKERS = """
import asyncio, logging, warnings
import structlog
from tagwarden.kernel.logging import configure
configure("info", {fmt!r})
lib, ours = logging.getLogger("aiohttp.client"), logging.getLogger("tagwarden.wecom")
lib.info("a library at work")
lib.warning("slow answer from %s", "{secret}")
lib.error("Unhandled exception in task: %s", ValueError("{secret}"))
lib.error(f"Exception in callback f('{secret}')")
lib.warning("%d of", "{secret}")
ours.warning("calls stopped: corp %s", "corp-1")
try:
    try:
        int("{secret}")
    except ValueError as error:
        raise RuntimeError("while reading {secret}") from error
except RuntimeError:
    structlog.get_logger().error("failed", exc_info=True)
    lib.exception("failed")
async def lost():
    asyncio.get_running_loop().create_task(fails())
    await asyncio.sleep(0.01)
async def fails():
    raise ValueError("{secret}")
asyncio.run(lost())
structlog.get_logger().info("net", phone="+86 {phone}", url="postgresql://me:{secret}@host/db", token="{token}", ms=1700000000000)
"""


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_libraries_speak_through_the_same_renderer_and_quote_nothing(fmt: str) -> None:
    code = SPEAKERS.format(fmt=fmt, secret=SECRET, phone=PHONE, token=TOKEN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout == ""
    assert not [canary for canary in CANARIES if canary in told.stderr], told.stderr
    assert "a library at work" not in told.stderr
    for text in ("slow answer from", "corp corp-1", "Task exception was never retrieved", "RuntimeError", "ValueError"):
        assert text in told.stderr
    assert "1700000000000" in told.stderr
    if fmt == "json":
        lines = [json.loads(line) for line in told.stderr.splitlines()]
        assert {"event", "level", "timestamp"} <= set.intersection(*(set(line) for line in lines))
        failed = next(line for line in lines if line["event"] == "failed")
        assert [one["type"] for one in failed["raised"]] == ["RuntimeError", "ValueError"]
