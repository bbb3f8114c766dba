"""Every protected change walks through two signatures, and is done by nobody before the second."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from support.company import PEOPLE, Companies, Company, GrantLine, bundle_of
from tagwarden.assignments import library
from tagwarden.catalog import repository as catalog
from tagwarden.catalog import service as library_service
from tagwarden.catalog.service import GroupChange, TagChange
from tagwarden.governance import issuers, publishing, roles
from tagwarden.identity.model import RoleName
from tagwarden.kernel import db
from tagwarden.policy.model import Action, Kind

Ask = Callable[[Company], Awaitable[UUID | None]]
Look = Callable[[Company], Awaitable[Any]]


async def _kind(company: Company) -> UUID | None:
    change = GroupChange(kind=Kind.STANDARD, reason="why")
    return (await library_service.change_group(company.as_("admin"), company.groups["value"], change, "*")).approval_id


async def _kind_to_value(company: Company) -> UUID | None:
    change = GroupChange(kind=Kind.VALUE)
    return (await library_service.change_group(company.as_("admin"), company.groups["advice"], change, "*")).approval_id


async def _tag_edit(company: Company, **change: Any) -> UUID | None:
    done = await library_service.change_tag(company.as_("admin"), company.tags["value/high"], TagChange(**change), "*")
    return done.approval_id


async def _rename(company: Company) -> UUID | None:
    return await _tag_edit(company, name="highest")


async def _retire(company: Company) -> UUID | None:
    return await _tag_edit(company, retired=True)


async def _delete(company: Company) -> UUID | None:
    return (await library.delete_tag(company.as_("admin"), company.tags["value/low"], "", "*")).approval_id


async def _delete_group(company: Company) -> UUID | None:
    for customer, tag in (("c1", "value/high"),):
        answer = await company.change("ann", customer, remove=[tag])
        await company.sign("east", answer.approval_id)
        await company.sign("hq", answer.approval_id)
    return (await library.delete_group(company.as_("admin"), company.groups["value"], "", "*")).approval_id


async def _merge(company: Company) -> UUID | None:
    high, mid = company.tags["value/high"], company.tags["value/mid"]
    return (await library.merge_tag(company.as_("admin"), high, mid, "", "*")).approval_id


async def _move_out(company: Company) -> UUID | None:
    high, group = company.tags["value/high"], company.groups["advice"]
    return (await library.move_tag(company.as_("admin"), high, group, "", "*")).approval_id


async def _move_in(company: Company) -> UUID | None:
    await company.change("ann", "c1", ["advice/keen"])
    keen, group = company.tags["advice/keen"], company.groups["value"]
    return (await library.move_tag(company.as_("admin"), keen, group, "", "*")).approval_id


async def _role(company: Company) -> UUID | None:
    done = await roles.put_roles(company.as_("admin"), "ann", [RoleName.STAFF, RoleName.MANAGER], [])
    return done.approval_id


async def _issuer(company: Company) -> UUID | None:
    return (await issuers.put_issuer(company.as_("admin"), "another", True, "", {"another"})).approval_id


async def _grants(company: Company) -> UUID | None:
    grants = [GrantLine(department, group, Action.USE) for department in (10, 20, 1) for group in company.groups]
    return (await publishing.apply_bundle(company.as_("admin"), bundle_of({}, {}, grants), "wider")).approvals[0]


async def _group_row(company: Company) -> Any:
    group = await catalog.group(company.corp_id, company.groups["value"])
    return (group.kind.value, group.choice.value) if group else None


async def _advice_row(company: Company) -> Any:
    group = await catalog.group(company.corp_id, company.groups["advice"])
    return group.kind.value if group else None


async def _high(company: Company) -> Any:
    tag = await catalog.tag(company.corp_id, company.tags["value/high"])
    return (tag.name, tag.retired) if tag else None


async def _low(company: Company) -> Any:
    return await catalog.tag(company.corp_id, company.tags["value/low"]) is not None


async def _marks(company: Company) -> Any:
    return sorted(await company.carried("ann", "c1"))


async def _roles_of_ann(company: Company) -> Any:
    rows = await db.fetch("select role from employee_role where corp_id = $1 and userid = 'ann' order by 1", company.corp_id)
    return [row["role"] for row in rows]


async def _issuers(company: Company) -> Any:
    rows = await db.fetch("select issuer, may_sign from issuer_right where corp_id = $1 order by 1", company.corp_id)
    return [(row["issuer"], row["may_sign"]) for row in rows]


async def _revision(company: Company) -> Any:
    return await db.fetch_value("select max(revision) from policy_revision where corp_id = $1", company.corp_id)


@dataclass(frozen=True)
class Case:
    ask: Ask
    look: Look
    after: Any
    level1: str = "boss"


CASES = {
    "a value group's kind": Case(_kind, _group_row, ("standard", "single")),
    "a group becomes a value group": Case(_kind_to_value, _advice_row, "value"),
    "rename": Case(_rename, _high, ("highest", False)),
    "retire": Case(_retire, _high, ("high", True)),
    "delete": Case(_delete, _low, False),
    "delete the group": Case(_delete_group, _group_row, None),
    "merge": Case(_merge, _marks, ["value/mid"]),
    "move out": Case(_move_out, _marks, ["advice/high"]),
    "move in": Case(_move_in, _marks, ["value/keen"]),
    "a signing role": Case(_role, _roles_of_ann, ["manager", "staff"], "east"),
    "an issuer": Case(_issuer, _issuers, [("another", True), ("tagwarden", True)]),
    "wider grants": Case(_grants, _revision, 3),
}


@pytest.fixture
async def marked(companies: Companies) -> Company:
    """A company in which c1 carries value/high by two signatures."""
    company = await companies.make(people=PEOPLE)
    answer = await company.change("ann", "c1", ["value/high"])
    await company.sign("east", answer.approval_id)
    await company.sign("hq", answer.approval_id)
    return company


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_it_waits_for_two_people_and_then_happens(marked: Company, case: Case) -> None:
    approval_id = await case.ask(marked)
    before = await case.look(marked)
    assert before != case.after
    assert (await marked.sign(case.level1, approval_id)).state == "pending_level2"
    assert await case.look(marked) == before
    assert (await marked.sign("hq", approval_id)).state == "applied"
    assert await case.look(marked) == case.after
