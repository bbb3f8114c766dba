"""Tags and groups shuffled inside WeCom: ours go back to their places, others' are taken over, and nothing goes to and fro."""

from __future__ import annotations

import json
from typing import Any

from support.mailbox import Mailbox
from support.service import Service, check_problem
from support.town import Town
from tagwarden.catalog import service as catalog
from tagwarden.catalog.service import GroupDraft, TagChange, TagDraft
from tagwarden.kernel import db
from tagwarden.policy.model import Kind
from tagwarden.sync.model import RunKind


async def our_group(town: Town, *tags: str, name: str = "fresh", kind: Kind = Kind.STANDARD) -> None:
    """A group of ours with tags in this order."""
    group_id = await catalog.create_group(town.as_("admin"), GroupDraft(name, kind, sort=7))
    for place, tag in enumerate(tags):
        await catalog.create_tag(town.as_("admin"), group_id, TagDraft(tag, sort=10 - place))
    await town.drain()
    await town.read_catalog()


async def there(town: Town) -> dict[str, tuple[int, dict[str, int]]]:
    """The library in WeCom: group → its place, and its tags with theirs."""
    found = (await town.control.corp("GET", "/tags"))["tag_group"]
    return {one["group_name"]: (one["order"], {tag["name"]: tag["order"] for tag in one["tag"]}) for one in found}


async def here(town: Town) -> dict[str, tuple[int, dict[str, int]]]:
    """The same as our rows have it."""
    rows = await db.fetch(
        "select g.name as of, g.sort as place, t.name, t.sort from tag_group g join tag t on t.group_id = g.id"
        " where g.corp_id = $1 and t.deleted_at is null",
        town.corp_id,
    )
    return {row["of"]: (row["place"], {one["name"]: one["sort"] for one in rows if one["of"] == row["of"]}) for row in rows}


async def lines(town: Town) -> list[dict[str, Any]]:
    """What the audit has, oldest first."""
    sql = "select convert_from(body, 'UTF8') as body from audit_line where corp_id = $1 order by seq"
    rows = await db.fetch(sql, town.corp_id)
    return [json.loads(row["body"]) for row in rows]


async def test_another_apps_tags_stand_here_as_the_console_shuffled_them(town: Town, mail: Mailbox) -> None:
    await mail.edit("shuffle_tags", group="advice", order=["keen", "asked", "cheap"])
    await mail.edit("shuffle_tags", group="", order=["advice", "value", "activity"])
    await mail.work()
    assert (await here(town))["advice"] == (3, {"keen": 3, "asked": 2, "cheap": 1})
    shown = [(group.name, [tag.name for tag in tags]) for group, tags in await catalog.library(town.corp_id)]
    assert [name for name, _ in shown] == ["advice", "value", "activity"]
    assert shown[0][1] == ["keen", "asked", "cheap"]
    assert await here(town) == await there(town)
    counted = [line["detail"] for line in await lines(town) if line["action"] == "catalog.mirrored"]
    assert sum(one["places_taken"] for one in counted[1:]) == 6
    assert await town.control.calls("edit_corp_tag") == []
    before = await db.fetch("select id, version from tag where corp_id = $1 order by id", town.corp_id)
    await town.run(RunKind.CATALOG)
    assert await db.fetch("select id, version from tag where corp_id = $1 order by id", town.corp_id) == before


async def test_our_tags_go_back_to_the_places_that_were_decided(town: Town, mail: Mailbox) -> None:
    await our_group(town, "one", "two", "three")
    decided = (await there(town))["fresh"]
    await mail.edit("shuffle_tags", group="fresh", order=["three", "one", "two"])
    await mail.edit("shuffle_tags", group="", order=["activity", "fresh", "value", "advice"])
    await mail.work()
    assert (await there(town))["fresh"] == decided == (7, {"one": 10, "two": 9, "three": 8})
    assert (await here(town))["fresh"] == decided
    assert (await here(town))["activity"][0] == 4, "what is not ours stands as the console put it"
    moved = len(await town.control.calls("edit_corp_tag"))
    assert moved == 4, "three tags and the group, once each"
    for kind in (RunKind.CATALOG, RunKind.DRIFT):
        await town.run(kind)
        await town.drain()
    assert len(await town.control.calls("edit_corp_tag")) == moved, "nothing differs any more, so nothing is sent"


async def test_a_tag_of_ours_in_the_consoles_group_goes_back_alone(town: Town, mail: Mailbox) -> None:
    await catalog.create_tag(town.as_("admin"), town.groups["advice"], TagDraft("mine", sort=50))
    await town.drain()
    await mail.edit("shuffle_tags", group="advice", order=["keen", "asked", "mine", "cheap"])
    await mail.work()
    assert (await there(town))["advice"][1] == {"keen": 4, "asked": 3, "mine": 50, "cheap": 1}
    assert len(await town.control.calls("edit_corp_tag")) == 1


async def test_a_shuffle_that_nobody_told_of_is_found_by_the_nightly_reading(town: Town, mail: Mailbox) -> None:
    await our_group(town, "one", "two")
    mail.lose = 1.0
    await mail.edit("shuffle_tags", group="fresh", order=["two", "one"])
    await mail.edit("shuffle_tags", group="advice", order=["keen", "asked", "cheap"])
    run = await town.run(RunKind.CATALOG)
    assert (run["result"]["places_taken"], run["result"]["places_put_back"]) == (3, 2)
    await town.drain()
    assert (await there(town))["fresh"][1] == {"one": 10, "two": 9}


async def test_a_place_decided_while_the_library_is_read_is_not_undone(town: Town, mail: Mailbox) -> None:
    from tagwarden.sync import repository, service

    await our_group(town, "one", "two")
    read_at = await repository.moment()
    old = (await town.control.corp("GET", "/tags"))["tag_group"]
    await catalog.change_tag(town.as_("admin"), town.tags["fresh/two"], TagChange(sort=99), "*")
    await service.mirror_catalog(town.as_("admin"), old, read_at)
    await town.drain()
    await service.mirror_catalog(town.as_("admin"), old, read_at)
    assert await town.waiting() == 0, "the reading is older than what was sent"
    assert (await there(town))["fresh"][1] == {"one": 10, "two": 99}


async def test_a_wecom_that_keeps_no_places_is_not_told_for_ever(town: Town, mail: Mailbox) -> None:
    await our_group(town, "one", "two")
    await town.control.switch(edit_moves=False)
    mail.lose = 1.0
    await mail.edit("shuffle_tags", group="fresh", order=["two", "one"])
    for _ in range(6):
        await town.run(RunKind.CATALOG)
        await town.drain()
    assert len(await town.control.calls("edit_corp_tag")) == 6, "three times each"
    await town.control.switch(edit_moves=True)
    mail.lose = 0.0
    await mail.edit("shuffle_tags", group="fresh", order=["two", "one"])
    await mail.work()
    assert (await there(town))["fresh"][1] == {"one": 10, "two": 9}, "somebody moved them: told once more"


async def test_marks_go_before_places_that_are_put_back(town: Town, mail: Mailbox) -> None:
    await our_group(town, *(f"tag{number}" for number in range(6)))
    mail.lose = 1.0
    await mail.edit("shuffle_tags", group="fresh", order=[f"tag{number}" for number in reversed(range(6))])
    await town.run(RunKind.CATALOG)
    await town.change("ann", "wmC1", add=["advice/keen"])
    await catalog.change_tag(town.as_("admin"), town.tags["fresh/tag3"], TagChange(sort=77), "*")
    await town.drain()
    apis = [call["api"].rpartition("/")[2] for call in await town.control.calls()][-7:]
    assert apis == ["edit_corp_tag", "mark_tag"] + ["edit_corp_tag"] * 5, "what a person decided goes first"
    assert (await there(town))["fresh"][1]["tag3"] == 77


async def test_another_apps_place_is_refused_before_anything_happens(town: Town, service: Service) -> None:
    web = service.web(town)
    tag, group = f"/v1/tags/{town.tags['advice/keen']}", f"/v1/tag-groups/{town.groups['advice']}"
    for path in (tag, group, f"/v1/tags/{town.tags['value/high']}"):
        check_problem(await web.call("admin", "PATCH", path, {"sort": 77}, If_Match="*"), 409, "tag_of_another_app")
    unchanged = (await web.get("admin", group)).json()["sort"]
    assert (await web.call("admin", "PATCH", group, {"sort": unchanged, "description": "d"}, If_Match="*")).status_code == 200


async def test_groups_renamed_inside_wecom(town: Town, mail: Mailbox) -> None:
    await our_group(town, "one")
    await our_group(town, "one", name="worth", kind=Kind.VALUE)
    await mail.edit("rename_group", group="advice", name="wishes")
    await mail.edit("rename_group", group="activity", name="advice")
    await mail.edit("rename_group", group="fresh", name="price / cost")
    await mail.edit("rename_group", group="worth", name="worthless")
    await mail.work()
    names = {row["id"]: row["name"] for row in await db.fetch("select id, name from tag_group where corp_id = $1", town.corp_id)}
    was = {path: names[group_id] for path, group_id in town.groups.items()}
    assert was == {"advice": "wishes", "activity": "advice", "value": "value", "fresh": "price / cost", "worth": "worth"}
    assert await there(town) == await here(town), "a value group of ours got its name back"
    marked = await db.fetch("select name from tag_group where corp_id = $1 and name_marked", town.corp_id)
    assert [row["name"] for row in marked] == ["price / cost"]
    actions = [line["action"] for line in await lines(town)]
    assert (actions.count("tag_group.renamed_in_wecom"), actions.count("tag_group.renamed_back")) == (3, 1)


async def test_a_group_given_a_name_that_another_one_has_here_is_a_conflict(town: Town, mail: Mailbox) -> None:
    await catalog.create_group(town.as_("admin"), GroupDraft("fresh", Kind.STANDARD))
    await mail.edit("rename_group", group="advice", name="fresh")
    await mail.work()
    run = await town.run(RunKind.CATALOG)
    assert (run["state"], run["result"]["conflicts"]) == ("done", ["advice → fresh"])
    assert "advice" in await here(town)
