from __future__ import annotations

from .driver import Corp, Receiver

SEND, UPDATE = "message/send", "message/update_template_card"


def card(task_id: str, touser: str = "wang", agentid: int = 7) -> dict[str, object]:
    body = {"card_type": "button_interaction", "task_id": task_id, "main_title": {"title": "审批"}}
    return {"touser": touser, "msgtype": "template_card", "agentid": agentid, "template_card": body}


def test_send_and_close_once(corp: Corp) -> None:
    sent = corp.post(SEND, card("t1", "WANG|Ghost"))
    assert (sent["errcode"], sent["invaliduser"]) == (0, "ghost")
    close = {"agentid": 7, "response_code": sent["response_code"], "atall": 1, "button": {"replace_name": "已通过"}}
    assert corp.post(UPDATE, close, app="other")["errcode"] == 301002
    assert corp.post(UPDATE, close)["errcode"] == 0
    assert corp.post(UPDATE, close)["errcode"] == 60140
    (shown,) = corp.control("GET", "cards")["cards"]
    assert (shown["task_id"], shown["msgid"], shown["updates"]) == ("t1", sent["msgid"], [close])


def test_what_send_refuses(corp: Corp) -> None:
    assert corp.post(SEND, card("t1", "ghost"))["errcode"] == 81013
    assert corp.post(SEND, card("t1", agentid=8))["errcode"] == 301002
    assert corp.post(SEND, card("bad id"))["errcode"] == 40058
    assert corp.post(SEND, card("t1"))["errcode"] == 0
    assert corp.post(SEND, card("t1"))["errcode"] == 40058


def test_response_code_lives_72_hours(corp: Corp) -> None:
    code = corp.post(SEND, card("t1"))["response_code"]
    corp.simulator.control("POST", "clock", {"shift_seconds": 72 * 3600 + 1})
    del corp.tokens["crm"]
    assert corp.post(UPDATE, {"agentid": 7, "response_code": code, "button": {}})["errcode"] == 60140


def test_click_calls_back_with_a_fresh_response_code(corp: Corp, receiver: Receiver) -> None:
    receiver.corp_id = corp.corp_id
    corp.control("PUT", "apps/crm/callback", receiver.callback)
    corp.post(SEND, card("t1"))
    assert corp.edit("click_card", userid="WANG", task_id="t1", key="approve:1") == 1
    (event,) = receiver.wait(1)
    assert (event["FromUserName"], event["EventKey"], event["TaskId"]) == ("wang", "approve:1", "t1")
    assert (event["AgentID"], receiver.envelopes[0]["AgentID"]) == ("7", "7")
    close = {"agentid": 7, "response_code": event["ResponseCode"], "button": {"replace_name": "已通过"}}
    assert corp.post(UPDATE, close)["errcode"] == 0
