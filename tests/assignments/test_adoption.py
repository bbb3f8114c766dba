"""Marks WeCom held already: asked for in bundles, adopted by two people, row by row as they still stand."""

from __future__ import annotations

import pytest

from support.company import GROUPS, PEOPLE, Companies, Company, arrange
from tagwarden.approvals.model import NotASigner, Verdict
from tagwarden.assignments import adoption, queries
from tagwarden.assignments.adoption import NotAnAdopter, NothingToAdopt
from tagwarden.catalog import service as catalog
from tagwarden.catalog.model import Choice
from tagwarden.catalog.service import GroupChange
from tagwarden.corps.model import CorpNotLive
from tagwarden.kernel import db
from tagwarden.policy.model import Kind

CUSTOMERS = (
    ("ann", "c1", ("value/high",)),
    ("bob", "c2", ("value/mid",)),
    ("cat", "c3", ("value/low", "activity/hot")),
    ("dan", "c4", ("value/high",)),
)


@pytest.fixture
async def held(companies: Companies) -> Company:
    """A live company with four value marks nobody approved: three below east, one below south."""
    return await companies.make(customers=CUSTOMERS)


async def unconfirmed(company: Company) -> set[str]:
    """Customers with a mark that is not confirmed."""
    return {row["external_userid"] for row in await queries.unconfirmed(company.corp_id)}


async def calls_waiting(company: Company) -> int:
    """How many follows wait to be sent."""
    return int(await db.fetch_value("select count(*) from follow_sync where corp_id = $1 and dirty", company.corp_id))


async def test_a_signer_adopts_the_marks_below_him(held: Company) -> None:
    assert await unconfirmed(held) == {"c1", "c2", "c3", "c4"}
    (bundle,) = await adoption.ask_adoptions(held.as_("east"), "as it was")
    found = await held.approval(bundle)
    assert (found.state, len(found.payload["marks"])) == ("pending_level2", 3)
    with pytest.raises(NotASigner):
        await held.sign("east", bundle)
    assert await unconfirmed(held) == {"c1", "c2", "c3", "c4"}
    assert (await held.sign("hq", bundle)).state == "applied"
    assert await unconfirmed(held) == {"c4"}
    assert await calls_waiting(held) == 0
    rows = await db.fetch("select approval_id from assignment where corp_id = $1 and approval_id = $2", held.corp_id, bundle)
    assert len(rows) == 3


async def _made_standard(company: Company, tag_group: str) -> None:
    """The group is a value group no more."""
    change = GroupChange(kind=Kind.STANDARD)
    done = await catalog.change_group(company.as_("admin"), company.groups[tag_group], change, "*")
    await company.sign("boss", done.approval_id)
    await company.sign("hq", done.approval_id)


async def test_marks_of_a_group_that_is_no_value_group_any_more_drop_out(companies: Companies) -> None:
    rank = (Kind.VALUE, Choice.SINGLE, ("first",))
    customers = (("ann", "c1", ("value/high", "rank/first")), ("bob", "c2", ("value/mid",)))
    company = await companies.make(groups={**GROUPS, "rank": rank}, customers=customers)
    (bundle,) = await adoption.ask_adoptions(company.as_("east"), "")
    await _made_standard(company, "rank")
    assert (await company.sign("hq", bundle)).state == "applied"
    rows = await db.fetch("select tag_id from assignment where corp_id = $1 and approval_id = $2", company.corp_id, bundle)
    assert {row["tag_id"] for row in rows} == {company.tags["value/high"], company.tags["value/mid"]}


async def test_nothing_is_adopted_of_a_group_that_is_no_value_group_any_more(held: Company) -> None:
    (bundle,) = await adoption.ask_adoptions(held.as_("east"), "")
    await _made_standard(held, "value")
    found = await held.sign("hq", bundle)
    assert (found.state, found.closed_reason) == ("stale", "nothing_left_to_adopt")


async def test_nothing_is_asked_twice(held: Company) -> None:
    (bundle,) = await adoption.ask_adoptions(held.as_("east"), "")
    with pytest.raises(NothingToAdopt):
        await adoption.ask_adoptions(held.as_("east"), "")
    (other,) = await adoption.ask_adoptions(held.as_("admin"), "")
    assert [mark["external_userid"] for mark in (await held.approval(other)).payload["marks"]] == ["c4"]
    await held.sign("hq", bundle, Verdict.REJECT, "look again")
    assert await adoption.ask_adoptions(held.as_("east"), "") != [bundle]


async def test_an_admin_asks_for_everybody_and_signs_nothing(held: Company) -> None:
    bundles = await adoption.ask_adoptions(held.as_("admin"), "")
    found = [await held.approval(bundle) for bundle in bundles]
    assert {one.level1 for one in found} == {("east",), ("south",)}
    assert {one.state for one in found} == {"pending_level1"}
    for one in found:
        with pytest.raises(NotASigner):
            await held.sign("admin", one.id)
        with pytest.raises(NotASigner):
            await held.sign({"east": "south", "south": "east"}[one.level1[0]], one.id)
        await held.sign(one.level1[0], one.id)
        await held.sign("hq", one.id)
    assert await unconfirmed(held) == set()


@pytest.mark.parametrize("userid", ["ann", "auditor"])
async def test_others_do_not_ask(held: Company, userid: str) -> None:
    with pytest.raises(NotAnAdopter):
        await adoption.ask_adoptions(held.as_(userid), "")


async def test_who_signs_for_nobody_has_nothing_to_ask(held: Company) -> None:
    with pytest.raises(NothingToAdopt):
        await adoption.ask_adoptions(held.as_("hq"), "")


async def test_nothing_is_adopted_in_setup(companies: Companies) -> None:
    company = await companies.make(customers=CUSTOMERS, live=False)
    with pytest.raises(CorpNotLive):
        await adoption.ask_adoptions(company.as_("east"), "")


async def test_a_mark_that_moved_drops_out(held: Company) -> None:
    (bundle,) = await adoption.ask_adoptions(held.as_("east"), "")
    replaced = (await held.change("ann", "c1", ["value/low"])).approval_id
    await held.sign("east", replaced)
    await held.sign("hq", replaced)
    follow_id = await held.follow_id("bob", "c2")
    await arrange(held.corp_id, "update follow set ended_at = now() where id = $1", follow_id)
    assert (await held.sign("hq", bundle)).state == "applied"
    assert await held.carried("ann", "c1") == {"value/low"}
    adopted = await db.fetch("select follow_id from assignment where approval_id = $1", bundle)
    assert [row["follow_id"] for row in adopted] == [await held.follow_id("cat", "c3")]
    line = await db.fetch_value(
        "select convert_from(body, 'utf8') from audit_line where corp_id = $1"
        " and convert_from(body, 'utf8') like '%marks.adopted%'",
        held.corp_id,
    )
    assert '"adopted":1,"dropped":2' in line


async def test_an_owner_who_moved_under_another_leader_drops_out(held: Company) -> None:
    (bundle,) = await adoption.ask_adoptions(held.as_("east"), "")
    await held.move_people({**PEOPLE, "cat": (21, False, ("staff",))})
    await held.sign("hq", bundle)
    assert await unconfirmed(held) == {"c3", "c4"}


async def test_a_bundle_with_nothing_left_is_stale(held: Company) -> None:
    bundles = await adoption.ask_adoptions(held.as_("south"), "")
    follow_id = await held.follow_id("dan", "c4")
    await arrange(held.corp_id, "update follow set ended_at = now() where id = $1", follow_id)
    found = await held.sign("hq", bundles[0])
    assert (found.state, found.closed_reason) == ("stale", "nothing_left_to_adopt")


async def test_an_unconfirmed_mark_is_neither_removed_nor_confirmed_by_naming_it(held: Company) -> None:
    answer = await held.change("ann", "c1", ["value/high"])
    assert answer.approval_id is None
    assert "c1" in await unconfirmed(held)
    replaced = await held.change("ann", "c1", ["value/low"])
    assert {(item.op, item.outcome) for item in replaced.items} == {("add", "pending"), ("remove", "pending")}
    assert await held.carried("ann", "c1") == {"value/high"}


async def test_two_bundles_over_one_mark_adopt_it_once(held: Company) -> None:
    (first,) = await adoption.ask_adoptions(held.as_("south"), "")
    await held.sign("hq", first, Verdict.REJECT, "wait")
    (second,) = await adoption.ask_adoptions(held.as_("south"), "")
    assert (await held.sign("hq", second)).state == "applied"
    with pytest.raises(NothingToAdopt):
        await adoption.ask_adoptions(held.as_("south"), "")


async def test_a_bundle_holds_500_marks_at_most(companies: Companies) -> None:
    company = await companies.make(customers=[("ann", f"x{number}", ("value/high",)) for number in range(501)])
    bundles = await adoption.ask_adoptions(company.as_("east"), "")
    sizes = sorted([len((await company.approval(bundle)).payload["marks"]) for bundle in bundles])
    assert sizes == [1, 500]
    for bundle in bundles:
        await company.sign("hq", bundle)
    assert await unconfirmed(company) == set()


async def test_nobody_adopts_the_mark_of_an_own_follow(companies: Companies) -> None:
    people = {**PEOPLE, "amy": (1, False, ("staff",)), "third": (1, False, ("supervisor",))}
    company = await companies.make(people=people, customers=(("amy", "c1", ("value/high",)), ("hq", "c2", ("value/high",))))
    bundles = await adoption.ask_adoptions(company.as_("admin"), "")
    for bundle in bundles:
        await company.sign("boss", bundle)
        try:
            await company.sign("hq", bundle)
        except NotASigner:
            await company.sign("third", bundle)
    signed = await db.fetch_value(
        "select s.signer from assignment a join follow f on f.id = a.follow_id join approval_signature s"
        " on s.approval_id = a.approval_id and s.level = 2 where f.corp_id = $1 and f.userid = 'hq'",
        company.corp_id,
    )
    assert signed != "hq"
