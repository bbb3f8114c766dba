"""What WeCom reports about the organisation: members, trees, leaders, and accounts that get another name."""

from __future__ import annotations

import asyncio

import pytest

from support.mailbox import Mailbox
from support.town import Town
from tagwarden.approvals.model import State
from tagwarden.identity import repository as identity
from tagwarden.identity.model import IdentityRefused
from tagwarden.kernel import db
from tagwarden.sync.model import RunKind


async def test_members_come_move_lead_and_leave(town: Town, mail: Mailbox) -> None:
    await mail.edit("create_user", user={"userid": "eve", "name": "Eve", "department": [12], "is_leader_in_dept": [0]})
    await mail.edit("update_user", userid="cat", changes={"department": [11, 12], "is_leader_in_dept": [0, 1], "order": [0, 0]})
    asked = await town.change("dan", "wmC5", add=["value/low"])
    await mail.edit("delete_user", userid="dan")
    before = len(await town.control.calls("user/list"))
    await mail.work()
    directory = await identity.load_directory(town.corp_id)
    assert directory.employees["eve"].departments == {12}
    assert (directory.employees["cat"].departments, directory.employees["cat"].leads) == ({11, 12}, {12})
    assert not directory.employees["dan"].active
    assert (await town.approval(asked.approval_id)).state is State.STALE
    assert len(await town.control.calls("user/list")) == before, "only who was named is read"


async def test_a_tree_of_twelve_levels_grows_and_moves(town: Town, mail: Mailbox) -> None:
    for level in range(100, 112):
        parent = 12 if level == 100 else level - 1
        await mail.edit("create_party", party={"id": level, "name": f"d{level}", "parentid": parent})
    await mail.edit("create_user", user={"userid": "deep", "name": "Deep", "department": [111], "is_leader_in_dept": [0]})
    await mail.work()
    directory = await identity.load_directory(town.corp_id)
    assert len(directory.line(111)) == 12 + 3
    assert directory.leads(directory.employees["east"], directory.employees["deep"])
    await mail.edit("update_party", id=100, changes={"parentid": 21})
    await mail.work()
    directory = await identity.load_directory(town.corp_id)
    assert directory.leads(directory.employees["south"], directory.employees["deep"])
    assert not directory.leads(directory.employees["east"], directory.employees["deep"])


async def test_many_members_at_once_are_read_as_one(town: Town, mail: Mailbox) -> None:
    for number in range(12):
        await mail.edit("create_user", user={"userid": f"n{number}", "name": "n", "department": [11], "is_leader_in_dept": [0]})
    await mail.work()
    run = await db.fetch_value(
        "select state from sync_run where corp_id = $1 and kind = 'org' order by id desc limit 1", town.corp_id
    )
    assert run == "queued", "a worker executes it"
    assert not await town.control.calls("user/get")


# -- accounts that are renamed ------------------------------------------------------------------------------------------


async def rename(mail: Mailbox, old: str, new: str) -> None:
    await mail.edit("update_user", userid=old, changes={"userid": new})


async def test_a_renamed_account_stays_the_account_it_was(town: Town, mail: Mailbox) -> None:
    asked = await town.change("ann", "wmC1", add=["value/high"])
    await rename(mail, "ann", "ann.new")
    await rename(mail, "east", "east.new")
    await mail.work()
    directory = await identity.load_directory(town.corp_id)
    assert (directory.here("ann.new"), directory.here("east.new")) == ("ann", "east")
    assert "ann.new" not in directory.employees
    with pytest.raises(IdentityRefused):
        directory.here("ann")
    await town.sign("east", asked.approval_id)
    assert (await town.sign("hq", asked.approval_id)).state is State.APPLIED
    await town.drain()
    assert await town.control.held("ann.new", "wmC1") == {"value/high"}, "WeCom is told the name it knows"
    for kind in (RunKind.ORG, RunKind.CUSTOMERS):
        assert (await town.run(kind))["state"] == "done"
    directory = await identity.load_directory(town.corp_id)
    assert directory.employees["ann"].active
    rows = await db.fetch("select ended_at from follow where corp_id = $1 and external_userid = 'wmC1'", town.corp_id)
    assert [row["ended_at"] for row in rows] == [None]
    assert await db.fetch_value("select count(*) from follow where corp_id = $1 and userid = 'ann.new'", town.corp_id) == 0


async def test_renames_are_applied_in_wecoms_order_however_they_come(town: Town, mail: Mailbox) -> None:
    mail.holding = True
    for old, new in (("ann", "b1"), ("b1", "b2"), ("b2", "b3")):
        await rename(mail, old, new)
        await asyncio.sleep(1.1)
    mail.held.reverse()
    letters, mail.held = mail.held, []
    for letter in letters:
        await mail.store(letter)
        await mail.work()
    directory = await identity.load_directory(town.corp_id)
    assert directory.employees["ann"].wecom_userid == "b3"
    assert directory.employees["ann"].active
    assert not {"b1", "b2", "b3"} & directory.employees.keys()
    mail.holding = False
    await rename(mail, "b3", "ann")
    await mail.work()
    directory = await identity.load_directory(town.corp_id)
    assert (directory.employees["ann"].wecom_userid, directory.here("ann")) == (None, "ann")


async def test_a_rename_told_after_a_reconcile_makes_no_second_person(town: Town, mail: Mailbox) -> None:
    mail.holding = True
    await rename(mail, "boss", "boss2")
    assert (await town.run(RunKind.ORG))["state"] == "done"
    directory = await identity.load_directory(town.corp_id)
    assert directory.employees["boss2"].active
    assert not directory.employees["boss"].active
    await mail.deliver()
    await mail.work()
    directory = await identity.load_directory(town.corp_id)
    assert directory.here("boss2") == "boss"
    assert directory.employees["boss"].active
    assert not directory.employees["boss2"].active, "the account that came in meanwhile counts no more"
    assert directory.employees["boss2"].person == directory.employees["boss"].person


async def test_whoever_gets_a_name_that_was_given_up_is_not_that_account(town: Town, mail: Mailbox) -> None:
    await rename(mail, "boss", "boss2")
    await mail.work()
    await mail.edit("create_user", user={"userid": "boss", "name": "another", "department": [11], "is_leader_in_dept": [0]})
    await mail.work()
    row = await town.run(RunKind.ORG)
    assert row["result"]["kept_out"] == ["boss"]
    directory = await identity.load_directory(town.corp_id)
    assert directory.employees["boss"].leads == {1}, "still who he was"
    with pytest.raises(IdentityRefused):
        directory.here("boss")
