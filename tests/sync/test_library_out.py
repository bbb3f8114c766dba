"""The tag library on its way to WeCom: made before the first mark, bound after silence, renamed only where it is ours."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from support.town import Town
from tagwarden.assignments import repository as assignments
from tagwarden.catalog import service as catalog
from tagwarden.catalog.model import TagOfAnotherApp
from tagwarden.catalog.service import GroupChange, GroupDraft, TagChange, TagDraft
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import Work
from tagwarden.kernel import db
from tagwarden.policy.model import Kind
from tagwarden.sync import outbox, repository, sending
from tagwarden.sync.model import RunKind
from tagwarden.sync.outbound import Outbound


async def make_tags(town: Town, *names: str, group: str | None = None) -> None:
    """Tags in a group of ours that WeCom has not heard of, or in one that came from WeCom."""
    admin = town.as_("admin")
    group_id = town.groups[group] if group else await catalog.create_group(admin, GroupDraft("fresh", Kind.STANDARD))
    for name in names:
        await catalog.create_tag(admin, group_id, TagDraft(name))
    await town.read_catalog()


async def library(town: Town) -> dict[str, list[str]]:
    """Living groups of the simulated WeCom with the names of their tags."""
    found = (await town.control.corp("GET", "/tags"))["tag_group"]
    return {group["group_name"]: [tag["name"] for tag in group["tag"]] for group in found}


async def put(town: Town, owner: str, customer: str, *tags: str) -> None:
    """Marks a customer without asking the matrix, which knows nothing of a group made a moment ago."""
    await mark(town.as_("admin"), await town.follow_id(owner, customer), [town.tags[tag] for tag in tags])


@command(Epoch.SHARED)
async def mark(work: Work, follow_id: UUID, tag_ids: list[UUID]) -> None:
    rows = [(follow_id, tag_id, None) for tag_id in tag_ids]
    await assignments.start(work.corp_id, rows, source="rule", actor="", since=work.now)
    await repository.mark_dirty(work.corp_id, follow_id, bulk=False)
    work.record("tags.changed", f"follow:{follow_id}")


async def test_two_tags_made_at_once_share_their_new_group(town: Town) -> None:
    await make_tags(town, "one", "two", "three")
    await put(town, "ann", "wmC1", "fresh/one", "fresh/three")
    others = [Outbound(town.client, town.budget) for _ in range(4)]
    await town.hurry()
    await asyncio.gather(*(town.send_once(outbound) for outbound in others))
    await town.drain()
    assert await library(town) | {"fresh": ["one", "two", "three"]} == await library(town)
    assert await town.control.held("ann", "wmC1") == {"fresh/one", "fresh/three"}
    apis = [call["api"].rpartition("/")[2] for call in await town.control.calls()]
    assert apis.count("add_corp_tag") == 3
    assert apis.count("mark_tag") == 1, "the marks wait for all of their tags"
    assert apis.index("mark_tag") > apis.index("add_corp_tag")


async def test_one_tag_of_a_corp_at_a_time(town: Town) -> None:
    await make_tags(town, "one", "two")
    claims = await asyncio.gather(*(outbox.claim_tag(town.corp_id) for _ in range(6)))
    assert len([claim for claim in claims if claim]) == 1
    await town.end_leases()
    await db.execute("update library_sync set next_try_at = now() + interval '1 hour' where tag_id = $1", town.tags["fresh/one"])
    second = await outbox.claim_tag(town.corp_id)
    assert second is not None
    assert second.tag_id == town.tags["fresh/two"]


@pytest.mark.parametrize("kind", ["reset", "slow", "empty"])
@pytest.mark.parametrize("group", [None, "advice"], ids=["new-group", "known-group"])
async def test_an_unanswered_creation_is_bound_not_repeated(town: Town, kind: str, group: str | None) -> None:
    await town.control.fault(kind=kind, api="add_corp_tag", effect=True, seconds=1.1 if kind == "slow" else 0)
    await make_tags(town, "late", group=group)
    path = f"{group or 'fresh'}/late"
    await put(town, "ann", "wmC1", path)
    await town.drain()
    assert (await library(town))[group or "fresh"].count("late") == 1
    assert await town.control.held("ann", "wmC1") == {path}


async def test_a_worker_killed_before_it_kept_the_id(town: Town) -> None:
    await town.client.add_tags(town.corp_id, ["late"], group_name="fresh")
    await make_tags(town, "late")
    await town.drain()
    assert await library(town) | {"fresh": ["late"]} == await library(town)
    assert (await outbox.library_waiting(town.corp_id)) == []


async def test_a_dead_namesake_is_not_taken_for_the_tag(town: Town) -> None:
    made = await town.client.add_tags(town.corp_id, ["late", "other"], group_name="advice")
    dead = next(tag["id"] for tag in made["tag"] if tag["name"] == "late")
    await town.client.delete_tags(town.corp_id, [dead])
    await town.client.add_tags(town.corp_id, ["late"], group_name="advice")
    await make_tags(town, "late", group="advice")
    await town.drain()
    await town.read_catalog()
    assert town.wecom_tags["advice/late"] not in (None, dead)


async def test_a_new_name_goes_out_for_tags_of_ours_only(town: Town) -> None:
    await make_tags(town, "mine", group="advice")
    await town.drain()
    admin = town.as_("admin")
    await catalog.change_tag(admin, town.tags["advice/mine"], TagChange(name="renamed"), "*")
    with pytest.raises(TagOfAnotherApp):
        await catalog.change_tag(admin, town.tags["advice/keen"], TagChange(name="eager"), "*")
    await town.drain()
    assert len(await town.control.calls("edit_corp_tag")) == 1
    assert (await library(town))["advice"] == ["asked", "cheap", "keen", "renamed"]


async def test_an_edit_while_its_creation_is_under_way(town: Town) -> None:
    await town.control.fault(kind="slow", api="add_corp_tag", seconds=0.5)
    await make_tags(town, "early", group="advice")
    sending = asyncio.create_task(town.outbound.send_one(town.corp_id))
    await town.control.wait_for("add_corp_tag", 1)
    await catalog.change_tag(town.as_("admin"), town.tags["advice/early"], TagChange(name="better"), "*")
    await sending
    await town.drain()
    assert (await library(town))["advice"] == ["asked", "cheap", "keen", "better"]


async def test_a_name_that_another_tag_is_about_to_leave(town: Town) -> None:
    await make_tags(town, "first", group="advice")
    await town.drain()
    admin, first = town.as_("admin"), town.tags["advice/first"]
    await catalog.change_tag(admin, first, TagChange(name="moved"), "*")
    await db.execute("update library_sync set next_try_at = now() + interval '1 hour' where tag_id = $1", first)
    await catalog.create_tag(admin, town.groups["advice"], TagDraft("first"))
    await town.send_once()
    assert [row["given_up"] for row in await outbox.library_waiting(town.corp_id)] == [None, None]
    await town.drain()
    assert (await library(town))["advice"] == ["asked", "cheap", "keen", "moved", "first"]


async def test_a_name_that_wecom_keeps_for_a_tag_of_the_console(town: Town) -> None:
    admin = town.as_("admin")
    await edit_in_console(town, kind="rename_tag", tag="advice/keen", name="fond")
    await catalog.create_tag(admin, town.groups["advice"], TagDraft("fond"))
    await town.drain()
    (row,) = await outbox.library_waiting(town.corp_id)
    assert (row["name"], row["given_up"][:5]) == ("fond", "40071")


async def test_a_tag_that_wecom_refuses_holds_nothing_else_up(town: Town) -> None:
    room = sum(len(tags) for tags in (await library(town)).values())
    await town.control.switch(max_corp_tags=room)
    await make_tags(town, "toomany", group="advice")
    await put(town, "ann", "wmC1", "advice/toomany", "advice/keen")
    await town.drain()
    for _ in range(5):
        await town.hurry()
        await town.send_once()
    assert await town.control.held("ann", "wmC1") == {"advice/keen"}
    row = await town.row("ann", "wmC1")
    assert row["given_up"].startswith("toomany: 40126 ")
    assert len(await town.control.calls("add_corp_tag")) == 1, "a refused tag must not eat the budget"
    await town.control.switch(max_corp_tags=room + 1)
    await sending.retry_line(town.as_("admin"), await town.follow_id("ann", "wmC1"))
    await town.drain()
    assert await town.control.held("ann", "wmC1") == {"advice/keen", "advice/toomany"}
    assert (await town.row("ann", "wmC1"))["given_up"] is None


async def test_follows_that_gave_up_wake_when_their_tag_is_there(town: Town) -> None:
    await town.control.fault(kind="errcode", code=40072, api="add_corp_tag")
    await make_tags(town, "odd", group="advice")
    await put(town, "ann", "wmC1", "advice/odd")
    await put(town, "bob", "wmC3", "advice/odd")
    await town.drain()
    assert {(await town.row(*pair))["given_up"] is None for pair in (("ann", "wmC1"), ("bob", "wmC3"))} == {False}
    await catalog.change_tag(town.as_("admin"), town.tags["advice/odd"], TagChange(name="even"), "*")
    await town.drain()
    assert not await town.different()


@pytest.mark.parametrize("fault", [{"kind": "errcode", "code": -1}, {"kind": "reset", "effect": False}], ids=["busy", "reset"])
async def test_an_outage_does_not_give_a_tag_up(town: Town, fault: dict[str, Any]) -> None:
    await town.control.fault(api="add_corp_tag", times=6, **fault)
    await make_tags(town, "patient", group="advice")
    await town.drain()
    assert "patient" in (await library(town))["advice"]


async def test_the_import_binds_what_the_answer_did_not(town: Town) -> None:
    await town.control.fault(kind="reset", api="add_corp_tag", times=2)
    await make_tags(town, "late")
    await make_tags(town, "later", group="advice")
    await put(town, "ann", "wmC1", "fresh/late", "advice/later")
    await town.send_once()
    done = await town.run(RunKind.CATALOG)
    assert (done["state"], done["problem"]) == ("done", None)
    assert done["result"]["tags_new"] == 0
    await town.drain()
    assert await town.control.held("ann", "wmC1") == {"fresh/late", "advice/later"}
    assert await library(town) | {"fresh": ["late"]} == await library(town)


async def test_names_changed_round_inside_wecom(town: Town) -> None:
    ids = {tag: town.wecom_tags[f"advice/{tag}"] for tag in ("asked", "cheap", "keen")}
    await catalog.create_tag(town.as_("admin"), town.groups["advice"], TagDraft("ours"))
    for tag, name in (("asked", "spare"), ("cheap", "asked"), ("spare", "cheap"), ("keen", "ours")):
        await edit_in_console(town, kind="rename_tag", tag=f"advice/{tag}", name=name)
    done = await town.run(RunKind.CATALOG)
    assert done["problem"] is None
    assert done["result"]["conflicts"] == ["keen → ours"]
    await town.read_catalog()
    assert (town.wecom_tags["advice/cheap"], town.wecom_tags["advice/asked"]) == (ids["asked"], ids["cheap"])


async def edit_in_console(town: Town, **edit: Any) -> None:
    """What an admin of WeCom does there."""
    await town.control.corp("POST", "/console", edit)


async def test_what_was_made_anew_inside_wecom_is_told_not_tripped_over(town: Town) -> None:
    await edit_in_console(town, kind="delete_tag", tag="advice/keen")
    await edit_in_console(town, kind="create_tag", group="advice", name="keen")
    await edit_in_console(town, kind="delete_group", group="activity")
    await edit_in_console(town, kind="create_group", group="activity", tags=["hot", "new"])
    done = await town.run(RunKind.CATALOG)
    assert done["problem"] is None
    assert sorted(done["result"]["conflicts"]) == ["activity", "advice/keen"]
    assert sorted(done["result"]["missing"]) == ["cold", "hot", "keen", "warm"]


async def test_an_import_does_not_take_back_a_new_name_of_ours(town: Town) -> None:
    await make_tags(town, "mine", group="advice")
    await town.drain()
    tag_id = town.tags["advice/mine"]
    await catalog.change_tag(town.as_("admin"), tag_id, TagChange(name="better"), "*")
    assert (await town.run(RunKind.CATALOG))["result"]["renamed"] == 0
    await town.control.fault(kind="slow", api="get_corp_tag_list", seconds=0.6)
    reading = asyncio.create_task(town.run(RunKind.CATALOG))
    await town.control.wait_for("get_corp_tag_list", 3)  # the town's own import, the one above, and this
    await town.drain()
    assert (await reading)["result"]["renamed"] == 0
    assert (await library(town))["advice"][-1] == "better"
    await edit_in_console(town, kind="rename_tag", tag="advice/better", name="best")
    assert (await town.run(RunKind.CATALOG))["result"]["renamed"] == 1


async def test_a_value_tag_renamed_inside_wecom_keeps_our_record(town: Town) -> None:
    await edit_in_console(town, kind="rename_tag", tag="value/high", name="highest")
    done = await town.run(RunKind.CATALOG)
    assert done["result"]["conflicts"] == ["high → highest"]
    assert await town.carried("bob", "wmC3") == {"value/high", "advice/asked"}


async def test_a_group_can_be_classified_before_wecom_knows_it(town: Town) -> None:
    await make_tags(town, "one")
    await catalog.change_group(town.as_("admin"), town.groups["fresh"], GroupChange(description="new"), "*")
    await town.drain()
    assert (await library(town))["fresh"] == ["one"]
