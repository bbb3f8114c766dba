"""Marks change in a live corp and by decided changes only; what was asked on a moved base is asked on today's, or not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date

import asyncpg
import pytest

from support.company import GROUPS, Companies, Company, Kind, arrange, bundle_of
from support.protected import MATRIX, Scene, a_scene, group_of, held, marks
from support.service import Service, check_problem
from tagwarden.assignments import library
from tagwarden.catalog.model import Choice, GroupUnclassified
from tagwarden.corps.model import CorpNotLive, WritesSuspended
from tagwarden.governance import publishing
from tagwarden.kernel import db


@pytest.fixture
async def scene(companies: Companies, service: Service) -> Scene:
    return await a_scene(companies, service)


# -- tags' marks outside the write path ---------------------------------------------------------------------------------


async def test_no_mark_moves_in_setup(companies: Companies) -> None:
    company = await companies.make(customers=(("ann", "c1", ("advice/asked",)),), live=False)
    admin, asked = company.as_("admin"), company.tags["advice/asked"]
    with pytest.raises(CorpNotLive):
        await library.merge_tag(admin, asked, company.tags["advice/keen"], "", "*")
    with pytest.raises(CorpNotLive):
        await library.move_tag(admin, asked, company.groups["activity"], "", "*")
    assert await company.carried("ann", "c1") == {"advice/asked"}
    await library.move_tag(admin, company.tags["advice/cheap"], company.groups["activity"], "", "*")  # nobody carries it


async def test_no_mark_moves_while_tag_writes_are_suspended(company: Company) -> None:
    await company.change("ann", "c1", ["advice/asked", "activity/hot"])
    await arrange(company.corp_id, "update corp set writes_suspended = true where corp_id = $1", company.corp_id)
    with pytest.raises(WritesSuspended):
        await library.merge_tag(company.as_("admin"), company.tags["advice/asked"], company.tags["advice/keen"], "", "*")
    with pytest.raises(WritesSuspended):
        await library.move_tag(company.as_("admin"), company.tags["advice/asked"], company.groups["activity"], "", "*")
    assert await company.carried("ann", "c1") == {"advice/asked", "activity/hot"}


async def test_a_tag_moved_among_temporary_ones_ends_with_the_month(company: Company) -> None:
    await company.change("ann", "c1", ["advice/asked"])
    await library.move_tag(company.as_("admin"), company.tags["advice/asked"], company.groups["activity"], "", "*")
    rows = await db.fetch("select until from assignment where corp_id = $1 and ended_at is null", company.corp_id)
    assert [row["until"] is not None for row in rows] == [True]


async def test_a_moved_tag_keeps_its_end(company: Company) -> None:
    asked = company.tags["advice/asked"]
    await arrange(company.corp_id, "update tag set ends_on = '2030-01-31' where id = $1", asked)
    done = await library.move_tag(company.as_("admin"), asked, company.groups["activity"], "", "*")
    assert await db.fetch_value("select ends_on from tag where id = $1", done.id) == date(2030, 1, 31)


async def test_nobody_gets_a_tag_while_it_is_deleted(company: Company, sql: asyncpg.Connection) -> None:
    keen = company.tags["advice/keen"]
    deletion = sql.transaction()
    await deletion.start()
    await sql.execute("update tag set deleted_at = now() where id = $1", keen)
    change = asyncio.create_task(company.change("ann", "c1", ["advice/keen"]))
    await asyncio.sleep(0.3)
    await sql.fetch("select close_command($1, array['{}'::bytea], true)", company.corp_id)
    await deletion.commit()
    await asyncio.gather(change, return_exceptions=True)
    assert await db.fetch_value("select count(*) from assignment where corp_id = $1 and tag_id = $2", company.corp_id, keen) == 0


async def test_no_mark_moves_to_or_from_a_group_without_a_kind(companies: Companies) -> None:
    groups = {**GROUPS, "raw": (Kind.UNCLASSIFIED, Choice.MULTIPLE, ("ore", "dust"))}
    company = await companies.make(groups=groups, customers=(("ann", "c1", ("raw/ore", "advice/asked")),))
    admin, ids = company.as_("admin"), company.tags
    with pytest.raises(GroupUnclassified):
        await library.merge_tag(admin, ids["raw/ore"], ids["advice/keen"], "", "*")
    with pytest.raises(GroupUnclassified):
        await library.move_tag(admin, ids["advice/asked"], company.groups["raw"], "", "*")
    assert await company.carried("ann", "c1") == {"raw/ore", "advice/asked"}
    await library.merge_tag(admin, ids["raw/dust"], ids["advice/keen"], "", "*")  # nobody carries it


async def test_marks_do_not_move_to_a_tag_while_it_is_deleted(scene: Scene, sql: asyncpg.Connection) -> None:
    delete = held(await scene.call("admin", "DELETE", f"/v1/tags/{scene.company.tags['value/mid']}"))
    merge = held(await scene.merge("value/high", "value/mid"))
    for approval_id in (merge, delete):
        await scene.sign(approval_id, "boss")
    busy = sql.transaction()
    await busy.start()
    await sql.execute("select 1 from tag where id = $1 for no key update", scene.company.tags["value/mid"])
    first = asyncio.create_task(scene.sign(delete, "hq"))
    await asyncio.sleep(0.3)
    second = asyncio.create_task(scene.sign(merge, "hq"))
    await asyncio.sleep(0.3)
    await busy.rollback()
    assert ((await first)["state"], (await second)["state"]) in (("applied", "stale"), ("stale", "applied"))
    left = await db.fetch_value(
        "select count(*) from assignment a join tag t on t.id = a.tag_id where a.corp_id = $1 and a.ended_at is null"
        " and t.deleted_at is not null",
        scene.company.corp_id,
    )
    assert left == 0


# -- requests on a base that has moved ----------------------------------------------------------------------------------


async def test_an_edit_puts_no_old_content_on_a_new_base(scene: Scene) -> None:
    asked = held(await scene.merge("value/high", "value/mid"))
    gone = await scene.company.change("ann", "c1", remove=["value/high"])
    await scene.company.sign("east", gone.approval_id)
    await scene.company.sign("hq", gone.approval_id)
    edited = await scene.call("admin", "PATCH", f"/v1/approvals/{asked}", {"reason": "still wanted"})
    assert edited.status_code == 200, edited.text
    assert edited.json()["change"]["follows"] == 0
    assert (await scene.sign(asked, "boss", "hq"))["state"] == "applied"
    assert await marks(scene) == ["advice/keen"]


async def test_a_policy_is_not_asked_for_again_on_another_revision(scene: Scene) -> None:
    admin, plain = scene.company.as_("admin"), bundle_of({}, {}, MATRIX)
    chain = {**plain.approvals, "protected": {"asking_is_level1": True}}
    asked = (await publishing.apply_bundle(admin, replace(plain, approvals=chain), "wider")).approvals[0]
    strict = {**plain.approvals, "level1_roles": ["supervisor"]}
    assert (await publishing.apply_bundle(admin, replace(plain, approvals=strict), "stricter")).revision == 3
    edited = await scene.call("admin", "PATCH", f"/v1/approvals/{asked}", {"reason": "still wanted"})
    check_problem(edited, 409, "cannot_stand")
    assert (await scene.sign(str(asked), "boss"))["closed_reason"] == "base_moved"
    check_problem(await scene.call("admin", "POST", f"/v1/approvals/{asked}/resubmit"), 409, "cannot_stand")


async def test_a_group_is_deleted_with_the_tags_it_has_then(scene: Scene) -> None:
    group = f"/v1/tag-groups/{scene.company.groups['grade']}"
    asked = held(await scene.call("admin", "DELETE", group))
    assert (await scene.call("admin", "POST", f"{group}/tags", {"name": "bronze"})).status_code == 201
    assert (await scene.sign(asked, "boss"))["closed_reason"] == "base_moved"
    again = (await scene.call("admin", "POST", f"/v1/approvals/{asked}/resubmit")).json()
    assert again["change"]["tags"] == 3
    assert (await scene.sign(again["approval"]["id"], "boss", "hq"))["state"] == "applied"
    assert await group_of(scene, "grade") is None


async def test_signatures_overwrite_no_words_they_did_not_see(scene: Scene) -> None:
    asked = held(await scene.patch_tag("value/high", name="highest", meaning="first words"))
    assert (await scene.patch_tag("value/high", meaning="better words")).status_code == 200
    assert (await scene.sign(asked, "boss"))["closed_reason"] == "base_moved"
    group = held(await scene.patch_group("value", kind="standard", description="first words"))
    assert (await scene.patch_group("value", description="better words")).status_code == 200
    assert (await scene.sign(group, "boss"))["closed_reason"] == "base_moved"


async def test_what_was_before_stays_to_be_read(scene: Scene) -> None:
    asked = held(await scene.patch_tag("value/high", name="highest"))
    await scene.sign(asked, "boss", "hq")
    change = (await scene.web.get("admin", f"/v1/approvals/{asked}")).json()["change"]
    assert (change["before"], change["after"]) == ({"name": "high"}, {"name": "highest"})
    role = held(await scene.roles("ann", "staff", "manager"))
    await scene.sign(role, "east", "hq")
    change = (await scene.web.get("admin", f"/v1/approvals/{role}")).json()["change"]
    assert (change["before"], change["after"]) == (["staff"], ["manager", "staff"])


async def test_a_second_account_of_an_editor_is_no_signer(scene: Scene) -> None:
    asked = held(await scene.patch_tag("value/high", name="highest"))
    edited = await scene.call("boss", "PATCH", f"/v1/approvals/{asked}", {"reason": "mine"})
    assert edited.status_code == 409, edited.text  # above the admin there is nobody but the editor
    edited = await scene.call("hq", "PATCH", f"/v1/approvals/{asked}", {"reason": "mine"})
    assert "hq" not in edited.json()["approval"]["level2"]
    role = held(await scene.roles("ann", "staff", "manager"))
    edited = await scene.call("boss", "PATCH", f"/v1/approvals/{role}", {"reason": "mine"})
    assert not {"boss", "boss2"} & {*edited.json()["approval"]["level1"], *edited.json()["approval"]["level2"]}
