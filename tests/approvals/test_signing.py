"""Signing, refusing, withdrawing, expiring: who, in which order, with which answer."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from support.company import GRANTS, PEOPLE, Action, Companies, Company, GrantLine, arrange
from tagwarden.approvals import reading, service, timekeeping
from tagwarden.approvals.chain import Signer
from tagwarden.approvals.model import (
    ApprovalClosed,
    ApprovalUnknown,
    CommentRequired,
    MirrorOutdated,
    NoApprover,
    NotASigner,
    NotYours,
    NotYourTurn,
    Verdict,
)
from tagwarden.approvals.service import DecisionEtagOutdated, DecisionEtagRequired
from tagwarden.assignments.service import TagChange, change_tags
from tagwarden.corps.model import Caller
from tagwarden.governance import roles
from tagwarden.governance import service as governance
from tagwarden.identity.model import IdentityRefused, RoleName
from tagwarden.kernel import db
from tagwarden.policy.service import Picture


async def asked(company: Company, userid: str = "ann", customer: str = "c1", tag: str = "value/high") -> UUID:
    """A request for a value tag."""
    approval_id = (await company.change(userid, customer, [tag])).approval_id
    assert approval_id is not None
    return approval_id


async def decide(caller: Caller, approval_id: UUID, verdict: Verdict = Verdict.APPROVE, **more: Any) -> UUID:
    """A decision with its ETag."""
    return await service.decide(caller, approval_id, verdict, more.get("comment", ""), more.get("if_match", "*"))


async def test_the_order_of_levels(company: Company) -> None:
    approval_id = await asked(company)
    with pytest.raises(NotYourTurn):
        await company.sign("hq", approval_id)
    assert (await company.sign("east", approval_id)).state == "pending_level2"
    with pytest.raises(NotASigner):
        await company.sign("east", approval_id)
    assert (await company.sign("hq", approval_id)).state == "applied"
    for late in ("hq", "boss", "east"):
        with pytest.raises(ApprovalClosed):
            await company.sign(late, approval_id)


@pytest.mark.parametrize("userid", ["ann", "bob", "south", "admin", "auditor"])
async def test_no_signer(company: Company, userid: str) -> None:
    approval_id = await asked(company)
    for comment in ("", "no"):
        with pytest.raises(NotASigner):
            await company.sign(userid, approval_id, Verdict.REJECT if comment else Verdict.APPROVE, comment)
    await company.sign("east", approval_id)
    with pytest.raises(NotASigner):
        await company.sign(userid, approval_id)
    assert (await company.approval(approval_id)).state == "pending_level2"


async def test_asking_as_level1_is_level1(company: Company) -> None:
    approval_id = await asked(company, "east")
    assert (await company.approval(approval_id)).state == "pending_level2"
    with pytest.raises(NotASigner):
        await company.sign("east", approval_id)
    assert (await company.sign("boss", approval_id)).state == "applied"
    assert await company.carried("ann", "c1") == {"value/high"}


async def test_an_own_follow_is_never_signed_by_asking(companies: Companies) -> None:
    company = await companies.make(customers=(("east", "mine", ()), ("ann", "c1", ())))
    approval_id = await asked(company, "east", "mine")
    found = await company.approval(approval_id)
    assert (found.state, found.level1, found.level2) == ("pending_level1", ("boss",), ("hq",))
    with pytest.raises(NotASigner):
        await company.sign("east", approval_id)


async def test_the_only_supervisor_cannot_ask(companies: Companies) -> None:
    people = {userid: place for userid, place in PEOPLE.items() if userid != "hq"}
    company = await companies.make(people=people, grants=(*GRANTS, GrantLine(1, "value", Action.USE)))
    with pytest.raises(NoApprover):
        await company.change("boss", "c1", ["value/high"])
    assert await company.carried("ann", "c1") == set()


async def test_403_comes_before_409_before_428_before_412_before_422(company: Company, owner_sql: asyncpg.Connection) -> None:
    approval_id = await asked(company)
    with pytest.raises(NotASigner):
        await decide(company.as_("south"), approval_id, if_match=None)
    with pytest.raises(NotYourTurn):
        await decide(company.as_("hq"), approval_id, if_match=None)
    with pytest.raises(DecisionEtagRequired):
        await decide(company.as_("east"), approval_id, Verdict.REJECT, if_match=None)
    with pytest.raises(DecisionEtagOutdated):
        await decide(company.as_("east"), approval_id, Verdict.REJECT, if_match='"99"')
    with pytest.raises(CommentRequired):
        await decide(company.as_("east"), approval_id, Verdict.REJECT, if_match='"1"', comment=" \n")
    await decide(company.as_("east"), approval_id, if_match='"1"')
    with pytest.raises(DecisionEtagOutdated):
        await decide(company.as_("hq"), approval_id, if_match='"1"')
    await company.sign("hq", approval_id, Verdict.REJECT, "no")
    with pytest.raises(ApprovalClosed):
        await decide(company.as_("hq"), approval_id, if_match=None)
    with pytest.raises(NotASigner):
        await decide(company.as_("south"), approval_id, if_match=None)


async def test_a_refusal_at_either_level_changes_nothing(company: Company) -> None:
    first, second = await asked(company), await asked(company, "bob", "c2")
    await company.sign("east", second)
    for approval_id, signer in ((first, "east"), (second, "hq")):
        closed = await company.sign(signer, approval_id, Verdict.REJECT, "not now")
        assert (closed.state, closed.closed_reason) == ("rejected", "refused")
        _, signatures, _ = await reading.read(company.corp_id, approval_id)
        assert (signatures[-1].signer, signatures[-1].verdict, signatures[-1].comment) == (signer, "reject", "not now")
    assert await company.carried("ann", "c1") | await company.carried("bob", "c2") == set()


async def test_only_the_requester_withdraws(company: Company) -> None:
    approval_id = await asked(company, "east")
    with pytest.raises(ApprovalUnknown):
        await service.withdraw(company.as_("south"), approval_id)
    for other in ("ann", "hq", "admin"):
        with pytest.raises(NotYours):
            await service.withdraw(company.as_(other), approval_id)
    await service.withdraw(company.as_("east"), approval_id)
    assert (await company.approval(approval_id)).state == "withdrawn"
    with pytest.raises(ApprovalClosed):
        await service.withdraw(company.as_("east"), approval_id)
    with pytest.raises(ApprovalClosed):
        await company.sign("hq", approval_id)


async def test_time_runs_out(company: Company) -> None:
    late, soon = await asked(company), await asked(company, "bob", "c2")
    found = await company.approval(late)
    assert found.expires_at - found.created_at == timedelta(days=7)
    await arrange(company.corp_id, "update approval set expires_at = now() where id = $1", late)
    assert await timekeeping.expire_due(company.corp_id) == 1
    assert await timekeeping.expire_due(company.corp_id) == 0
    assert ((await company.approval(late)).state, (await company.approval(soon)).state) == ("expired", "pending_level1")
    with pytest.raises(ApprovalClosed):
        await company.sign("east", late)


async def test_what_is_over_is_not_signed(company: Company) -> None:
    approval_id = await asked(company)
    await company.sign("east", approval_id)
    await arrange(company.corp_id, "update approval set expires_at = '2026-01-01' where id = $1", approval_id)
    with contextlib.suppress(ApprovalClosed):
        await company.sign("hq", approval_id)
    assert await company.carried("ann", "c1") == set()


async def test_another_corps_request_is_not_found(companies: Companies, company: Company) -> None:
    approval_id = await asked(company)
    other = await companies.make(customers=())
    for use_case in (decide, service.withdraw):
        with pytest.raises(ApprovalUnknown):
            await use_case(other.as_("east"), approval_id)
    with pytest.raises(ApprovalUnknown):
        await reading.read(other.corp_id, approval_id)


async def test_a_machine_never_signs(companies: Companies) -> None:
    people = {**PEOPLE, "bot": (1, False, ("service",))}
    company = await companies.make(people=people)
    approval_id = await asked(company)
    for caller in (company.as_("east", act="bot"), company.as_("east", may_sign=False), company.as_("east", issuer="crm")):
        with pytest.raises(NotASigner):
            await decide(caller, approval_id)
    with pytest.raises(IdentityRefused):
        await decide(company.as_("east", act="ghost"), approval_id)
    with pytest.raises(IdentityRefused):
        await decide(company.as_("east", act="hq"), approval_id)
    with pytest.raises(IdentityRefused):
        await decide(company.as_("ghost"), approval_id)
    assert (await company.approval(approval_id)).state == "pending_level1"


async def test_an_issuer_without_the_right_never_signs(companies: Companies) -> None:
    company = await companies.make(may_sign=False)
    approval_id = await asked(company)
    with pytest.raises(NotASigner):
        await company.sign("east", approval_id)  # the caller claims it; the corp's row does not say so


async def test_nobody_signs_by_asking_through_a_machine_or_a_mute_issuer(companies: Companies) -> None:
    company = await companies.make(people={**PEOPLE, "bot": (1, False, ("service",))})
    change = TagChange("c1", (company.tags["value/high"],))
    for caller in (company.as_("east", act="bot"), company.as_("east", may_sign=False)):
        answer = await change_tags(caller, change)
        assert answer.approval_id is not None
        found = await company.approval(answer.approval_id)
        assert (found.state, found.level1, found.level2) == ("pending_level1", ("boss",), ("hq",))
        assert found.act == caller.act
        with pytest.raises(NotASigner):
            await company.sign("east", answer.approval_id)


async def test_an_old_mirror_stops_signing(company: Company) -> None:
    approval_id = await asked(company)
    await db.execute("update corp set org_mirrored_at = now() - interval '25 hours' where corp_id = $1", company.corp_id)
    with pytest.raises(MirrorOutdated):
        await company.sign("east", approval_id)
    with pytest.raises(NotASigner):
        await company.sign("south", approval_id)
    await company.move_people(PEOPLE)
    assert (await company.sign("east", approval_id)).state == "pending_level2"


async def same_person(owner_sql: asyncpg.Connection, company: Company, userid: str, person: str) -> None:
    """Makes an account one more of a person, as the operator may."""
    async with owner_sql.transaction():
        await owner_sql.execute("alter table employee disable trigger user")
        await owner_sql.execute(
            "update employee set person = $3 where corp_id = $1 and userid = $2", company.corp_id, userid, person
        )
        await owner_sql.execute("alter table employee enable trigger user")
        await owner_sql.execute("update corp_epoch set epoch = epoch + 1 where corp_id = $1", company.corp_id)


async def test_a_second_account_neither_asks_nor_signs_for_itself(companies: Companies, owner_sql: asyncpg.Connection) -> None:
    company = await companies.make(people={**PEOPLE, "ann2": (10, True, ("manager",))})
    await same_person(owner_sql, company, "ann2", "ann")
    approval_id = await asked(company)
    with pytest.raises(NotASigner):
        await company.sign("ann2", approval_id)
    by_other = await company.approval(await asked(company, "ann2"))
    assert (by_other.state, by_other.level1) == ("pending_level1", ("east",))


async def test_a_second_account_does_not_sign_the_other_level(companies: Companies, owner_sql: asyncpg.Connection) -> None:
    company = await companies.make(
        people={**PEOPLE, "boss2": (1, False, ("supervisor",)), "top": (1, True, ("manager",)), "east": (10, True, ("staff",))}
    )
    await same_person(owner_sql, company, "boss2", "boss")
    approval_id = await asked(company)
    await company.sign("boss", approval_id)
    with pytest.raises(NotASigner):
        await company.sign("boss2", approval_id)


async def test_writes_suspended_stop_signatures_too(company: Company) -> None:
    approval_id = await asked(company)
    await arrange(company.corp_id, "update corp set writes_suspended = true where corp_id = $1", company.corp_id)
    with pytest.raises(Exception, match="suspended"):
        await company.sign("east", approval_id)
    await governance.activate(company.as_("admin"))
    await company.sign("east", approval_id)


def signer(picture: Picture, userid: str) -> Signer:
    """A person who stands in for nobody."""
    return Signer(picture.directory.employee(userid))


async def test_boxes_show_what_is_due(company: Company) -> None:
    from tagwarden.policy import service as policy

    approval_id = await asked(company)
    for signed, due in (("", {"east"}), ("east", {"boss", "hq"})):
        if signed:
            await company.sign(signed, approval_id)
        picture, approval = await policy.current(company.corp_id), await company.approval(approval_id)
        assert {userid for userid in PEOPLE if reading.awaits(picture, approval, signer(picture, userid))} == due
    picture, approval = await policy.current(company.corp_id), await company.approval(approval_id)
    seen = {userid for userid in PEOPLE if reading.can_see(picture, approval, signer(picture, userid))}
    assert seen == {"ann", "east", "boss", "hq", "admin", "auditor"}


async def test_a_signer_who_lost_the_role_is_none_and_another_signs(company: Company) -> None:
    approval_id = await asked(company)
    await company.sign("east", approval_id)
    await roles.put_roles(company.as_("admin"), "hq", [RoleName.STAFF], [])
    with pytest.raises(NotASigner):
        await company.sign("hq", approval_id)
    assert (await company.sign("boss", approval_id)).state == "applied"
