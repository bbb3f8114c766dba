"""Tag changes through the one write path, as a salesperson's screen would ask for them."""

from __future__ import annotations

import pytest

from support.company import Company
from tagwarden.assignments.model import Outcome, TagChangeRefused
from tagwarden.kernel import db


async def test_a_direct_change_is_applied_audited_and_dirty(company: Company) -> None:
    answer = await company.change("ann", "c1", ["activity/hot"])
    assert [item.outcome for item in answer.items] == [Outcome.APPLIED]
    assert await company.carried("ann", "c1") == {"activity/hot"}
    dirty = await db.fetch_value(
        "select dirty from follow_sync where corp_id = $1 and follow_id = $2",
        company.corp_id,
        await company.follow_id("ann", "c1"),
    )
    assert dirty


async def test_single_choice_takes_the_other_tag_along(company: Company) -> None:
    await company.change("ann", "c1", ["activity/hot"])
    answer = await company.change("ann", "c1", ["activity/warm"])
    assert [(item.op, item.reason) for item in answer.items] == [("add", None), ("remove", "single_choice")]
    assert await company.carried("ann", "c1") == {"activity/warm"}


async def test_another_owners_customer_is_refused_at_relation_and_nothing_changes(company: Company) -> None:
    with pytest.raises(TagChangeRefused) as refused:
        await company.change("ann", "c2", ["activity/hot"])
    assert refused.value.facts["step"] == "relation"
    assert "bob" not in str(refused.value.facts)
    assert await company.carried("bob", "c2") == set()


async def test_a_value_tag_waits_for_two_people(company: Company) -> None:
    answer = await company.change("ann", "c1", ["value/high"])
    assert [item.outcome for item in answer.items] == [Outcome.PENDING]
    assert await company.carried("ann", "c1") == set()
    assert (await company.sign("east", answer.approval_id)).state == "pending_level2"
    assert (await company.sign("hq", answer.approval_id)).state == "applied"
    assert await company.carried("ann", "c1") == {"value/high"}
