"""Cards to signers over real HTTP: sent to those whose turn it is, signed by a click that counts, closed for everybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from support.cards import PAGE, CardTown, a_card_town
from support.company import PEOPLE, SEALER, Companies, arrange
from support.service import Service
from tagwarden.approvals import service as approvals
from tagwarden.approvals import timekeeping
from tagwarden.approvals.model import Verdict
from tagwarden.governance import issuers, roles
from tagwarden.identity import accounts
from tagwarden.identity.model import RoleName
from tagwarden.kernel import clock, db
from tagwarden.kernel.settings import CARD_ISSUER
from tagwarden.sync import cards_rows, inbox, sending
from tagwarden.sync.model import RunKind


@pytest.fixture
async def cards(companies: Companies, simulator_url: str, service: Service) -> AsyncIterator[CardTown]:
    async with a_card_town(companies, simulator_url, service) as made:
        yield made


async def test_two_clicks_apply_a_value_tag(cards: CardTown) -> None:
    approval_id = await cards.ask()
    await cards.send()
    assert (await cards.open()).keys() == {"east"}, "level 1 is the nearest leader's"
    assert await cards.click("east", (await cards.open())["east"]) == "signed"
    assert await cards.state(approval_id) == "pending_level2"
    assert (await cards.open()).keys() == {"boss", "hq"}, "his card is closed, level 2 has theirs"
    assert await cards.click("HQ", (await cards.open())["hq"]) == "signed", "WeCom tells no small letters from large ones"
    assert await cards.state(approval_id) == "applied"
    assert await cards.open() == {}
    assert await cards.cards() == {"east": "closed", "hq": "closed", "boss": "closed"}
    await cards.town.hurry()
    await cards.send()
    assert "value/high" in await cards.town.control.held("ann", "wmC1")
    signed = await db.fetch("select signer, level from approval_signature where approval_id = $1 order by level", approval_id)
    assert [(row["signer"], row["level"]) for row in signed] == [("east", 1), ("hq", 2)]
    sent = [call["api"] for call in await cards.town.control.calls() if call["api"].startswith("message/")]
    assert (sent.count("message/send"), sent.count("message/update_template_card")) == (3, 3), "one a step and person"


async def test_what_a_card_says(cards: CardTown) -> None:
    await cards.ask(reason="客户电话 138-1234 5678 说要升级，" + "很长的理由" * 20)
    await cards.send()
    (found,) = await cards.shown("east")
    card = found["body"]["template_card"]
    assert (found["body"]["touser"], found["body"]["agentid"], card["card_type"]) == ("east", 1, "button_interaction")
    assert (card["main_title"]["title"], len(card["main_title"]["desc"])) == ("待签批：客户标签变更", 44)
    assert card["main_title"]["desc"].startswith("客户电话 ••• 说要升级")
    assert card["sub_title_text"] == "（无） → high"
    items = {one["keyname"]: one["value"] for one in card["horizontal_content_list"]}
    assert items.keys() == {"申请人", "客户", "归属", "变更前", "变更后", "环节"}
    assert (items["申请人"], items["客户"], items["变更后"]) == ("name of ann", "wmC1", "high")
    assert [one["text"] for one in card["button_list"]] == ["同意", "驳回或查看"]
    assert card["button_list"][1]["url"].startswith(f"{PAGE}/approvals/")
    assert "138-1234" not in str(found)


async def test_outcomes_stand_on_closed_cards(cards: CardTown) -> None:
    texts = {}
    for number, end in enumerate(("withdrawn", "rejected", "edited", "expired")):
        approval_id = await cards.ask(customer=("wmC1", "wmC2")[number % 2])
        await cards.send()
        task = (await cards.open())["east"]
        await finish(cards, approval_id, end)
        await cards.send()
        (card,) = [one for one in await cards.shown("east") if one["task_id"] == task]
        texts[end] = card["updates"][0]["template_card"]["replace_text"]
        if end == "edited":
            assert (await cards.open()).keys() == {"east"}, "a new card for the new round"
            await approvals.withdraw(cards.town.as_("ann"), approval_id)
            await cards.send()
    assert texts == {"withdrawn": "申请人已撤回", "rejected": "已驳回", "edited": "内容已修改，以新卡片为准", "expired": "已过期"}
    assert await cards.open() == {}


async def finish(cards: CardTown, approval_id: UUID, how: str) -> None:
    town = cards.town
    if how == "withdrawn":
        await approvals.withdraw(town.as_("ann"), approval_id)
    elif how == "rejected":
        await town.sign("east", approval_id, Verdict.REJECT, "no")
    elif how == "edited":
        await approvals.edit(town.as_("ann"), approval_id, None, "another reason", "*")
    else:
        await arrange(town.corp_id, "update approval set expires_at = now() - interval '1 second' where id = $1", approval_id)
        assert await timekeeping.expire_due(town.corp_id) == 1


# -- clicks that count for nothing --------------------------------------------------------------------------------------


async def test_forged_and_wrong_clicks_change_nothing(cards: CardTown) -> None:
    approval_id = await cards.ask()
    await cards.send()
    task = (await cards.open())["east"]
    before = await cards.town.approval(approval_id)
    for userid in ("ann", "hq", "boss", "admin", "bob"):
        assert await cards.click(userid, task, forged=True) == "card_refused", userid
    assert await cards.click("east", task, key="reject", forged=True) == "card_refused"
    assert await cards.town.approval(approval_id) == before
    whys = [line["detail"].get("why") for line in await cards.refusals() if line["detail"]["code"] == "card_refused"]
    assert whys.count("another_person") == 5
    assert "unknown_button" in whys


async def test_a_click_is_signed_once_and_repeats_change_nothing(cards: CardTown) -> None:
    approval_id = await cards.ask()
    await cards.send()
    task = (await cards.open())["east"]
    assert await cards.click("east", task) == "signed"
    after = await cards.town.approval(approval_id)
    assert await cards.click("east", task, forged=True) == "signed", "what it asked for is done"
    assert await cards.town.approval(approval_id) == after
    assert await db.fetch_value("select count(*) from approval_signature where approval_id = $1", approval_id) == 1


async def test_a_click_on_an_old_round_is_late(cards: CardTown) -> None:
    approval_id = await cards.ask()
    await cards.send()
    old = (await cards.open())["east"]
    await approvals.edit(cards.town.as_("ann"), approval_id, None, "another reason", "*")
    assert await cards.click("east", old, forged=True) == "card_refused", "before the new card was even drawn"
    assert await cards.click("east", old, forged=True) == "card_refused", "and after it"
    assert await cards.state(approval_id) == "pending_level1"
    assert await cards.click("east", (await cards.open())["east"]) == "signed"


async def test_who_lost_the_role_a_moment_ago_does_not_sign(cards: CardTown) -> None:
    approval_id = await cards.ask()
    await cards.send()
    task = (await cards.open())["east"]
    await roles.put_roles(cards.town.as_("admin"), "east", [], [])
    assert await cards.click("east", task, forged=True) == "not_a_signer"
    assert await cards.state(approval_id) == "pending_level1"
    await cards_rows.redraw_moved(cards.town.corp_id)
    await cards.send()
    assert (await cards.open()).keys() == {"boss"}, "the next leader in line"


async def test_a_closed_request_takes_no_click(cards: CardTown) -> None:
    approval_id = await cards.ask()
    await cards.send()
    task = (await cards.open())["east"]
    await approvals.withdraw(cards.town.as_("ann"), approval_id)
    assert await cards.click("east", task, forged=True) == "card_refused"
    assert await cards.state(approval_id) == "withdrawn"
    assert await cards.open() == {}


async def test_a_moved_base_makes_it_stale_and_says_so(cards: CardTown) -> None:
    first, second = await cards.ask(), await cards.ask("value/low")
    for approval_id in (second,):
        await cards.town.sign("east", approval_id)
        await cards.town.sign("hq", approval_id)
    await cards.send()
    assert await cards.state(first) == "stale"
    assert await cards.open() == {}


async def test_another_corps_card_is_unknown(cards: CardTown, companies: Companies, simulator_url: str, service: Service) -> None:
    approval_id = await cards.ask()
    await cards.send()
    task = (await cards.open())["east"]
    async with a_card_town(companies, simulator_url, service) as other:
        await other.ask()
        await other.send()
        theirs = (await other.open())["east"]
        await db.execute(
            "update approval_card set task_id = 'spare' where corp_id = $1 and task_id = $2", other.town.corp_id, theirs
        )
        assert await other.click("east", theirs, forged=True) == "card_refused"
        assert await db.fetch_value("select count(*) from card_click where corp_id = $1", other.town.corp_id) == 1
        assert await cards_rows.by_task(other.town.corp_id, task) is None
    assert await cards.state(approval_id) == "pending_level1"


async def test_clicks_sign_only_where_wecom_may_vouch_for_them(
    companies: Companies, simulator_url: str, service: Service
) -> None:
    async with a_card_town(companies, simulator_url, service, clicks_sign=False) as cards:
        approval_id = await cards.ask()
        await cards.send()
        (card,) = await cards.shown("east")
        assert [one["text"] for one in card["body"]["template_card"]["button_list"]] == ["去签批"]
        assert await cards.click("east", card["task_id"], forged=True) == "not_a_signer"
        assert await cards.state(approval_id) == "pending_level1"
        done = await issuers.put_issuer(cards.town.as_("admin"), CARD_ISSUER, True, "cards", {CARD_ISSUER})
        assert done.approval_id is not None, "letting it sign waits for two people"
    async with a_card_town(companies, simulator_url, service, clicks_sign=False, page=None) as cards:
        await cards.ask()
        await cards.send()
        (card,) = await cards.shown("east")
        assert [one["text"] for one in card["body"]["template_card"]["button_list"]] == ["知道了"]
        assert await cards.click("east", card["task_id"], key="seen") == "seen"
        assert await cards.open() == {}


async def test_the_right_taken_while_cards_are_out(cards: CardTown) -> None:
    approval_id = await cards.ask()
    await cards.send()
    await issuers.put_issuer(cards.town.as_("admin"), CARD_ISSUER, False, "", {CARD_ISSUER})
    assert await cards.click("east", (await cards.open())["east"]) == "not_a_signer"
    assert await cards.state(approval_id) == "pending_level1"


# -- on the way ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [{"kind": "reset", "effect": True}, {"kind": "slow", "seconds": 1.1}], ids=["reset", "slow"])
async def test_a_send_nobody_answered_is_repeated_and_never_lost(cards: CardTown, fault: dict[str, Any]) -> None:
    approval_id = await cards.ask()
    await cards.town.control.fault(api="message/send", **fault)
    await cards.send()
    await cards.send()
    found = await cards.shown("east")
    assert len(found) == 2, "it came twice, under two tasks"
    assert await cards.click("east", found[0]["task_id"]) == "signed", "either of them is his"
    assert await cards.state(approval_id) == "pending_level2"


async def test_what_wecom_does_not_take_is_given_up_shown_and_tried_again(cards: CardTown) -> None:
    await cards.ask()
    await cards.town.control.fault(kind="errcode", code=81013, api="message/send")
    await cards.send()
    assert await cards.cards() == {"east": "given_up"}
    (row,) = await db.fetch("select id, given_up from approval_card where corp_id = $1", cards.town.corp_id)
    assert row["given_up"].startswith("81013 ")
    assert await sending.retry_line(cards.town.as_("admin"), row["id"]) == 1
    await cards.send()
    assert (await cards.open()).keys() == {"east"}


async def test_cards_stop_nothing_they_are_beside(cards: CardTown) -> None:
    await cards.ask()
    await cards.town.control.fault(kind="errcode", code=48002, api="message/send", times=-1)
    await cards.town.change("ann", "wmC2", add=["advice/keen"])
    await cards.town.hurry()
    await cards.send()
    assert "advice/keen" in await cards.town.control.held("ann", "wmC2")
    assert await db.fetch_value("select stopped_reason from corp_credential where corp_id = $1", cards.town.corp_id) is None


async def test_a_response_code_that_ran_out_leaves_the_card_open_and_says_so(cards: CardTown) -> None:
    approval_id = await cards.ask()
    await cards.send()
    task = (await cards.open())["east"]
    await db.execute("update approval_card set code_until = now() where corp_id = $1", cards.town.corp_id)
    await approvals.withdraw(cards.town.as_("ann"), approval_id)
    await cards.send()
    assert await cards.cards() == {"east": "left_open"}
    assert await cards.click("east", task) == "card_refused", "a click there changes nothing"


async def test_who_escalation_lets_in_gets_a_card_and_the_others_keep_theirs(cards: CardTown) -> None:
    approval_id = await cards.ask()
    await cards.send()
    first = (await cards.open())["east"]
    assert await timekeeping.escalate(cards.town.as_("admin"), approval_id)
    await cards.send()
    assert (await cards.open()).keys() == {"east", "boss"}
    assert (await cards.open())["east"] == first
    assert await cards.click("east", first) == "signed", "its content is what it was"


async def test_a_paused_corp_still_sends_cards(cards: CardTown) -> None:
    await sending.pause_sending(cards.town.as_("admin"), "looking")
    await cards.ask()
    await cards.town.change("ann", "wmC2", add=["advice/keen"])
    await cards.town.hurry()
    await cards.send()
    assert (await cards.open()).keys() == {"east"}
    assert await cards.town.marks() == []


async def test_no_agent_no_card(cards: CardTown) -> None:
    await db.execute("update corp_credential set agent_id = null where corp_id = $1", cards.town.corp_id)
    await cards.ask()
    await cards.send()
    assert await cards.shown() == []
    assert await cards.cards() == {}


async def test_two_clicks_at_once(cards: CardTown) -> None:
    approval_id = await cards.ask()
    await cards.town.sign("east", approval_id)
    await cards.send()
    tasks = await cards.open()
    for userid in ("boss", "hq"):
        click = {"kind": "click_card", "userid": userid, "task_id": tasks[userid], "key": "approve"}
        await cards.town.control.corp("POST", "/console", click)
    async with asyncio.timeout(90):
        kept = 0
        while kept < 2:
            kept += await inbox.open_stored(SEALER, cards.town.corp_id)
            await asyncio.sleep(0.02)
    await asyncio.gather(cards.send(), cards.send())
    assert sorted(row["outcome"] for row in await cards.handled()) in (["approval_closed", "signed"], ["card_refused", "signed"])
    assert await cards.state(approval_id) == "applied"


def test_people_are_who_the_test_thinks_they_are() -> None:
    assert PEOPLE["east"] == (10, True, ("manager",))
    assert RoleName.SUPERVISOR.value in PEOPLE["hq"][2]


async def test_a_signer_whom_wecom_renamed_gets_and_clicks_his_cards_under_the_new_name(cards: CardTown) -> None:
    town = cards.town
    await town.control.corp("POST", "/console", {"kind": "update_user", "userid": "east", "changes": {"userid": "east.new"}})
    await accounts.note_rename(town.corp_id, "east", "east.new", clock.now())
    await town.run(RunKind.ORG)
    approval_id = await cards.ask()
    await cards.send()
    assert (await cards.open()).keys() == {"east.new"}, "WeCom is told the name it knows"
    assert await cards.cards() == {"east": "sent"}, "he stays who he was here"
    assert await cards.click("east.new", (await cards.open())["east.new"]) == "signed"
    assert await cards.state(approval_id) == "pending_level2"
    assert (await cards.open()).keys() == {"boss", "hq"}, "his card is closed under that name too"
    signed = await db.fetch("select signer from approval_signature where approval_id = $1", approval_id)
    assert [row["signer"] for row in signed] == ["east"]
