"""Everything at once, on real connections: one outcome, one consistent history, and never an error that is not ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from support.company import PEOPLE, Companies, Company
from tagwarden.approvals import service as approvals
from tagwarden.approvals import timekeeping
from tagwarden.approvals.model import Approval, ApprovalClosed, NotASigner, Verdict
from tagwarden.assignments import adoption
from tagwarden.audit import service as audit
from tagwarden.catalog import service as catalog
from tagwarden.catalog.model import NameTaken
from tagwarden.catalog.service import GroupDraft, TagDraft
from tagwarden.governance import roles
from tagwarden.governance import service as governance
from tagwarden.identity.model import IdentityRefused, RoleName
from tagwarden.kernel import db
from tagwarden.kernel.errors import TagwardenError
from tagwarden.sync import service as sync
from tagwarden.sync.model import RunKind, RunUnderWay

from .waiting import until_somebody_waits


async def together(*calls: Awaitable[Any]) -> list[Any]:
    """All at once; results and refusals in order. An error that is not ours fails the test."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, TagwardenError):
            raise result
    return results


async def ready(company: Company, tag: str = "value/high", partial: bool = True, add: tuple[str, ...] = ()) -> UUID:
    """A request of ann's that only level 2 is missing from."""
    approval_id = (await company.change("ann", "c1", [tag, *add], partial=partial)).approval_id
    await company.sign("east", approval_id)
    assert approval_id is not None
    return approval_id


def states(results: list[Any]) -> list[str]:
    """States of approvals, names of refusals."""
    return sorted(result.state.value if isinstance(result, Approval) else type(result).__name__ for result in results)


async def test_two_last_signatures(company: Company) -> None:
    for tag in ("value/high", "value/mid", "value/low"):
        approval_id = await ready(company, tag)
        results = await together(company.sign("boss", approval_id), company.sign("hq", approval_id))
        assert states(results) == ["ApprovalClosed", "applied"]
        assert await company.carried("ann", "c1") == {tag}


async def test_two_first_signatures(companies: Companies) -> None:
    company = await companies.make(people={**PEOPLE, "west": (10, True, ("manager",))})
    approval_id = (await company.change("ann", "c1", ["value/high"])).approval_id
    results = await together(*(company.sign(signer, approval_id) for signer in ("east", "west")))
    assert states(results) == ["NotASigner", "pending_level2"]


async def test_one_signer_who_clicks_ten_times(company: Company) -> None:
    approval_id = await ready(company)
    results = await together(*(company.sign("hq", approval_id) for _ in range(10)))
    assert states(results) == ["ApprovalClosed"] * 9 + ["applied"]


async def test_signing_against_refusing_and_withdrawing(company: Company) -> None:
    for tag in ("value/high", "value/mid"):
        approval_id = await ready(company, tag)
        results = await together(
            company.sign("boss", approval_id),
            company.sign("hq", approval_id, Verdict.REJECT, "no"),
            approvals.withdraw(company.as_("ann"), approval_id),
        )
        assert sum(isinstance(result, ApprovalClosed) for result in results) == 2
        applied = (await company.approval(approval_id)).state == "applied"
        assert (tag in await company.carried("ann", "c1")) == applied


async def test_an_edit_against_the_last_signature(company: Company) -> None:
    for first, second in (("hot", "warm"), ("cold", "hot"), ("warm", "cold")):
        approval_id = await ready(
            company, f"value/{ {'hot': 'high', 'cold': 'mid', 'warm': 'low'}[first] }", False, (f"activity/{first}",)
        )
        signed, _ = await together(company.sign("hq", approval_id), company.change("ann", "c1", [f"activity/{second}"]))
        carried = await company.carried("ann", "c1")
        assert signed.state in ("applied", "stale")
        assert {tag for tag in carried if tag.startswith("activity")} == {f"activity/{second}"}
        assert sum(tag.startswith("value") for tag in carried) <= 1


async def test_two_requests_on_one_base(company: Company) -> None:
    first, second = await ready(company), await ready(company, "value/mid")
    results = await together(company.sign("hq", first), company.sign("boss", second))
    assert states(results) == ["applied", "stale"]
    assert len(await company.carried("ann", "c1")) == 1


@pytest.mark.parametrize("how", ["left", "role"])
async def test_disabling_against_signing(company: Company, how: str) -> None:
    approval_id = await ready(company)
    without = {userid: place for userid, place in PEOPLE.items() if userid != "hq"}
    revoke = company.move_people(without) if how == "left" else roles.put_roles(company.as_("admin"), "hq", [], [])
    signed, revoked = await together(company.sign("hq", approval_id), revoke)
    assert not isinstance(revoked, Exception)
    assert isinstance(signed, (IdentityRefused, NotASigner)) == (await company.carried("ann", "c1") == set())
    with pytest.raises((IdentityRefused, NotASigner, ApprovalClosed)):
        await company.sign("hq", approval_id)


async def test_disabling_the_first_signer_against_the_last_signature(company: Company) -> None:
    approval_id = await ready(company)
    signed, _ = await together(
        company.sign("hq", approval_id), roles.put_roles(company.as_("admin"), "east", [RoleName.STAFF], [])
    )
    assert signed.state in ("applied", "stale")
    assert (await company.carried("ann", "c1") == {"value/high"}) == (signed.state == "applied")


async def test_fifty_changes_at_once_leave_one_tag(company: Company) -> None:
    tags = ("activity/hot", "activity/warm", "activity/cold")
    await together(*(company.change(("ann", "east")[n % 2], "c1", [tags[n % 3]]) for n in range(50)))
    assert len(await company.carried("ann", "c1")) == 1
    rows = await db.fetch("select ended_at from assignment where corp_id = $1", company.corp_id)
    assert sum(row["ended_at"] is None for row in rows) == 1
    lines = await db.fetch_value(
        "select count(*) from audit_line where corp_id = $1 and convert_from(body, 'utf8') like '%tags.changed%'", company.corp_id
    )
    version = await db.fetch_value("select version from follow_sync where corp_id = $1 and dirty", company.corp_id)
    assert len(rows) == lines == version - 1  # the follow's row stood at version 1 since the import
    assert (await audit.verify(company.corp_id)).sound


async def test_a_mark_never_ends_before_it_began(company: Company, owner_sql: asyncpg.Connection) -> None:
    await company.change("ann", "c1", ["advice/asked"])
    async with owner_sql.transaction():
        follow_id = await company.follow_id("ann", "c1")
        await owner_sql.execute("select 1 from follow where id = $1 for update", follow_id)
        late = asyncio.create_task(company.change("ann", "c1", ["activity/warm"]))
        await until_somebody_waits(owner_sql)
        await owner_sql.execute(  # what another process does that opened its command later and locked the follow first
            "insert into assignment (corp_id, id, follow_id, tag_id, source, actor, since)"
            " values ($1, gen_random_uuid(), $2, $3, 'manual', 'east', clock_timestamp())",
            company.corp_id,
            follow_id,
            company.tags["activity/hot"],
        )
    await late
    assert await company.carried("ann", "c1") == {"advice/asked", "activity/warm"}
    backwards = await db.fetch("select 1 from assignment where corp_id = $1 and ended_at < since", company.corp_id)
    assert backwards == []


async def test_signatures_across_a_bundle_and_single_requests(companies: Companies) -> None:
    company = await companies.make(customers=[("ann", f"x{n}", ("value/high",)) for n in range(12)])
    (bundle,) = await adoption.ask_adoptions(company.as_("east"), "")
    singles = [(await company.change("ann", f"x{n}", ["value/low"])).approval_id for n in range(12)]
    await together(*(company.sign("east", approval_id) for approval_id in singles))
    results = await together(company.sign("boss", bundle), *(company.sign("hq", approval_id) for approval_id in singles))
    assert {result.state.value for result in results} <= {"applied", "stale"}
    for n in range(12):
        assert len(await company.carried("ann", f"x{n}")) == 1
    assert (await audit.verify(company.corp_id)).sound


async def test_everything_at_once(company: Company) -> None:
    admin, requests = company.as_("admin"), [await ready(company, tag) for tag in ("value/high", "value/mid")]
    await together(
        *(company.sign(signer, approval_id) for signer in ("boss", "hq", "east", "south") for approval_id in requests),
        *(company.change("ann", "c1", ["activity/hot", "value/low"]) for _ in range(5)),
        *(company.change("dan", "c4", ["activity/warm"]) for _ in range(5)),
        *(roles.put_roles(admin, "cat", [RoleName.STAFF], []) for _ in range(5)),
        company.move_people(PEOPLE),
        company.add_customers(("ann", "c1", ()), ("cat", "c3", ())),
        adoption.ask_adoptions(company.as_("east"), ""),
        timekeeping.expire_due(company.corp_id),
    )
    assert (await audit.verify(company.corp_id)).sound
    assert sum(tag.startswith("value") for tag in await company.carried("ann", "c1")) <= 1


async def test_ten_twins_of_a_name(company: Company) -> None:
    admin = company.as_("admin")
    for results in (
        await together(*(catalog.create_group(admin, GroupDraft("twin")) for _ in range(10))),
        await together(*(catalog.create_tag(admin, company.groups["advice"], TagDraft("twin")) for _ in range(10))),
    ):
        assert sum(isinstance(result, UUID) for result in results) == 1
        assert sum(isinstance(result, NameTaken) for result in results) == 9


async def test_two_who_activate(companies: Companies) -> None:
    company = await companies.make(live=False)
    results = await together(*(governance.activate(company.as_("admin")) for _ in range(4)))
    assert sum(isinstance(result, dict) for result in results) == 1


async def test_two_who_ask_for_a_run(company: Company) -> None:
    results = await together(*(sync.request_run(company.as_("admin"), RunKind.ORG) for _ in range(6)))
    assert sorted(type(result).__name__ for result in results) == [RunUnderWay.__name__] * 5 + ["UUID"]
