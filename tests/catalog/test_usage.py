"""Where a tag is used, for each who asks; and that nothing in use is deleted, however close the two come."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from support.company import GRANTS, GROUPS, Action, Companies, GrantLine
from support.service import Service
from tagwarden.assignments import library as library_service
from tagwarden.assignments import usage
from tagwarden.assignments.usage import Mention
from tagwarden.catalog.model import InUse
from tagwarden.customers.model import ContactSeen
from tagwarden.kernel import clock, db
from tagwarden.kernel.ids import new_id
from tagwarden.policy import service as policy
from tagwarden.sync import repository as sync_repository
from tagwarden.sync import service as sync

from .people import Library, a_library, refused

HELD = (
    ("ann", "c1", ("advice/keen",)),
    ("ann", "c5", ("advice/keen",)),
    ("bob", "c2", ("advice/keen", "advice/cheap")),
    ("dan", "c4", ("advice/keen",)),
    ("cat", "c3", ()),
)


@pytest.fixture
async def held(companies: Companies, service: Service) -> Library:
    return await a_library(companies, service, customers=HELD)


async def test_marks_by_owner_and_department_as_far_as_one_sees(held: Library) -> None:
    seen = {
        "ann": ({"ann": 2}, {"11": 2}, 2),
        "cat": ({}, {}, 4),
        "east": ({"ann": 2, "bob": 1}, {"11": 3}, 1),
        "hq": ({}, {}, 4),
        "auditor": ({"ann": 2, "bob": 1, "dan": 1}, {"11": 3, "21": 1}, 0),
        "admin": ({}, {}, 4),
        "sub": ({}, {}, 4),
    }
    for userid, (owners, departments, hidden) in seen.items():
        answer = await held.web.get(userid, f"/v1/tags/{held.tag('advice/keen')}/usage")
        if userid == "hq":  # no grant reaches HQ: nothing of the group is open to a supervisor there
            refused(answer, 404, "tag_unknown")
            continue
        marks = answer.json()["assignments"]
        assert (marks["by_owner"], marks["by_department"], marks["hidden"], marks["total"]) == (owners, departments, hidden, 4), (
            userid
        )
    group = (await held.web.get("auditor", f"/v1/tag-groups/{held.group('advice')}/usage")).json()
    assert group["assignments"]["by_owner"] == {"ann": 2, "bob": 2, "dan": 1}
    assert (group["assignments"]["total"], group["blocking"], group["children"]) == (5, ["assignments"], [])


async def test_only_whoever_configures_reads_the_policy_of_it(companies: Companies, service: Service) -> None:
    more = (*GRANTS, GrantLine(10, "advice", Action.MANAGE), GrantLine(1, "advice", Action.VIEW))
    library = await a_library(companies, service, grants=more)
    count = len((await policy.current(library.company.corp_id)).matrix.of_group(library.group("advice")))
    assert count == 4
    for userid in ("ann", "east", "hq"):
        named = (await library.usage("advice/keen", userid))["policy"]
        assert named == {"grants": count, "grant_ids": [], "others": 0, "mentions": []}, userid
    for userid in ("admin", "auditor", "sub"):
        assert len((await library.usage("advice/keen", userid))["policy"]["grant_ids"]) == count, userid


async def test_open_requests_that_name_it(held: Library) -> None:
    first = (await held.web.tag("ann", "c1", [held.tag("value/high")])).json()["approval_id"]
    second = (await held.web.tag("dan", "c4", [held.tag("value/high")])).json()["approval_id"]
    rename = (await held.patch("value/high", name="highest")).json()["approval_id"]
    for userid, ids in {
        "ann": [first],
        "dan": [second],
        "east": [first],
        "south": [second],
        "auditor": [first, second, rename],
        "admin": [first, second, rename],
    }.items():
        asked = (await held.usage("value/high", userid))["approvals"]
        assert (sorted(asked["ids"]), asked["hidden"]) == (sorted(ids), 3 - len(ids)), userid
    used = await held.usage("value/high")
    assert used["blocking"] == ["approvals"]
    group = (await held.web.get("admin", f"/v1/tag-groups/{held.group('value')}/usage")).json()
    assert (len(group["approvals"]["ids"]), group["blocking"]) == (3, ["approvals"])
    facts = refused(await held.delete("value/high"), 409, "in_use")["facts"]
    assert facts == {"assignments": 0, "approvals": 2, "usage": f"/v1/tags/{held.tag('value/high')}/usage"}
    await held.web.sign("east", first, "reject", "no")
    await held.web.sign("south", second, "reject", "no")
    assert (await held.usage("value/high"))["blocking"] == [], "a new name wanted keeps nothing from going"


async def test_a_tag_that_another_is_to_be_merged_into_stays(held: Library) -> None:
    merge = {"into": held.tag("value/mid")}
    asked = await held.web.call("admin", "POST", f"/v1/tags/{held.tag('value/low')}/merge", merge, If_Match="*")
    assert asked.status_code == 202
    refused(await held.delete("value/mid"), 409, "in_use")


async def test_children_and_wecom(held: Library) -> None:
    await held.made("below", parent_id=held.tag("advice/asked"))
    used = await held.usage("advice/asked")
    assert [(child["name"], child["retired"]) for child in used["children"]] == [("below", False)]
    assert used["blocking"] == ["children"]
    assert {name: used["wecom"][name] for name in ("absent", "ours", "foreign")} == {"absent": 0, "ours": 0, "foreign": 1}
    assert "another app" in used["wecom"]["text"]
    assert (await held.usage("advice/below"))["wecom"]["absent"] == 1
    zh = await held.web.http.get(
        f"/v1/tags/{held.tag('advice/below')}/usage", headers={**held.web.headers("admin"), "Accept-Language": "zh-CN"}
    )
    assert zh.json()["wecom"]["text"] == "不在企业微信中"


@pytest.fixture
def a_draft(held: Library) -> Iterator[Mention]:
    """A room above that knows of one draft naming advice."""
    draft = Mention("draft", "d1", "next year's matrix")

    async def drafts(corp_id: str, group_id: UUID) -> list[Mention]:
        return [draft] if (corp_id, group_id) == (held.company.corp_id, held.company.groups["advice"]) else []

    usage.bind([drafts])
    yield draft
    usage.bind([])


async def test_rooms_above_say_what_of_theirs_names_the_group(held: Library, a_draft: Mention) -> None:
    picture = await policy.current(held.company.corp_id)
    for userid, mentions in (("admin", (a_draft,)), ("ann", ())):
        found = await usage.of_tag(picture, userid, held.company.tags["advice/keen"])
        assert (found.policy.others, found.policy.mentions) == (1, mentions)
        found = await usage.of_group(picture, userid, held.company.groups["value"])
        assert found.policy.others == 0


async def test_strangers_are_told_nothing(held: Library, companies: Companies, service: Service) -> None:
    elsewhere = await a_library(companies, service, customers=())
    for path in (f"tags/{elsewhere.tag('advice/keen')}", f"tags/{uuid4()}"):
        refused(await held.web.get("admin", f"/v1/{path}/usage"), 404, "tag_unknown")
    for path in (f"tag-groups/{elsewhere.group('advice')}", f"tag-groups/{uuid4()}"):
        refused(await held.web.get("auditor", f"/v1/{path}/usage"), 404, "tag_group_unknown")
    refused(await held.web.get("hq", f"/v1/tag-groups/{held.group('activity')}/usage"), 404, "tag_group_unknown")


async def test_deleting_is_for_who_manages(held: Library) -> None:
    for userid, code in (
        ("ann", "module_missing"),
        ("auditor", "module_missing"),
        ("idle", "module_missing"),
        ("other", "refused_at_grant"),
    ):
        refused(await held.delete("advice/asked", userid=userid, etag=None), 403, code)
    assert (await held.delete("advice/asked", userid="sub")).status_code == 204
    refused(await held.delete("advice/asked"), 404, "tag_unknown")
    refused(await held.web.get("admin", f"/v1/tags/{held.tag('advice/asked')}/usage"), 404, "tag_unknown")


# -- two at once ---------------------------------------------------------------------------------------------------------


async def carriers_of_deleted(library: Library) -> int:
    """Open marks whose tag is gone, which nobody may ever see."""
    return int(
        await db.fetch_value(
            "select count(*) from assignment a join tag t on t.corp_id = a.corp_id and t.id = a.tag_id"
            " where a.corp_id = $1 and a.ended_at is null and t.deleted_at is not null",
            library.company.corp_id,
        )
    )


async def test_deleting_against_putting_on(held: Library) -> None:
    outcomes = set()
    for number in range(8):
        path = f"advice/{(await held.made(f'n{number}'))['name']}"
        answers = await asyncio.gather(
            held.web.tag("ann", "c1", [held.tag(path)]),
            held.delete(path),
            held.web.tag("bob", "c2", [held.tag(path)]),
        )
        codes = tuple(answer.status_code for answer in answers)
        assert codes in ((200, 409, 200), (422, 204, 422)), codes
        outcomes.add(codes)
    assert await carriers_of_deleted(held) == 0


async def test_deleting_against_asking(held: Library) -> None:
    """Of a value tag: the deletion waits for two signatures, the request too; whichever is second finds the other."""
    for number in range(4):
        path = f"value/{(await held.made(f'n{number}', 'value'))['name']}"
        deletion, request = await asyncio.gather(held.delete(path), held.web.tag("ann", "c1", [held.tag(path)]))
        assert (deletion.status_code, request.status_code) in ((202, 202), (409, 202))
        if deletion.status_code == 202:
            last = await held.web.sign("boss", deletion.json()["approval_id"])
            assert last.json()["approval"]["closed_reason"] == "in_use"
        await held.web.sign("east", request.json()["approval_id"], "reject", "no")


async def test_the_last_signature_of_a_deletion_against_a_request(held: Library) -> None:
    for number in range(4):
        path = f"value/{(await held.made(f'n{number}', 'value'))['name']}"
        deletion = (await held.delete(path)).json()["approval_id"]
        assert (await held.web.sign("boss", deletion)).status_code == 200
        signed, request = await asyncio.gather(held.web.sign("hq", deletion), held.web.tag("ann", "c1", [held.tag(path)]))
        state = signed.json()["approval"]["state"]
        assert (state, request.status_code) in (("applied", 422), ("stale", 202))
        if request.status_code == 202:
            await held.web.sign("east", request.json()["approval_id"], "reject", "no")


async def test_a_deletion_waits_for_the_mark_that_is_being_made(held: Library) -> None:
    tag = held.company.tags["advice/asked"]
    async with db.transaction():
        await db.fetch("select 1 from tag where id = $1 for share", tag)
        deleting = asyncio.create_task(held.delete("advice/asked"))
        await asyncio.sleep(0.3)
        assert not deleting.done()
    assert (await deleting).status_code == 204


async def test_an_import_takes_no_mark_of_a_tag_that_is_deleted_meanwhile(companies: Companies) -> None:
    company = await companies.make(customers=(), live=False)
    admin, tag = company.as_("admin"), company.tags["advice/keen"]
    run_id = new_id()
    await sync_repository.insert_run(company.corp_id, run_id, "customers", "admin")
    seen = [ContactSeen("ann", f"c{one}", "n", 1, None, clock.now(), (company.wecom_tags["advice/keen"],)) for one in range(40)]
    results = await asyncio.gather(
        sync.mirror_contacts(admin, run_id, seen, {}, 40), library_service.delete_tag(admin, tag, "", "*"), return_exceptions=True
    )
    carried = await db.fetch_value("select count(*) from assignment where corp_id = $1 and ended_at is null", company.corp_id)
    gone = await db.fetch_value("select deleted_at is not null from tag where id = $1", tag)
    assert (carried, gone) in ((40, False), (0, True))
    assert isinstance(results[1], InUse) == (not gone)


async def test_a_group_goes_with_its_tags_unless_one_is_carried(held: Library) -> None:
    refused(await held.web.call("admin", "DELETE", f"/v1/tag-groups/{held.group('advice')}"), 409, "in_use")
    refused(await held.web.call("admin", "DELETE", f"/v1/tag-groups/{held.group('activity')}"), 428, "if_match_required")
    path = f"/v1/tag-groups/{held.group('activity')}"
    assert (await held.web.call("admin", "DELETE", path, If_Match="*")).status_code == 204
    assert set(await held.groups()) == set(GROUPS) - {"activity"}
    refused(await held.web.tag("ann", "c1", [held.tag("activity/hot")]), 422, "tag_unknown")
