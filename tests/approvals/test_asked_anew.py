"""What is asked anew several times over: each request makes a row of its own, whichever of them is applied."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from support.company import PEOPLE, Companies, Company
from tagwarden.approvals import delegations, service
from tagwarden.assignments import library
from tagwarden.catalog import service as catalog
from tagwarden.catalog.service import TagChange
from tagwarden.kernel import db


async def _asked_twice_anew(company: Company, requester: str, first: UUID | None) -> tuple[UUID, UUID]:
    """Two open requests that both go back to the first, by different ways."""
    assert first is not None
    caller = company.as_(requester)
    await service.withdraw(caller, first)
    second = await service.resubmit(caller, first)
    await service.withdraw(caller, second)
    return await service.resubmit(caller, second), await service.resubmit(caller, first)


async def test_a_tag_is_moved_twice(companies: Companies) -> None:
    company = await companies.make(people=PEOPLE)
    high, advice = company.tags["value/high"], company.groups["advice"]
    asked = await library.move_tag(company.as_("admin"), high, advice, "", "*")
    one, other = await _asked_twice_anew(company, "admin", asked.approval_id)
    for approval_id in (one, other):
        await company.sign("boss", approval_id)
    assert (await company.sign("hq", one)).state == "applied"
    assert (await company.sign("hq", other)).state == "stale"
    made = UUID((await company.approval(one)).payload["target_id"])
    await catalog.change_tag(company.as_("admin"), made, TagChange(name="higher"), "*")
    again = await service.resubmit(company.as_("admin"), other)
    await company.sign("boss", again)
    assert (await company.sign("hq", again)).state == "applied"
    targets = {(await company.approval(approval_id)).payload["target_id"] for approval_id in (one, other, again)}
    assert len(targets) == 3


async def test_a_delegation_is_set_twice(companies: Companies) -> None:
    company = await companies.make(people=PEOPLE)
    wanted = delegations.Wanted("south", None, datetime.now(UTC) + timedelta(days=5), "leave")
    asked = await delegations.delegate(company.as_("east"), wanted)
    for approval_id in await _asked_twice_anew(company, "east", asked.approval_id):
        await company.sign("boss", approval_id)
        assert (await company.sign("hq", approval_id)).state == "applied"
    rows = await db.fetch("select id, approval_id from delegation where corp_id = $1", company.corp_id)
    assert len({row["id"] for row in rows}) == len({row["approval_id"] for row in rows}) == 2


async def test_a_tag_renamed_meanwhile_moves_under_its_new_name(companies: Companies) -> None:
    """Another reason puts the request on today's base: the tag is called what it is called, not what it was."""
    company = await companies.make(people=PEOPLE)
    await company.own_library()
    admin, keen = company.as_("admin"), company.tags["advice/keen"]
    asked = await library.move_tag(admin, keen, company.groups["value"], "", "*")
    assert asked.approval_id is not None
    await catalog.change_tag(admin, keen, TagChange(name="keener"), "*")
    await service.edit(admin, asked.approval_id, None, "another reason", "*")
    other = await library.move_tag(admin, company.tags["advice/cheap"], company.groups["value"], "", "*")
    assert other.approval_id is not None
    await service.withdraw(admin, other.approval_id)
    await catalog.change_tag(admin, company.tags["advice/cheap"], TagChange(name="cheaper"), "*")
    for approval_id in (asked.approval_id, await service.resubmit(admin, other.approval_id)):
        await company.sign("boss", approval_id)
        assert (await company.sign("hq", approval_id)).state == "applied"
    rows = await db.fetch("select name from tag where corp_id = $1 and group_id = $2", company.corp_id, company.groups["value"])
    assert {"keener", "cheaper"} <= {row["name"] for row in rows}
    assert {"keen", "cheap"}.isdisjoint(row["name"] for row in rows)
