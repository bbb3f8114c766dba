"""One key, one effect: replayed, refused for another body, taken while it runs, and never mixed up between subjects."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from support.company import PEOPLE, Companies, Company
from tagwarden.assignments.model import ChangeAnswer, ChangeEmpty, TagChangeRefused
from tagwarden.assignments.service import TagChange, change_tags
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import Caller, Idempotency, IdempotencyMismatch, IdempotencyRunning, Work
from tagwarden.governance import roles
from tagwarden.identity.model import RoleName
from tagwarden.kernel import db


def keyed(caller: Caller, key: str = "k", body: str = "b", route: str = "/r") -> Caller:
    """The caller with an idempotency key."""
    return replace(caller, idempotency=Idempotency(route, key, body))


async def add(company: Company, caller: Caller, customer: str = "c1", tag: str = "activity/hot") -> ChangeAnswer:
    """One tag more."""
    return await change_tags(caller, TagChange(customer, (company.tags[tag],)))


async def lines(company: Company) -> int:
    """How long the chain is."""
    return int(await db.fetch_value("select seq from audit_head where corp_id = $1", company.corp_id))


async def test_the_answer_is_replayed_and_the_effect_is_not(company: Company) -> None:
    first = await add(company, keyed(company.as_("ann")))
    await company.change("ann", "c1", [], ["activity/hot"])
    before = await lines(company)
    again = await add(company, keyed(company.as_("ann")))
    assert again == first
    assert isinstance(again.items[0].tag_id, UUID)
    assert (await company.carried("ann", "c1"), await lines(company)) == (set(), before)


async def test_a_held_change_is_asked_once(company: Company) -> None:
    first, again = [await add(company, keyed(company.as_("ann")), tag="value/high") for _ in range(2)]
    assert first.approval_id is not None
    assert again == first
    assert await db.fetch_value("select count(*) from approval where corp_id = $1", company.corp_id) == 1


async def test_another_body_is_refused(company: Company) -> None:
    await add(company, keyed(company.as_("ann")))
    with pytest.raises(IdempotencyMismatch):
        await add(company, keyed(company.as_("ann"), body="other"), tag="activity/warm")
    assert await company.carried("ann", "c1") == {"activity/hot"}


async def test_other_subjects_routes_and_corps_have_keys_of_their_own(companies: Companies) -> None:
    people = {**PEOPLE, "bot": (1, False, ("service",))}
    company, other = await companies.make(people=people), await companies.make()
    await add(company, keyed(company.as_("ann")))
    await add(company, keyed(company.as_("bob"), body="other"), "c2")
    await add(company, keyed(company.as_("ann"), body="other", route="/other"), tag="activity/warm")
    await add(company, keyed(company.as_("ann", act="bot"), body="other"), tag="activity/cold")
    await add(other, keyed(other.as_("ann"), body="other"))
    assert await company.carried("ann", "c1") == {"activity/cold"}
    assert await other.carried("ann", "c1") == await company.carried("bob", "c2") == {"activity/hot"}


async def test_what_was_refused_is_not_kept(company: Company) -> None:
    caller = keyed(company.as_("ann"))
    await roles.put_roles(company.as_("admin"), "ann", [], [])
    with pytest.raises(TagChangeRefused):
        await add(company, caller)
    with pytest.raises(ChangeEmpty):
        await change_tags(keyed(company.as_("bob")), TagChange("c2"))
    await roles.put_roles(company.as_("admin"), "ann", [RoleName.STAFF], [])
    await add(company, caller)
    await add(company, keyed(company.as_("bob"), body="other"), "c2")
    assert await company.carried("ann", "c1") == await company.carried("bob", "c2") == {"activity/hot"}


async def test_a_key_is_free_again_after_a_day(company: Company) -> None:
    await add(company, keyed(company.as_("ann")))
    await db.execute("update idempotency set created_at = now() - interval '25 hours' where corp_id = $1", company.corp_id)
    await add(company, keyed(company.as_("ann"), body="other"), tag="activity/warm")
    with pytest.raises(IdempotencyMismatch):
        await add(company, keyed(company.as_("ann")))


@command(Epoch.SHARED)
async def run_slowly(work: Work, begun: asyncio.Event, go: asyncio.Event) -> dict[str, Any]:
    """Stays open until told to go on."""
    begun.set()
    await go.wait()
    return {"epoch": work.epoch}


async def test_a_twin_that_runs_is_a_conflict(company: Company) -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(run_slowly(keyed(company.as_("ann")), begun, go))
    await begun.wait()
    with pytest.raises(IdempotencyRunning):
        await run_slowly(keyed(company.as_("ann")), asyncio.Event(), asyncio.Event())
    with pytest.raises(IdempotencyRunning):
        await run_slowly(keyed(company.as_("ann"), body="other"), asyncio.Event(), asyncio.Event())
    go.set()
    assert await run_slowly(keyed(company.as_("bob")), asyncio.Event(), go)
    answer = await first
    assert await run_slowly(keyed(company.as_("ann")), asyncio.Event(), asyncio.Event()) == answer


async def test_thirty_twins_at_once_have_one_effect(company: Company) -> None:
    answers = await asyncio.gather(
        *(add(company, keyed(company.as_("ann")), tag="value/high") for _ in range(30)), return_exceptions=True
    )
    ids = {answer.approval_id for answer in answers if isinstance(answer, ChangeAnswer)}
    assert len(ids) == 1
    assert {type(answer) for answer in answers} <= {ChangeAnswer, IdempotencyRunning}
    assert await db.fetch_value("select count(*) from approval where corp_id = $1", company.corp_id) == 1
