"""Whose tokens count here: what is taken holds at once, what widens waits, and nobody shuts everybody out."""

from __future__ import annotations

import pytest

from support.company import ISSUER, Companies, Company
from tagwarden.governance import issuers
from tagwarden.governance import service as governance
from tagwarden.governance.issuers import LastSigningIssuer
from tagwarden.governance.service import ActivationBlocked
from tagwarden.kernel import db

KNOWN = (ISSUER, "crm")


async def rights(company: Company) -> dict[str, bool]:
    rows = await db.fetch("select issuer, may_sign from issuer_right where corp_id = $1", company.corp_id)
    return {row["issuer"]: row["may_sign"] for row in rows}


async def test_the_right_to_sign_is_taken_at_once_and_given_back_by_two(company: Company) -> None:
    admin = company.as_("admin")
    bound = await issuers.put_issuer(admin, "crm", True, "", KNOWN)
    await company.sign("boss", bound.approval_id)
    await company.sign("hq", bound.approval_id)
    taken = await issuers.put_issuer(admin, "crm", False, "it leaked", KNOWN)
    assert (taken.may_sign, taken.approval_id) == (False, None)
    assert await rights(company) == {ISSUER: True, "crm": False}
    back = await issuers.put_issuer(admin, "crm", True, "", KNOWN)
    assert (back.may_sign, await rights(company)) == (False, {ISSUER: True, "crm": False})
    await company.sign("boss", back.approval_id)
    assert (await company.sign("hq", back.approval_id)).state == "applied"
    assert await rights(company) == {ISSUER: True, "crm": True}


async def bind(company: Company, may_sign: bool) -> None:
    asked = await issuers.put_issuer(company.as_("admin"), "crm", may_sign, "", KNOWN)
    await company.sign("boss", asked.approval_id)
    await company.sign("hq", asked.approval_id)


async def test_the_last_issuer_that_signs_keeps_its_right(company: Company) -> None:
    """Two signatures would give it back, and nobody could give one."""
    await bind(company, may_sign=False)
    by_another = company.as_("admin", issuer="crm")
    for taking in (issuers.put_issuer(by_another, ISSUER, False, "", KNOWN), issuers.remove_issuer(by_another, ISSUER)):
        with pytest.raises(LastSigningIssuer):
            await taking
    assert await rights(company) == {ISSUER: True, "crm": False}


async def test_with_another_that_signs_it_may_go(company: Company) -> None:
    await bind(company, may_sign=True)
    assert (await issuers.put_issuer(company.as_("admin"), ISSUER, False, "", KNOWN)).may_sign is False
    with pytest.raises(LastSigningIssuer):
        await issuers.put_issuer(company.as_("admin"), "crm", False, "", KNOWN)
    await issuers.remove_issuer(company.as_("admin", issuer="crm"), ISSUER)
    assert await rights(company) == {"crm": True}


async def test_in_setup_rights_are_arranged_freely(companies: Companies) -> None:
    company = await companies.make(live=False)
    assert (await issuers.put_issuer(company.as_("admin"), ISSUER, False, "", KNOWN)).may_sign is False
    assert (await issuers.put_issuer(company.as_("admin"), ISSUER, True, "", KNOWN)).may_sign is True


async def test_without_an_issuer_that_signs_no_company_goes_live(companies: Companies) -> None:
    """Live, the right to sign is given by two signatures; nobody could give one."""
    company = await companies.make(live=False)
    await issuers.put_issuer(company.as_("admin"), ISSUER, False, "", KNOWN)
    with pytest.raises(ActivationBlocked) as blocked:
        await governance.activate(company.as_("admin"))
    assert [one.code for one in blocked.value.blockers] == ["no_signing_issuer"]
    await issuers.put_issuer(company.as_("admin"), ISSUER, True, "", KNOWN)
    assert (await governance.activate(company.as_("admin")))["state"] == "live"
