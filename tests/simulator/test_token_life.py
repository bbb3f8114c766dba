from __future__ import annotations

import pytest

from .driver import Corp, Simulator


def test_token_is_repeated_while_valid_and_dies_by_the_shifted_clock(corp: Corp) -> None:
    first = corp.gettoken(f"crm-{corp.corp_id}")
    assert (first["errcode"], first["expires_in"]) == (0, 7200)
    assert corp.gettoken(f"crm-{corp.corp_id}")["access_token"] == first["access_token"]
    assert corp.get("department/list")["errcode"] == 0
    corp.simulator.control("POST", "clock", {"shift_seconds": 7201})
    assert corp.get("department/list")["errcode"] == 42001
    second = corp.gettoken(f"crm-{corp.corp_id}")
    assert second["access_token"] != first["access_token"]


def test_new_token_may_end_the_old_one(corp: Corp) -> None:
    corp.token()
    corp.simulator.switch(gettoken_repeats_token=False)
    second = corp.gettoken(f"crm-{corp.corp_id}")["access_token"]
    assert second != corp.token()
    assert corp.get("department/list")["errcode"] == 0
    corp.simulator.switch(new_token_ends_old=True)
    third = corp.gettoken(f"crm-{corp.corp_id}")["access_token"]
    assert corp.get("department/list")["errcode"] == 40014
    corp.tokens["crm"] = third
    assert corp.get("department/list")["errcode"] == 0


@pytest.mark.parametrize("query", [{}, {"access_token": ""}])
def test_missing_token(simulator: Simulator, query: dict[str, str]) -> None:
    assert simulator.http.get("/cgi-bin/department/list", params=query).json()["errcode"] == 41001


def test_token_in_the_body_or_a_header_does_not_count(corp: Corp) -> None:
    api, token = "/cgi-bin/externalcontact/get_corp_tag_list", corp.token()
    headers = {"Authorization": f"Bearer {token}", "access_token": token}
    answer = corp.simulator.http.post(api, json={"access_token": token}, headers=headers).json()
    assert answer["errcode"] == 41001


def test_unknown_and_withdrawn_tokens(corp: Corp) -> None:
    good = corp.token()
    corp.tokens["crm"] = "nonsense"
    assert corp.get("department/list")["errcode"] == 40014
    corp.tokens["crm"] = good
    corp.control("DELETE", "tokens")
    assert corp.get("department/list")["errcode"] == 40014


def test_what_gettoken_misses(simulator: Simulator, corp: Corp) -> None:
    def code(**query: str) -> int:
        return int(simulator.http.get("/cgi-bin/gettoken", params=query).json()["errcode"])

    assert code(corpsecret="x") == 41002
    assert code(corpid=corp.corp_id) == 41004
    assert code(corpid="ww-nobody", corpsecret="x") == 40013


def test_fifth_wrong_secret_bans_the_address_for_an_hour(corp: Corp) -> None:
    assert [corp.gettoken("wrong")["errcode"] for _ in range(5)] == [40001] * 5
    assert corp.gettoken(f"crm-{corp.corp_id}")["errcode"] == 45009
    corp.simulator.control("POST", "clock", {"shift_seconds": 3590})
    assert corp.gettoken(f"crm-{corp.corp_id}")["errcode"] == 45009
    corp.simulator.control("POST", "clock", {"shift_seconds": 20})
    assert corp.gettoken(f"crm-{corp.corp_id}")["errcode"] == 0


def test_wrong_secrets_spread_over_hours_do_not_ban(corp: Corp) -> None:
    for _ in range(6):
        assert corp.gettoken("wrong")["errcode"] == 40001
        corp.simulator.control("POST", "clock", {"shift_seconds": 1000})


def test_ban_threshold_is_a_switch(corp: Corp) -> None:
    corp.simulator.switch(wrong_secrets_per_hour=1)
    assert [corp.gettoken("wrong")["errcode"] for _ in range(2)] == [40001, 45009]
    corp.simulator.control("DELETE", "bans")
    corp.simulator.switch(wrong_secrets_per_hour=0)
    assert [corp.gettoken("wrong")["errcode"] for _ in range(9)] == [40001] * 9


def test_reset_secret_ends_the_token(corp: Corp) -> None:
    corp.token()
    corp.control("PUT", "apps/crm/secret", {"secret": "fresh"})
    assert corp.get("department/list")["errcode"] == 40014
    assert corp.gettoken(f"crm-{corp.corp_id}")["errcode"] == 40001
    assert corp.gettoken("fresh")["errcode"] == 0


def test_trusted_addresses(corp: Corp) -> None:
    corp.simulator.switch(trusted_ips=["10.0.0.1"])
    assert corp.get("department/list")["errcode"] == 60020
    corp.simulator.switch(trusted_ips=["127.0.0.1"])
    assert corp.get("department/list")["errcode"] == 0


def test_assistant_may_neither_tag_nor_read_contacts(corp: Corp) -> None:
    assert corp.get("externalcontact/get_follow_user_list", app="assistant")["errcode"] == 48002
    for api in ("department/list", "department/get", "user/get", "user/list", "user/simplelist"):
        assert corp.get(api, app="assistant", userid="wang", id=1, department_id=1)["errcode"] == 48009
    assert corp.get("department/simplelist", app="assistant")["errcode"] == 0
    assert corp.post("user/list_id", {}, app="assistant")["errcode"] == 0
    assert corp.post("user/list_id", {})["errcode"] == 48002


def test_app_not_listed_for_customer_contact(simulator: Simulator) -> None:
    corp = simulator.load(apps=[{"name": "plain", "secret": "plain-secret", "customer_contact": False}])
    corp.tokens["plain"] = corp.gettoken("plain-secret")["access_token"]
    assert corp.get("externalcontact/get_follow_user_list", app="plain")["errcode"] == 48002
    assert corp.get("department/list", app="plain")["errcode"] == 0


def test_documented_frequency_limit(corp: Corp) -> None:
    corp.simulator.switch(calls_per_minute=2)
    assert [corp.get("department/list")["errcode"] for _ in range(3)] == [0, 0, 45009]
    assert corp.get("department/simplelist")["errcode"] == 0
    corp.simulator.control("POST", "clock", {"shift_seconds": 61})
    assert corp.get("department/list")["errcode"] == 0


def test_a_secret_of_another_corp(corp: Corp) -> None:
    other = corp.simulator.load()
    assert corp.gettoken(f"crm-{other.corp_id}")["errcode"] == 40001
    corp.simulator.switch(other_corps_secret_code=40091)
    assert corp.gettoken(f"crm-{other.corp_id}")["errcode"] == 40091


def test_debug_mode_takes_five_calls_a_minute(corp: Corp) -> None:
    codes = [corp.get("department/list", debug=1)["errcode"] for _ in range(6)]
    assert codes == [0] * 5 + [45009]
    assert corp.get("department/list")["errcode"] == 0


def test_where_callbacks_come_from(corp: Corp) -> None:
    assert corp.get("getcallbackip")["ip_list"] == ["127.0.0.1"]
