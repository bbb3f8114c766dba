from __future__ import annotations

from typing import Any

from .driver import Corp

LIST, ADD = "externalcontact/get_corp_tag_list", "externalcontact/add_corp_tag"
EDIT, DELETE = "externalcontact/edit_corp_tag", "externalcontact/del_corp_tag"


def names(answer: dict[str, Any]) -> dict[str, list[str]]:
    return {group["group_name"]: [tag["name"] for tag in group["tag"]] for group in answer["tag_group"]}


def group_id(corp: Corp, name: str) -> str:
    return next(str(g["group_id"]) for g in corp.post(LIST, {})["tag_group"] if g["group_name"] == name)


def test_whole_library_and_both_filters(corp: Corp) -> None:
    whole = corp.post(LIST, {"tag_id": [], "group_id": []})
    assert names(whole) == {"客户价值": ["高净值", "普通"], "来源/渠道": ["直播", "a/b"], "应用组": ["自建"]}
    assert set(whole["tag_group"][0]) == {"group_id", "group_name", "create_time", "order", "tag"}
    assert set(whole["tag_group"][0]["tag"][0]) == {"id", "name", "create_time", "order"}
    by_tag = corp.post(LIST, {"tag_id": [corp.tags["客户价值/普通"]]})
    assert names(by_tag) == {"客户价值": ["普通"]}
    assert by_tag["tag_group"][0]["deleted"] is False
    assert by_tag["tag_group"][0]["tag"][0]["deleted"] is False
    both = corp.post(LIST, {"tag_id": [corp.tags["客户价值/普通"]], "group_id": [group_id(corp, "来源/渠道")]})
    assert names(both) == {"来源/渠道": ["直播", "a/b"]}
    assert "deleted" not in both["tag_group"][0]
    assert both["tag_group"][0]["tag"][0]["deleted"] is False


def test_new_group_with_doubles_and_order(corp: Corp) -> None:
    tags = [{"name": "低", "order": 1}, {"name": "高", "order": 9}, {"name": "低"}]
    made = corp.post(ADD, {"group_name": "新组", "order": 2**32 - 1, "tag": tags})["tag_group"]
    assert (made["group_name"], made["order"]) == ("新组", 2**32 - 1)
    assert [tag["name"] for tag in made["tag"]] == ["高", "低"]
    assert next(iter(corp.library())) != "新组"
    assert next(iter(names(corp.post(LIST, {})))) == "新组"


def test_existing_group_by_id_and_by_name(corp: Corp) -> None:
    by_id = {"group_id": group_id(corp, "客户价值"), "group_name": "ignored", "tag": [{"name": "成长型"}]}
    assert corp.post(ADD, by_id)["tag_group"]["group_name"] == "客户价值"
    by_name = corp.post(ADD, {"group_name": "客户价值", "tag": [{"name": "沉睡"}]})["tag_group"]
    assert [tag["name"] for tag in by_name["tag"]] == ["沉睡"]
    assert corp.library()["客户价值"] == ["高净值", "普通", "成长型", "沉睡"]
    corp.simulator.switch(add_answers_whole_group=True)
    whole = corp.post(ADD, {"group_name": "客户价值", "tag": [{"name": "新"}]})["tag_group"]
    assert len(whole["tag"]) == 5


def test_twin_refuses_the_whole_addition(corp: Corp) -> None:
    twin = {"group_name": "客户价值", "tag": [{"name": "新"}, {"name": "普通"}]}
    assert corp.post(ADD, twin)["errcode"] == 40071
    assert corp.library()["客户价值"] == ["高净值", "普通"]


def test_what_an_addition_may_not_be(corp: Corp) -> None:
    def code(**body: object) -> int:
        return int(corp.post(ADD, body)["errcode"])

    assert code(group_name="空组", tag=[]) == 40058
    assert code(tag=[{"name": "x"}]) == 40058
    assert code(group_id="etghost", tag=[{"name": "x"}]) == 40068
    assert code(group_name="g" * 31, tag=[{"name": "x"}]) == 40072
    assert code(group_name="g", tag=[{"name": "x" * 31}]) == 40072
    assert code(group_name="g", tag=[{"name": ""}]) == 40072
    assert code(group_name="g", tag=[{"name": "x", "order": 2**32}]) == 40058
    assert code(group_name="g", tag=[{"name": "x", "order": -1}]) == 40058
    corp.simulator.switch(max_tags_per_add=1)
    assert code(group_name="g", tag=[{"name": "x"}, {"name": "y"}]) == 40058
    corp.simulator.switch(max_corp_tags=5)
    assert code(group_name="g", tag=[{"name": "x"}]) == 40126
    assert "g" not in corp.library()


def test_only_the_maker_edits_and_deletes(corp: Corp) -> None:
    own, console = corp.tags["应用组/自建"], corp.tags["客户价值/普通"]
    assert corp.post(EDIT, {"id": own, "name": "改名"})["errcode"] == 0
    assert corp.post(EDIT, {"id": console, "name": "改名"})["errcode"] == 81011
    assert corp.post(EDIT, {"id": own, "name": "x"}, app="other")["errcode"] == 81011
    assert corp.post(DELETE, {"tag_id": [own, console]})["errcode"] == 81011
    assert corp.post(DELETE, {"group_id": [group_id(corp, "应用组")]}, app="other")["errcode"] == 81011
    corp.simulator.switch(foreign_tag_code=301002)
    assert corp.post(EDIT, {"id": console, "name": "改名"})["errcode"] == 301002
    assert corp.library() == {"客户价值": ["高净值", "普通"], "来源/渠道": ["直播", "a/b"], "应用组": ["改名"]}


def test_a_group_holding_a_foreign_tag_is_not_deleted(corp: Corp) -> None:
    corp.edit("create_tag", group="应用组", name="控制台")
    assert corp.post(DELETE, {"group_id": [group_id(corp, "应用组")]})["errcode"] == 81011


def test_foreign_group_may_be_closed(corp: Corp) -> None:
    corp.simulator.switch(foreign_group_accepts_tags=False)
    assert corp.post(ADD, {"group_name": "客户价值", "tag": [{"name": "x"}]})["errcode"] == 81011
    assert corp.post(ADD, {"group_name": "应用组", "tag": [{"name": "x"}]})["errcode"] == 0


def test_renaming_to_a_sibling(corp: Corp) -> None:
    made = corp.post(ADD, {"group_name": "应用组", "tag": [{"name": "二"}]})["tag_group"]
    assert corp.post(EDIT, {"id": made["tag"][0]["id"], "name": "自建"})["errcode"] == 40071
    assert corp.post(EDIT, {"id": made["group_id"], "name": "客户价值"})["errcode"] == 40071
    assert corp.post(EDIT, {"id": made["group_id"], "name": "应用组", "order": 3})["errcode"] == 0
    assert corp.post(EDIT, {"id": "etghost", "name": "x"})["errcode"] == 40068


def test_last_tag_takes_its_group_along_and_leaves_the_customers(corp: Corp) -> None:
    own, group = corp.tags["应用组/自建"], group_id(corp, "应用组")
    assert corp.mark("wang", "wm2", [own]) == 0
    assert corp.post(DELETE, {"tag_id": [own]})["errcode"] == 0
    assert "应用组" not in names(corp.post(LIST, {}))
    assert "应用组" not in corp.library()
    assert corp.held("wang", "wm2") == []
    assert corp.mark("wang", "wm2", [own]) == 40068
    gone = corp.post(LIST, {"tag_id": [own]})["tag_group"][0]
    assert (gone["group_id"], gone["deleted"], gone["tag"][0]["deleted"]) == (group, True, True)
    assert corp.post(DELETE, {"tag_id": [own]})["errcode"] == 40068
    again = corp.post(ADD, {"group_name": "应用组", "tag": [{"name": "自建"}]})["tag_group"]
    assert again["group_id"] != group


def test_deleting_a_group_and_nothing(corp: Corp) -> None:
    assert corp.post(DELETE, {"group_id": [group_id(corp, "应用组")]})["errcode"] == 0
    assert corp.post(DELETE, {"tag_id": [], "group_id": []})["errcode"] == 40058
    assert corp.post(LIST, {"tag_id": "et"})["errcode"] == 40058
