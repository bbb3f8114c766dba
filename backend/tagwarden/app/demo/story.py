"""The story: a sales team tags its customers under governance, and every accepted change arrives in WeCom."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape

from tagwarden.app.demo import children
from tagwarden.app.demo.cards import cards
from tagwarden.app.demo.configured import the_matrix_changes
from tagwarden.app.demo.drift import drift
from tagwarden.app.demo.governed import a_protected_change, somebody_is_away
from tagwarden.app.demo.people import Answer, People, Wecom
from tagwarden.app.demo.sample import Sample
from tagwarden.app.demo.script import Stage, StoryFailed

__all__ = ["StoryFailed", "tell"]


async def tell(people: People, wecom: Wecom, company: Sample, data_dir: Path, console: Console) -> None:
    """Plays all chapters; raises StoryFailed at the first step that is not as expected."""
    started = time.monotonic()
    stage = Stage(people, wecom, company, console)
    try:
        await stage.learn_library()
        for chapter in CHAPTERS:
            await chapter(stage)
        await the_audit(stage, data_dir)
        worst, calls = await wecom.worst_window()
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, OSError) as error:
        # An answer that is not even shaped as expected: a missing field, no answer at all.
        raise StoryFailed(f"after {stage.chapter}.{stage.steps}: {type(error).__name__} {error}") from error
    console.print(f"\nThe story took {time.monotonic() - started:.0f} s. WeCom heard {calls} calls, {worst} in its worst minute.")


async def own_customers(stage: Stage) -> None:
    """A change is applied, and WeCom holds it after one call."""
    stage.begin("Sales staff tag their own customers")
    people, wecom = stage.people, stage.wecom
    stage.step("WeCom keeps our callback address: it proved its keys", True, await wecom.call_back(people.addresses[0]))
    customer, since = stage.own_customer("li.na"), await stage.wecom.moment()
    stage.status(
        "li.na puts 高活跃 on an own customer", await people.tag("li.na", customer, add=[stage.tag("本月活跃度/高活跃")]), 200
    )
    await stage.until("WeCom holds it on (li.na, customer)", {"本月活跃度/高活跃"}, lambda: wecom.held("li.na", customer))
    stage.step("that took one mark_tag", 1, len(await stage.heard(since, customer)))
    answer = await people.tag("li.na", customer, add=[stage.tag("本月活跃度/中活跃")])
    stage.status("li.na replaces it by 中活跃 (single choice)", answer, 200)
    removed = [item.get("reason") for item in answer.body["items"] if item["op"] == "remove"]
    stage.step("the answer lists what single choice took along", ["single_choice"], removed)
    await stage.until("WeCom holds the new one", {"本月活跃度/中活跃"}, lambda: wecom.held("li.na", customer))
    calls = await stage.heard(since, customer)
    both = [(len(call["add_tag"]), len(call["remove_tag"])) for call in calls[1:]]
    stage.step("that took one more call, with both lists", [(1, 1)], both)
    stage.changes.append(customer)


async def who_may_what(stage: Stage) -> None:
    """Refusals name the step at which they fail, and whom to ask."""
    stage.begin("Departments use only what was given to them")
    people = stage.people
    refused = await people.tag("li.na", stage.own_customer("wang.wei"), add=[stage.tag("本月活跃度/高活跃")])
    stage.step("li.na tries a customer of wang.wei", (403, "relation"), (refused.status, refused.step))
    own = stage.company.extra_of("xu.fang")[0]
    stage.status(
        "xu.fang (pre-sales) puts 高意向 on an own customer",
        await people.tag("xu.fang", own, add=[stage.tag("咨询类/高意向")]),
        200,
    )
    refused = await people.tag("xu.fang", own, add=[stage.tag("客户等级/A级")])
    stage.step("xu.fang tries 客户等级", (403, "grant"), (refused.status, refused.step))
    refused = await people.tag("chen.jing", stage.own_customer("chen.jing"), add=[stage.tag("咨询类/高意向")])
    stage.step("chen.jing (Hangzhou) tries 高意向", (403, "grant", "denied"), (refused.status, refused.step, _reason(refused)))
    stage.step("qian.yi (finance) sees every customer", len(stage.company.spent), await _count_customers(people, "qian.yi"))
    customer = next(iter(stage.company.marked()))
    seen = await people.call("qian.yi", "GET", f"/v1/customers/{customer}/tags")
    groups = {tag["group_name"] for follow in seen.body["follows"] for tag in follow["tags"]}
    stage.step("qian.yi sees 交易状态 there and nothing else", {"交易状态"}, groups)
    refused = await people.tag("qian.yi", customer, add=[stage.tag("交易状态/已退款")])
    stage.step("qian.yi may not use it", 403, refused.status)
    me = await people.call("he.xin", "GET", "/v1/me/")
    stage.step("he.xin has no group and is told whom to ask", ([], ["admin"]), (me.body["groups"], me.body["ask"]))
    refused = await people.tag("he.xin", customer, add=[stage.tag("咨询类/高意向")])
    stage.step("he.xin tries anyway", (403, "no_groups"), (refused.status, _reason(refused)))
    stage.console.print(f"     he.xin reads: {escape(refused.body['items'][0]['text'])}")


async def two_signatures(stage: Stage) -> None:
    """A value tag waits for two people, in order, and nobody else."""
    stage.begin("A lasting value tag waits for two people")
    people, wecom, company = stage.people, stage.wecom, stage.company
    customer = max(company.customers_of("li.na"), key=lambda one: company.spent[one])
    stage.used.add(customer)
    before, since = await wecom.held("li.na", customer), await wecom.moment()
    asked = await people.tag("li.na", customer, add=[stage.tag("客户价值/高净值")], reason="highest total spend")
    stage.status(f"li.na asks for 客户价值 = 高净值 on {customer} ({company.spent[customer]:.2f} dollars)", asked, 202)
    approval = str(asked.body["approval_id"])
    tags = await people.call("li.na", "GET", f"/v1/customers/{customer}/tags")
    carried = {tag["tag"] for follow in tags.body["follows"] for tag in follow["tags"]}
    stage.step("nothing changed here", False, "高净值" in carried)
    await asyncio.sleep(1.5)
    stage.step("WeCom heard nothing", ([], before), (await stage.heard(since, customer), await wecom.held("li.na", customer)))
    stage.status("li.na cannot sign", await people.sign("li.na", approval), 403, "not_a_signer")
    stage.status("sun.li cannot sign level 2 before level 1", await people.sign("sun.li", approval), 409, "not_your_turn")
    stage.status("huang.lei (another region) is no signer", await people.sign("huang.lei", approval), 403, "not_a_signer")
    signed = await people.sign("wu.gang", approval)
    stage.step("wu.gang signs level 1", (200, "pending_level2"), (signed.status, _state(signed)))
    stage.status("wu.gang cannot also sign level 2", await people.sign("wu.gang", approval), 403, "not_a_signer")
    signed = await people.sign("sun.li", approval)
    stage.step("sun.li signs level 2", (200, "applied"), (signed.status, _state(signed)))
    await stage.until("WeCom holds it", True, lambda: _holds(wecom, "li.na", customer, "客户价值/高净值"))
    stage.status("a second click", await people.sign("sun.li", approval), 409, "approval_closed")
    stage.changes.append(customer)


async def asking_is_signing(stage: Stage) -> None:
    """A regional manager's asking is level 1; refusals need a comment; a moved base makes stale."""
    stage.begin("A manager asks, HQ signs; refused and stale requests change nothing")
    people = stage.people
    customer = stage.own_customer("chen.jing")
    asked = await people.tag("wu.gang", customer, add=[stage.tag("客户等级/A级")])
    stage.status("wu.gang asks for 客户等级 = A级 on a subordinate's customer", asked, 202)
    approval = str(asked.body["approval_id"])
    seen = await people.call("wu.gang", "GET", f"/v1/approvals/{approval}")
    stage.step("asking is level 1", ("pending_level2", "wu.gang"), (_state(seen), seen.body["signatures"][0]["signer"]))
    signed = await people.sign("zhao.min", approval)
    stage.step("zhao.min signs", (200, "applied"), (signed.status, _state(signed)))
    await stage.until("WeCom holds it", True, lambda: _holds(stage.wecom, "chen.jing", customer, "客户等级/A级"))
    stage.changes.append(customer)
    other = stage.own_customer("li.na")
    approval = str((await people.tag("wu.gang", other, add=[stage.tag("客户等级/B级")])).body["approval_id"])
    stage.status(
        "zhao.min refuses another without a comment", await people.sign("zhao.min", approval, "reject"), 422, "comment_required"
    )
    refused = await people.sign("zhao.min", approval, "reject", "no orders yet")
    stage.step("zhao.min refuses it with a comment", (200, "rejected"), (refused.status, _state(refused)))
    tags = await people.call("li.na", "GET", f"/v1/customers/{other}/tags")
    stage.step("nothing changed", [], tags.body["follows"][0]["tags"])
    moved = stage.own_customer("li.na")
    first = str((await people.tag("li.na", moved, add=[stage.tag("客户等级/C级")])).body["approval_id"])
    second = str((await people.tag("wu.gang", moved, add=[stage.tag("客户等级/B级")])).body["approval_id"])
    stage.step("two requests on one base; the second is applied", "applied", _state(await people.sign("zhao.min", second)))
    stale = await people.sign("wu.gang", first)
    reason = stale.body["approval"]["closed_reason"]
    stage.step("the first became stale and says why", (200, "stale", "base_moved"), (stale.status, _state(stale), reason))


async def marks_found_in_wecom(stage: Stage) -> None:
    """Value marks nobody here approved: shown, left alone, adopted in two bundles."""
    stage.begin("Value marks that WeCom already held")
    people, wecom = stage.people, stage.wecom
    found = {one: tags for one, tags in stage.company.marked().items() if tags[0].startswith("客户价值/")}
    customer = next(one for one in found if stage.company.owner_of(one) == "li.na")
    tags = await people.call("li.na", "GET", f"/v1/customers/{customer}/tags")
    mark = next(tag for tag in tags.body["follows"][0]["tags"] if tag["group_name"] == "客户价值")
    stage.step(f"{customer} shows {mark['tag']} as not confirmed", True, mark["unconfirmed"])
    counted = (await people.call("sun.li", "GET", "/v1/adoptions/")).body["total"]
    stage.step("all of them are not confirmed", len(found), counted)
    for manager in ("wu.gang", "huang.lei"):
        asked = await people.call(manager, "POST", "/v1/adoptions/", {"reason": "known customers"})
        stage.step(
            f"{manager} asks to adopt his marks (asking is level 1)",
            (202, 1),
            (asked.status, len(asked.body.get("approval_ids", []))),
        )
        signed = await people.sign("sun.li", str(asked.body["approval_ids"][0]))
        adopted = len(signed.body["change"]["marks"])
        stage.step(f"sun.li signs {adopted} marks at once", (200, "applied"), (signed.status, _state(signed)))
    counted = (await people.call("sun.li", "GET", "/v1/adoptions/")).body["total"]
    stage.step("none is left unconfirmed", 0, counted)
    await asyncio.sleep(1.5)
    touched = {call["body"]["external_userid"] for call in await wecom.marks(0)} & found.keys()
    stage.step("WeCom was told nothing about them: neither removed nor re-sent", set(), touched)


async def names_of_tags(stage: Stage) -> None:
    """A sub-admin makes tags; bad names are refused with the reason and a cleaned name."""
    stage.begin("Names of tags")
    people, group = stage.people, stage.group("客户来源")
    path = f"/v1/tag-groups/{group}/tags"
    for name, why, offered in (
        ("VIP/华东", "character", "VIP华东"),
        ("一二三四五六七八九十一二三四五六七八九十长", "too_long", "一二三四五六七八九十一二三四五六七八九十"),
        ("线下 活动", "white_space", "线下活动"),
        ("直播🔥", "character", "直播"),
    ):
        refused = await people.call("zhou.yan", "POST", path, {"name": name})
        facts = refused.body.get("facts", {})
        stage.step(
            f"zhou.yan makes “{name}” ({facts.get('what')})",
            (422, why, offered),
            (refused.status, facts.get("reason"), facts.get("suggestion")),
        )
    refused = await people.call("zhou.yan", "POST", path, {"name": "视频号"})
    facts = refused.body.get("facts", {})
    stage.step(
        "zhou.yan makes a twin of “视频号”",
        (409, "视频号", "视频号2"),
        (refused.status, facts.get("twin"), facts.get("suggestion")),
    )
    made = await people.call("zhou.yan", "POST", path, {"name": "线下活动", "meaning": "met at an event"})
    stage.status("zhou.yan makes “线下活动”", made, 201)

    async def in_wecom() -> bool:
        return "线下活动" in (await stage.wecom.library()).get("客户来源", [])

    await stage.until("it is created in WeCom too", True, in_wecom)
    refused = await people.call("zhou.yan", "POST", f"/v1/tag-groups/{stage.group('咨询类')}/tags", {"name": "线下活动"})
    stage.step("zhou.yan tries another group", (403, "grant"), (refused.status, refused.step))


async def forty_changes(stage: Stage) -> None:
    """Edits that settle together travel together."""
    stage.begin("Forty changes on twenty customers")
    people, since = stage.people, await stage.wecom.moment()
    customers = [stage.own_customer("lin.tao") for _ in range(20)]
    statuses = []
    for one in customers:
        statuses.append((await people.tag("lin.tao", one, add=[stage.tag("本月活跃度/高活跃")])).status)
        statuses.append((await people.tag("lin.tao", one, add=[stage.tag("咨询类/价格敏感")])).status)
    ledger = (await people.call("admin", "GET", "/v1/sync/ledger?limit=200")).body
    stage.step("forty changes are accepted", {200: 40}, {status: statuses.count(status) for status in statuses})
    waiting = {row["external_userid"] for row in ledger["items"] if row["state"] == "waiting"} & set(customers)
    stage.step("the ledger shows them while they wait", True, len(waiting) > 0)
    told = ledger["estimate"].startswith(f"{ledger['waiting_total']} waiting") and (ledger["estimate_seconds"] or 0) >= 0
    stage.step(f"with an estimate ({ledger['estimate']})", True, told)
    await stage.wait_for_sync("on the way to WeCom", len(customers))
    bodies = [call["body"] for call in await stage.wecom.marks(since) if call["body"]["external_userid"] in customers]
    stage.step("they arrived as twenty mark_tag calls", 20, len(bodies))
    stage.step("each with both tags", {2}, {len(body["add_tag"]) for body in bodies})
    held = {frozenset(await stage.wecom.held("lin.tao", one)) for one in customers}
    stage.step("and WeCom holds both on each", {frozenset({"本月活跃度/高活跃", "咨询类/价格敏感"})}, held)
    stage.changes.extend(customers)


async def the_audit(stage: Stage, data_dir: Path) -> None:
    """Everything that happened is there, and the chain holds."""
    stage.begin("The audit")
    code, said = await children.command(["audit", "verify"], data_dir, quiet=True)
    stage.step(f"tagwarden audit verify: {said.strip()}", 0, code)
    lines = await _audit_lines(stage.people)
    changes = [line for line in lines if line["action"] == "tags.changed"]
    recorded = {line["detail"]["customer"] for line in changes}
    stage.step("every change of the story has its line", set(), set(stage.changes) - recorded)
    whole = [line for line in changes if _who(line) and line["decision"]["row"] and line["decision"]["revision"] >= 1]
    stage.step("each with actor, decision row and policy revision", len(changes), len(whole))
    refusals = {line["detail"].get("step") for line in lines if line["action"] == "refused"}
    stage.step("refusals are there too", True, {"relation", "grant"} <= refusals)
    stage.console.print(f"     for example: {escape(msgspec.json.encode(changes[-1]).decode())}")


CHAPTERS = (
    own_customers,
    who_may_what,
    two_signatures,
    asking_is_signing,
    somebody_is_away,
    a_protected_change,
    the_matrix_changes,
    marks_found_in_wecom,
    names_of_tags,
    forty_changes,
    drift,
    cards,
)


async def _audit_lines(people: People) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = (await people.call("admin", "GET", f"/v1/audit/?limit=200{cursor}")).body
        lines.extend(page["items"])
        if not page["next_cursor"]:
            return lines
        cursor = f"&cursor={page['next_cursor']}"


async def _count_customers(people: People, userid: str) -> int:
    total, cursor = 0, ""
    while True:
        page = (await people.call(userid, "GET", f"/v1/customers/?limit=200{cursor}")).body
        total += len(page["items"])
        if not page["next_cursor"]:
            return total
        cursor = f"&cursor={page['next_cursor']}"


def _who(line: dict[str, Any]) -> str:
    """Whose change it is: the caller's, or the owner's who made it inside WeCom."""
    return str(line["actor"]["userid"] or line["detail"].get("owner", ""))


async def _holds(wecom: Wecom, userid: str, customer: str, tag: str) -> bool:
    return tag in await wecom.held(userid, customer)


def _state(answer: Answer) -> str:
    approval = answer.body.get("approval", {}) if isinstance(answer.body, dict) else {}
    return str(approval.get("state", ""))


def _reason(answer: Answer) -> str:
    items = answer.body.get("items") or [{}]
    return str(items[0].get("reason", ""))
