"""Cards as WeCom documents them: who gets one, what a card may hold, its response codes, clicks on it, and closing it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tagwarden.simulator.store import Store

from .driver import Corp, Receiver

SEND, UPDATE = "message/send", "message/update_template_card"
BUTTONS = [{"text": "同意", "style": 1, "key": "approve:1"}, {"text": "查看", "type": 1, "url": "https://crm.example/1"}]


def card(task_id: str, touser: str = "wang", agentid: int = 7, **more: Any) -> dict[str, object]:
    body = {"card_type": "button_interaction", "task_id": task_id, "main_title": {"title": "审批"}, "button_list": BUTTONS}
    return {"touser": touser, "msgtype": "template_card", "agentid": agentid, "template_card": {**body, **more}}


@pytest.fixture
def heard(corp: Corp, receiver: Receiver) -> Receiver:
    """The app has its callback URL: a card whose buttons call back needs one."""
    receiver.corp_id = corp.corp_id
    corp.control("PUT", "apps/crm/callback", receiver.callback)
    return receiver


def shown(corp: Corp) -> list[dict[str, Any]]:
    return list(corp.control("GET", "cards")["cards"])


def test_send_and_close_once(corp: Corp, heard: Receiver) -> None:
    sent = corp.post(SEND, card("t1", "WANG|Ghost"))
    assert (sent["errcode"], sent["invaliduser"]) == (0, "ghost")
    close = {"agentid": 7, "response_code": sent["response_code"], "atall": 1, "button": {"replace_name": "已通过"}}
    assert corp.post(UPDATE, close, app="other")["errcode"] == 301002
    assert corp.post(UPDATE, close)["errcode"] == 0
    assert corp.post(UPDATE, close)["errcode"] == 60140
    (found,) = shown(corp)
    assert (found["task_id"], found["msgid"], found["updates"]) == ("t1", sent["msgid"], [close])
    assert (found["receivers"], found["closed_for"]) == (["wang"], ["wang"])


def test_closing_for_some(corp: Corp, heard: Receiver) -> None:
    sent = corp.post(SEND, card("t1", "wang|Li.Na"))
    drawn = {**card("t1")["template_card"], "replace_text": "已驳回"}  # type: ignore[dict-item]
    close = {"agentid": 7, "response_code": sent["response_code"], "userids": ["LI.NA", "ghost"], "template_card": drawn}
    assert corp.post(UPDATE, close) == {"errcode": 0, "errmsg": "ok", "invaliduser": ["ghost"]}
    assert shown(corp)[0]["closed_for"] == ["Li.Na"]


def test_what_send_refuses(corp: Corp, heard: Receiver) -> None:
    assert corp.post(SEND, card("t1", "ghost"))["errcode"] == 81013
    assert corp.post(SEND, card("t1", agentid=8))["errcode"] == 301002
    assert corp.post(SEND, card("bad id"))["errcode"] == 40058
    assert corp.post(SEND, card("t" * 129))["errcode"] == 40058
    assert corp.post(SEND, card("t1"))["errcode"] == 0
    assert corp.post(SEND, card("t1"))["errcode"] == 40058


@pytest.mark.parametrize(
    "wrong",
    [
        {"main_title": {}},
        {"horizontal_content_list": [{"keyname": str(n), "value": "v"} for n in range(7)]},
        {"horizontal_content_list": [{"value": "v"}]},
        {"button_list": []},
        {"button_list": BUTTONS * 4},
        {"button_list": [{"text": "x"}]},
        {"button_list": [{"text": "x", "type": 1}]},
        {"button_list": [BUTTONS[0], BUTTONS[0]]},
        {"button_list": [{"text": "x", "key": "k" * 1025}]},
    ],
)
def test_cards_that_wecom_would_not_take(corp: Corp, heard: Receiver, wrong: dict[str, Any]) -> None:
    assert corp.post(SEND, card("t1", **wrong))["errcode"] == 40058
    corp.simulator.switch(card_field_code=42014)
    assert corp.post(SEND, card("t1", **wrong))["errcode"] == 42014
    assert shown(corp) == []


def test_a_card_that_calls_back_needs_a_callback_url(corp: Corp) -> None:
    assert corp.post(SEND, card("t1"))["errcode"] == 43012
    corp.simulator.switch(cards_need_callback_url=False)
    assert corp.post(SEND, card("t1"))["errcode"] == 0


def test_what_goes_beyond_a_members_share_is_dropped_in_silence(corp: Corp, heard: Receiver) -> None:
    corp.simulator.switch(messages_per_member_minute=2)
    assert [corp.post(SEND, card(f"t{n}", "wang|Li.Na" if n else "wang"))["errcode"] for n in range(3)] == [0, 0, 0]
    assert [found["receivers"] for found in shown(corp)] == [["wang"], ["wang", "Li.Na"], ["Li.Na"]]
    corp.simulator.control("POST", "clock", {"shift_seconds": 61})
    assert corp.post(SEND, card("later"))["errcode"] == 0
    assert shown(corp)[-1]["receivers"] == ["wang"]


def test_response_code_lives_72_hours(corp: Corp, heard: Receiver) -> None:
    code = corp.post(SEND, card("t1"))["response_code"]
    corp.simulator.control("POST", "clock", {"shift_seconds": 72 * 3600 + 1})
    del corp.tokens["crm"]
    assert corp.post(UPDATE, {"agentid": 7, "response_code": code, "button": {}})["errcode"] == 60140


def test_click_calls_back_with_a_fresh_response_code(corp: Corp, heard: Receiver) -> None:
    corp.post(SEND, card("t1"))
    assert corp.edit("click_card", userid="WANG", task_id="t1", key="approve:1") == 1
    (event,) = heard.wait(1)
    assert (event["FromUserName"], event["EventKey"], event["TaskId"]) == ("wang", "approve:1", "t1")
    assert (event["AgentID"], heard.envelopes[0]["AgentID"]) == ("7", "7")
    close = {"agentid": 7, "response_code": event["ResponseCode"], "userids": ["wang"], "button": {"replace_name": "已通过"}}
    assert corp.post(UPDATE, close)["errcode"] == 0


def test_only_what_a_client_could_send_is_a_click(corp: Corp, heard: Receiver) -> None:
    sent = corp.post(SEND, card("t1"))
    wrong = [{"userid": "Li.Na", "key": "approve:1"}, {"userid": "wang", "key": "other"}]
    for click in wrong:
        corp.control("POST", "console", {"kind": "click_card", "task_id": "t1", **click}, expect=400)
    corp.post(UPDATE, {"agentid": 7, "response_code": sent["response_code"], "atall": 1, "button": {"replace_name": "完"}})
    late = {"userid": "wang", "key": "approve:1"}
    corp.control("POST", "console", {"kind": "click_card", "task_id": "t1", **late}, expect=400)
    for click in [*wrong, late]:
        assert corp.edit("click_card", task_id="t1", forged=True, **click) == 1
    assert len(heard.wait(3)) == 3


def test_a_state_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "old.sqlite")
    old.execute(
        "CREATE TABLE cards (msgid TEXT PRIMARY KEY, corp_id TEXT NOT NULL, app TEXT NOT NULL, task_id TEXT, sent REAL NOT NULL,"
        " body TEXT NOT NULL, updates TEXT NOT NULL DEFAULT '[]')"
    )
    old.close()
    store = Store(tmp_path / "old.sqlite")
    assert [row["name"] for row in store.rows("PRAGMA table_info(cards)")][-1] == "receivers"
    store.close()
