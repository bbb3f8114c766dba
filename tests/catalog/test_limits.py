"""What WeCom takes at most is shown and refused here before it would; what an import brings comes in, marked."""

from __future__ import annotations

import asyncio
import unicodedata
from uuid import UUID

import pytest

from support.company import Companies, Company, arrange, library_of
from support.service import Service
from tagwarden.app.doctor import organisation
from tagwarden.app.doctor.model import Level
from tagwarden.assignments.model import CustomerTagsFull
from tagwarden.catalog import library_rows, limits, repository
from tagwarden.kernel import db
from tagwarden.sync import service as sync

from .people import Library, refused

FILL = (
    "insert into tag (corp_id, id, group_id, name) select $1, gen_random_uuid(), $2, 'fill' || n"
    " from generate_series($3::int, $4::int) n"
)
MARK_ALL = (
    "insert into assignment (corp_id, id, follow_id, tag_id, source, actor, since)"
    " select $1, gen_random_uuid(), $2, t.id, 'import', 'x', now() from tag t where t.corp_id = $1 and t.group_id = $3"
    " and t.name like 'fill%'"
)


async def fill(company: Company, upto: int, group: str = "advice") -> None:
    """Tags until the library counts so many."""
    used = (await limits.use(company.corp_id)).used
    await arrange(company.corp_id, FILL, company.corp_id, company.groups[group], used + 1, upto)


async def test_the_last_place_is_taken_once(library: Library) -> None:
    await fill(library.company, limits.TAGS - 1)
    assert (await library.limits())["tags_used"] == limits.TAGS - 1
    answers = await asyncio.gather(
        library.create("first"), library.create("second", "activity"), library.create("third", "value"), library.create("fourth")
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    full = await library.limits()
    assert (full["tags_used"], full["tags"], full["nearly_full"]) == (limits.TAGS, limits.TAGS, True)
    facts = refused(await library.create("late"), 409, "tag_library_full")["facts"]
    assert facts == {"limit": limits.TAGS, "used": limits.TAGS}
    move = {"group_id": library.group("advice")}
    moved = await library.web.call("admin", "POST", f"/v1/tags/{library.tag('activity/hot')}/move", move, If_Match="*")
    refused(moved, 409, "tag_library_full")
    assert (await library.delete("advice/cheap")).status_code == 204
    assert (await library.create("late")).status_code == 201


async def test_what_else_is_in_wecom_counts_too(library: Library) -> None:
    corp_id = library.company.corp_id
    here = (await limits.use(corp_id)).here
    await library_rows.note_strategy_tags(corp_id, limits.TAGS - here - 1)
    assert (await library.create("last")).status_code == 201
    refused(await library.create("more"), 409, "tag_library_full")
    shown = await library.limits()
    assert (shown["strategy_tags"], shown["tags_used"]) == (limits.TAGS - here - 1, limits.TAGS)
    await library_rows.note_strategy_tags(corp_id, 0)
    assert (await library.create("more")).status_code == 201


async def test_the_doctor_warns_at_nine_tenths(companies: Companies) -> None:
    company = await companies.make(customers=())
    for upto, level in ((limits.TAGS * 9 // 10 - 1, Level.OK), (limits.TAGS * 9 // 10, Level.ATTENTION)):
        await fill(company, upto)
        (finding,) = await organisation.of_library(company.corp_id)
        assert (finding.level, finding.facts["used"]) == (level, upto)


async def test_an_import_is_never_refused(companies: Companies) -> None:
    company = await companies.make(customers=())
    await fill(company, limits.TAGS)
    seen = library_of({"new": ("standard", "single", ("a", "b"))})  # type: ignore[dict-item]
    result = await sync.mirror_catalog(company.as_("admin"), seen)
    assert (result.groups_new, result.tags_new) == (1, 2)
    assert (await limits.use(company.corp_id)).used == limits.TAGS + 2


async def test_tags_kept_out_of_our_library_count(companies: Companies) -> None:
    company = await companies.make(customers=())
    twin = [{"group_id": "other", "group_name": "advice", "tag": [{"id": "o1", "name": "x"}, {"id": "o2", "name": "y"}]}]
    result = await sync.mirror_catalog(company.as_("admin"), twin)
    assert result.conflicts == ["advice"]
    use = await limits.use(company.corp_id)
    assert (use.kept_out, use.used) == (2, use.here + 2)


async def test_three_thousand_tags_on_one_customer(library: Library) -> None:
    company = library.company
    follow_id = await company.follow_id("ann", "c1")
    already = (await limits.use(company.corp_id)).used
    await fill(company, already + limits.TAGS_ON_ONE - 1)
    await arrange(company.corp_id, MARK_ALL, company.corp_id, follow_id, company.groups["advice"])
    change = [company.tags["advice/keen"], company.tags["advice/cheap"]]
    facts = refused(await library.web.tag("ann", "c1", change), 409, "customer_tags_full")["facts"]
    assert facts == {"limit": limits.TAGS_ON_ONE, "tags": limits.TAGS_ON_ONE + 1}
    answers = await asyncio.gather(*(library.web.tag("ann", "c1", [tag]) for tag in change))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    held = await db.fetch_value(
        "select count(*) from assignment where corp_id = $1 and follow_id = $2 and ended_at is null", company.corp_id, follow_id
    )
    assert held == limits.TAGS_ON_ONE
    assert (await library.web.tag("ann", "c1", [company.tags["activity/hot"]])).status_code == 409
    gone = await db.fetch_value("select id from tag where corp_id = $1 and name like 'fill%' limit 1", company.corp_id)
    swapped = await library.web.tag("ann", "c1", [company.tags["activity/hot"]], [gone])
    assert swapped.status_code == 200, "one for one"
    approval = await library.web.tag("bob", "c2", [company.tags["value/high"]])
    assert approval.status_code == 202


async def test_a_request_that_would_be_one_too_many_when_it_is_signed(library: Library) -> None:
    company = library.company
    held = await library.web.tag("ann", "c1", [company.tags["value/high"]])
    assert held.status_code == 202
    await fill(company, (await limits.use(company.corp_id)).used + limits.TAGS_ON_ONE)
    follow_id = await company.follow_id("ann", "c1")
    await arrange(company.corp_id, MARK_ALL, company.corp_id, follow_id, company.groups["advice"])
    answer = await library.web.sign("east", held.json()["approval_id"])
    assert answer.json()["approval"]["closed_reason"] == CustomerTagsFull.code


# -- names ---------------------------------------------------------------------------------------------------------------

COMPOSED = "é" * 20
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


async def test_twenty_characters_are_counted_composed(library: Library) -> None:
    assert len(DECOMPOSED) == 40
    assert (await library.made(DECOMPOSED))["name"] == COMPOSED
    refused(await library.create(COMPOSED), 409, "name_taken")
    refused(await library.create(COMPOSED.upper()), 409, "name_taken")
    facts = refused(await library.create(DECOMPOSED + "e\u0301"), 422, "name_refused")["facts"]
    assert facts["reason"] == "too_long"
    facts = refused(await library.create("x" + "\u0301\u0302" * 9 + "x"), 422, "name_refused")["facts"]
    assert facts["reason"] == "character", "a mark that composes with nothing is no letter"


ODD = [
    {
        "group_id": "g1",
        "group_name": "客户 等级",
        "tag": [
            {"id": "t1", "name": "A/B"},
            {"id": "t2", "name": "x" * 30},
            {"id": "t3", "name": unicodedata.normalize("NFD", "é")},
            {"id": "t4", "name": "AB"},
            {"id": "t5", "name": "fine"},
            {"id": "t6", "name": "😀"},
        ],
    }
]


@pytest.fixture
async def odd(library: Library) -> Library:
    """With a group as WeCom has them."""
    await sync.mirror_catalog(library.company.as_("admin"), ODD)
    group = await db.fetch_one("select id from tag_group where corp_id = $1 and wecom_id = 'g1'", library.company.corp_id)
    assert group is not None
    library.company.groups["odd"] = group["id"]
    for tag in await repository.tags_of_group(library.company.corp_id, group["id"]):
        library.company.tags[f"odd/{tag.wecom_id}"] = tag.id
    return library


async def test_names_that_break_our_rules_are_listed_with_a_cleaned_one(odd: Library) -> None:
    shown = await odd.groups(marked="true")
    assert shown.keys() == {"客户 等级"}
    group = shown["客户 等级"]
    assert (group["name_marked"], group["name_fault"], group["suggested_name"]) == (True, "white_space", "客户等级")
    tags = {tag["name"]: (tag["name_fault"], tag["suggested_name"]) for tag in group["tags"]}
    assert tags == {
        "A/B": ("character", "AB2"),
        "x" * 30: ("too_long", "x" * 20),
        unicodedata.normalize("NFD", "é"): ("not_composed", "é"),
        "😀": ("character", None),
    }
    assert "客户 等级" not in await odd.groups(marked="false")
    assert "客户 等级" in await odd.groups()
    assert await odd.groups("ann", marked="true") == {}, "nobody sees a group by its name's faults"


async def test_what_is_offered_is_taken_and_the_mark_goes(odd: Library) -> None:
    assert (await odd.patch_group("odd", kind="standard")).status_code == 200
    await odd.company.own_library()
    for wecom_id, name in (("t1", "AB2"), ("t2", "x" * 20), ("t3", "é")):
        answer = await odd.patch(f"odd/{wecom_id}", name=name)
        assert (answer.status_code, answer.json()["name_marked"]) == (200, False)
    assert (await odd.patch_group("odd", name="客户等级")).json()["name_marked"] is False
    assert (await odd.groups(marked="true")).keys() == {"客户等级"}, "the face is left"


async def test_a_new_name_is_no_twin_of_one_that_came_decomposed(odd: Library) -> None:
    assert (await odd.patch_group("odd", kind="standard")).status_code == 200
    refused(await odd.create("é", "odd"), 409, "name_taken")


async def test_a_name_given_in_wecom_is_marked_and_unmarked(odd: Library) -> None:
    again = [{**ODD[0], "tag": [{"id": "t1", "name": "AC"}, {"id": "t5", "name": "fi ne"}]}]
    await sync.mirror_catalog(odd.company.as_("admin"), again)
    rows = await db.fetch("select wecom_id, name_marked from tag where corp_id = $1", odd.company.corp_id)
    marks = {row["wecom_id"]: row["name_marked"] for row in rows}
    assert (marks["t1"], marks["t5"], marks["t2"]) == (False, True, True)


async def test_unclassified_groups_are_listed_and_counted_for_admins(odd: Library, service: Service) -> None:
    assert (await odd.groups(kind="unclassified")).keys() == {"客户 等级"}
    assert await odd.groups("ann", kind="unclassified") == {}
    assert (await odd.groups(kind="value")).keys() == {"value"}
    for userid, shown in (("admin", 1), ("sub", 1), ("idle", None), ("ann", None)):
        assert (await odd.web.get(userid, "/v1/me")).json().get("unclassified_groups") == shown, userid
    assert (await odd.web.get("admin", "/v1/corp")).json()["unclassified_groups"] == 1
    refused(await odd.web.get("admin", "/v1/tag-groups", kind="other"), 422, "request_invalid")
    refused(await odd.patch("odd/t5", meaning="x", userid="sub"), 403, "refused_at_capability")
    assert (await odd.patch_group("odd", kind="standard")).status_code == 200
    assert (await odd.web.get("admin", "/v1/corp")).json()["unclassified_groups"] == 0


async def test_a_group_whose_last_tag_goes_is_made_anew_in_wecom(library: Library) -> None:
    """WeCom drops an empty group with its id; the next tag must not be sent into it."""
    for name in ("asked", "cheap"):
        assert (await library.delete(f"advice/{name}")).status_code == 204
    group = await repository.group(library.company.corp_id, UUID(library.group("advice")))
    assert group is not None
    assert group.wecom_id == "g-advice"
    assert (await library.delete("advice/keen")).status_code == 204
    assert (await library.groups())["advice"]["in_wecom"] is False
