"""Refusals outlive the rollback they cause; repeated ones are counted, and none is lost in silence."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import pytest

from support.company import PEOPLE, Companies, Company
from tagwarden.approvals.model import NotASigner
from tagwarden.assignments.model import TagChangeRefused
from tagwarden.audit import service as audit
from tagwarden.catalog import service as catalog
from tagwarden.catalog.model import CatalogRefused
from tagwarden.catalog.service import TagDraft
from tagwarden.corps import refusals
from tagwarden.governance import roles
from tagwarden.identity.model import IdentityRefused, Module, RoleName
from tagwarden.kernel import db
from tagwarden.kernel.errors import Unavailable


@pytest.fixture(autouse=True)
async def early_in_the_minute() -> None:
    """Counts are kept by the minute: a test that counts begins when enough of one is left."""
    left = 60 - datetime.now(UTC).second
    if left < 6:
        await asyncio.sleep(left)


async def refused_lines(company: Company) -> list[dict[str, Any]]:
    """Lines about refusals, oldest first."""
    rows = await audit.lines_after(company.corp_id, 0)
    lines = [msgspec.json.decode(row["body"]) for row in rows]
    return [line for line in lines if line["action"].startswith("refused")]


async def try_and_fail(company: Company, times: int = 1, userid: str = "ann", customer: str = "c2") -> None:
    """A tag on somebody else's customer."""
    for _ in range(times):
        with pytest.raises(TagChangeRefused):
            await company.change(userid, customer, ["activity/hot"])


async def a_minute_later(company: Company) -> None:
    """Moves what was counted into a minute that is over."""
    await db.execute("update refusal_tally set minute = minute - interval '1 minute' where corp_id = $1", company.corp_id)


async def test_a_refusal_is_a_line_with_actor_step_and_object(company: Company) -> None:
    await try_and_fail(company)
    (line,) = await refused_lines(company)
    assert line["actor"] == {"userid": "ann", "issuer": "tagwarden"}
    assert line["object"] == f"follow:{await company.follow_id('bob', 'c2')}"
    assert (line["detail"]["use_case"], line["detail"]["step"]) == ("change_tags", "relation")
    assert line["detail"]["tags"] == [str(company.tags["activity/hot"])]


async def test_repetitions_are_counted_and_told_when_the_minute_is_over(company: Company) -> None:
    await try_and_fail(company, 4)
    await try_and_fail(company, 2, "ann", "c3")
    assert len(await refused_lines(company)) == 2
    await a_minute_later(company)
    assert await refusals.flush(company.corp_id) == 2
    assert await refusals.flush(company.corp_id) == 0
    again = [line for line in await refused_lines(company) if line["action"] == "refused_again"]
    first = [line for line in await refused_lines(company) if line["action"] == "refused"]
    assert sum(line["detail"]["repeated"] for line in again) + len(first) == 6
    assert {line["actor"]["userid"] for line in again} == {"ann"}
    assert (await audit.verify(company.corp_id)).sound


async def test_counts_of_this_minute_wait(company: Company) -> None:
    await try_and_fail(company, 2)
    await db.execute("update refusal_tally set minute = now() + interval '1 minute' where corp_id = $1", company.corp_id)
    assert await refusals.flush(company.corp_id) == 0


async def test_two_flushes_tell_it_once(company: Company) -> None:
    await try_and_fail(company, 3)
    await a_minute_later(company)
    told = await asyncio.gather(*(refusals.flush(company.corp_id) for _ in range(5)))
    assert sum(told) == 1


async def test_forty_refusals_at_once_are_all_counted(company: Company) -> None:
    await asyncio.gather(*(try_and_fail(company) for _ in range(40)))
    await a_minute_later(company)
    await refusals.flush(company.corp_id)
    found = await refused_lines(company)
    assert sum(line["detail"].get("repeated", 1) for line in found) == 40
    assert len(found) == 2
    assert (await audit.verify(company.corp_id)).sound


async def test_the_nobody_and_the_machine_are_named(companies: Companies) -> None:
    company = await companies.make(people={**PEOPLE, "bot": (1, False, ("service",))})
    with pytest.raises(IdentityRefused):
        await company.change("ghost", "c1", ["activity/hot"])
    approval_id = (await company.change("ann", "c1", ["value/high"])).approval_id
    assert approval_id is not None
    from tagwarden.approvals import service

    with pytest.raises(NotASigner):
        await service.decide(company.as_("east", act="bot"), approval_id, service.Verdict.APPROVE, "", "*")
    ghost, machine = await refused_lines(company)
    assert (ghost["actor"]["userid"], ghost["detail"]["step"]) == ("ghost", "identity")
    assert machine["actor"] == {"userid": "east", "issuer": "tagwarden", "act": "bot"}
    assert machine["object"] == f"approval:{approval_id}"


async def test_the_code_in_the_line_is_the_code_that_was_told(company: Company) -> None:
    await roles.put_roles(company.as_("admin"), "bob", [RoleName.SUBADMIN], [Module.CATALOG])
    with pytest.raises(CatalogRefused):
        await catalog.create_tag(company.as_("bob"), company.groups["advice"], TagDraft("new"))
    (line,) = await refused_lines(company)
    assert line["detail"]["code"] == f"refused_at_{line['detail']['step']}"


async def test_a_refusal_that_cannot_be_recorded_is_a_503(company: Company, owner_sql: asyncpg.Connection) -> None:
    await owner_sql.execute("delete from audit_head where corp_id = $1", company.corp_id)
    with pytest.raises(Unavailable):
        await company.change("ann", "c2", ["activity/hot"])
