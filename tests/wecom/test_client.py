"""Each method of the client against the simulator over HTTP, and what the ledger says of it."""

from __future__ import annotations

import asyncio

import pytest

from tagwarden.corps.credentials import CUSTOMER_APP, CredentialMissing
from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id
from tagwarden.wecom.client import WecomClient
from tagwarden.wecom.model import CallClass, WecomRefused
from wecom import calls as ledger

from .conftest import SECRET, Control

CUSTOMER = "wmCustomer001"


async def test_organisation(client: WecomClient, control: Control) -> None:
    departments = await client.department_list(control.corp_id)
    assert {(d["id"], d["name"], d["parentid"]) for d in departments} == {(1, "总部", 0), (2, "销售", 1)}
    assert await client.user_list(control.corp_id, 1) == []
    users = await client.user_list(control.corp_id, 2)
    assert {user["userid"]: user["is_leader_in_dept"] for user in users} == {"li": [1], "wang": [0]}
    assert sorted(await client.follow_users(control.corp_id)) == ["li", "wang"]


async def test_customers_page_by_page(client: WecomClient, control: Control) -> None:
    first = await client.customers_page(control.corp_id, ["li", "wang"], "")
    assert len(first.items) == 100
    assert first.next_cursor
    second = await client.customers_page(control.corp_id, ["li", "wang"], first.next_cursor)
    assert len(second.items) == 30
    assert second.next_cursor == ""
    pairs = first.items + second.items
    assert {contact["external_userid"] for contact, _ in pairs} == {f"wmCustomer{n:03d}" for n in range(130)}
    assert {(follow["userid"], *follow["tag_id"]) for _, follow in pairs} == {("li", control.tags["意向/低"])}
    assert first.unlicensed == []


async def test_customer_with_followers_and_without_phone_numbers(client: WecomClient, control: Control) -> None:
    (page,) = [one async for one in client.customer_pages(control.corp_id, CUSTOMER)]
    assert page.contact["external_userid"] == CUSTOMER
    (follow,) = page.followers
    assert follow["userid"] == "li"
    assert [tag["tag_id"] for tag in follow["tags"]] == [control.tags["意向/低"]]
    assert not {"remark_mobiles", "mobile"} & follow.keys()


async def test_tag_library_whole_and_filtered(client: WecomClient, control: Control) -> None:
    groups = await client.tag_library(control.corp_id)
    assert {g["group_name"]: [t["name"] for t in g["tag"]] for g in groups} == {"意向": ["高", "低"], "价值": ["核心"]}
    by_group = await client.tag_library(control.corp_id, group_ids=[groups[0]["group_id"]])
    assert [g["group_name"] for g in by_group] == [groups[0]["group_name"]]
    by_tag = await client.tag_library(control.corp_id, tag_ids=[control.tags["意向/高"]])
    assert [t["id"] for g in by_tag for t in g["tag"]] == [control.tags["意向/高"]]


async def test_tags_are_added_renamed_and_deleted(client: WecomClient, control: Control) -> None:
    made = await client.add_tags(control.corp_id, ["金牌", "银牌"], group_name="等级")
    ids = {tag["name"]: tag["id"] for tag in made["tag"]}
    assert set(ids) == {"金牌", "银牌"}
    more = await client.add_tags(control.corp_id, ["铜牌"], group_id=made["group_id"])
    assert "铜牌" in {tag["name"] for tag in more["tag"]}
    await client.edit_tag(control.corp_id, ids["金牌"], "钻石")
    await client.delete_tags(control.corp_id, [ids["银牌"]])
    (group,) = await client.tag_library(control.corp_id, group_ids=[made["group_id"]])
    assert {tag["name"] for tag in group["tag"] if not tag.get("deleted")} == {"钻石", "铜牌"}
    with pytest.raises(WecomRefused) as refused:
        await client.delete_tags(control.corp_id, [control.tags["价值/核心"]])
    assert refused.value.wecom_code == 81011


async def test_mark_tag_and_its_line_in_the_ledger(client: WecomClient, control: Control) -> None:
    follow_id = new_id()
    high, low = control.tags["意向/高"], control.tags["意向/低"]
    await client.mark_tag(
        control.corp_id, follow_id=follow_id, userid="li", external_userid=CUSTOMER, add=[high], remove=[low], attempt=3
    )
    assert await control.held("li", CUSTOMER) == {"意向/高"}
    (line, token) = await ledger.page(control.corp_id, 10)
    assert (line["api"], line["state"], line["code"]) == ("externalcontact/mark_tag", "accepted", 0)
    assert (line["follow_id"], line["add_tags"], line["remove_tags"], line["attempt"]) == (follow_id, [high], [low], 3)
    assert (line["class"], line["app"], line["subject"]) == ("interactive", CUSTOMER_APP, f"li {CUSTOMER}")
    assert token["api"] == "gettoken"
    assert SECRET not in str((line, token))
    assert [row["api"] for row in await ledger.page(control.corp_id, 1, before_id=line["id"])] == ["gettoken"]
    assert await ledger.page("ww_other", 10) == []


async def test_refusal_is_told_and_recorded_in_plain_words(client: WecomClient, control: Control) -> None:
    with pytest.raises(WecomRefused) as refused:
        await client.mark_tag(
            control.corp_id,
            follow_id=new_id(),
            userid="wang",
            external_userid=CUSTOMER,
            add=[control.tags["意向/高"]],
            remove=[],
            attempt=1,
            call_class=CallClass.BULK,
        )
    line = (await ledger.page(control.corp_id, 1))[0]
    assert line["state"] == "refused"
    assert line["code"] == refused.value.wecom_code == 84061
    assert line["class"] == "bulk"
    assert "外部联系人" in line["words_zh"]
    assert "follow" in line["words_en"]


async def test_row_is_there_before_the_call(client: WecomClient, control: Control) -> None:
    await client.department_list(control.corp_id)
    await control.fault(kind="slow", api="department/list", seconds=0.6)
    call = asyncio.create_task(client.department_list(control.corp_id))
    await control.wait_for("department/list", 2)
    line = (await ledger.page(control.corp_id, 1))[0]
    assert (line["api"], line["state"], line["answered_at"]) == ("department/list", "sent", None)
    await call


async def test_never_inside_a_transaction(client: WecomClient, control: Control) -> None:
    with pytest.raises(RuntimeError, match="transaction"):
        async with db.transaction():
            await client.department_list(control.corp_id)
    assert await control.calls() == []


async def test_corp_without_credential(client: WecomClient, control: Control) -> None:
    with pytest.raises(CredentialMissing):
        await client.department_list("ww_nobody")


async def test_timeout_may_not_outlast_the_slot() -> None:
    from tagwarden.wecom.budget import Budget

    from .conftest import sealer

    with pytest.raises(ValueError, match="outlast"):
        WecomClient("http://127.0.0.1:1", sealer(), Budget(call_timeout=5.0), timeout=6.0)
