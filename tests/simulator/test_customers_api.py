from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from .driver import Corp, Simulator

BATCH, MARK = "externalcontact/batch/get_by_user", "externalcontact/mark_tag"


def test_list(corp: Corp) -> None:
    assert corp.get("externalcontact/list", userid="WANG")["external_userid"] == ["wm1", "wm2"]
    assert corp.get("externalcontact/list", userid="back")["errcode"] == 84084
    assert corp.get("externalcontact/list", userid="ghost")["errcode"] == 60111


def test_get_shows_each_followers_own_tags(corp: Corp) -> None:
    answer = corp.get("externalcontact/get", external_userid="wm1")
    assert answer["external_contact"]["name"] == "客户一"
    followers = {follow["userid"]: follow for follow in answer["follow_user"]}
    tag = {"group_name": "客户价值", "tag_name": "普通", "tag_id": corp.tags["客户价值/普通"], "type": 1}
    assert followers["Li.Na"]["tags"] == [tag]
    assert [tag["tag_name"] for tag in followers["wang"]["tags"]] == ["a/b"]
    assert followers["wang"]["createtime"] == 1700000000
    assert "next_cursor" not in answer
    personal = corp.get("externalcontact/get", external_userid="wm2")["follow_user"][0]["tags"]
    assert personal == [{"group_name": "", "tag_name": "私人", "type": 2}]
    assert corp.get("externalcontact/get", external_userid="ghost")["errcode"] == 84061


def test_get_pages_beyond_500_followers(simulator: Simulator) -> None:
    people = [{"userid": f"u{number}"} for number in range(501)]
    follows = [{"userid": person["userid"], "external_userid": "wm1"} for person in people]
    corp = simulator.load(employees=people, follows=follows)
    first = corp.get("externalcontact/get", external_userid="wm1")
    second = corp.get("externalcontact/get", external_userid="wm1", cursor=first["next_cursor"])
    assert (len(first["follow_user"]), len(second["follow_user"])) == (500, 1)
    assert "next_cursor" not in second
    assert corp.get("externalcontact/get", external_userid="wm1", cursor="?")["errcode"] == 50100


def test_batch_shape(corp: Corp) -> None:
    answer = corp.post(BATCH, {"userid_list": ["wang", "Li.Na"]})
    assert answer["next_cursor"] == ""
    info = {
        (item["follow_info"]["userid"], item["external_contact"]["external_userid"]): item["follow_info"]
        for item in answer["external_contact_list"]
    }
    assert info["Li.Na", "wm1"]["tag_id"] == [corp.tags["客户价值/普通"]]
    assert info["wang", "wm1"]["tag_id"] == [corp.tags["来源/渠道/a/b"]]
    assert info["wang", "wm2"]["tag_id"] == []
    assert "tags" not in info["wang", "wm2"]


def test_batch_pages_2400_follows_loaded_quickly(simulator: Simulator) -> None:
    follows = [{"userid": "wang", "external_userid": f"wm{n}", "tags": ["客户价值/普通"]} for n in range(2400)]
    begun = time.monotonic()
    corp = simulator.load(follows=follows)
    assert time.monotonic() - begun < 3
    seen, cursor, pages = set(), "", 0
    while pages == 0 or cursor:
        answer = corp.post(BATCH, {"userid_list": ["wang"], "cursor": cursor, "limit": 100})
        seen |= {item["external_contact"]["external_userid"] for item in answer["external_contact_list"]}
        cursor, pages = answer["next_cursor"], pages + 1
    assert (len(seen), pages) == (2400, 24)


def _pages(corp: Corp, userids: list[str], limit: int) -> Iterator[list[tuple[str, str]]]:
    cursor = ""
    while True:
        answer = corp.post(BATCH, {"userid_list": userids, "cursor": cursor, "limit": limit})
        assert answer["errcode"] == 0
        yield [
            (item["follow_info"]["userid"], item["external_contact"]["external_userid"])
            for item in answer["external_contact_list"]
        ]
        if not (cursor := answer["next_cursor"]):
            return


def test_pages_go_on_from_one_employee_to_the_next(simulator: Simulator) -> None:
    follows = [{"userid": ("wang", "Li.Na")[n % 2], "external_userid": f"wm{n}"} for n in range(14)]
    corp = simulator.load(follows=follows)
    for limit in (1, 3, 7, 14):  # within, across and at the border between the two
        pages = list(_pages(corp, ["WANG", "li.na", "wang"], limit))
        assert [len(page) for page in pages] == [limit] * (14 // limit) + ([14 % limit] if 14 % limit else [])
        assert sorted(pair for page in pages for pair in page) == sorted((f["userid"], f["external_userid"]) for f in follows)


def test_a_follow_that_ends_between_two_pages_takes_no_other_with_it(simulator: Simulator) -> None:
    follows = [{"userid": ("wang", "Li.Na")[n % 2], "external_userid": f"wm{n}"} for n in range(6)]
    corp = simulator.load(follows=follows)
    pages = _pages(corp, ["wang", "Li.Na"], 2)
    seen = next(pages)
    corp.edit("del_contact", userid=seen[-1][0], external_userid=seen[-1][1])  # the cursor stands on it
    assert sorted(seen + [pair for page in pages for pair in page]) == sorted(
        (f["userid"], f["external_userid"]) for f in follows
    )


def test_a_cursor_of_our_own_making_is_refused(corp: Corp) -> None:
    for cursor in ("c1z", "cz", "z77616e67", "c1zff", "c1z7", "x"):
        assert corp.post(BATCH, {"userid_list": ["wang"], "cursor": cursor})["errcode"] == 50100


def test_batch_limits(corp: Corp) -> None:
    assert corp.post(BATCH, {"userid_list": []})["errcode"] == 40031
    assert corp.post(BATCH, {"userid_list": ["wang"] * 101})["errcode"] == 40032
    assert corp.post(BATCH, {"userid_list": ["wang"], "limit": 101})["errcode"] == 40058
    assert corp.post(BATCH, {"userid_list": ["wang"], "cursor": "x"})["errcode"] == 50100
    assert corp.post(BATCH, {"userid_list": ["ghost"]})["errcode"] == 60111
    assert corp.post(BATCH, {"userid": "wang"})["errcode"] == 40031
    corp.simulator.switch(batch_accepts_single_userid=True)
    assert corp.post(BATCH, {"userid": "wang"})["errcode"] == 0


def test_marks_are_per_follow(corp: Corp) -> None:
    high, low = corp.tags["客户价值/高净值"], corp.tags["客户价值/普通"]
    assert corp.mark("LI.NA", "wm1", [high], [low]) == 0
    assert corp.held("Li.Na", "wm1") == ["客户价值/高净值"]
    assert corp.held("wang", "wm1") == ["来源/渠道/a/b"]
    assert corp.mark("Li.Na", "wm1", [high], [low]) == 0
    held = corp.control("GET", "follows/Li.Na/wm1")
    assert held == {"tag_ids": [high], "tags": ["客户价值/高净值"]}


def test_one_bad_tag_refuses_the_whole_call(corp: Corp) -> None:
    assert corp.mark("Li.Na", "wm1", [corp.tags["客户价值/高净值"], "etghost"]) == 40068
    assert corp.held("Li.Na", "wm1") == ["客户价值/普通"]
    corp.simulator.switch(mark_atomic=False)
    assert corp.mark("Li.Na", "wm1", [corp.tags["客户价值/高净值"], "etghost"]) == 40068
    assert corp.held("Li.Na", "wm1") == ["客户价值/高净值", "客户价值/普通"]


def test_tags_of_others_may_be_marked_but_not_those_of_another_corp(simulator: Simulator, corp: Corp) -> None:
    assert corp.mark("wang", "wm2", [corp.tags["应用组/自建"]], app="other") == 0
    assert corp.mark("wang", "wm2", [simulator.load().tags["应用组/自建"]]) == 40068


def test_what_mark_tag_refuses(corp: Corp) -> None:
    tag = [corp.tags["客户价值/普通"]]
    assert corp.mark("Li.Na", "wm2", tag) == 84061
    assert corp.mark("Li.Na", "wm-ghost", tag) == 84061
    assert corp.mark("ghost", "wm1", tag) == 60111
    assert corp.mark("", "wm1", tag) == 40003
    assert corp.mark("back", "wm1", tag) == 84084
    assert corp.mark("Li.Na", "", tag) == 41035
    assert corp.mark("Li.Na", "a b", tag) == 40096
    assert corp.mark("Li.Na", "wm1") == 40058
    assert corp.mark("Li.Na", "wm1", "et1") == 40058
    assert corp.mark("Li.Na", "wm1", [1]) == 40058
    corp.simulator.switch(max_tags_on_customer=1)
    assert corp.mark("Li.Na", "wm1", [corp.tags["客户价值/高净值"]]) == 40144
    assert corp.held("Li.Na", "wm1") == ["客户价值/普通"]


def test_two_calls_for_one_pair_at_once(corp: Corp) -> None:
    corp.token()
    corp.simulator.switch(mark_seconds=0.3)
    tags = [corp.tags["客户价值/高净值"], corp.tags["来源/渠道/直播"]]
    with ThreadPoolExecutor(3) as pool:
        same = [pool.submit(corp.mark, userid, "wm1", [tag]) for userid, tag in zip(("Li.Na", "LI.na"), tags, strict=True)]
        elsewhere = pool.submit(corp.mark, "wang", "wm1", [tags[0]])
        assert sorted(call.result() for call in same) == [0, 45035]
        assert elsewhere.result() == 0
    assert len(corp.held("Li.Na", "wm1")) == 2
    assert corp.mark("Li.Na", "wm1", tags) == 0


def test_parallel_calls_of_one_api(corp: Corp) -> None:
    corp.token()
    corp.simulator.switch(parallel_calls=1, mark_seconds=0.3)
    tag = [corp.tags["客户价值/高净值"]]
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(corp.mark, userid, "wm1", tag) for userid in ("Li.Na", "wang")]
        assert sorted(call.result() for call in calls) == [0, 45033]


def test_corps_never_meet(simulator: Simulator, corp: Corp) -> None:
    other = simulator.load(follows=[])
    assert other.mark("wang", "wm1", [other.tags["客户价值/普通"]]) == 84061
    assert other.get("externalcontact/get", external_userid="wm1")["errcode"] == 84061
    assert len(other.calls("mark_tag")) == 1
    assert corp.calls("mark_tag") == []
