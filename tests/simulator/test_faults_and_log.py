from __future__ import annotations

import time

import httpx
import pytest

from .driver import Corp

MARK = "externalcontact/mark_tag"


def queue(corp: Corp, kind: str, **more: object) -> None:
    corp.control("POST", "faults", {"api": "mark_tag", "kind": kind, **more})


def body(corp: Corp) -> dict[str, object]:
    return {"userid": "Li.Na", "external_userid": "wm1", "add_tag": [corp.tags["客户价值/高净值"]], "remove_tag": []}


def marked(corp: Corp) -> bool:
    return "客户价值/高净值" in corp.held("Li.Na", "wm1")


def test_errcode_a_few_times_on_one_api(corp: Corp) -> None:
    queue(corp, "errcode", code=45009, times=2)
    tag = [corp.tags["客户价值/高净值"]]
    assert corp.get("department/list")["errcode"] == 0
    assert [corp.mark("Li.Na", "wm1", tag) for _ in range(2)] == [45009, 45009]
    assert not marked(corp)
    assert corp.mark("Li.Na", "wm1", tag) == 0
    assert marked(corp)


def test_errcode_after_the_effect(corp: Corp) -> None:
    queue(corp, "errcode", code=-1, effect=True)
    assert corp.post(MARK, body(corp))["errcode"] == -1
    assert marked(corp)


def test_http_and_html(corp: Corp) -> None:
    queue(corp, "http", status=502)
    queue(corp, "html")
    assert corp.raw_post(MARK, body(corp)).status_code == 502
    page = corp.raw_post(MARK, body(corp))
    assert (page.status_code, page.text[:6]) == (200, "<html>")
    assert not marked(corp)


def test_truncated_and_empty_answers_hide_an_effect(corp: Corp) -> None:
    queue(corp, "truncated")
    half = corp.raw_post(MARK, body(corp))
    assert half.text.startswith('{"errcode":0')
    assert not half.text.endswith("}")
    assert marked(corp)
    queue(corp, "empty", effect=False)
    assert corp.raw_post(MARK, {**body(corp), "remove_tag": [corp.tags["客户价值/普通"]]}).content == b""
    assert corp.held("Li.Na", "wm1") == ["客户价值/高净值", "客户价值/普通"]


@pytest.mark.parametrize("effect", [True, False])
def test_reset_with_and_without_effect(corp: Corp, effect: bool) -> None:
    queue(corp, "reset", effect=effect)
    with pytest.raises(httpx.ReadError, match="reset by peer"):
        corp.raw_post(MARK, body(corp))
    assert marked(corp) is effect
    assert corp.post(MARK, body(corp))["errcode"] == 0


def test_slow_call_takes_effect_and_holds_its_pair(corp: Corp) -> None:
    corp.token()
    queue(corp, "slow", seconds=0.4)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{corp.simulator.base}/cgi-bin/{MARK}",
            params={"access_token": corp.token()},
            json=body(corp),
            timeout=0.1,
            trust_env=False,
        )
    assert marked(corp)
    assert corp.post(MARK, body(corp))["errcode"] == 45035
    time.sleep(0.5)
    assert corp.post(MARK, body(corp))["errcode"] == 0


def test_faults_for_gettoken_for_all_and_deleted(corp: Corp) -> None:
    corp.control("POST", "faults", [{"api": "gettoken", "kind": "errcode", "code": -1}])
    assert corp.gettoken(f"crm-{corp.corp_id}")["errcode"] == -1
    corp.control("POST", "faults", {"kind": "errcode", "code": 45033, "times": -1})
    corp.tokens["crm"] = "unknown"
    assert corp.get("department/list")["errcode"] == 40014
    corp.control("DELETE", "faults")
    del corp.tokens["crm"]
    assert corp.get("department/list")["errcode"] == 0


def test_misspelt_faults_are_refused(corp: Corp) -> None:
    corp.control("POST", "faults", {"kind": "errcode", "cod": 1}, expect=400)
    corp.control("POST", "faults", {"kind": "melt"}, expect=400)


def test_every_call_is_logged_on_the_monotonic_clock(corp: Corp) -> None:
    before = time.monotonic_ns()
    corp.token()
    corp.mark("Li.Na", "wm1", [corp.tags["客户价值/高净值"]])
    corp.mark("Li.Na", "wm1", ["etghost"])
    corp.get("user/get", userid="ghost", app="other")
    calls = corp.calls(since=before)
    assert [(call["api"], call["app"], call["code"]) for call in calls] == [
        ("gettoken", "crm", 0),
        (MARK, "crm", 0),
        (MARK, "crm", 40068),
        ("gettoken", "other", 0),
        ("user/get", "other", 60111),
    ]
    assert all(before < call["at"] <= call["answered"] < time.monotonic_ns() for call in calls)
    assert calls[1]["body"] == body(corp)
    assert corp.calls("mark_tag") == calls[1:3]
    assert corp.calls(since=calls[2]["at"]) == calls[3:]
    assert calls[0]["body"] is None
    assert corp.token() not in str(calls)


def test_refused_and_faulty_calls_are_logged_too(corp: Corp) -> None:
    corp.token()
    queue(corp, "http", status=500)
    corp.raw_post(MARK, body(corp))
    corp.gettoken("wrong")
    corp.control("DELETE", "tokens")
    corp.get("department/list")
    corp.simulator.http.get("/cgi-bin/no/such", params={"access_token": corp.token()})
    assert [(call["api"], call["fault"], call["app"], call["code"]) for call in corp.calls()[1:]] == [
        (MARK, "http", "crm", None),
        ("gettoken", None, None, 40001),
        ("department/list", None, "crm", 40014),
        ("no/such", None, "crm", None),
    ]


def test_strays_are_logged_apart(corp: Corp) -> None:
    before = time.monotonic_ns()
    corp.simulator.http.get("/cgi-bin/externalcontact/list", params={"access_token": "nobody-knows-it"})
    corp.simulator.http.get("/cgi-bin/gettoken", params={"corpid": "ww-nobody", "corpsecret": "x"})
    strays = corp.simulator.control("GET", f"strays?since={before}")["calls"]
    assert [(call["api"], call["code"]) for call in strays] == [("externalcontact/list", 40014), ("gettoken", 40013)]
    assert corp.calls() == []


def test_log_and_window_do_not_follow_the_shifted_clock(corp: Corp) -> None:
    start = time.monotonic_ns()
    corp.token()
    for _ in range(4):
        corp.get("department/simplelist")
        corp.simulator.control("POST", "clock", {"shift_seconds": 61})
    assert corp.control("GET", f"window?seconds=60&since={start}") == {"worst": 5, "calls": 5}
    assert corp.control("GET", f"window?seconds=0.000001&since={start}") == {"worst": 1, "calls": 5}
    assert corp.control("GET", "window?seconds=60&api=simplelist") == {"worst": 4, "calls": 4}


def test_unknown_switches_and_corps(corp: Corp) -> None:
    corp.simulator.control("PATCH", "switches", {"mark_atomicc": True}, expect=400)
    corp.simulator.control("PATCH", "switches", {"mark_atomic": "yes"}, expect=400)
    corp.simulator.control("GET", "corps/ghost/calls", expect=404)
    assert corp.simulator.control("GET", "health")["status"] == "ok"
