"""No identity, no signature: a renamed account is the person it was, and where nobody can say who signs, nobody signs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from support.company import PEOPLE, Companies, Company
from tagwarden.approvals import service
from tagwarden.approvals.model import NotASigner, Verdict
from tagwarden.governance import roles
from tagwarden.identity.model import IdentityRefused, RoleName
from tagwarden.kernel import db
from tagwarden.policy import service as policy

SPELT = ("HQ", "Hq", "hq ", "ｈｑ", "hq\u200b", "h\u0301q", "\u0127q")


async def signatures(company: Company) -> int:
    return int(await db.fetch_value("select count(*) from approval_signature where corp_id = $1", company.corp_id))


async def test_a_renamed_account_is_the_person_it_was(companies: Companies) -> None:
    """WeCom shows a renamed member as one who left and one who came: an admin says that they are one, and what the old
    name edited the new one never signs."""
    company = await companies.make(people={**PEOPLE, "mei": (11, True, ("manager",))})
    asked = (await company.change("ann", "c1", ["value/high"])).approval_id
    assert asked is not None
    change = {"add": [str(company.tags["value/mid"])], "remove": []}
    await service.edit(company.as_("mei"), asked, change, None, "*")
    await company.move_people({**PEOPLE, "wang.mei": (11, True, ())})
    await roles.join_persons(company.as_("admin"), "wang.mei", "mei")
    given = await roles.put_roles(company.as_("admin"), "wang.mei", [RoleName.MANAGER], [])
    for signer in ("east", "hq"):
        await company.sign(signer, given.approval_id)
    with pytest.raises(NotASigner):
        await company.sign("wang.mei", asked)
    for signer in ("east", "hq"):
        found = await company.sign(signer, asked)
    assert (found.state, await company.carried("ann", "c1")) == ("applied", {"value/mid"})


@pytest.mark.parametrize("userid", SPELT)
async def test_a_userid_is_its_very_characters(company: Company, userid: str) -> None:
    """Another spelling of a signer's userid is nobody, by whatever case, width, mark or space it differs."""
    asked = (await company.change("ann", "c1", ["value/high"])).approval_id
    await company.sign("east", asked)
    with pytest.raises(IdentityRefused):
        await company.sign(userid, asked)
    assert (await company.approval(asked)).state == "pending_level2"


async def test_spellings_of_one_userid_are_one_person_to_the_mirror(companies: Companies) -> None:
    """WeCom tells no difference between large and small letters: what it spells another way is no second account."""
    company = await companies.make()
    asked = (await company.change("ann", "c1", ["value/high"])).approval_id
    shown = {userid.upper() if userid in ("east", "hq") else userid: place for userid, place in PEOPLE.items()}
    await company.move_people(shown)
    known = await db.fetch("select userid from employee where corp_id = $1 and lower(userid) in ('east', 'hq')", company.corp_id)
    assert {row["userid"] for row in known} == {"east", "hq"}
    for signer in ("east", "hq"):
        found = await company.sign(signer, asked)
    assert found.state == "applied"


@pytest.fixture(params=["employee", "employee_role", "employee_department"])
async def unreadable(request: pytest.FixtureRequest, owner_sql: asyncpg.Connection) -> AsyncIterator[str]:
    """What says who somebody is, taken away from the service until the test says `restore`."""
    table = str(request.param)
    yield table
    await owner_sql.execute(f"grant select on {table} to tagwarden_app")


async def test_where_the_look_up_of_who_signs_fails_nothing_is_signed(
    company: Company, owner_sql: asyncpg.Connection, unreadable: str
) -> None:
    asked = (await company.change("ann", "c1", ["value/high"])).approval_id
    assert asked is not None
    await owner_sql.execute(f"revoke select on {unreadable} from tagwarden_app")
    policy.forget()
    for verdict in Verdict:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.decide(company.as_("east"), asked, verdict, "no", "*")
    await owner_sql.execute(f"grant select on {unreadable} to tagwarden_app")
    assert (await signatures(company), (await company.approval(asked)).state) == (0, "pending_level1")
    assert (await company.sign("east", asked)).state == "pending_level2"
