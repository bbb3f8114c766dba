"""A company's whole life, with names planted everywhere they could leak from: no line of the chain holds one."""

from __future__ import annotations

import pytest

from support.company import GRANTS, PEOPLE, Companies, bundle_of
from tagwarden.approvals import service as approvals
from tagwarden.approvals.model import Verdict
from tagwarden.assignments import adoption
from tagwarden.audit import service as audit
from tagwarden.catalog import service as catalog
from tagwarden.catalog.service import TagDraft
from tagwarden.corps import refusals
from tagwarden.governance import publishing, roles
from tagwarden.governance import service as governance
from tagwarden.identity.model import RoleName
from tagwarden.kernel import db
from tagwarden.kernel.errors import TagwardenError
from tagwarden.sync import service as sync
from tagwarden.sync.model import RunKind

CANARIES = ("name of", "王小明", "13800138000", "secret-of-the-app", "a company")
SAID = "王小明 13800138000"


async def test_no_line_names_anybody(companies: Companies) -> None:
    company = await companies.make(customers=(("ann", "c1", ()), ("bob", "c2", ("value/high",)), ("cat", "c3", ())))
    admin = company.as_("admin")
    first = (await company.change("ann", "c1", ["value/high", "activity/hot"], reason=SAID)).approval_id
    await company.sign("east", first)
    await company.sign("hq", first, Verdict.APPROVE, SAID)
    second = (await company.change("ann", "c1", ["value/mid"], reason=SAID)).approval_id
    await company.sign("east", second, Verdict.REJECT, SAID)
    third = (await company.change("east", "c3", ["value/mid"], reason=SAID)).approval_id
    assert third is not None
    await approvals.withdraw(company.as_("east"), third)
    fourth = (await company.change("cat", "c3", ["value/low"], reason=SAID)).approval_id
    (bundle,) = await adoption.ask_adoptions(company.as_("east"), SAID)
    await company.sign("hq", bundle, Verdict.APPROVE, SAID)
    for _ in range(2):
        with pytest.raises(TagwardenError):
            await company.change("ann", "c2", ["activity/hot"], reason=SAID)
    for refused in (
        company.change("ghost", "c1", ["activity/hot"]),
        company.sign("south", fourth, Verdict.REJECT, SAID),
        roles.put_roles(company.as_("ann"), "bob", [RoleName.ADMIN], []),
        catalog.create_tag(company.as_("ann"), company.groups["advice"], TagDraft("x", SAID, SAID)),
        governance.activate(company.as_("ann")),
    ):
        with pytest.raises(TagwardenError):
            await refused
    await catalog.create_tag(admin, company.groups["advice"], TagDraft("good", SAID, SAID))
    await roles.put_roles(admin, "ann", [RoleName.STAFF, RoleName.AUDITOR], [])
    await publishing.apply_bundle(admin, bundle_of(PEOPLE, {}, GRANTS), "a note")
    await sync.request_run(admin, RunKind.ORG)
    await company.move_people({userid: place for userid, place in PEOPLE.items() if userid != "cat"})
    await db.execute("update refusal_tally set minute = minute - interval '1 minute' where corp_id = $1", company.corp_id)
    assert await refusals.flush(company.corp_id) > 0
    rows = await audit.lines_after(company.corp_id, 0)
    actions = {line["action"] for line in await audit.latest(company.corp_id, before=None, limit=500)}
    assert {"approval.applied", "approval.rejected", "approval.stale", "marks.adopted", "refused", "refused_again"} <= actions
    for row in rows:
        text = row["body"].decode()
        assert [canary for canary in CANARIES if canary in text] == []
