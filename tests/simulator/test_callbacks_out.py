"""Edits by people are reported, signed and encrypted, to those who may hear them; calls of the API are not."""

from __future__ import annotations

import time
from typing import Any

import pytest

from .driver import Corp, Receiver, Simulator


@pytest.fixture
def heard(simulator: Simulator, receiver: Receiver) -> Corp:
    """A corp whose app `crm` and whose assistant both call back to the receiver, at different paths."""
    callback, assistant = receiver.callback, {**receiver.callback, "url": receiver.url + "/assistant"}
    corp = simulator.load(
        apps=[
            {"name": "crm", "secret": "s1", "agent_id": 7, "callback": callback},
            {"name": "assistant", "secret": "s2", "kind": "contacts", "callback": assistant},
            {"name": "silent", "secret": "s3"},
        ]
    )
    receiver.corp_id = corp.corp_id
    corp.tokens["crm"] = corp.gettoken("s1")["access_token"]
    return corp


def deliveries(corp: Corp) -> list[dict[str, Any]]:
    return corp.control("GET", "callbacks")["callbacks"]  # type: ignore[no-any-return]


def wait_for_state(corp: Corp, state: str) -> dict[str, Any]:
    deadline = time.monotonic() + 90
    while (last := deliveries(corp)[-1])["state"] != state and time.monotonic() < deadline:
        time.sleep(0.02)
    return last


def test_api_writes_are_silent(heard: Corp, receiver: Receiver) -> None:
    assert heard.mark("Li.Na", "wm1", [heard.tags["客户价值/高净值"]]) == 0
    assert heard.post("externalcontact/add_corp_tag", {"group_name": "g", "tag": [{"name": "t"}]})["errcode"] == 0
    assert receiver.wait(0) == []
    assert deliveries(heard) == []


def test_marking_by_hand(heard: Corp, receiver: Receiver) -> None:
    assert heard.edit("mark", userid="Li.Na", external_userid="wm1", add=["来源/渠道/a/b"], remove=["客户价值/普通"]) == 1
    assert heard.held("Li.Na", "wm1") == ["来源/渠道/a/b"]
    event = receiver.wait(1)[0]
    assert event.pop("CreateTime").isdigit()
    assert event == {
        "ToUserName": heard.corp_id,
        "FromUserName": "sys",
        "MsgType": "event",
        "Event": "change_external_contact",
        "ChangeType": "edit_external_contact",
        "UserID": "Li.Na",
        "ExternalUserID": "wm1",
    }
    assert receiver.envelopes[0]["ToUserName"] == heard.corp_id
    assert "AgentID" not in receiver.envelopes[0]
    assert heard.edit("mark", userid="Li.Na", external_userid="wm1", add=["来源/渠道/a/b"]) == 0


def kinds(events: list[dict[str, str]]) -> list[tuple[str, str]]:
    return sorted((event["ChangeType"], event.get("TagType", "")) for event in events)


def test_library_edits(heard: Corp, receiver: Receiver) -> None:
    assert heard.edit("create_group", group="新组", tags=["一", "二"]) == 3
    assert kinds(receiver.wait(3)) == [("create", "tag"), ("create", "tag"), ("create", "tag_group")]
    receiver.events.clear()
    assert heard.edit("create_tag", group="新组", name="三") == 1
    assert heard.edit("rename_tag", tag="新组/三", name="叁") == 1
    assert heard.edit("rename_group", group="新组", name="改组") == 1
    assert kinds(receiver.wait(3)) == [("create", "tag"), ("update", "tag"), ("update", "tag_group")]
    assert heard.library()["改组"] == ["一", "二", "叁"]
    receiver.events.clear()
    assert heard.edit("delete_tag", tag="改组/一") == 1
    assert kinds(receiver.wait(1)) == [("delete", "tag")]
    receiver.events.clear()
    assert heard.edit("delete_group", group="改组") == 1
    events = receiver.wait(1)
    assert kinds(events) == [("delete", "tag_group")]
    assert not any("name" in field.lower() for field in events[0] if field not in ("ToUserName", "FromUserName"))
    assert "改组" not in heard.library()


def test_the_console_may_touch_what_an_app_made(heard: Corp, receiver: Receiver) -> None:
    assert heard.edit("delete_tag", tag="应用组/自建") == 2
    assert kinds(receiver.wait(2)) == [("delete", "tag"), ("delete", "tag_group")]


def test_contacts_come_and_go(heard: Corp, receiver: Receiver) -> None:
    heard.edit("add_contact", userid="Li.Na", external_userid="wm9", state="qr1")
    assert receiver.wait(1)[0]["State"] == "qr1"
    assert heard.mark("Li.Na", "wm9", [heard.tags["客户价值/普通"]]) == 0
    heard.edit("del_contact", userid="Li.Na", external_userid="wm9", by="customer")
    assert receiver.wait(2)[1]["ChangeType"] == "del_follow_user"
    assert heard.mark("Li.Na", "wm9", [heard.tags["客户价值/普通"]]) == 0
    heard.edit("del_contact", userid="Li.Na", external_userid="wm9", by="transfer")
    assert receiver.wait(3)[2]["Source"] == "DELETE_BY_TRANSFER"
    assert heard.mark("Li.Na", "wm9", [heard.tags["客户价值/普通"]]) == 84061


def test_organisation_goes_to_the_assistant_alone(heard: Corp, receiver: Receiver) -> None:
    assert heard.edit("create_user", user={"userid": "new", "name": "新人", "department": [10, 11]}) == 1
    assert heard.edit("update_user", userid="new", changes={"name": "改名"}) == 0
    assert heard.edit("update_user", userid="wang", changes={"userid": "wang2"}) == 1
    assert heard.edit("create_party", party={"id": 12, "name": "杭州", "parentid": 10}) == 1
    assert heard.edit("update_party", id=12, changes={"name": "杭州组"}) == 0
    assert heard.edit("update_party", id=12, changes={"parentid": 1}) == 1
    assert heard.edit("delete_party", id=12) == 1
    assert heard.edit("delete_user", userid="new") == 1
    events = {event["ChangeType"]: event for event in receiver.wait(6)}
    assert {row["app"] for row in deliveries(heard)} == {"assistant"}
    assert events["create_user"]["Department"] == "10,11"
    assert (events["update_user"]["UserID"], events["update_user"]["NewUserID"]) == ("wang", "wang2")
    assert (events["update_party"]["Id"], events["update_party"]["ParentId"]) == ("12", "1")
    assert not {"Name", "Position"} & events["create_user"].keys()
    assert heard.get("externalcontact/list", userid="wang2")["external_userid"] == ["wm1", "wm2"]
    assert heard.get("user/get", userid="wang")["errcode"] == 60111
    assert heard.get("user/get", userid="new")["errcode"] == 60111


def test_leader_change_is_reported(heard: Corp) -> None:
    assert heard.edit("update_user", userid="Li.Na", changes={"is_leader_in_dept": [1]}) == 1
    assert heard.edit("update_user", userid="wang", changes={"department": [11]}) == 1
    assert heard.get("user/get", userid="wang")["is_leader_in_dept"] == [0]
    assert heard.get("department/get", id=11)["department"]["department_leader"] == ["Li.Na"]


def test_failed_attempts_are_retried_with_the_same_nonce(heard: Corp, receiver: Receiver) -> None:
    heard.simulator.switch(callback_retry_seconds=0.01)
    receiver.statuses = [500, 204]
    heard.edit("mark", userid="Li.Na", external_userid="wm1", add=["客户价值/高净值"])
    assert len(receiver.wait(1)) == 1
    assert [query["nonce"] for query in receiver.queries] == [receiver.queries[0]["nonce"]] * 3
    assert wait_for_state(heard, "delivered")["attempts"] == 3


def test_three_failures_lose_the_event(heard: Corp, receiver: Receiver) -> None:
    heard.simulator.switch(callback_retry_seconds=0.01, callback_retry_repeats_nonce=False)
    receiver.statuses = [500, 500, 302, 500]
    heard.edit("mark", userid="Li.Na", external_userid="wm1", add=["客户价值/高净值"])
    lost = wait_for_state(heard, "failed")
    assert (lost["attempts"], lost["outcome"]) == (3, "302")
    assert receiver.wait(0) == []
    assert len({query["nonce"] for query in receiver.queries}) == 3


def test_no_answer_in_time_is_a_failure(heard: Corp, receiver: Receiver) -> None:
    heard.simulator.switch(callback_timeout_seconds=0.1, callback_retry_seconds=0.01, callback_attempts=2)
    receiver.stall_seconds = 0.4
    heard.edit("mark", userid="Li.Na", external_userid="wm1", add=["客户价值/高净值"])
    assert wait_for_state(heard, "failed")["outcome"] in (
        "TimeoutError",
        "ConnectionTimeoutError",
        "SocketTimeoutError",
    )
    time.sleep(0.5)


def test_saving_a_callback_url_asks_for_the_echo(heard: Corp, receiver: Receiver) -> None:
    assert heard.control("PUT", "apps/silent/callback", receiver.callback) == {"verified": True}
    receiver.echo_suffix = "\n"
    assert "echo" in heard.control("PUT", "apps/silent/callback", receiver.callback, expect=400)["detail"]
    heard.control("PUT", "apps/ghost/callback", receiver.callback, expect=404)
    heard.control("PUT", "apps/silent/callback", {**receiver.callback, "aes_key": "short"}, expect=400)


def test_impossible_edits_change_and_report_nothing(heard: Corp) -> None:
    before = heard.control("GET", "state-hash")
    for edit in (
        {"kind": "mark", "userid": "Li.Na", "external_userid": "wm1", "add": ["no/tag"]},
        {"kind": "rename_tag", "tag": "客户价值/普通", "name": "高净值"},
        {"kind": "create_group", "group": "x", "tags": []},
        {"kind": "add_contact", "userid": "wang", "external_userid": "wm1"},
        {"kind": "delete_party", "id": 10},
        {"kind": "nonsense"},
        {"kind": "delete_group", "group": "客户价值", "surplus": 1},
    ):
        heard.control("POST", "console", edit, expect=400)
    assert heard.control("GET", "state-hash") == before
    assert deliveries(heard) == []


def test_tags_put_into_another_order_are_one_event(corp: Corp, receiver: Receiver) -> None:
    receiver.corp_id = corp.corp_id
    corp.control("PUT", "apps/crm/callback", receiver.callback)
    assert corp.edit("shuffle_tags", group="客户价值", order=["普通", "高净值"]) == 1
    assert corp.edit("shuffle_tags", order=["应用组", "客户价值"]) == 1
    second, first = sorted(receiver.wait(2), key=lambda event: event["Id"])
    groups = {one["group_name"]: one for one in corp.post("externalcontact/get_corp_tag_list", {})["tag_group"]}
    assert (first["ChangeType"], first["Id"]) == ("shuffle", groups["客户价值"]["group_id"])
    assert (second["ChangeType"], second["Id"], "TagType" in second) == ("shuffle", "", False)
    assert [tag["name"] for tag in groups["客户价值"]["tag"]] == ["普通", "高净值"]
    assert list(groups)[:2] == ["应用组", "客户价值"]


def test_customers_added_by_half_and_transfers_that_fail(corp: Corp, receiver: Receiver) -> None:
    receiver.corp_id = corp.corp_id
    corp.control("PUT", "apps/crm/callback", receiver.callback)
    corp.edit("add_contact", userid="wang", external_userid="wm9", half=True)
    corp.edit("transfer_fail", userid="wang", external_userid="wm1", reason="customer_limit_exceed")
    half, failed = receiver.wait(2)
    assert (half["ChangeType"], half["ExternalUserID"]) == ("add_half_external_contact", "wm9")
    assert (failed["ChangeType"], failed["FailReason"]) == ("transfer_fail", "customer_limit_exceed")
