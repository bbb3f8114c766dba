"""Once live, one admin alone loosens nothing that protects value tags; what tightens is immediate."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.company import GRANTS, GROUPS, PEOPLE, Action, Companies, Company, Effect, GrantLine, Kind, Reach, bundle_of
from tagwarden.approvals.model import NoApprover
from tagwarden.assignments.model import TagChangeRefused
from tagwarden.catalog.model import Choice
from tagwarden.corps.model import CorpNotInSetup
from tagwarden.governance import publishing, roles
from tagwarden.governance import service as governance
from tagwarden.governance.bundle import BundleInvalid
from tagwarden.governance.publishing import Published
from tagwarden.governance.roles import EmployeeUnknown, LastAdmin
from tagwarden.governance.service import ActivationBlocked
from tagwarden.identity.model import IdentityRefused, Module, ModuleMissing, RoleMissing, RoleName
from tagwarden.kernel import db
from tagwarden.policy.model import Capability, Relation

NARROW = (
    GrantLine(10, "value", Action.USE, reach=Reach.OWN),
    GrantLine(20, "value", Action.USE, inherit=False),
    GrantLine(10, "value", Action.VIEW, reach=Reach.OWN),
    GrantLine(12, "value", Action.USE, Effect.DENY),
    GrantLine(10, "advice", Action.USE),
)
LOOSER = {
    "another department": (*NARROW, GrantLine(21, "value", Action.USE)),
    "a wider reach": (replace(NARROW[0], reach=Reach.CORP), *NARROW[1:]),
    "no reach at all": (replace(NARROW[0], reach=None), *NARROW[1:]),
    "passed on below": (NARROW[0], replace(NARROW[1], inherit=True), *NARROW[2:]),
    "a right to manage": (*NARROW, GrantLine(10, "value", Action.MANAGE)),
    "without the deny": NARROW[:3] + NARROW[4:],
    "a narrower deny": (*NARROW[:3], replace(NARROW[3], inherit=False), NARROW[4]),
    "a deny for another": (*NARROW[:3], replace(NARROW[3], department=11), NARROW[4]),
    "a deny of less": (*NARROW[:3], replace(NARROW[3], action=Action.VIEW), NARROW[4]),
}
TIGHTER = {
    "fewer allows": NARROW[1:],
    "one more deny": (*NARROW, GrantLine(11, "value", Action.USE, Effect.DENY)),
    "other groups": (*NARROW, GrantLine(1, "advice", Action.USE), GrantLine(1, "activity", Action.MANAGE)),
}


async def publish(company: Company, grants: tuple[GrantLine, ...]) -> Published:
    """The admin's bundle with these grants."""
    return await publishing.apply_bundle(company.as_("admin"), bundle_of({}, {}, grants), "test")


@pytest.mark.parametrize("grants", LOOSER.values(), ids=LOOSER.keys())
async def test_grants_of_a_value_group_do_not_loosen(companies: Companies, grants: tuple[GrantLine, ...]) -> None:
    company = await companies.make(grants=NARROW, customers=())
    done = await publish(company, grants)
    assert (done.revision, len(done.approvals)) == (None, 1)
    assert await db.fetch_value("select max(revision) from policy_revision where corp_id = $1", company.corp_id) == 2


@pytest.mark.parametrize("grants", TIGHTER.values(), ids=TIGHTER.keys())
async def test_what_tightens_is_published(companies: Companies, grants: tuple[GrantLine, ...]) -> None:
    company = await companies.make(grants=NARROW, customers=())
    assert await publish(company, grants) == Published(3, [])


async def test_a_deny_of_view_is_a_deny_of_use(companies: Companies) -> None:
    company = await companies.make(grants=(*GRANTS, GrantLine(12, "value", Action.VIEW, Effect.DENY)))
    with pytest.raises(TagChangeRefused):
        await company.change("cat", "c3", ["value/high"])
    assert (await publish(company, GRANTS)).revision is None


PLAIN = bundle_of({}, {}, GRANTS)
RULES = {"asking_is_level1": False, "expires_after_days": 7, "level1_roles": ["supervisor"], "level2_departments": [1]}
WIDER = Capability(RoleName.STAFF, Kind.VALUE, Action.USE, frozenset({Relation.SUBORDINATE}))


async def test_what_loosens_the_chain_or_the_capabilities_waits(company: Company) -> None:
    strict = replace(PLAIN, approvals=RULES, capabilities=PLAIN.capabilities[:-1])
    assert (await publishing.apply_bundle(company.as_("admin"), strict, "stricter")).revision == 3
    longer = replace(strict, approvals={**RULES, "expires_after_days": 90})
    assert (await publishing.apply_bundle(company.as_("admin"), longer, "longer")).revision == 4
    for looser in (
        replace(longer, approvals={**RULES, "asking_is_level1": True}),
        replace(longer, approvals={**RULES, "level1_roles": ["supervisor", "manager"]}),
        replace(longer, approvals={**RULES, "level2_departments": []}),
        replace(longer, approvals={**RULES, "level2_departments": [1, 10]}),
        replace(longer, approvals={**RULES, "escalate_after_hours": 1}),
        replace(longer, approvals={**RULES, "protected": {"asking_is_level1": True}}),
        replace(longer, approvals={**RULES, "kinds": {"roles_give": {"asking_is_level1": True}}}),
        replace(longer, capabilities=(*PLAIN.capabilities, WIDER)),
    ):
        done = await publishing.apply_bundle(company.as_("admin"), looser, "looser")
        assert (done.revision, len(done.approvals)) == (None, 1)
    assert await db.fetch_value("select max(revision) from policy_revision where corp_id = $1", company.corp_id) == 4


async def test_a_bundle_gives_no_signing_role_and_reclassifies_no_value_group(company: Company) -> None:
    admin = company.as_("admin")
    for people in ({"ann": (11, False, ("manager",))}, {"east": (10, True, ("manager", "supervisor"))}):
        assert len((await publishing.apply_bundle(admin, bundle_of(people, {}, GRANTS), "test")).approvals) == 1
    for groups in (
        {"value": (Kind.STANDARD, Choice.SINGLE, ())},
        {"value": (Kind.VALUE, Choice.MULTIPLE, ())},
        {"advice": (Kind.VALUE, Choice.MULTIPLE, ())},
    ):
        assert len((await publishing.apply_bundle(admin, bundle_of({}, groups, GRANTS), "test")).approvals) == 1
    rows = await db.fetch("select name, kind, choice from tag_group where corp_id = $1 order by name", company.corp_id)
    assert {row["name"]: (row["kind"], row["choice"]) for row in rows} == {
        name: (kind.value, choice.value) for name, (kind, choice, _) in GROUPS.items()
    }
    signing = await db.fetch(
        "select userid from employee_role where corp_id = $1 and role in ('manager', 'supervisor') order by 1", company.corp_id
    )
    assert [row["userid"] for row in signing] == ["boss", "east", "hq", "south"]


async def test_a_bundle_is_whole_or_nothing(company: Company) -> None:
    people = {"ann": (11, False, ("auditor",)), "ghost": (1, False, ("staff",))}
    with pytest.raises(BundleInvalid):
        await publishing.apply_bundle(company.as_("admin"), bundle_of(people, {}, GRANTS), "test")
    held = await db.fetch("select role from employee_role where corp_id = $1 and userid = 'ann'", company.corp_id)
    assert [row["role"] for row in held] == ["staff"]


@pytest.mark.parametrize("role", [RoleName.MANAGER, RoleName.SUPERVISOR])
async def test_signing_roles_are_taken_at_once_and_not_given_back(company: Company, role: RoleName) -> None:
    admin, holder = company.as_("admin"), {"manager": "east", "supervisor": "hq"}[role.value]
    given = await roles.put_roles(admin, "ann", [RoleName.STAFF, role], [])
    assert (given.roles, given.approval_id is None) == ([RoleName.STAFF], False)
    assert (await roles.put_roles(admin, holder, [RoleName.STAFF], [])).approval_id is None
    if role is RoleName.SUPERVISOR:  # of two supervisors one is left: nobody could be the second person
        with pytest.raises(NoApprover):
            await roles.put_roles(admin, holder, [RoleName.STAFF, role], [])
    else:
        back = await roles.put_roles(admin, holder, [RoleName.STAFF, role], [])
        assert (back.roles, back.approval_id is None) == ([RoleName.STAFF], False)
    await roles.put_roles(admin, "ann", [RoleName.STAFF, RoleName.AUDITOR], [])


async def test_who_gives_roles(company: Company) -> None:
    admin = company.as_("admin")
    for userid in ("ann", "boss", "auditor"):
        with pytest.raises(ModuleMissing):
            await roles.put_roles(company.as_(userid), "ann", [RoleName.AUDITOR], [])
    await roles.put_roles(admin, "bob", [RoleName.SUBADMIN], [Module.MEMBERS])
    await roles.put_roles(company.as_("bob"), "ann", [RoleName.STAFF, RoleName.AUDITOR], [])
    for userid, wanted in (("bob", [RoleName.ADMIN]), ("ann", [RoleName.SUBADMIN]), ("admin", [RoleName.STAFF])):
        with pytest.raises(RoleMissing):
            await roles.put_roles(company.as_("bob"), userid, wanted, [Module.POLICY])
    with pytest.raises(EmployeeUnknown):
        await roles.put_roles(admin, "ghost", [RoleName.STAFF], [])
    with pytest.raises(LastAdmin):
        await roles.put_roles(admin, "admin", [RoleName.STAFF], [])
    with pytest.raises(IdentityRefused):
        await roles.put_roles(company.as_("ghost"), "ann", [RoleName.STAFF], [])


async def test_activation_demands_two_signers_for_every_owner(companies: Companies) -> None:
    people = {userid: place for userid, place in PEOPLE.items() if userid not in ("south", "hq")}
    company = await companies.make(people=people, live=False)
    with pytest.raises(RoleMissing):
        await governance.activate(company.as_("ann"))
    with pytest.raises(ActivationBlocked) as blocked:
        await governance.activate(company.as_("admin"))
    assert [(one.code, one.facts["department"], one.facts["employees"]) for one in blocked.value.blockers] == [
        ("no_level1", 21, ["dan"])
    ]
    assert await db.fetch_value("select state from corp where corp_id = $1", company.corp_id) == "setup"
    await company.move_people(PEOPLE)
    await publishing.apply_bundle(company.as_("admin"), bundle_of(PEOPLE, {}, GRANTS), "more people")
    await governance.activate(company.as_("admin"))
    with pytest.raises(CorpNotInSetup):
        await governance.activate(company.as_("admin"))
