"""Whose a group or a tag of WeCom's library is, where nobody noted it: shown by WeCom's dates, or asked when an admin says so."""

from __future__ import annotations

import tempfile
from pathlib import Path

import asyncpg
import pytest

from support.company import arrange
from support.service import Service, check_problem
from support.town import Town
from tagwarden.catalog import service as catalog
from tagwarden.catalog.service import GroupDraft, TagChange, TagDraft
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedPostgres
from tagwarden.kernel.resources import folder
from tagwarden.policy.model import Kind
from tagwarden.sync.model import RunKind

AS_BEFORE = "update tag_group set made_by_us = false where corp_id = $2 and id = $1"


async def made_before_0014(town: Town, *tags: str) -> None:
    """A group of ours as the previous version left it: its tags are known to be ours, itself is not."""
    group_id = await catalog.create_group(town.as_("admin"), GroupDraft("fresh", Kind.STANDARD))
    for name in tags:
        await catalog.create_tag(town.as_("admin"), group_id, TagDraft(name))
        await town.drain()
    await town.read_catalog()
    await arrange(town.corp_id, AS_BEFORE, town.groups["fresh"], town.corp_id)


async def ours(town: Town) -> dict[str, bool]:
    rows = await db.fetch("select name, made_by_us from tag_group where corp_id = $1 and deleted_at is null", town.corp_id)
    return {row["name"]: row["made_by_us"] for row in rows}


async def edits(town: Town) -> int:
    return len(await town.control.calls("edit_corp_tag"))


async def test_a_group_as_old_as_our_tag_in_it_is_ours(town: Town) -> None:
    await made_before_0014(town, "one")
    assert not (await ours(town))["fresh"]
    run = await town.run(RunKind.CATALOG)
    assert run["result"]["found_ours"] == 1
    assert await ours(town) == {"value": False, "activity": False, "advice": False, "fresh": True}
    assert (await town.run(RunKind.CATALOG))["result"]["found_ours"] == 0
    assert await edits(town) == 0, "shown by dates alone"


async def test_a_group_that_was_there_before_our_tag_is_not(town: Town) -> None:
    await town.control.corp("POST", "/console", {"kind": "create_group", "group": "fresh", "tags": ["theirs"]})
    await db.fetch("select pg_sleep(1.1)")  # WeCom dates in seconds
    await made_before_0014(town, "mine")
    assert (await town.run(RunKind.CATALOG))["result"]["found_ours"] == 0
    assert not (await ours(town))["fresh"]


async def test_what_wecom_has_disowned_is_not_found_again(town: Town) -> None:
    """Dates say yes and WeCom says no: WeCom is right, and is not asked by every reading."""
    await made_before_0014(town, "one")
    await town.run(RunKind.CATALOG)
    await town.control.fault(kind="errcode", api="edit_corp_tag", code=81011)
    await catalog.change_group(town.as_("admin"), town.groups["fresh"], catalog.GroupChange(name="other"), "*")
    await town.drain()
    assert (await town.run(RunKind.CATALOG))["result"]["found_ours"] == 0
    assert "fresh" in await ours(town), "and its name is WeCom's"
    assert await edits(town) == 1


async def test_an_admin_says_so_and_wecom_confirms(town: Town, service: Service) -> None:
    web = service.web(town)
    await made_before_0014(town, "one", "two")
    await arrange(town.corp_id, "update tag set made_by_us = false where corp_id = $1 and name in ('one', 'two')", town.corp_id)
    group, tag = f"/v1/tag-groups/{town.groups['fresh']}", f"/v1/tags/{town.tags['fresh/one']}"
    assert (await town.run(RunKind.CATALOG))["result"]["found_ours"] == 0, "nothing shows it"
    before = (await town.control.corp("GET", "/tags"))["tag_group"]
    for path in (group, tag):
        answer = await web.call("admin", "POST", f"{path}/claim")
        assert (answer.status_code, answer.json()) == (200, {"outcome": "asking_wecom"})
    assert not (await web.get("admin", group)).json()["wecom"]["ours"], "not by saying so"
    await town.drain()
    shown = (await web.get("admin", group)).json()
    assert shown["wecom"]["ours"]
    assert {one["name"]: one["wecom"]["ours"] for one in shown["tags"]} == {"one": True, "two": False}
    assert (await town.control.corp("GET", "/tags"))["tag_group"] == before, "the edits changed nothing"
    check_problem(await web.call("admin", "POST", f"{tag}/claim"), 409, "nothing_to_claim")
    renamed = await web.call("admin", "PATCH", tag, {"name": "first"}, If_Match="*")
    assert renamed.status_code == 200
    await town.drain()
    found = {one["group_name"]: one for one in (await town.control.corp("GET", "/tags"))["tag_group"]}
    assert {one["name"] for one in found["fresh"]["tag"]} == {"first", "two"}


@pytest.mark.parametrize("code", [81011, 301002])
async def test_what_is_not_ours_stays_so_however_often_it_is_said(town: Town, service: Service, code: int) -> None:
    await town.control.switch(foreign_tag_code=code)
    web = service.web(town)
    group, tag = f"/v1/tag-groups/{town.groups['advice']}", f"/v1/tags/{town.tags['value/high']}"
    for _ in range(2):
        for path in (group, tag):
            assert (await web.call("admin", "POST", f"{path}/claim")).status_code == 200
        await town.drain()
    assert not (await web.get("admin", group)).json()["wecom"]["ours"]
    lines = (await web.get("admin", "/v1/sync/ledger", state="given_up")).json()["items"]
    assert {(line["what"], line["code"]) for line in lines} == {("tag_group", code), ("tag", code)}
    check_problem(await web.call("admin", "PATCH", tag, {"sort": 5}, If_Match="*"), 409, "tag_of_another_app")
    assert (await town.run(RunKind.CATALOG))["state"] == "done"


async def test_a_claim_of_what_was_edited_in_wecom_meanwhile_undoes_nothing(town: Town, service: Service) -> None:
    web = service.web(town)
    await made_before_0014(town, "one")
    await arrange(town.corp_id, "update tag set made_by_us = false where corp_id = $1 and name = 'one'", town.corp_id)
    await web.call("admin", "POST", f"/v1/tags/{town.tags['fresh/one']}/claim")
    await town.control.corp("POST", "/console", {"kind": "rename_tag", "tag": "fresh/one", "name": "first"})
    await town.drain()
    found = {one["group_name"]: one for one in (await town.control.corp("GET", "/tags"))["tag_group"]}
    assert [one["name"] for one in found["fresh"]["tag"]] == ["first"]
    await catalog.change_tag(town.as_("admin"), town.tags["fresh/one"], TagChange(name="last"), "*")
    await town.drain()
    found = {one["group_name"]: one for one in (await town.control.corp("GET", "/tags"))["tag_group"]}
    assert [one["name"] for one in found["fresh"]["tag"]] == ["last"], "ours from then on"


async def test_an_upgrade_has_the_library_read_where_there_is_a_group_to_find() -> None:
    """Rows of the previous version: a group with a bound tag of ours, one with the console's alone, and none of both."""
    steps = folder("migrations") / "sql"
    before = sorted(one.name for one in steps.iterdir() if one.name < "0015")
    with tempfile.TemporaryDirectory(prefix="tw-old-", dir="/tmp") as made:
        server = EmbeddedPostgres(Path(made))
        try:
            connection = await asyncpg.connect(server.start().owner)
            for name in before:
                await connection.execute((steps / name).read_text(encoding="utf-8"))
            await connection.execute(PREVIOUS)
            await connection.execute((steps / "0015_library_places.sql").read_text(encoding="utf-8"))
            asked = await connection.fetch("select corp_id, kind, key from wecom_refresh order by corp_id")
            outbox = await connection.fetch("select dirty, bulk, put_back, claimed from library_group_sync")
            await connection.close()
        finally:
            server.stop()
    assert [tuple(row) for row in asked] == [("both", "library", ""), ("mine", "library", "")]
    assert [tuple(row) for row in outbox] == [(True, False, 0, False)]


PREVIOUS = """
insert into corp (corp_id, name) select c, c from unnest('{mine,theirs,both,new}'::text[]) c;
insert into tag_group (corp_id, id, name, kind, wecom_id, made_by_us) values
    ('mine', '00000000-0000-0000-0000-0000000000a0', 'g', 'standard', 'w1', false),
    ('theirs', '00000000-0000-0000-0000-0000000000a1', 'g', 'standard', 'w2', false),
    ('both', '00000000-0000-0000-0000-0000000000a2', 'g', 'standard', 'w3', false),
    ('new', '00000000-0000-0000-0000-0000000000a3', 'g', 'standard', 'w4', true);
insert into tag (corp_id, id, group_id, name, wecom_id, made_by_us) values
    ('mine', gen_random_uuid(), '00000000-0000-0000-0000-0000000000a0', 't', 't1', true),
    ('theirs', gen_random_uuid(), '00000000-0000-0000-0000-0000000000a1', 't', 't2', false),
    ('both', gen_random_uuid(), '00000000-0000-0000-0000-0000000000a2', 't', 't3', true),
    ('new', gen_random_uuid(), '00000000-0000-0000-0000-0000000000a3', 't', 't4', true);
insert into wecom_refresh (corp_id, kind, key) values ('both', 'library', '');
insert into library_group_sync (corp_id, group_id) values ('mine', '00000000-0000-0000-0000-0000000000a0');
"""
