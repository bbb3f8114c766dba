"""The OpenAPI document: the same in the repository, in a fresh process and on the wire, complete, and readable."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from contract.hints import DOCUMENT, FROZEN, Json
from support.service import Service, check_problem
from tagwarden.kernel.http import PROBLEMS

COMMAND = (sys.executable, "-m", "tagwarden.app.openapi")
PUBLIC = {"verify_wecom_callback", "receive_wecom_callback", "check_live", "check_ready"}


def _operations() -> Iterator[tuple[str, str, Json]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


OPERATIONS = {operation["operationId"]: (method, path, operation) for method, path, operation in _operations()}


def _walk(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _walk(one)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_file_is_what_the_command_writes(seed: str) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("TAGWARDEN_")}
    env = {**bare, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed}
    written = subprocess.run(COMMAND, env=env, capture_output=True, check=True).stdout.decode()
    assert written == FROZEN.read_text(encoding="utf-8"), "run `python -m tagwarden.app.openapi > docs/openapi.json`"


async def test_the_service_serves_the_file(service: Service) -> None:
    response = await service.http.get("/schema/openapi.json")
    assert response.headers["content-type"].startswith("application/vnd.oai.openapi+json")
    assert response.text == FROZEN.read_text(encoding="utf-8")


async def test_the_page_names_every_operation_and_no_other_host(service: Service) -> None:
    page = (await service.http.get("/schema")).text
    for method, path, _ in _operations():
        assert f"{method.upper()}</span><code>{path}</code>" in page
    assert "http://" not in page
    assert "https://" not in page


def test_names_are_for_people() -> None:
    assert len(OPERATIONS) == sum(1 for _ in _operations()), "an operation id stands twice"
    for name, (_, _, operation) in OPERATIONS.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name), name
        assert operation["summary"], name
        assert operation["description"], name
    for name in DOCUMENT["components"]["schemas"]:
        assert re.fullmatch(r"([A-Z][a-z]+)+", name), name


def test_every_tag_is_described_and_used() -> None:
    described = {tag["name"] for tag in DOCUMENT["tags"] if tag["description"]}
    assert described == {tag for _, _, operation in _operations() for tag in operation["tags"]}


def test_every_reference_leads_somewhere_and_nothing_lies_unused() -> None:
    pointed = {one["$ref"] for one in _walk(DOCUMENT) if "$ref" in one}
    there = {f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in DOCUMENT["components"][kind]}
    assert pointed == there


def test_no_example_is_invented() -> None:
    assert not [one for one in _walk(DOCUMENT) if "example" in one or "examples" in one]


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_refusal_is_a_problem(name: str) -> None:
    answers = OPERATIONS[name][2]["responses"]
    refusals = {status: answer for status, answer in answers.items() if status >= "400"}
    if name == "check_ready":
        assert refusals.pop("503")["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Health"}
    assert refusals == {status: {"$ref": f"#/components/responses/{PROBLEMS[int(status)][0]}"} for status in refusals}
    for answer in DOCUMENT["components"]["responses"].values():
        assert answer["content"] == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_who_needs_a_token(name: str, service: Service) -> None:
    method, path, operation = OPERATIONS[name]
    assert DOCUMENT["security"] == [{"bearer": []}]
    if name in PUBLIC:
        assert operation["security"] == []
        return
    assert "security" not in operation
    assert {"401", "403", "503"} <= operation["responses"].keys()
    asked = re.sub(r"\{\w*_id\}", "01a20038-5f1d-72b0-bcf7-4960a4e25a74", path)
    check_problem(await service.http.request(method, re.sub(r"\{\w+\}", "crm", asked)), 401, "unauthenticated")


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_follows_from_the_shape(name: str) -> None:
    method, _, operation = OPERATIONS[name]
    statuses = operation["responses"].keys()
    parameters = {one["name"]: one for one in operation.get("parameters", [])}
    assert ("requestBody" in operation) <= ({"400", "413", "422"} <= statuses)
    assert ("cursor" in parameters) <= ("400" in statuses)
    assert ("If-Match" in parameters) <= ({"409", "412", "428"} <= statuses)
    assert ("428" in statuses) == ("If-Match" in parameters)
    assert ("412" in statuses) == ("Tagwarden-Epoch-At-Least" in parameters) == (name not in PUBLIC)
    asks = {"ask_decision", "explain_decision", "ask_decisions", "ask_policy_impact", "export_policy_impact"}
    assert ("Idempotency-Key" in parameters) == (method == "post" and name not in {*asks, *PUBLIC})
    assert ("Idempotency-Key" in parameters) <= ({"400", "409", "422"} <= statuses)
    if "limit" in parameters:
        assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}
    assert not [one for one in parameters.values() if "null" in json.dumps(one["schema"])]


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_to_somebody_names_the_epoch(name: str) -> None:
    answers = OPERATIONS[name][2]["responses"]
    told = {status for status, answer in answers.items() if "Tagwarden-Epoch" in answer.get("headers", {})}
    assert told == ({status for status in answers if status < "400"} if name not in PUBLIC else set())
    silent = [name for name, one in DOCUMENT["components"]["responses"].items() if "Tagwarden-Epoch" not in one["headers"]]
    assert silent == ["Unauthenticated"]


def test_where_an_etag_is_sent() -> None:
    sent = {
        name
        for name, (_, _, operation) in OPERATIONS.items()
        if any("ETag" in answer.get("headers", {}) for status, answer in operation["responses"].items() if status < "300")
    }
    assert sent == {
        "get_tag_group", "create_tag_group", "change_tag_group", "create_tag", "change_tag",
        "get_approval", "edit_approval", "decide_approval", "withdraw_approval", "resubmit_approval", "escalate_approval",
        "remind_of_approval",
        "get_policy", "create_policy_draft", "get_policy_draft", "change_policy_draft",
    }  # fmt: skip


def test_a_tag_change_is_done_or_held() -> None:
    answers = OPERATIONS["change_customer_tags"][2]["responses"]
    for status in ("200", "202"):
        assert answers[status]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/TagChangeOut"}


def test_bodies_take_no_unknown_field() -> None:
    for _, _, operation in _operations():
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is not None:
            name = content["schema"]["$ref"].rsplit("/", 1)[-1]
            assert DOCUMENT["components"]["schemas"][name]["additionalProperties"] is False
