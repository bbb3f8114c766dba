"""What WeCom reports about contacts, the library and the organisation: twice, late, in any order, and after a death."""

from __future__ import annotations

import asyncio
import random

import pytest

from support.company import Companies
from support.mailbox import Mailbox
from support.service import Process, environment
from support.town import Town
from tagwarden.approvals.model import State
from tagwarden.assignments import reading
from tagwarden.catalog import remake
from tagwarden.identity import repository as identity
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.policy import service as policy
from tagwarden.sync import inbox, refresh, sending
from tagwarden.sync.inbound import Inbound
from tagwarden.sync.model import RunKind

pytestmark = pytest.mark.usefixtures("nothing_left_over")


async def follows(town: Town, owner: str, customer: str) -> list[tuple[str | None, bool]]:
    """Every follow of the pair, oldest first: why it ended, and whether the customer has left."""
    rows = await db.fetch(
        "select ended_reason, customer_left_at is not null as left from follow where corp_id = $1 and userid = $2"
        " and external_userid = $3 order by id",
        town.corp_id,
        owner,
        customer,
    )
    return [(row["ended_reason"], row["left"]) for row in rows]


# -- contacts -----------------------------------------------------------------------------------------------------------


async def test_a_contact_added_inside_wecom_is_a_follow_here(town: Town, mail: Mailbox) -> None:
    await mail.edit("add_contact", userid="ann", external_userid="wmNew", name="new one")
    await mail.work()
    assert await follows(town, "ann", "wmNew") == [(None, False)]
    await town.change("ann", "wmNew", add=["advice/keen"])
    await town.drain()
    assert await town.control.held("ann", "wmNew") == {"advice/keen"}


@pytest.mark.parametrize(("by", "reason"), [("employee", "deleted_by_employee"), ("transfer", "transferred")])
async def test_a_follow_that_ended_takes_its_requests_with_it(town: Town, mail: Mailbox, by: str, reason: str) -> None:
    asked = await town.change("ann", "wmC2", add=["value/high"])
    await town.sign("east", asked.approval_id)
    await mail.edit("del_contact", userid="ann", external_userid="wmC2", by=by)
    await mail.work()
    assert await follows(town, "ann", "wmC2") == [(reason, False)]
    request = await town.approval(asked.approval_id)
    assert (request.state, request.closed_reason) == (State.STALE, "follow_ended")
    told = await db.fetch("select userid from notification where corp_id = $1 and event = 'stale'", town.corp_id)
    assert {row["userid"] for row in told} == {"ann", "east"}, "who asked, and who has signed"
    marks = await db.fetch_value("select count(*) from assignment where corp_id = $1 and ended_at is null", town.corp_id)
    assert marks == 4, "untouched, and they stop counting"


async def test_a_change_that_may_not_leave_yet_is_not_read_for_again_and_again(town: Town, mail: Mailbox) -> None:
    await sending.pause_sending(town.as_("admin"), "looking")
    await town.change("ann", "wmC2", add=["advice/keen"])
    await mail.edit("mark", userid="ann", external_userid="wmC2", add=["advice/asked"])
    inbound = Inbound(town.client)
    for _ in range(6):
        await mail.hurry()
        await inbound.work_once(town.corp_id)
    assert len(await town.control.calls("externalcontact/get")) == 1
    assert town.corp_id not in await refresh.corps_waiting(), "nobody is kept busy by it"
    await sending.resume_sending(town.as_("admin"), "enough")
    await mail.work()
    assert await town.carried("ann", "wmC2") == {"activity/hot", "advice/keen", "advice/asked"}
    assert not await town.different()


async def test_a_deleted_tag_that_nobody_told_of_holds_nothing_else_back(town: Town, mail: Mailbox) -> None:
    mail.lose = 1.0
    await mail.edit("delete_tag", tag="advice/keen")
    await town.change("ann", "wmC2", add=["advice/asked", "advice/keen"])
    await town.drain()
    assert "40068" in (await town.row("ann", "wmC2"))["given_up"]
    await mail.work()  # the refusal made us look at the library
    assert await town.control.held("ann", "wmC2") == {"activity/hot", "advice/asked"}
    assert (await town.row("ann", "wmC2"))["given_up"] is None
    assert await town.carried("ann", "wmC2") == {"activity/hot", "advice/asked", "advice/keen"}, "our record stays"


async def test_a_departure_that_nobody_told_of_is_seen_at_the_next_mark(town: Town, mail: Mailbox) -> None:
    mail.lose = 1.0
    await mail.edit("del_contact", userid="ann", external_userid="wmC2")
    await town.change("ann", "wmC2", add=["advice/asked"])
    await town.drain()
    await mail.work()
    assert await follows(town, "ann", "wmC2") == [("not_in_wecom", False)]


async def test_a_follow_added_again_begins_anew(town: Town, mail: Mailbox) -> None:
    await mail.edit("del_contact", userid="ann", external_userid="wmC2")
    await asyncio.sleep(1.1)  # WeCom dates follows in seconds
    await mail.edit("add_contact", userid="ann", external_userid="wmC2")
    await mail.work()
    assert [reason for reason, _ in await follows(town, "ann", "wmC2")] == ["began_anew", None]
    assert await town.carried("ann", "wmC2") == set()
    assert not await town.different()


async def test_a_customer_who_deleted_the_employee_is_shown_so(town: Town, mail: Mailbox) -> None:
    await asyncio.sleep(1.1)  # WeCom dates follows in seconds
    await mail.edit("del_contact", userid="ann", external_userid="wmC1", by="customer")
    await mail.work()
    assert await follows(town, "ann", "wmC1") == [(None, True)], "one-way: the employee still has him"
    await town.change("ann", "wmC1", add=["advice/keen"])
    await town.drain()
    assert await town.control.held("ann", "wmC1") == {"advice/keen"}


async def test_personal_and_strategy_tags_are_shown_and_never_touched(town: Town, mail: Mailbox) -> None:
    strategy = {"id": "stOne", "name": "of a strategy", "group": "strategies"}
    await mail.edit(
        "add_contact", userid="ann", external_userid="wmNew", name="n", personal_tags=["my own"], strategy_tags=[strategy]
    )
    await mail.work()
    await town.change("ann", "wmNew", add=["advice/keen"])
    await town.drain()
    picture = await policy.current(town.corp_id)
    (follow,) = await reading.customer_tags(picture, "ann", "wmNew")
    shown = [(one["kind"], one["group_name"], one["name"], one["wecom_id"]) for one in follow["labels"]]
    assert shown == [("personal", None, "my own", None), ("strategy", "strategies", "of a strategy", "stOne")]
    assert [tag["tag"] for tag in follow["tags"]] == ["keen"]
    (call,) = await town.marks()
    assert (call["add"], call["remove"]) == (["advice/keen"], [])
    other = {**strategy, "id": "stTwo"}
    mail.lose = 1.0
    await mail.edit("add_contact", userid="bob", external_userid="wmNew", name="n", strategy_tags=[strategy, other])
    assert (await town.run(RunKind.DRIFT))["state"] == "done"
    (follow,) = await reading.customer_tags(picture, "bob", "wmNew")
    assert [(one["name"], one["wecom_id"]) for one in follow["labels"]] == [("of a strategy", "stOne"), (None, "stTwo")]
    assert not await db.fetch("select 1 from drift_case where corp_id = $1", town.corp_id)


# -- the library --------------------------------------------------------------------------------------------------------


async def test_a_group_created_with_five_tags_is_six_effects_once(town: Town, mail: Mailbox) -> None:
    mail.twice = 1.0
    await mail.edit("create_group", group="fresh", tags=["a", "b", "c", "d", "e"])
    await mail.edit("mark", userid="ann", external_userid="wmC1", add=["advice/keen"], remove=[])
    await mail.edit("mark", userid="ann", external_userid="wmC1", add=["advice/cheap"], remove=[])
    rows = await db.fetch("select id from wecom_callback where corp_id = $1", town.corp_id)
    assert len(rows) == 8, "two edits within one second are two; a repeat is none"
    await mail.work()
    await town.read_catalog()
    assert {path for path in town.tags if path.startswith("fresh/")} == {f"fresh/{name}" for name in "abcde"}
    assert await town.carried("ann", "wmC1") == {"advice/keen", "advice/cheap"}
    calls = await town.control.calls("get_corp_tag_list")
    assert len(calls) == 2, "the import's, and one for all six"
    outcome = await db.fetch("select outcome, envelope from wecom_callback where corp_id = $1", town.corp_id)
    assert {(row["outcome"], bytes(row["envelope"])) for row in outcome} == {("noted", b"")}


async def test_a_value_tag_renamed_or_deleted_inside_wecom_is_held_back(town: Town, mail: Mailbox) -> None:
    await mail.edit("rename_tag", tag="value/high", name="higher")
    await mail.work()
    await mail.edit("delete_tag", tag="value/low")
    await mail.work()
    names = {row["name"] for row in await db.fetch("select name from tag where corp_id = $1", town.corp_id)}
    assert {"high", "low"} <= names, "our record stays"
    assert await town.carried("bob", "wmC3") == {"value/high", "advice/asked"}
    await town.change("bob", "wmC3", add=["advice/keen"])
    await town.change("cat", "wmC4", add=["advice/keen"])
    await town.drain()
    assert await town.control.held("bob", "wmC3") == {"value/higher", "advice/asked", "advice/keen"}
    assert await town.control.held("cat", "wmC4") == {"advice/keen"}
    told = await db.fetch("select userid, reason from notification where corp_id = $1 and event = 'tag_held_back'", town.corp_id)
    assert {(row["userid"], row["reason"]) for row in told} == {("admin", "renamed_in_wecom"), ("admin", "deleted_in_wecom")}
    await mail.edit("rename_tag", tag="value/higher", name="high")
    await mail.work()
    run = await town.run(RunKind.DRIFT)
    assert run["result"]["held_back"] == ["low"]


async def test_a_value_tag_lost_inside_wecom_is_made_anew_by_two_signatures(town: Town, mail: Mailbox) -> None:
    with pytest.raises(remake.TagNotMissing):
        await remake.remake_tag(town.as_("admin"), town.tags["value/high"], "", "*")
    await mail.edit("delete_group", group="value")
    await mail.work()
    done = await remake.remake_tag(town.as_("admin"), town.tags["value/high"], "needed", "*")
    await town.sign("boss", done.approval_id)
    assert (await town.sign("hq", done.approval_id)).state is State.APPLIED
    await town.drain()
    assert await town.control.held("bob", "wmC3") == {"value/high", "advice/asked"}
    assert await town.control.held("cat", "wmC4") == set(), "the other one is still held back"
    await mail.edit("delete_group", group="advice")
    await mail.work()
    assert (await remake.remake_tag(town.as_("admin"), town.tags["advice/asked"], "", "*")).approval_id is None
    await town.drain()
    assert await town.control.held("bob", "wmC3") == {"value/high", "advice/asked"}


async def test_a_value_tag_of_our_making_is_renamed_back(town: Town, mail: Mailbox) -> None:
    from tagwarden.catalog import service as catalog
    from tagwarden.catalog.service import TagDraft

    await catalog.create_tag(town.as_("admin"), town.groups["value"], TagDraft("topmost"))
    await town.drain()
    await mail.edit("rename_tag", tag="value/topmost", name="bottom")
    await mail.work()
    library = (await town.control.corp("GET", "/tags"))["tag_group"]
    assert "topmost" in {tag["name"] for group in library for tag in group["tag"]}


async def test_a_standard_tag_renamed_inside_wecom_takes_its_new_name(town: Town, mail: Mailbox) -> None:
    await mail.edit("rename_tag", tag="advice/keen", name="eager")
    await mail.work()
    await town.read_catalog()
    assert "advice/eager" in town.tags


# -- whatever happens on the way ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_events_twice_late_and_out_of_order_come_to_the_same(town: Town, mail: Mailbox, seed: int) -> None:
    mail.dice, mail.twice, mail.holding = random.Random(seed), 0.5, True
    await mail.edit("add_contact", userid="ann", external_userid="wmNew")
    await mail.edit("mark", userid="ann", external_userid="wmNew", add=["advice/keen"], remove=[])
    await mail.edit("mark", userid="ann", external_userid="wmC2", add=["advice/asked"], remove=["activity/hot"])
    await mail.edit("del_contact", userid="bob", external_userid="wmC3")
    await mail.edit("create_group", group="fresh", tags=["a"])
    await mail.edit("create_user", user={"userid": "eve", "name": "Eve", "department": [12], "is_leader_in_dept": [0]})
    if seed == 2:  # delayed past a reconcile
        for kind in (RunKind.ORG, RunKind.DRIFT):
            assert (await town.run(kind))["state"] == "done"
    await mail.deliver()
    await mail.work()
    assert not await town.different()
    assert await town.carried("ann", "wmNew") == {"advice/keen"}
    assert await follows(town, "bob", "wmC3") in ([("deleted_by_employee", False)], [("not_in_wecom", False)])
    assert (await identity.load_directory(town.corp_id)).employees["eve"].active


async def test_callbacks_that_never_come_are_made_good_by_a_reconcile(town: Town, mail: Mailbox) -> None:
    mail.lose = 1.0
    await mail.edit("mark", userid="ann", external_userid="wmC1", add=["advice/keen"], remove=[])
    await mail.edit("del_contact", userid="bob", external_userid="wmC3")
    assert await mail.waiting() == 0
    run = await town.run(RunKind.DRIFT)
    assert run["result"]["ended"] == 1
    await town.drain()
    assert not await town.different()
    assert await follows(town, "bob", "wmC3") == [("not_in_wecom", False)]


async def test_a_reading_that_shows_far_too_little_ends_nothing(companies: Companies, simulator_url: str) -> None:
    from support.town import a_town

    many = [("ann", f"wmA{number:02d}", ()) for number in range(30)]
    async with a_town(companies, simulator_url, customers=many) as town:
        for owner, customer, _ in many[:25]:
            await town.control.corp("POST", "/console", {"kind": "del_contact", "userid": owner, "external_userid": customer})
        run = await town.run(RunKind.CUSTOMERS)
        assert run["result"]["ended"] == 0
        brake = await db.fetch_one("select reason, waiting from drift_guard where corp_id = $1", town.corp_id)
        assert brake == {"reason": "follows_vanished", "waiting": 25}
        from tagwarden.sync import drift
        from tagwarden.sync.importer import Importer

        await drift.confirm(town.as_("admin"))
        assert await Importer(town.client).run_next(town.corp_id)
        left = await db.fetch_value("select count(*) from follow where corp_id = $1 and ended_at is null", town.corp_id)
        assert left == 5


async def test_a_worker_killed_while_it_reads_leaves_the_reading_to_the_next(
    town: Town, mail: Mailbox, database: EmbeddedUrls
) -> None:
    await town.control.fault(kind="slow", api="externalcontact/get", seconds=2.0, effect=True)
    await mail.edit("mark", userid="ann", external_userid="wmC1", add=["advice/keen"], remove=[])
    env = environment(database.application, WECOM_API_BASE=town.control.url, WECOM_CALLS_PER_MINUTE="3000")
    process = Process(["worker"], env).start()
    try:
        await town.control.wait_for("externalcontact/get", 1)
    finally:
        process.kill()
    assert await town.carried("ann", "wmC1") == set()
    assert await mail.waiting() == 1, "opened, not read"
    await db.execute("update wecom_refresh set leased_until = null where corp_id = $1", town.corp_id)
    await mail.work()
    assert await town.carried("ann", "wmC1") == {"advice/keen"}


async def test_what_does_not_open_or_is_none_of_ours_keeps_nobody_from_his_turn(town: Town, mail: Mailbox) -> None:
    mail.holding = True
    await mail.edit("mark", userid="ann", external_userid="wmC1", add=["advice/keen"], remove=[])
    from support.company import SEALER
    from support.mailbox import AES_KEY, TOKEN
    from support.town import SECRET
    from tagwarden.corps import credentials
    from tagwarden.corps.credentials import AppCredential

    await mail.deliver()
    await credentials.store(SEALER, AppCredential(town.corp_id, "crm", 1, SECRET, TOKEN, "a" * 43))
    await inbox.open_stored(SEALER, town.corp_id)
    row = await db.fetch_one("select outcome, length(envelope) > 0 as kept from wecom_callback where corp_id = $1", town.corp_id)
    assert row == {"outcome": "unreadable", "kept": True}
    await credentials.store(SEALER, AppCredential(town.corp_id, "crm", 1, SECRET, TOKEN, AES_KEY))
    await mail.edit("mark", userid="ann", external_userid="wmC1", add=["advice/cheap"], remove=[])
    await mail.work()
    assert await town.carried("ann", "wmC1") == {"advice/keen", "advice/cheap"}
    await db.execute("update wecom_callback set processed_at = now() - interval '8 days' where corp_id = $1", town.corp_id)
    await inbox.drop_old(town.corp_id)
    assert not await db.fetch("select 1 from wecom_callback where corp_id = $1", town.corp_id)
