"""What moves under a request makes it stale, with the reason; what does not concern it, does not."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest

from support.company import GRANTS, PEOPLE, Companies, Company, GrantLine, arrange, bundle_of
from tagwarden.approvals.model import ApprovalClosed, NotASigner
from tagwarden.catalog import service as catalog
from tagwarden.catalog.service import GroupChange, TagChange
from tagwarden.governance import publishing, roles
from tagwarden.identity.model import RoleName
from tagwarden.kernel import db
from tagwarden.policy.model import Action, Effect, Kind


async def signed_once(company: Company, userid: str = "ann", customer: str = "c1", tag: str = "value/high") -> UUID:
    """A request for a value tag with its first signature."""
    approval_id = (await company.change(userid, customer, [tag])).approval_id
    assert approval_id is not None
    if (await company.approval(approval_id)).state == "pending_level1":
        await company.sign("east", approval_id)
    return approval_id


async def stale_by(company: Company, approval_id: UUID, signer: str = "hq") -> str | None:
    """Signs level 2, which must find the request stale; returns why, and nothing was changed."""
    before = await company.carried("ann", "c1")
    found = await company.sign(signer, approval_id)
    assert found.state == "stale"
    assert await company.carried("ann", "c1") == before
    line = await db.fetch_value(
        "select convert_from(body, 'utf8') from audit_line where corp_id = $1 order by seq desc limit 1", company.corp_id
    )
    assert '"approval.stale"' in line
    return found.closed_reason


@pytest.mark.parametrize("level", [1, 2])
async def test_the_second_of_two_requests_on_one_base_ends_with_the_first(company: Company, level: int) -> None:
    first = await signed_once(company)
    second = await signed_once(company, tag="value/mid") if level == 2 else None
    second = second or (await company.change("ann", "c1", ["value/mid"])).approval_id
    other = (await company.change("bob", "c2", ["value/mid"])).approval_id
    assert (await company.sign("hq", first)).state == "applied"
    found = await company.approval(second)
    assert (found.state, found.closed_reason) == ("stale", "base_moved")
    assert (await company.approval(other)).state == "pending_level1"
    again = await company.sign("hq" if level == 2 else "east", second)  # shown why, and nothing more
    assert (again.state, again.version) == ("stale", found.version)
    assert await company.carried("ann", "c1") == {"value/high"}


async def test_an_ordinary_tag_held_along_is_part_of_the_base(company: Company) -> None:
    approval_id = (await company.change("ann", "c1", ["value/high", "activity/hot"], partial=False)).approval_id
    await company.sign("east", approval_id)
    assert await company.carried("ann", "c1") == set()
    await company.change("ann", "c1", ["activity/warm"])
    assert approval_id is not None
    assert await stale_by(company, approval_id) == "base_moved"


async def test_all_of_a_held_change_is_applied_together(company: Company) -> None:
    approval_id = (await company.change("ann", "c1", ["value/high", "activity/hot"], partial=False)).approval_id
    await company.sign("east", approval_id)
    await company.sign("hq", approval_id)
    assert await company.carried("ann", "c1") == {"value/high", "activity/hot"}


async def test_the_owner_left(company: Company) -> None:
    approval_id = await signed_once(company, "east")
    await company.move_people({userid: place for userid, place in PEOPLE.items() if userid != "ann"})
    found = await company.approval(approval_id)
    assert (found.state, found.closed_reason) == ("stale", "owner_or_requester_left")


async def test_the_follow_ended(company: Company) -> None:
    approval_id = await signed_once(company)
    follow_id = await company.follow_id("ann", "c1")
    await arrange(company.corp_id, "update follow set ended_at = now() where id = $1", follow_id)
    assert (await company.sign("hq", approval_id)).closed_reason == "base_moved"


async def test_the_tag_was_retired_or_renamed_by_two_people(company: Company, owner_sql: asyncpg.Connection) -> None:
    for change in ("retired_at = now()", "name = 'other'"):
        approval_id = await signed_once(company, tag="value/low")
        async with owner_sql.transaction():
            await owner_sql.execute("alter table tag disable trigger user")
            await owner_sql.execute(f"update tag set {change} where id = $1", company.tags["value/low"])
            await owner_sql.execute("alter table tag enable trigger user")
        assert await stale_by(company, approval_id) == "base_moved"
        await owner_sql.execute("update tag set version = version + 1 where id = $1", company.tags["value/low"])
        if change.startswith("retired"):
            async with owner_sql.transaction():
                await owner_sql.execute("alter table tag disable trigger user")
                await owner_sql.execute("update tag set retired_at = null where id = $1", company.tags["value/low"])
                await owner_sql.execute("alter table tag enable trigger user")


async def test_the_kind_of_a_value_group_cannot_be_moved_alone_once_live(company: Company) -> None:
    for group, kind in (("value", Kind.STANDARD), ("value", Kind.UNCLASSIFIED), ("advice", Kind.VALUE)):
        done = await catalog.change_group(company.as_("admin"), company.groups[group], GroupChange(kind=kind), "*")
        assert done.approval_id is not None
    admin = company.as_("admin")
    for protected in (TagChange(name="other"), TagChange(retired=True)):
        assert (await catalog.change_tag(admin, company.tags["value/high"], protected, "*")).approval_id is not None


async def test_the_requester_lost_the_grant(company: Company) -> None:
    approval_id = await signed_once(company)
    narrower = tuple(grant for grant in GRANTS if (grant.department, grant.group) != (10, "value"))
    await publishing.apply_bundle(company.as_("admin"), bundle_of({}, {}, narrower), "narrower")
    assert await stale_by(company, approval_id) == "requester_lost_right"


async def test_the_requester_was_denied(company: Company) -> None:
    approval_id = await signed_once(company)
    denied = (*GRANTS, GrantLine(11, "value", Action.USE, Effect.DENY))
    await publishing.apply_bundle(company.as_("admin"), bundle_of({}, {}, denied), "denied")
    assert await stale_by(company, approval_id) == "requester_lost_right"


async def test_the_requester_lost_the_role(company: Company) -> None:
    approval_id = await signed_once(company)
    await roles.put_roles(company.as_("admin"), "ann", [], [])
    assert await stale_by(company, approval_id) == "requester_lost_right"


async def test_the_requester_moved_to_a_department_without_the_grant(company: Company) -> None:
    approval_id = await signed_once(company)
    await company.move_people({**PEOPLE, "ann": (1, False, ("staff",))})
    assert await stale_by(company, approval_id) in ("requester_lost_right", "signer_lost_authority")


async def test_the_requester_left(company: Company) -> None:
    approval_id = await signed_once(company, "east")
    await company.move_people({userid: place for userid, place in PEOPLE.items() if userid != "east"})
    assert (await company.approval(approval_id)).state == "stale"


@pytest.mark.parametrize("how", ["role", "leadership", "left", "nearer"])
async def test_the_first_signer_lost_authority(company: Company, how: str) -> None:
    approval_id = await signed_once(company)
    if how == "role":
        await roles.put_roles(company.as_("admin"), "east", [RoleName.STAFF], [])
    elif how == "leadership":
        await company.move_people({**PEOPLE, "east": (10, False, ("manager",))})
    elif how == "left":
        await company.move_people({userid: place for userid, place in PEOPLE.items() if userid != "east"})
    else:
        await company.move_people({**PEOPLE, "south": (11, True, ("manager",))})
    assert await stale_by(company, approval_id) == "signer_lost_authority"


async def test_who_signed_by_asking_lost_authority(company: Company) -> None:
    approval_id = await signed_once(company, "east")
    await company.move_people({**PEOPLE, "south": (11, True, ("manager",))})
    assert await stale_by(company, approval_id) == "signer_lost_authority"


async def test_a_signature_by_asking_falls_with_the_rule_that_allowed_it(companies: Companies, company: Company) -> None:
    approval_id = await signed_once(company, "east")
    bundle = replace(bundle_of({}, {}, GRANTS), approvals={"asking_is_level1": False, "expires_after_days": 7})
    assert (await publishing.apply_bundle(company.as_("admin"), bundle, "stricter")).revision == 3
    assert await stale_by(company, approval_id) == "signer_lost_authority"


@pytest.mark.parametrize("column", ["payload", "reason", "effects"])
async def test_content_tampered_with(company: Company, owner_sql: asyncpg.Connection, column: str) -> None:
    approval_id = await signed_once(company)
    low = company.tags["value/low"]
    statement = {
        "payload": f"update approval set payload = jsonb_set(payload, '{{add}}', '[\"{low}\"]') where id = $1",
        "reason": "update approval set about_customer = 'c2' where id = $1",
        "effects": f"insert into approval_effect select corp_id, approval_id, round, key || ':{low}' from approval_effect"
        " where approval_id = $1",
    }[column]
    async with owner_sql.transaction():
        for table in ("approval", "approval_effect"):
            await owner_sql.execute(f"alter table {table} disable trigger user")
        await owner_sql.execute(statement, approval_id)
        for table in ("approval", "approval_effect"):
            await owner_sql.execute(f"alter table {table} enable trigger user")
    assert await stale_by(company, approval_id) == "content_moved"


async def test_what_does_not_concern_it_costs_no_signature(company: Company) -> None:
    approval_id = await signed_once(company)
    admin = company.as_("admin")
    await company.change("ann", "c1", ["activity/hot", "advice/asked"])
    await company.change("ann", "c1", ["activity/hot"], ["value/low"])
    await company.change("bob", "c2", ["value/low"])
    await company.move_people(PEOPLE)
    await publishing.apply_bundle(admin, bundle_of({}, {}, GRANTS), "the same again")
    await roles.put_roles(admin, "ann", [RoleName.STAFF], [])
    await roles.put_roles(admin, "dan", [RoleName.STAFF, RoleName.AUDITOR], [])
    await catalog.change_tag(admin, company.tags["value/high"], TagChange(meaning="spends much"), "*")
    await catalog.change_group(admin, company.groups["advice"], GroupChange(description="words"), "*")
    await company.add_customers(("ann", "c1", ("value/low",)))
    assert (await company.sign("hq", approval_id)).state == "applied"
    assert await company.carried("ann", "c1") == {"value/high", "activity/hot", "advice/asked"}


async def test_another_supervisor_may_finish_what_the_first_cannot(company: Company) -> None:
    approval_id = await signed_once(company)
    await company.move_people({userid: place for userid, place in PEOPLE.items() if userid != "hq"})
    with pytest.raises(Exception, match="unknown or inactive"):
        await company.sign("hq", approval_id)
    assert (await company.sign("boss", approval_id)).state == "applied"


async def test_a_level2_signer_who_became_level1_signs_nothing(company: Company) -> None:
    approval_id = await signed_once(company)
    await roles.put_roles(company.as_("admin"), "boss", [RoleName.STAFF], [])
    with pytest.raises(NotASigner):
        await company.sign("boss", approval_id)


async def test_nothing_passes_when_the_chain_cannot_be_built(company: Company) -> None:
    approval_id = await signed_once(company)
    admin = company.as_("admin")
    await roles.put_roles(admin, "hq", [RoleName.STAFF], [])
    await roles.put_roles(admin, "boss", [RoleName.STAFF], [])
    for userid in ("boss", "hq", "east"):
        with contextlib.suppress(NotASigner, ApprovalClosed):
            await company.sign(userid, approval_id)
    assert (await company.approval(approval_id)).state != "applied"
    assert await company.carried("ann", "c1") == set()
