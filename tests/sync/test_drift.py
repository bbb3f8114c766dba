"""Tags changed inside WeCom: reported, read again, judged, put back or taken in; and the brake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from support.company import GRANTS, GROUPS, PEOPLE, Companies, bundle_of
from support.mailbox import Mailbox, a_mailbox
from support.town import Town, a_town
from tagwarden.approvals.model import State
from tagwarden.assignments import adoption
from tagwarden.catalog import service as catalog
from tagwarden.catalog.service import TagChange
from tagwarden.governance import drift_file, publishing
from tagwarden.identity.model import ModuleMissing
from tagwarden.kernel import db
from tagwarden.sync import drift, drift_rows
from tagwarden.sync.drift_model import GuardNotStopped
from tagwarden.sync.inbound import Inbound
from tagwarden.sync.model import RunKind


@pytest.fixture
async def mail(town: Town) -> AsyncIterator[Mailbox]:
    """The town's callbacks arrive, and two people stand behind the value marks that were there at the import."""
    await adopt(town)
    async with a_mailbox(town) as mailbox:
        yield mailbox


async def adopt(town: Town) -> None:
    for approval in await adoption.ask_adoptions(town.as_("east"), ""):
        await town.sign("hq", approval)


async def cases(town: Town, *columns: str) -> list[tuple[Any, ...]]:
    names = columns or ("kind", "state", "reason")
    rows = await db.fetch(f"select {', '.join(names)} from drift_case where corp_id = $1 order by id", town.corp_id)
    return [tuple(row[name] for name in names) for row in rows]


async def publish(town: Town, text: str) -> publishing.Published:
    bundle = replace(bundle_of(PEOPLE, GROUPS, GRANTS), drift=drift_file.read(text))
    return await publishing.apply_bundle(town.as_("admin"), bundle, "drift")


async def mark(mail: Mailbox, owner: str, customer: str, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
    await mail.edit("mark", userid=owner, external_userid=customer, add=list(add), remove=list(remove))


# -- value tags ---------------------------------------------------------------------------------------------------------


async def test_a_value_tag_put_on_inside_wecom_is_put_back(town: Town, mail: Mailbox) -> None:
    await mark(mail, "ann", "wmC1", add=["value/high"])
    await mail.work()
    assert await town.control.held("ann", "wmC1") == set()
    assert await cases(town) == [("added_in_wecom", "put_back", None)]
    assert await town.carried("ann", "wmC1") == set()
    assert len(await town.marks()) == 1
    line = await db.fetch_value(
        "select count(*) from audit_line where corp_id = $1 and convert_from(body, 'utf8') like '%drift.put_back%'", town.corp_id
    )
    assert line == 1


async def test_a_value_tag_taken_off_inside_wecom_comes_back(town: Town, mail: Mailbox) -> None:
    await mark(mail, "bob", "wmC3", remove=["value/high"])
    await mail.work()
    assert await town.control.held("bob", "wmC3") == {"value/high", "advice/asked"}
    assert await cases(town) == [("removed_in_wecom", "put_back", None)]


async def test_a_value_tag_exchanged_inside_wecom_is_mended_in_one_call(town: Town, mail: Mailbox) -> None:
    await mark(mail, "cat", "wmC4", add=["value/high"], remove=["value/low"])
    await mail.work()
    (call,) = await town.marks()
    assert (call["add"], call["remove"]) == (["value/low"], ["value/high"])
    assert not await town.different()


async def test_until_marks_are_adopted_their_group_is_reported_and_left_alone(town: Town) -> None:
    async with a_mailbox(town) as mail:
        await mark(mail, "ann", "wmC1", add=["value/high"])
        await mark(mail, "bob", "wmC3", remove=["value/high"])
        await mail.work()
        assert await cases(town) == [
            ("added_in_wecom", "reported", "unconfirmed_marks"),
            ("removed_in_wecom", "reported", "unconfirmed_marks"),
        ]
        await town.change("ann", "wmC1", add=["advice/keen"])
        await town.change("bob", "wmC3", add=["advice/keen"])
        await town.drain()
        assert await town.control.held("ann", "wmC1") == {"value/high", "advice/keen"}, "not taken off in passing"
        assert await town.control.held("bob", "wmC3") == {"advice/asked", "advice/keen"}, "not put on in passing"
        await adopt(town)
        run = await town.run(RunKind.DRIFT)
        assert (run["result"]["acted_on"], run["result"]["stopped"]) == (2, False)
        await town.drain()
    assert not await town.different()
    assert {state for _, state, _ in await cases(town)} == {"put_back"}


async def test_where_policy_says_so_it_is_put_back_and_asked_for(town: Town, mail: Mailbox) -> None:
    held = await publish(town, 'value = "ask"')
    (approval,) = held.approvals
    assert held.revision is None, "looser than before: two people sign it"
    await town.sign("boss", approval)
    assert (await town.sign("hq", approval)).state is State.APPLIED
    await mark(mail, "ann", "wmC1", add=["value/high"])
    await mail.work()
    assert await town.control.held("ann", "wmC1") == set()
    ((state, asked),) = await cases(town, "state", "approval_id")
    request = await town.approval(asked)
    assert (state, request.requester, request.state) == ("asked", "ann", State.PENDING_LEVEL1)
    await mark(mail, "ann", "wmC1", add=["value/high"])
    await mail.work()
    assert (await cases(town, "approval_id"))[1] == (asked,), "asked once"
    await town.sign("east", asked)
    assert (await town.sign("hq", asked)).state is State.APPLIED
    await town.drain()
    assert await town.control.held("ann", "wmC1") == {"value/high"}


async def test_tightening_the_drift_rule_is_done_at_once(town: Town) -> None:
    assert (await publish(town, 'others = "tagwarden"\nstop_above_percent = 5')).revision is not None
    assert (await publish(town, "stop_above_percent = 1")).revision is None, "the guard would stop sooner: looser"


# -- other kinds --------------------------------------------------------------------------------------------------------


async def test_an_edit_its_owner_may_make_is_taken_in_as_his(town: Town, mail: Mailbox) -> None:
    await mark(mail, "ann", "wmC1", add=["advice/keen", "activity/hot"])
    await mark(mail, "bob", "wmC3", remove=["advice/asked"])
    await mail.work()
    assert await town.carried("ann", "wmC1") == {"advice/keen", "activity/hot"}
    assert await town.carried("bob", "wmC3") == {"value/high"}
    assert not await town.marks(), "WeCom holds it already"
    rows = await db.fetch("select source, actor, until from assignment where corp_id = $1 and source = 'wecom'", town.corp_id)
    assert {(row["source"], row["actor"]) for row in rows} == {("wecom", "ann")}
    assert len([row for row in rows if row["until"]]) == 1, "a temporary tag ends with the month"
    ended = await db.fetch_one(
        "select ended_source, ended_by from assignment where ended_source = 'wecom' and corp_id = $1", town.corp_id
    )
    assert ended == {"ended_source": "wecom", "ended_by": "bob"}
    assert {state for _, state, _ in await cases(town)} == {"taken_in"}


async def test_single_choice_holds_for_what_comes_from_wecom(town: Town, mail: Mailbox) -> None:
    await mark(mail, "ann", "wmC2", add=["activity/cold"])  # hot is there
    await mail.work()
    assert await town.control.held("ann", "wmC2") == {"activity/cold"}
    assert await town.carried("ann", "wmC2") == {"activity/cold"}
    await mark(mail, "ann", "wmC1", add=["activity/cold", "activity/warm"])
    await mail.work()
    assert await town.control.held("ann", "wmC1") == set()
    assert [(state, reason) for _, state, reason in await cases(town)][-2:] == [("put_back", "single_choice")] * 2


async def test_an_edit_its_owner_may_not_make_is_put_back_even_where_wecom_wins(companies: Companies, simulator_url: str) -> None:
    async with a_town(companies, simulator_url, customers=[("auditor", "wmC1", ())], live=False) as town:
        await db.execute("update corp set org_mirrored_at = now() where corp_id = $1", town.corp_id)
        from tagwarden.governance import service as governance

        await governance.activate(town.as_("admin"))
        async with a_mailbox(town) as mail:
            await mark(mail, "auditor", "wmC1", add=["advice/keen"])
            await mail.work()
        assert await town.control.held("auditor", "wmC1") == set()
        ((_, state, reason),) = await cases(town)
        assert (state, reason) == ("put_back", "capability")


async def test_a_retired_tag_and_one_of_a_group_that_is_ours_alone_are_put_back(town: Town, mail: Mailbox) -> None:
    await publish(town, '[groups]\nactivity = "tagwarden"')
    await catalog.change_tag(town.as_("admin"), town.tags["advice/keen"], TagChange(retired=True), "*")
    await mark(mail, "ann", "wmC1", add=["advice/keen", "activity/hot", "advice/cheap"])
    await mail.work()
    assert await town.control.held("ann", "wmC1") == {"advice/cheap"} == await town.carried("ann", "wmC1")
    found = {(state, reason) for _, state, reason in await cases(town)}
    assert found == {("put_back", "tag_retired"), ("put_back", None), ("taken_in", None)}


async def test_a_group_nobody_classified_is_reported_and_left_alone(town: Town, mail: Mailbox) -> None:
    await mail.edit("create_group", group="novel", tags=["one"])
    await mail.work()
    await mark(mail, "ann", "wmC1", add=["novel/one"])
    await mail.work()
    assert await cases(town) == [("added_in_wecom", "reported", "unclassified")]
    await town.change("ann", "wmC1", add=["advice/keen"])
    await town.drain()
    assert await town.control.held("ann", "wmC1") == {"novel/one", "advice/keen"}


async def test_what_was_undone_inside_wecom_before_anybody_acted_is_gone(town: Town, mail: Mailbox) -> None:
    await mark(mail, "ann", "wmC1", add=["value/high"])
    hands = Inbound(town.client)
    await mail.hurry()
    from tagwarden.sync import inbox

    await inbox.open_stored(town.client.sealer, town.corp_id)
    await mail.hurry()
    assert await hands.read_one(town.corp_id)
    assert await cases(town) == [("added_in_wecom", "open", None)]
    await mark(mail, "ann", "wmC1", remove=["value/high"])
    await inbox.open_stored(town.client.sealer, town.corp_id)
    await mail.hurry()
    assert await hands.read_one(town.corp_id)
    assert await cases(town) == [("added_in_wecom", "gone", None)]
    await mail.work()
    assert not await town.marks()


async def test_an_edit_beside_a_change_of_ours_is_judged_when_ours_is_through(town: Town, mail: Mailbox) -> None:
    await town.change("ann", "wmC1", add=["advice/asked"])  # dirty from now on
    await mark(mail, "ann", "wmC1", add=["value/high", "advice/keen"])
    await mail.work()
    assert await town.control.held("ann", "wmC1") == {"advice/asked", "advice/keen"} == await town.carried("ann", "wmC1")


# -- the brake and the offenders ----------------------------------------------------------------------------------------


async def test_the_guard_stops_and_asks_before_it_puts_back_too_many(companies: Companies, simulator_url: str) -> None:
    many = [("ann", f"wmA{number:02d}", ()) for number in range(14)]
    async with a_town(companies, simulator_url, customers=many) as town:
        for owner, customer, _ in many:  # nobody reports it: edits are found by the run
            await town.control.corp(
                "POST", "/console", {"kind": "mark", "userid": owner, "external_userid": customer, "add": ["value/low"]}
            )
        run = await town.run(RunKind.DRIFT)
        assert (run["result"]["stopped"], await town.waiting()) == (True, 0)
        assert await drift.act_on_all(town.corp_id) == 0
        told = await db.fetch("select userid, event, reason from notification where corp_id = $1", town.corp_id)
        assert told == [{"userid": "admin", "event": "drift_stopped", "reason": "14"}]
        with pytest.raises(ModuleMissing):
            await drift.confirm(town.as_("ann"))
        assert await drift.confirm(town.as_("admin")) == 14
        with pytest.raises(GuardNotStopped):
            await drift.confirm(town.as_("admin"))
        assert await drift.act_on_all(town.corp_id) == 14
        await town.drain()
        assert not await town.different()
        found = await drift_rows.offenders(town.corp_id, 3, 30)
        assert [(row["userid"], row["put_back"]) for row in found] == [("ann", 14)]
        repeated = await db.fetch(
            "select subject from notification where corp_id = $1 and event = 'drift_repeated'", town.corp_id
        )
        assert [row["subject"] for row in repeated] == ["employee:ann"]


async def test_callbacks_alone_do_not_get_around_the_brake(companies: Companies, simulator_url: str) -> None:
    many = [("ann", f"wmA{number:02d}", ()) for number in range(14)]
    async with a_town(companies, simulator_url, customers=many) as town, a_mailbox(town) as mail:
        for owner, customer, _ in many:
            await mark(mail, owner, customer, add=["value/low"])
            await mail.work()
        back = [state for _, state, _ in await cases(town)].count("put_back")
        assert back == 10
        assert len(await town.different()) == 4
        assert (await drift_rows.read_guard(town.corp_id))["stopped_at"] is not None
