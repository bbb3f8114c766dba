"""What a broken answer means: unknown, never success; and nothing of the URL comes out."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from typing import Any

import pytest

from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id
from tagwarden.wecom import ledger
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.client import WecomClient
from tagwarden.wecom.model import CallClass, NoAnswer, WecomRefused, verdict
from tagwarden.wecom.transport import code_of, parse

from .conftest import SECRET, Control, sealer

CUSTOMER = "wmCustomer001"
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "slow", "seconds": 1.5}, "timeout"),
    ({"kind": "reset"}, "network"),
    ({"kind": "html"}, "not_json"),
    ({"kind": "html", "status": 502}, "http_status"),
    ({"kind": "truncated"}, "not_json"),
    ({"kind": "empty"}, "empty"),
    ({"kind": "http", "status": 500}, "http_status"),
    ({"kind": "http", "status": 429}, "http_status"),
]


@pytest.fixture
async def quick(control: Control) -> Any:
    client = WecomClient(control.url, sealer(), Budget(600, 2.0, 1.0), timeout=1.0)
    await client.start()
    yield client
    await client.close()


async def mark(client: WecomClient, control: Control) -> None:
    await client.mark_tag(
        control.corp_id,
        follow_id=new_id(),
        userid="li",
        external_userid=CUSTOMER,
        add=[control.tags["意向/高"]],
        remove=[],
        attempt=1,
    )


@pytest.mark.parametrize(("fault", "reason"), FAULTS, ids=[f"{f['kind']}-{f.get('status', '')}" for f, _ in FAULTS])
async def test_spoilt_answer(
    quick: WecomClient, control: Control, fault: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await quick.department_list(control.corp_id)
    await control.fault(api="mark_tag", **fault)
    began = time.monotonic()
    with pytest.raises(NoAnswer) as unknown:
        await mark(quick, control)
    assert unknown.value.reason == reason
    assert time.monotonic() - began < 1.4
    said = "".join(traceback.format_exception(unknown.value)) + caplog.text
    assert unknown.value.__context__ is None
    assert "access_token=" not in said
    assert SECRET not in said
    newest = "select state, code, message from wecom_call where corp_id = $1 order by id desc limit 1"
    (line,) = await db.fetch(newest, control.corp_id)
    assert (line["state"], line["code"]) == ("given_up", None)
    assert ledger.in_english(line["message"]) == unknown.value.facts["words_en"]
    await asyncio.sleep(fault.get("seconds", 0.0))  # the late call is still at work at WeCom's side (45035)
    await mark(quick, control)
    assert "意向/高" in await control.held("li", CUSTOMER)


async def test_spoilt_answer_keeps_the_slot_until_it_is_safe(quick: WecomClient, control: Control) -> None:
    await quick.department_list(control.corp_id)
    await control.fault(kind="reset", api="mark_tag")
    with pytest.raises(NoAnswer):
        await mark(quick, control)
    row = await db.fetch_one(
        "select extract(epoch from free_at - claimed_at)::float8 as held from budget_slot"
        " where corp_id = $1 and claimed_by is not null",
        control.corp_id,
    )
    assert row is not None
    assert 3.0 <= row["held"] < 3.1


async def test_nobody_there(database: None, control: Control) -> None:
    client = WecomClient("http://127.0.0.1:9", sealer(), Budget(600, 2.0, 1.0), timeout=1.0)
    await client.start()
    with pytest.raises(NoAnswer) as unknown:
        await client.department_list(control.corp_id)
    assert unknown.value.reason == "network"
    assert SECRET not in "".join(traceback.format_exception(unknown.value))
    await client.close()


@pytest.mark.parametrize("code", [-1, 45035, 77777])
async def test_refusal_by_injected_code(quick: WecomClient, control: Control, code: int) -> None:
    await control.fault(kind="errcode", api="mark_tag", code=code)
    with pytest.raises(WecomRefused) as refused:
        await mark(quick, control)
    assert (refused.value.wecom_code, refused.value.verdict) == (code, verdict(code))
    assert len(await control.calls("mark_tag")) == 1, "retries are the caller's"


async def test_slow_down_holds_every_process(quick: WecomClient, control: Control) -> None:
    await quick.department_list(control.corp_id)
    await control.fault(kind="errcode", api="mark_tag", code=45009)
    with pytest.raises(WecomRefused) as refused:
        await mark(quick, control)
    assert refused.value.verdict.seconds == 60.0
    other = Budget(600, 2.0, 1.0)
    assert await other.estimate(control.corp_id, 1, CallClass.INTERACTIVE) > 1.5
    began = time.monotonic()
    await quick.department_list(control.corp_id)
    assert time.monotonic() - began > 1.5, "a whole window (2 s here) passes first"


@pytest.mark.parametrize(
    ("answer", "expects"),
    [
        ({}, None),
        ({"ok": True}, None),
        ({"errcode": None}, None),
        ({"errcode": "0"}, None),
        ({"errcode": False}, None),
        ({"errcode": 0.0}, None),
        ({}, "tag_group"),
        ({"errcode": 0}, "tag_group"),
        ({"errmsg": "ok"}, "tag_group"),
    ],
)
def test_what_is_not_an_answer_of_wecom(answer: dict[str, Any], expects: str | None) -> None:
    with pytest.raises(NoAnswer):
        code_of(answer, expects)


def test_what_is_an_answer() -> None:
    assert code_of({"errcode": 0}, None) == 0
    assert code_of({"tag_group": []}, "tag_group") == 0
    assert code_of({"errcode": 40014}, "tag_group") == 40014


@pytest.mark.parametrize("body", [b"[]", b"1", b'"ok"', b"null", b"ok", b"\xff", b"[" * 100_000, b" \n"])
def test_body_that_is_no_object(body: bytes) -> None:
    with pytest.raises(NoAnswer):
        parse(200, body)


async def test_a_read_whose_kept_connection_breaks_is_sent_once(quick: WecomClient, control: Control) -> None:
    """HTTP clients like to send a GET again by themselves; WeCom would see a call that no slot was taken for."""
    await anext(quick.customer_pages(control.corp_id, CUSTOMER))
    await control.fault(kind="reset", api="externalcontact/get")
    with pytest.raises(NoAnswer):
        await anext(quick.customer_pages(control.corp_id, CUSTOMER))
    assert len(await control.calls("externalcontact/get")) == 2
