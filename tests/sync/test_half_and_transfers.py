"""Contacts added by half and transfers, as WeCom tells of them: what becomes of follows, marks, value tags and requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.company import Companies
from support.mailbox import Mailbox
from support.town import Town, a_town
from tagwarden.approvals.model import State
from tagwarden.kernel import db
from tagwarden.sync.model import RunKind

PLAIN = (("ann", "wmC1", ()), ("ann", "wmC2", ()), ("bob", "wmC3", ()), ("cat", "wmC4", ()), ("dan", "wmC5", ()))
"""Without value marks that nobody confirmed: the guard of their group would only report."""


@pytest.fixture
async def town(companies: Companies, simulator_url: str) -> AsyncIterator[Town]:
    async with a_town(companies, simulator_url, customers=PLAIN) as made:
        yield made


async def follows(town: Town, customer: str) -> list[tuple[str, str | None]]:
    """Who follows or followed the customer, and why it ended."""
    rows = await db.fetch(
        "select userid, ended_reason from follow where corp_id = $1 and external_userid = $2 order by id", town.corp_id, customer
    )
    return [(row["userid"], row["ended_reason"]) for row in rows]


async def given_up(town: Town, owner: str, customer: str) -> int | None:
    code: int | None = (await town.row(owner, customer))["given_up_code"]
    return code


async def refreshed(town: Town) -> list[dict[str, Any]]:
    sql = "select convert_from(body, 'UTF8') as body from audit_line where corp_id = $1 order by seq"
    lines = [json.loads(row["body"]) for row in await db.fetch(sql, town.corp_id)]
    return [line["detail"] for line in lines if line["action"] == "contact.refreshed"]


async def value_tag(town: Town, owner: str, customer: str) -> None:
    """A signed value tag on a follow, and WeCom holds it."""
    asked = await town.change(owner, customer, add=["value/high"])
    await town.sign("east", asked.approval_id)
    assert (await town.sign("hq", asked.approval_id)).state is State.APPLIED
    await town.drain()
    assert "value/high" in await town.control.held(owner, customer)


# -- added by half ------------------------------------------------------------------------------------------------------


async def test_marks_on_a_half_added_customer_wait_for_his_yes(town: Town, mail: Mailbox) -> None:
    await mail.edit("add_contact", userid="ann", external_userid="wmHalf", half=True)
    await mail.work()
    assert await follows(town, "wmHalf") == [("ann", None)], "a follow like any other"
    await town.change("ann", "wmHalf", add=["advice/keen"])
    asked = await town.change("ann", "wmHalf", add=["value/high"])
    await town.sign("east", asked.approval_id)
    assert (await town.sign("hq", asked.approval_id)).state is State.APPLIED
    await town.drain()
    assert (await given_up(town, "ann", "wmHalf"), await town.control.held("ann", "wmHalf")) == (84061, set())
    await mail.edit("add_contact", userid="bob", external_userid="wmHalf", half=True)
    await mail.work()
    assert await given_up(town, "ann", "wmHalf") == 84061, "not his yes to her"
    await mail.edit("add_contact", userid="ann", external_userid="wmHalf")
    await mail.work()
    assert await town.control.held("ann", "wmHalf") == {"advice/keen", "value/high"}, "sent by itself once he said yes"
    assert (await given_up(town, "ann", "wmHalf"), await town.different()) == (None, {})


async def test_what_was_given_up_for_another_reason_is_not_tried_again_by_a_yes(town: Town, mail: Mailbox) -> None:
    await mail.edit("add_contact", userid="ann", external_userid="wmHalf", half=True)
    await mail.work()
    await town.control.fault(kind="errcode", api="mark_tag", code=40144)
    await town.change("ann", "wmHalf", add=["advice/keen"])
    await town.drain()
    await mail.edit("add_contact", userid="ann", external_userid="wmHalf")
    await mail.work()
    assert await given_up(town, "ann", "wmHalf") == 40144


async def test_a_customer_who_left_and_said_yes_is_back(town: Town, mail: Mailbox) -> None:
    await mail.edit("add_contact", userid="ann", external_userid="wmHalf", half=True)
    await mail.work()
    await asyncio.sleep(1.1)  # WeCom dates events in seconds
    await mail.edit("del_contact", userid="ann", external_userid="wmHalf", by="customer")
    await mail.work()
    sql = "select customer_left_at is not null as gone from follow where corp_id = $1 and external_userid = 'wmHalf'"
    assert await db.fetch_value(sql, town.corp_id) is True
    await asyncio.sleep(1.1)
    await mail.edit("add_contact", userid="ann", external_userid="wmHalf")
    await mail.work()
    assert await db.fetch_value(sql, town.corp_id) is False


# -- transfers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["customer_refused", "customer_limit_exceed"])
async def test_a_transfer_that_failed_changes_nothing_and_is_on_record(town: Town, mail: Mailbox, reason: str) -> None:
    await value_tag(town, "ann", "wmC1")
    asked = await town.change("ann", "wmC2", add=["value/mid"])
    await town.sign("east", asked.approval_id)
    calls = len(await town.marks())
    for customer in ("wmC1", "wmC2"):
        await mail.edit("transfer_fail", userid="bob", external_userid=customer, reason=reason)
    await mail.work()
    assert (await follows(town, "wmC1"), await follows(town, "wmC2")) == ([("ann", None)], [("ann", None)])
    assert await town.carried("ann", "wmC1") == {"value/high"}
    assert (await town.approval(asked.approval_id)).state is State.PENDING_LEVEL2, "the request goes on"
    assert (await town.sign("hq", asked.approval_id)).state is State.APPLIED
    assert [one["transfer_failed"] for one in await refreshed(town)] == [[reason], [reason]]
    await town.drain()
    assert len(await town.marks()) == calls + 1, "WeCom hears of the signed one alone"
    assert not await town.different()


async def test_a_transfer_takes_no_value_tag_along_and_none_back(town: Town, mail: Mailbox) -> None:
    await value_tag(town, "ann", "wmC1")
    asked = await town.change("ann", "wmC1", add=["value/low"])
    mail.holding = True
    await mail.edit("del_contact", userid="ann", external_userid="wmC1", by="transfer")
    await mail.edit("add_contact", userid="bob", external_userid="wmC1")
    # as if WeCom took them along
    await mail.edit("mark", userid="bob", external_userid="wmC1", add=["value/high", "advice/keen"])
    await mail.deliver()
    await mail.work()
    assert await follows(town, "wmC1") == [("ann", "transferred"), ("bob", None)]
    request = await town.approval(asked.approval_id)
    assert (request.state, request.closed_reason) == (State.STALE, "follow_ended")
    assert await town.carried("bob", "wmC1") == {"advice/keen"}, "nobody signed a value tag for him"
    assert await town.control.held("bob", "wmC1") == {"advice/keen"}, "and WeCom has none either"
    open_marks = "select count(*) from assignment a join follow f on f.id = a.follow_id where f.corp_id = $1 and f.userid = 'ann'"
    still = await db.fetch_value(open_marks + " and f.external_userid = 'wmC1' and a.ended_at is null", town.corp_id)
    assert still == 1, "hers stays as it was, on a follow that has ended"
    assert (await town.run(RunKind.DRIFT))["state"] == "done"
    assert not await town.different()


async def test_a_failed_transfer_that_crosses_a_deletion(town: Town, mail: Mailbox) -> None:
    await value_tag(town, "ann", "wmC1")
    mail.holding = True
    await mail.edit("transfer_fail", userid="bob", external_userid="wmC1", reason="customer_refused")
    await mail.edit("del_contact", userid="ann", external_userid="wmC1")
    await mail.deliver()
    await mail.work()
    assert await follows(town, "wmC1") == [("ann", "deleted_by_employee")]


async def test_a_customer_who_left_keeps_signed_tags_until_the_employee_lets_go(town: Town, mail: Mailbox) -> None:
    await value_tag(town, "ann", "wmC1")
    asked = await town.change("ann", "wmC1", add=["value/mid"])
    await mail.edit("del_contact", userid="ann", external_userid="wmC1", by="customer")
    await mail.work()
    assert await follows(town, "wmC1") == [("ann", None)]
    assert await town.carried("ann", "wmC1") == {"value/high"}
    await town.sign("east", asked.approval_id)
    assert (await town.sign("hq", asked.approval_id)).state is State.APPLIED, "one-way, and calls still work"
    await town.drain()
    assert await town.control.held("ann", "wmC1") == {"value/mid"}
