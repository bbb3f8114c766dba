from __future__ import annotations

import pytest

from tagwarden.simulator.gateway import APIS

from .driver import Corp, Simulator


def test_department_list_is_recursive_and_names_leaders(corp: Corp) -> None:
    everything = corp.get("department/list")["department"]
    assert [row["id"] for row in everything] == [1, 10, 11]
    below = corp.get("department/list", id=10)["department"]
    assert [(row["id"], row["parentid"], row["department_leader"]) for row in below] == [
        (10, 1, ["wang"]),
        (11, 10, []),
    ]


def test_department_simplelist_and_get(corp: Corp) -> None:
    assert corp.get("department/simplelist", id=11)["department_id"] == [{"id": 11, "parentid": 10, "order": 4}]
    assert corp.get("department/get", id=10)["department"]["name"] == "华东"
    assert corp.get("department/get", id=99)["errcode"] == 60003
    assert corp.get("department/list", id=99)["errcode"] == 60003


def test_user_lists_hold_direct_members_only(corp: Corp) -> None:
    assert [user["userid"] for user in corp.get("user/list", department_id=10)["userlist"]] == ["wang"]
    simple = corp.get("user/simplelist", department_id=11)["userlist"]
    assert [set(user) for user in simple] == [{"userid", "name", "department", "open_userid"}] * 2
    assert corp.get("user/list", department_id=99)["errcode"] == 60003


def test_user_get_ignores_case_and_hides_what_is_not_wecoms(corp: Corp) -> None:
    user = corp.get("user/get", userid="LI.NA")
    assert (user["userid"], user["department"], user["is_leader_in_dept"], user["status"]) == ("Li.Na", [11], [0], 1)
    assert not {"roles", "modules", "mobile", "customer_contact"} & user.keys()
    assert "mobile" not in corp.get("user/get", userid="wang")
    assert corp.get("user/get", userid="nobody")["errcode"] == 60111
    assert corp.get("user/get", userid="bad id!")["errcode"] == 40003


def test_user_list_id_pages_memberships(corp: Corp) -> None:
    first = corp.post("user/list_id", {"limit": 3}, app="assistant")
    second = corp.post("user/list_id", {"limit": 3, "cursor": first["next_cursor"]}, app="assistant")
    assert len(first["dept_user"]) == 3
    assert second["dept_user"] == [{"userid": "wang", "department": 11}]
    assert second["next_cursor"] == ""


def test_follow_user_list(corp: Corp) -> None:
    assert corp.get("externalcontact/get_follow_user_list")["follow_user"] == ["Li.Na", "wang"]


def test_unknown_api_and_wrong_method(corp: Corp) -> None:
    assert corp.simulator.http.get("/cgi-bin/no/such").status_code == 404
    assert corp.get("externalcontact/mark_tag")["errcode"] == 40058
    assert corp.post("department/list", {})["errcode"] == 40058


@pytest.mark.parametrize("api", sorted(APIS))
def test_odd_parameters_get_a_code_and_never_an_http_error(corp: Corp, api: str) -> None:
    values: list[object] = [None, 0, -1, True, "", "x" * 99, "\u0000", [], [None], [{}], {}, {"a": []}]
    for odd in values:
        keys = (
            "userid",
            "external_userid",
            "id",
            "group_name",
            "name",
            "order",
            "limit",
            "cursor",
            "agentid",
            "touser",
        )
        lists = ("add_tag", "tag_id", "group_id", "userid_list", "tag", "template_card", "response_code", "button")
        body = {"msgtype": "template_card", **dict.fromkeys((*keys, *lists), odd)}
        if APIS[api].method == "POST":
            assert isinstance(corp.post(api, body)["errcode"], int)
        else:
            assert isinstance(corp.get(api, userid=odd, id=odd, cursor=odd, department_id=odd)["errcode"], int)


def test_malformed_json(corp: Corp) -> None:
    for raw in (b"{", b"", b"[]", b"\xff"):
        query = {"access_token": corp.token()}
        api = "/cgi-bin/externalcontact/get_corp_tag_list"
        answer = corp.simulator.http.post(api, params=query, content=raw).json()
        assert answer["errcode"] == 40058
        assert "Warning: wrong json format." in answer["errmsg"]


def test_setup_that_contradicts_itself_changes_nothing(simulator: Simulator, corp: Corp) -> None:
    before = corp.control("GET", "state-hash")
    for broken in (
        {"departments": [{"id": 5, "parentid": 6}, {"id": 6, "parentid": 5}]},
        {"employees": [{"userid": "x", "department": [404]}]},
        {"follows": [{"userid": "ghost", "external_userid": "wm1"}]},
        {
            "departments": [{"id": 1}],
            "employees": [{"userid": "x"}],
            "follows": [{"userid": "x", "external_userid": "e", "tags": ["no/tag"]}],
        },
    ):
        body = {"corp_id": corp.corp_id, **broken}
        assert "detail" in simulator.control("POST", "corps", body, expect=400)
    assert corp.control("GET", "state-hash") == before
