"""WeCom's callbacks end to end: sent by the simulator's own sender, proven by the service, stored once as they came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from support.company import SEALER, Companies, Company
from support.service import Process, Service, check_problem, simulating
from tagwarden.corps import credentials
from tagwarden.corps.credentials import AppCredential
from tagwarden.simulator import crypto

TOKEN, AES_KEY = "QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
MESSAGE = "<xml><Event>change_external_contact</Event></xml>"


@dataclass
class Line:
    """One app's callback address, and how WeCom would call it."""

    company: Company
    http: httpx.AsyncClient
    app: str = "crm"

    @property
    def path(self) -> str:
        return f"/callbacks/wecom/{self.company.corp_id}/{self.app}"

    def sealed(self, message: str = MESSAGE, *, key: str = AES_KEY, to: str | None = None) -> str:
        return crypto.encrypt(key, self.company.corp_id if to is None else to, message)

    def query(self, encrypted: str, *, token: str = TOKEN, at: float | None = None, nonce: str = "n") -> dict[str, str]:
        stamp = str(int(time.time() if at is None else at))
        return {"msg_signature": crypto.sign(token, stamp, nonce, encrypted), "timestamp": stamp, "nonce": nonce}

    async def post(self, encrypted: str, query: dict[str, str], path: str | None = None) -> httpx.Response:
        body = f"<xml><ToUserName>{self.company.corp_id}</ToUserName><Encrypt>{encrypted}</Encrypt></xml>"
        return await self.http.post(path or self.path, params=query, content=body, headers={"Content-Type": "text/xml"})

    async def echo(self, echo: str, **query: Any) -> httpx.Response:
        return await self.http.get(self.path, params={**self.query(echo, **query), "echostr": echo})


@pytest.fixture(scope="module")
async def company(companies: Companies) -> Company:
    company = await companies.make()
    await credentials.store(SEALER, AppCredential(company.corp_id, "crm", 1, "a secret of the app", TOKEN, AES_KEY))
    return company


@pytest.fixture
def line(company: Company, service: Service) -> Line:
    return Line(company, service.http)


async def stored(sql: asyncpg.Connection, company: Company) -> list[asyncpg.Record]:
    rows = await sql.fetch("select * from wecom_callback where corp_id = $1 order by received_at, id", company.corp_id)
    return list(rows)


def refused(answer: httpx.Response) -> dict[str, Any]:
    """The one refusal, without its id."""
    body = check_problem(answer, 401)
    return {name: value for name, value in body.items() if name != "request_id"}


@pytest.fixture
async def refusal(line: Line) -> dict[str, Any]:
    """The answer to a corp nobody knows."""
    encrypted = line.sealed()
    return refused(await line.post(encrypted, line.query(encrypted), "/callbacks/wecom/nowhere/crm"))


# -- the simulator's own sender -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with simulating(Path(tmp_path_factory.mktemp("wecom")) / "state.sqlite") as running:
        yield running


@pytest.fixture
async def control(simulator: Process) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{simulator.url}/control", trust_env=False, timeout=20) as http:
        yield http


async def test_an_edit_in_wecoms_console_arrives_once_and_stays_sealed(
    companies: Companies, service: Service, control: httpx.AsyncClient, sql: asyncpg.Connection
) -> None:
    company = await companies.make()
    await credentials.store(SEALER, AppCredential(company.corp_id, "crm", 1, "a secret of the app", TOKEN, AES_KEY))
    setup = {
        "corp_id": company.corp_id,
        "apps": [{"name": "crm", "secret": "a secret of the app", "agent_id": 1}],
        "departments": [{"id": 1, "name": "HQ", "parentid": 0}],
        "employees": [{"userid": "ann", "department": [1]}],
        "tag_groups": [{"name": "advice", "tags": ["asked"]}],
        "follows": [{"userid": "ann", "external_userid": "wmCustomer1", "name": "张三的名字"}],
    }
    assert (await control.post("/corps", json=setup)).is_success
    address = {"url": f"{service.process.url}/callbacks/wecom/{company.corp_id}/crm", "token": TOKEN, "aes_key": AES_KEY}
    saved = await control.put(f"/corps/{company.corp_id}/apps/crm/callback", json=address)
    assert saved.json() == {"verified": True}, "the address proves itself by its echo"
    edits = [
        {"kind": "mark", "userid": "ann", "external_userid": "wmCustomer1", "add": ["advice/asked"]},
        {"kind": "rename_tag", "tag": "advice/asked", "name": "wanted"},
    ]
    queued = [(await control.post(f"/corps/{company.corp_id}/console", json=edit)).json()["callbacks"] for edit in edits]
    assert queued == [1, 1]
    rows: list[asyncpg.Record] = []
    for _ in range(200):
        rows = await stored(sql, company)
        if len(rows) == 2:
            break
        await asyncio.sleep(0.05)
    assert len(rows) == 2
    for row in rows:
        assert (row["app"], row["processed_at"]) == ("crm", None)
        assert b"<Encrypt>" in row["envelope"]
        assert b"wmCustomer1" not in row["envelope"]
        assert "张三的名字".encode() not in row["envelope"]
    sent = (await control.get(f"/corps/{company.corp_id}/callbacks")).json()["callbacks"]
    assert [(one["state"], one["attempts"]) for one in sent] == [("delivered", 1)] * 2


async def test_an_address_with_other_keys_does_not_prove_itself(
    companies: Companies, service: Service, control: httpx.AsyncClient
) -> None:
    company = await companies.make()
    assert (await control.post("/corps", json={"corp_id": company.corp_id, "apps": [{"name": "crm", "secret": "s"}]})).is_success
    address = {"url": f"{service.process.url}/callbacks/wecom/{company.corp_id}/crm", "token": TOKEN, "aes_key": AES_KEY}
    answer = await control.put(f"/corps/{company.corp_id}/apps/crm/callback", json=address)
    assert (answer.status_code, "HTTP 401" in answer.text) == (400, True)


# -- by hand ------------------------------------------------------------------------------------------------------------


async def test_an_accepted_callback_is_answered_200_with_nothing(line: Line, sql: asyncpg.Connection) -> None:
    before = len(await stored(sql, line.company))
    encrypted = line.sealed()
    answer = await line.post(encrypted, line.query(encrypted))
    assert (answer.status_code, answer.content) == (200, b"")
    assert len(await stored(sql, line.company)) == before + 1


async def test_a_repeat_is_accepted_and_stored_once(line: Line, sql: asyncpg.Connection) -> None:
    before = len(await stored(sql, line.company))
    encrypted = line.sealed()
    query = line.query(encrypted, nonce="again")
    answers = await asyncio.gather(*(line.post(encrypted, query) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}, "anything else and WeCom would send it again"
    assert len(await stored(sql, line.company)) == before + 1


async def test_the_echo_is_answered_bare(line: Line) -> None:
    for plain in ("1234567890123456789", "中文 <xml>&amp;", "x"):
        answer = await line.echo(line.sealed(plain))
        assert (answer.status_code, answer.text) == (200, plain)
        assert answer.headers["content-type"].startswith("text/plain")


async def test_everything_that_is_not_proven_is_one_refusal(line: Line, refusal: dict[str, Any], sql: asyncpg.Connection) -> None:
    before = len(await stored(sql, line.company))
    encrypted = line.sealed()
    good = line.query(encrypted)
    other = line.sealed("<xml/>")
    bad: dict[str, tuple[str, dict[str, str]]] = {
        "signature": (encrypted, {**good, "msg_signature": "0" * 40}),
        "signature in capitals": (encrypted, {**good, "msg_signature": good["msg_signature"].upper() + "A"}),
        "signature no hex": (encrypted, {**good, "msg_signature": "签" * 10}),
        "token": (encrypted, line.query(encrypted, token="another")),
        "nonce": (encrypted, {**good, "nonce": "m"}),
        "message exchanged": (other, good),
        "old": (encrypted, line.query(encrypted, at=time.time() - 3600)),
        "very old": (encrypted, line.query(encrypted, at=946684800)),
        "future": (encrypted, line.query(encrypted, at=time.time() + 3600)),
        "other key": (sealed := line.sealed(key="a" * 43), line.query(sealed)),
        "for another corp": (sealed := line.sealed(to="ww-another"), line.query(sealed)),
        "no base64": ("@@@", line.query("@@@")),
        "cut": (encrypted[:-8], line.query(encrypted[:-8])),
        "nothing": ("", line.query("")),
    }
    for stamp in ("now", "1e9", "-1", "９９", "1" * 30):
        signature = crypto.sign(TOKEN, stamp, "n", encrypted)
        bad[f"timestamp {stamp}"] = (encrypted, {"msg_signature": signature, "timestamp": stamp, "nonce": "n"})
    for name, (message, query) in bad.items():
        assert refused(await line.post(message, query)) == refusal, name
    for body in (
        b"",
        b"<xml>",
        b"{",
        b"[]",
        b"<a/>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><xml><Encrypt>&b;</Encrypt></xml>',
        b"\xff\xfe",
    ):
        answer = await line.http.post(line.path, params=good, content=body)
        assert refused(answer) == refusal, body
    assert len(await stored(sql, line.company)) == before


async def test_a_corp_and_an_app_nobody_knows_look_like_a_wrong_signature(
    line: Line, refusal: dict[str, Any], companies: Companies
) -> None:
    encrypted = line.sealed()
    query = line.query(encrypted)
    without_keys = await companies.make()
    corp = line.company.corp_id
    for path in (
        f"/callbacks/wecom/{corp}/nothing",
        f"/callbacks/wecom/{corp}/contacts",
        f"/callbacks/wecom/{corp.upper()}/crm",
        f"/callbacks/wecom/{without_keys.corp_id}/crm",
        "/callbacks/wecom/' or 1=1 --/crm",
    ):
        assert refused(await line.post(encrypted, query, path)) == refusal, path
        echo = await line.http.get(path, params={**query, "echostr": encrypted})
        assert refused(echo) == refusal, path


async def test_a_callback_of_one_corp_is_none_of_another(line: Line, companies: Companies, refusal: dict[str, Any]) -> None:
    other = await companies.make()
    await credentials.store(SEALER, AppCredential(other.corp_id, "crm", 1, "a secret of the app", TOKEN, AES_KEY))
    encrypted = line.sealed()
    answer = await line.post(encrypted, line.query(encrypted), f"/callbacks/wecom/{other.corp_id}/crm")
    assert refused(answer) == refusal


async def test_an_echo_that_is_not_proven_is_never_answered(line: Line, refusal: dict[str, Any]) -> None:
    echo = line.sealed("secret echo")
    for query in ({"token": "another"}, {"at": 0}, {"at": time.time() - 900}):
        answer = await line.echo(echo, **query)
        assert refused(answer) == refusal
        assert "secret echo" not in answer.text


async def test_a_query_that_is_not_whole_is_a_problem(line: Line) -> None:
    encrypted = line.sealed()
    whole = line.query(encrypted)
    for name in whole:
        less = {key: value for key, value in whole.items() if key != name}
        for query in (less, {**less, name: ""}, {**less, name: "x" * 5000}):
            answer = await line.post(encrypted, query)
            check_problem(answer)
            assert answer.status_code in (400, 401, 422)


async def test_an_oversized_envelope_is_413(line: Line, sql: asyncpg.Connection) -> None:
    before = len(await stored(sql, line.company))
    encrypted = line.sealed("x" * 300_000)
    check_problem(await line.post(encrypted, line.query(encrypted)), 413, "body_too_large")
    assert len(await stored(sql, line.company)) == before


async def test_an_oversized_envelope_does_not_say_whether_the_corp_exists(line: Line) -> None:
    encrypted = "x" * 300_000
    answers = [await line.post(encrypted, line.query(encrypted), path) for path in (line.path, "/callbacks/wecom/nowhere/crm")]
    assert answers[0].status_code == answers[1].status_code


async def test_nul_in_the_address_says_nothing_about_the_corp(line: Line) -> None:
    encrypted = line.sealed()
    answers = []
    for corp in (line.company.corp_id, "nowhere"):
        answer = await line.post(encrypted, line.query(encrypted), f"/callbacks/wecom/{corp}/crm%00")
        assert answer.status_code < 500, answer.text
        answers.append({name: value for name, value in check_problem(answer).items() if name != "request_id"})
    assert answers[0] == answers[1]


async def test_no_token_of_a_person_opens_a_callback(line: Line, service: Service, refusal: dict[str, Any]) -> None:
    encrypted = line.sealed()
    query = line.query(encrypted, token="another")
    answer = await line.http.post(line.path, params=query, content=b"<xml/>", headers=service.web(line.company).headers("admin"))
    assert {**refused(answer), "title": "", "detail": ""} == {**refusal, "title": "", "detail": ""}
