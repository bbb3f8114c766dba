"""Names and places of the library on their way to WeCom, and what another app made: used, never edited, and said before."""

from __future__ import annotations

from typing import Any

import pytest

from support.company import arrange
from support.service import Service, check_problem
from support.town import Town
from tagwarden.catalog import service as catalog
from tagwarden.catalog.model import TagOfAnotherApp
from tagwarden.catalog.service import GroupChange, GroupDraft, TagChange, TagDraft
from tagwarden.kernel import db
from tagwarden.policy.model import Kind
from tagwarden.sync import outbox


async def groups(town: Town) -> dict[str, dict[str, Any]]:
    return {group["group_name"]: group for group in (await town.control.corp("GET", "/tags"))["tag_group"]}


async def our_group(town: Town, *tags: str, sort: int = 0) -> None:
    group_id = await catalog.create_group(town.as_("admin"), GroupDraft("fresh", Kind.STANDARD))
    await arrange(town.corp_id, "update tag_group set sort = $2 where id = $1", group_id, sort)
    for place, name in enumerate(tags):
        tag_id = await catalog.create_tag(town.as_("admin"), group_id, TagDraft(name))
        await arrange(town.corp_id, "update tag set sort = $2 where id = $1", tag_id, 10 - place)
    await town.drain()
    await town.read_catalog()


async def test_a_group_of_ours_is_renamed_there_too(town: Town) -> None:
    await our_group(town, "one")
    await catalog.change_group(town.as_("admin"), town.groups["fresh"], GroupChange(name="better"), "*")
    await town.drain()
    assert [tag["name"] for tag in (await groups(town))["better"]["tag"]] == ["one"]
    assert len(await town.control.calls("edit_corp_tag")) == 1


async def test_a_group_renamed_before_wecom_knows_it_goes_there_by_its_new_name(town: Town) -> None:
    group_id = await catalog.create_group(town.as_("admin"), GroupDraft("fresh", Kind.STANDARD))
    await catalog.change_group(town.as_("admin"), group_id, GroupChange(name="better"), "*")
    await catalog.create_tag(town.as_("admin"), group_id, TagDraft("one"))
    await town.drain()
    assert "better" in await groups(town)
    assert await town.control.calls("edit_corp_tag") == []


async def test_places_go_out_with_tags_and_groups(town: Town) -> None:
    await our_group(town, "one", "two", sort=2**40)
    found = (await groups(town))["fresh"]
    assert (found["order"], [tag["name"] for tag in found["tag"]]) == (2**32 - 1, ["one", "two"]), "within WeCom's range"
    assert [tag["order"] for tag in found["tag"]] == [10, 9]
    await arrange(town.corp_id, "update tag set sort = 99 where id = $1", town.tags["fresh/two"])
    await outbox.mark_library_dirty(town.corp_id, town.tags["fresh/two"])
    await arrange(town.corp_id, "update tag_group set sort = 3 where id = $1", town.groups["fresh"])
    await outbox.mark_group_dirty(town.corp_id, town.groups["fresh"])
    await town.drain()
    found = (await groups(town))["fresh"]
    assert (found["order"], {tag["name"]: tag["order"] for tag in found["tag"]}) == (3, {"one": 10, "two": 99})


async def test_what_another_app_made_is_shown_and_refused_before_anything_happens(town: Town, service: Service) -> None:
    web = service.web(town)
    group_id = town.groups["advice"]
    shown = (await web.get("admin", f"/v1/tag-groups/{group_id}")).json()
    assert shown["wecom"] == {"present": True, "ours": False}
    assert {tag["name"]: tag["wecom"] for tag in shown["tags"]}["keen"] == {"present": True, "ours": False}
    made = await web.call("admin", "POST", f"/v1/tag-groups/{group_id}/tags", {"name": "mine"})
    assert made.json()["wecom"] == {"present": False, "ours": True}
    tag = f"/v1/tags/{town.tags['advice/keen']}"
    check_problem(await web.call("admin", "PATCH", tag, {"name": "eager"}, If_Match="*"), 409, "tag_of_another_app")
    assert (await web.call("admin", "PATCH", tag, {"meaning": "wants it"}, If_Match="*")).status_code == 200
    group = f"/v1/tag-groups/{group_id}"
    check_problem(await web.call("admin", "PATCH", group, {"name": "other"}, If_Match="*"), 409, "tag_of_another_app")
    assert (await web.call("admin", "PATCH", group, {"description": "ours to say"}, If_Match="*")).status_code == 200
    await town.drain()
    assert await town.control.calls("edit_corp_tag") == []


async def test_signers_hear_that_wecom_keeps_the_name_of_a_value_tag(town: Town, service: Service) -> None:
    web = service.web(town)
    held = await web.call("admin", "PATCH", f"/v1/tags/{town.tags['value/high']}", {"name": "highest"}, If_Match="*")
    assert held.status_code == 202
    approval_id = held.json()["approval_id"]
    change = (await web.get("boss", f"/v1/approvals/{approval_id}")).json()["change"]
    assert (change["after"], change["wecom_keeps_name"]) == ({"name": "highest"}, "high")
    assert (await web.sign("boss", approval_id)).status_code == 200
    assert (await web.sign("hq", approval_id)).json()["approval"]["state"] == "applied"
    await town.drain()
    assert await town.control.calls("edit_corp_tag") == []
    assert "high" in [tag["name"] for tag in (await groups(town))["value"]["tag"]]


@pytest.mark.parametrize("code", [81011, 301002])
async def test_a_tag_that_turns_out_to_be_another_apps(town: Town, code: int) -> None:
    await town.control.switch(foreign_tag_code=code)
    admin, keen = town.as_("admin"), town.tags["advice/keen"]
    await db.execute("update tag set made_by_us = true where id = $1", keen)
    await catalog.change_tag(admin, keen, TagChange(name="eager"), "*")
    await town.drain()
    (row,) = await outbox.library_waiting(town.corp_id)
    assert row["given_up"].startswith(f"{code} ")
    with pytest.raises(TagOfAnotherApp):
        await catalog.change_tag(admin, keen, TagChange(name="eagerer"), "*")


async def test_a_group_of_that_name_that_was_there_is_filled_and_not_ours(town: Town) -> None:
    await town.control.corp("POST", "/console", {"kind": "create_group", "group": "fresh", "tags": ["theirs"]})
    await town.control.ask("POST", "/clock", {"shift_seconds": 5})
    try:
        await our_group(town, "mine")
    finally:
        await town.control.ask("POST", "/clock", {"shift_seconds": -5})
    assert {tag["name"] for tag in (await groups(town))["fresh"]["tag"]} == {"theirs", "mine"}
    with pytest.raises(TagOfAnotherApp):
        await catalog.change_group(town.as_("admin"), town.groups["fresh"], GroupChange(name="taken"), "*")


async def test_retiring_says_nothing_to_wecom(town: Town) -> None:
    await our_group(town, "one")
    calls = len(await town.control.calls())
    await catalog.change_tag(town.as_("admin"), town.tags["fresh/one"], TagChange(retired=True), "*")
    await town.drain()
    assert len(await town.control.calls()) == calls
    assert "fresh" in await groups(town)
