"""The chain as files, over HTTP and from the command line: the bytes that stand there, and a table no spreadsheet runs."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from support.company import PEOPLE, Companies, Company
from support.servers import as_operator, command
from support.service import Service, bearer, check_problem, service_on, token_for
from tagwarden.audit import service as audit
from tagwarden.audit.export import COLUMNS, FORMULA_STARTS, Format, export, table_row
from tagwarden.kernel.embedded import EmbeddedUrls

from .test_heads import peak

FORMULA = '=HYPERLINK("http://127.0.0.1/?leak","中，"";")'
STAFF = {**PEOPLE, "helper": (1, False, ("subadmin",))}


@pytest.fixture(scope="module")
async def service(database: EmbeddedUrls) -> Any:
    async with service_on(database.application) as running:
        yield running


@pytest.fixture(scope="module")
async def lived(companies: Companies, service: Service) -> Company:
    """A company with changes, an approval, and a refused caller whose userid is a formula."""
    company = await companies.make(people=STAFF)
    answer = await company.change("ann", "c1", ["value/high", "activity/hot"], reason="因为")
    await company.sign("east", answer.approval_id)
    await company.sign("hq", answer.approval_id)
    web = service.web(company)
    assert (await web.tag(FORMULA, "c1", [company.tags["activity/hot"]])).status_code == 403
    return company


async def stored(company: Company) -> list[dict[str, Any]]:
    """The lines as they stand, decoded."""
    rows = await audit.lines_after(company.corp_id, 0)
    return [{"seq": row["seq"], "hash": row["hash"].hex(), **json.loads(row["body"])} for row in rows]


def jsonl(text: str) -> list[dict[str, Any]]:
    """JSON Lines."""
    return [json.loads(line) for line in text.split("\n") if line]


def table(text: str) -> list[dict[str, str]]:
    """What a spreadsheet reads (RFC 4180)."""
    assert text.count("\r\n") == text.count("\n"), "a row ends with CR LF"
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def check_table(rows: list[dict[str, str]], lines: list[dict[str, Any]]) -> None:
    """Every cell says what its line says."""
    assert [set(row) for row in rows] == [set(COLUMNS)] * len(lines)
    for row, line in zip(rows, lines, strict=True):
        assert (row["seq"], row["hash"], row["at"]) == (str(line["seq"]), line["hash"], line["at"])
        assert (row["action"], row["object"], row["request_id"]) == (line["action"], line["object"], line["request_id"])
        assert row["userid"] == neutral(line["actor"]["userid"])
        assert row["issuer"] == line["actor"]["issuer"]
        assert json.loads(row["detail"]) == line["detail"]
        assert row["revision"] == str((line.get("decision") or {}).get("revision", ""))


def neutral(text: str) -> str:
    """As a cell."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


async def test_json_lines_are_what_is_stored(lived: Company, service: Service, database: EmbeddedUrls) -> None:
    lines = await stored(lived)
    answer = await service.web(lived).get("auditor", "/v1/audit/export")
    assert answer.headers["content-type"].startswith("application/jsonl")
    assert answer.headers["content-disposition"] == 'attachment; filename="audit.jsonl"'
    assert jsonl(answer.text) == lines
    assert jsonl(await command(as_operator(database), "audit", "export", "--corp", lived.corp_id)) == lines


async def test_a_table_says_the_same(lived: Company, service: Service, database: EmbeddedUrls) -> None:
    lines = await stored(lived)
    answer = await service.web(lived).get("admin", "/v1/audit/export", format="csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "content-length" not in answer.headers
    check_table(table(answer.text), lines)
    assert {row["row"] != "" for row in table(answer.text) if row["action"] == "tags.changed"} == {True}


async def test_the_command_writes_the_table_byte_for_byte(lived: Company, service: Service, database: EmbeddedUrls) -> None:
    answer = await service.web(lived).get("admin", "/v1/audit/export", format="csv")
    assert await command(as_operator(database), "audit", "export", "--corp", lived.corp_id, "--format", "csv") == answer.text


async def test_no_cell_is_a_formula(lived: Company, service: Service) -> None:
    rows = table((await service.web(lived).get("admin", "/v1/audit/export", format="csv")).text)
    assert [row for row in rows if any(cell.startswith(FORMULA_STARTS) for cell in row.values())] == []
    assert f"'{FORMULA}" in {row["userid"] for row in rows}, "the caller who called himself so is there"


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠a"])
def test_what_begins_a_formula(text: str) -> None:
    (row,) = csv.reader(io.StringIO(table_row((text, "plain", 1, None)), newline=""), strict=True)
    assert row == [f"'{text}", "plain", "1", "None"]


async def test_who_may_export(lived: Company, companies: Companies, service: Service) -> None:
    web = service.web(lived)
    for userid in STAFF:
        for path in ("/v1/audit/export", "/v1/audit/export?format=csv"):
            answer = await web.get(userid, path)
            if userid in ("admin", "auditor"):
                assert answer.status_code == 200
            else:
                check_problem(answer, 403)
    check_problem(await web.get("admin", "/v1/audit/export", format="xlsx"), 422)
    assert (await web.http.get("/v1/audit/export")).status_code == 401


async def test_another_corp_gets_its_own(lived: Company, companies: Companies, service: Service) -> None:
    other = await companies.make(customers=())
    lines = jsonl((await service.web(other).get("admin", "/v1/audit/export")).text)
    assert {line["corp_id"] for line in lines} == {other.corp_id}
    stranger = bearer(token_for("no-such-corp", "admin"))
    assert (await service.http.get("/v1/audit/export", headers=stranger)).status_code == 401


async def test_a_corp_without_lines(database: EmbeddedUrls) -> None:
    assert "".join([chunk async for chunk in export("nobody", Format.JSONL)]) == ""
    assert "".join([chunk async for chunk in export("nobody", Format.CSV)]) == table_row(COLUMNS)


async def _spend(corp_id: str, form: Format) -> int:
    return max([len(chunk) async for chunk in export(corp_id, form)])


@pytest.mark.parametrize("form", list(Format))
async def test_a_long_chain_is_never_in_memory(long_company: Company, lived: Company, form: Format) -> None:
    whole = sum([len(chunk) async for chunk in export(long_company.corp_id, form)])
    assert await _spend(long_company.corp_id, form) < whole / 50
    assert await peak(_spend(long_company.corp_id, form)) < whole / 2


async def test_a_long_chain_over_http(long_company: Company, service: Service) -> None:
    expected, lines = 1, 0
    web = service.web(long_company)
    async with service.http.stream("GET", "/v1/audit/export", headers=web.headers("auditor")) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            assert json.loads(line)["seq"] == expected
            expected, lines = expected + 1, lines + 1
    assert lines >= 50_000


async def test_a_reader_who_leaves_stops_nothing(long_company: Company, service: Service) -> None:
    web = service.web(long_company)
    for _ in range(20):
        async with service.http.stream("GET", "/v1/audit/export", headers=web.headers("auditor")) as answer:
            async for _piece in answer.aiter_bytes():
                break
    assert (await web.get("auditor", "/v1/audit", limit=1)).status_code == 200
