"""A group's tags as a tree: three levels, no circles, no tag in use below a retired one; and who may plant in it."""

from __future__ import annotations

import asyncio
import random
from uuid import UUID, uuid4

import pytest

from support.company import Companies
from support.service import Service
from tagwarden.catalog import repository
from tagwarden.catalog.tree import Tree

from .people import Library, a_library, refused


async def forest(library: Library) -> None:
    """advice: top → middle → leaf, and a second root with a child."""
    await library.made("top")
    await library.made("middle", parent_id=library.tag("advice/top"))
    await library.made("leaf", parent_id=library.tag("advice/middle"))
    await library.made("root")
    await library.made("child", parent_id=library.tag("advice/root"))


async def test_three_levels_and_no_fourth(library: Library) -> None:
    await forest(library)
    shown = {tag["name"]: tag for tag in (await library.groups())["advice"]["tags"]}
    assert {name: shown[name]["depth"] for name in ("top", "middle", "leaf", "root", "child", "keen")} == {
        "top": 1,
        "middle": 2,
        "leaf": 3,
        "root": 1,
        "child": 2,
        "keen": 1,
    }
    assert shown["leaf"]["parent_id"] == library.tag("advice/middle")
    facts = refused(await library.create("deep", parent_id=library.tag("advice/leaf")), 422, "tree_too_deep")["facts"]
    assert (facts["levels"], facts["limit"]) == (4, 3)
    facts = refused(await library.patch("advice/root", parent_id=library.tag("advice/middle")), 422, "tree_too_deep")["facts"]
    assert facts["levels"] == 4, "the whole subtree that moves is counted"
    assert (await library.patch("advice/child", parent_id=library.tag("advice/middle"))).status_code == 200
    assert (await library.patch("advice/middle", parent_id=None)).json()["depth"] == 1
    assert (await library.patch("advice/root", parent_id=library.tag("advice/middle"))).json()["depth"] == 2
    assert (await library.shown("advice/leaf"))["depth"] == 2


async def test_no_circle_and_no_other_group(library: Library) -> None:
    await forest(library)
    for below in ("top", "middle", "leaf"):
        refused(await library.patch("advice/top", parent_id=library.tag(f"advice/{below}")), 422, "tree_cycle")
    refused(await library.patch("advice/top", parent_id=library.tag("activity/hot")), 404, "tag_unknown")
    refused(await library.patch("advice/top", parent_id=str(uuid4())), 404, "tag_unknown")
    refused(await library.create("new", parent_id=library.tag("activity/hot")), 404, "tag_unknown")
    assert (await library.shown("advice/top"))["parent_id"] is None


async def test_what_is_left_out_stays(library: Library) -> None:
    await forest(library)
    assert (await library.patch("advice/leaf", meaning="words", ends_on="2030-01-31", sort=7)).status_code == 200
    leaf = await library.shown("advice/leaf")
    assert (leaf["parent_id"], leaf["ends_on"], leaf["sort"]) == (library.tag("advice/middle"), "2030-01-31", 7)
    assert (await library.patch("advice/leaf", name="leaves")).status_code == 200
    library.company.tags["advice/leaves"] = library.company.tags["advice/leaf"]
    leaf = await library.shown("advice/leaves")
    assert (leaf["ends_on"], leaf["meaning"]) == ("2030-01-31", "words")
    assert (await library.patch("advice/leaves", ends_on=None)).json()["ends_on"] is None
    await library.company.own_library()
    assert (await library.patch("advice/keen", sort=9)).status_code == 200
    assert (await library.groups())["advice"]["tags"][0]["name"] == "keen", "larger stands first"
    refused(await library.patch("advice/keen", sort=2**32), 422, "request_invalid")


async def test_a_tag_in_use_never_stands_below_a_retired_one(library: Library) -> None:
    await forest(library)
    facts = refused(await library.patch("advice/middle", retired=True), 409, "tag_has_children")["facts"]
    assert (facts["count"], facts["children"]) == (1, "leaf")
    refused(await library.delete("advice/middle"), 409, "tag_has_children")
    other_group = {"group_id": library.group("activity")}
    refused(
        await library.web.call("admin", "POST", f"/v1/tags/{library.tag('advice/middle')}/move", other_group, If_Match="*"),
        409,
        "tag_has_children",
    )
    merge = {"into": library.tag("advice/keen")}
    refused(
        await library.web.call("admin", "POST", f"/v1/tags/{library.tag('advice/middle')}/merge", merge, If_Match="*"),
        409,
        "tag_has_children",
    )
    for path in ("advice/leaf", "advice/middle"):
        assert (await library.patch(path, retired=True)).status_code == 200
    refused(await library.delete("advice/middle"), 409, "tag_has_children")
    refused(await library.create("new", parent_id=library.tag("advice/middle")), 409, "parent_retired")
    refused(await library.patch("advice/keen", parent_id=library.tag("advice/middle")), 409, "parent_retired")
    refused(await library.patch("advice/leaf", retired=False), 409, "parent_retired")
    assert (await library.patch("advice/leaf", retired=False, parent_id=library.tag("advice/top"))).status_code == 200
    assert (await library.delete("advice/middle")).status_code == 204
    assert (await library.shown("advice/leaf"))["depth"] == 2


async def test_the_place_of_a_value_tag_is_not_held_its_end_is(library: Library) -> None:
    await library.company.own_library()
    moved = await library.patch("value/low", parent_id=library.tag("value/mid"))
    assert (moved.status_code, moved.json()["depth"]) == (200, 2)
    held = await library.patch("value/low", ends_on="2020-01-01", parent_id=None, sort=3)
    assert held.status_code == 202
    assert (await library.shown("value/low"))["depth"] == 2, "what is asked for together waits together"
    for signer in ("boss", "hq"):
        assert (await library.web.sign(signer, held.json()["approval_id"])).status_code == 200
    low = await library.shown("value/low")
    assert (low["ends_on"], low["depth"], low["sort"]) == ("2020-01-01", 1, 3)
    refused(await library.web.tag("ann", "c1", [library.tag("value/low")]), 403, "tag_change_refused")
    assert (await library.patch("value/low", ends_on=None)).status_code == 202


async def test_a_retirement_that_waits_is_stale_once_something_stands_below(library: Library) -> None:
    held = await library.patch("value/low", retired=True)
    assert held.status_code == 202
    await library.made("fresh", "value", parent_id=library.tag("value/low"))
    answer = await library.web.sign("boss", held.json()["approval_id"])
    assert (answer.json()["approval"]["state"], answer.json()["approval"]["closed_reason"]) == ("stale", "tag_has_children")


async def test_only_who_may_plant_plants(library: Library, companies: Companies, service: Service) -> None:
    elsewhere = await a_library(companies, service, customers=())
    change = {"parent_id": library.tag("advice/cheap")}
    for userid in ("ann", "east", "boss", "auditor", "idle", "other"):
        answer = await library.patch("advice/keen", userid=userid, **change)
        assert answer.status_code == 403, userid
        assert (await library.create("mine", userid=userid)).status_code == 403
    refused(await library.patch("activity/hot", userid="sub", meaning="x"), 403, "refused_at_grant")
    refused(await library.patch("advice/keen", userid="idle", **change), 403, "module_missing")
    refused(await library.patch("advice/keen", parent_id=elsewhere.tag("advice/cheap")), 404, "tag_unknown")
    strange = await elsewhere.web.call("admin", "PATCH", f"/v1/tags/{library.tag('advice/keen')}", change, If_Match="*")
    refused(strange, 404, "tag_unknown")
    assert (await library.patch("advice/keen", userid="sub", **change)).status_code == 200


async def test_who_may_not_is_told_first_what_cannot_be_second_the_version_last(library: Library) -> None:
    refused(await library.patch("advice/keen", userid="ann", etag=None, name="cheap"), 403, "module_missing")
    refused(await library.patch("advice/keen", etag=None, name="cheap"), 409, "name_taken")
    refused(await library.patch("advice/keen", etag='"99"', name="cheap"), 409, "name_taken")
    refused(await library.patch("advice/keen", etag=None, name="eager"), 428, "if_match_required")
    refused(await library.patch("advice/keen", etag='"99"', name="eager"), 412, "etag_outdated")
    refused(await library.patch_group("advice", etag=None, name="value"), 409, "name_taken")
    assert (await library.web.tag("ann", "c1", [library.tag("advice/keen")])).status_code == 200
    refused(await library.delete("advice/keen", userid="ann", etag=None), 403, "module_missing")
    refused(await library.delete("advice/keen", etag=None), 409, "in_use")
    refused(await library.delete("advice/cheap", etag=None), 428, "if_match_required")


# -- at once -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
async def test_tags_that_are_moved_at_once_stay_a_tree(library: Library, seed: int) -> None:
    dice = random.Random(seed)
    names = [f"t{number}" for number in range(7)]
    for name in names:
        await library.made(name)
    ids = {name: UUID(library.tag(f"advice/{name}")) for name in names}

    async def shuffle(number: int) -> None:
        for _ in range(8):
            name, parent = dice.sample(names, 2)
            await library.patch(f"advice/{name}", parent_id=None if number == 0 else str(ids[parent]))

    await asyncio.gather(*(shuffle(number) for number in range(5)))
    tags = await repository.tags_of_group(library.company.corp_id, library.company.groups["advice"])
    tree, known = Tree(tags), {tag.id: tag for tag in tags}
    for tag in tags:
        seen, at = [tag.id], tag
        while at.parent_id is not None:
            at = known[at.parent_id]
            assert at.id not in seen
            seen.append(at.id)
        assert len(seen) == tree.depth(tag) <= 3


async def test_two_that_want_below_each_other(library: Library) -> None:
    for _ in range(6):
        answers = await asyncio.gather(
            library.patch("advice/keen", parent_id=library.tag("advice/cheap")),
            library.patch("advice/cheap", parent_id=library.tag("advice/keen")),
        )
        assert sorted(answer.status_code for answer in answers) == [200, 422]
        for path in ("advice/keen", "advice/cheap"):
            assert (await library.patch(path, parent_id=None)).status_code == 200


async def test_retiring_a_parent_against_a_child_that_is_born(library: Library) -> None:
    for number in range(6):
        path = (await library.made(f"p{number}"))["name"]
        parent = library.tag(f"advice/{path}")
        retired, born = await asyncio.gather(
            library.patch(f"advice/{path}", retired=True), library.create(f"b{number}", parent_id=parent)
        )
        assert (retired.status_code, born.status_code) in ((200, 409), (409, 201))


async def test_crossing_moves_between_two_groups(library: Library) -> None:
    for number in range(4):
        for group in ("advice", "activity"):
            await library.made(f"{group[:2]}{number}", group)
        answers = await asyncio.gather(
            *(
                library.web.call(
                    "admin",
                    "POST",
                    f"/v1/tags/{library.tag(f'{group}/{group[:2]}{number}')}/move",
                    {"group_id": library.group(goal)},
                    If_Match="*",
                )
                for group, goal in (("advice", "activity"), ("activity", "advice"))
            )
        )
        assert [answer.status_code for answer in answers] == [200, 200]
