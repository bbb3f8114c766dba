"""A chapter of the story: a request reaches its signers as cards in WeCom, and a click is a signature like any other."""

from __future__ import annotations

from tagwarden.app.demo.people import Answer
from tagwarden.app.demo.script import Stage

REASON = "two large orders"
SLOTS = 90.0
"""Seconds to wait for a card: it takes its turn among the calls of the minute before."""


async def cards(stage: Stage) -> None:
    """Whether clicks sign is for two people to say; a card closes for everybody, and a late click changes nothing."""
    stage.begin("Signing on a card in WeCom")
    people, wecom = stage.people, stage.wecom
    stage.step("WeCom calls back here", True, await wecom.call_back(people.addresses[0]))
    asked = await people.call("admin", "PUT", "/v1/corp/issuers/wecom-card", {"may_sign": True, "reason": "sign on the way"})
    stage.status("admin lets clicks on cards sign: a protected change", asked, 202)
    held = str(asked.body["approval_id"])
    stage.step("zhao.min signs it", "pending_level2", _state(await people.sign("zhao.min", held)))
    stage.step("sun.li signs it too", "applied", _state(await people.sign("sun.li", held)))
    customer = stage.own_customer("li.na")
    request = await people.tag("li.na", customer, add=[stage.tag("客户价值/高净值")], reason=REASON)
    stage.status("li.na asks for 客户价值 = 高净值", request, 202)
    approval = str(request.body["approval_id"])

    async def open_cards() -> dict[str, str]:
        return await wecom.open_cards(REASON)

    async def state() -> str:
        return _state(await people.call("sun.li", "GET", f"/v1/approvals/{approval}"))

    async def receivers() -> set[str]:
        return set(await open_cards())

    await stage.until("wu.gang has a card on his screen, and nobody else", {"wu.gang"}, receivers, SLOTS)
    first = (await open_cards())["wu.gang"]
    sent = await wecom.edit("click_card", userid="wu.gang", task_id=first, key="approve")
    stage.step("he presses 同意 (agree): one callback", 1, sent)
    await stage.until("that is level 1", "pending_level2", state, SLOTS)
    await stage.until("his card is closed; HQ has two", {"sun.li", "zhao.min"}, receivers, SLOTS)
    second = await open_cards()
    await wecom.edit("click_card", userid="sun.li", task_id=second["sun.li"], key="approve")
    await stage.until("sun.li presses 同意: applied", "applied", state, SLOTS)
    await stage.until("the cards are closed for everybody", set(), receivers, SLOTS)
    await stage.until("WeCom holds the tag", {"客户价值/高净值"}, lambda: wecom.held("li.na", customer), SLOTS)
    stage.changes.append(customer)
    before = (await people.call("sun.li", "GET", f"/v1/approvals/{approval}")).body
    await wecom.edit("click_card", userid="zhao.min", task_id=second["zhao.min"], key="approve", forged=True)

    async def refused() -> bool:
        lines = (await people.call("admin", "GET", "/v1/audit/?limit=20")).body["items"]
        clicked = [line["actor"]["userid"] for line in lines if line["actor"]["issuer"] == "wecom-card"]
        return "zhao.min" in clicked

    await stage.until("a click of zhao.min that comes late is refused, on record", True, refused)
    after = (await people.call("sun.li", "GET", f"/v1/approvals/{approval}")).body
    signers = [(one["level"], one["signer"]) for one in after["signatures"]]
    stage.step("and changes nothing", ([(1, "wu.gang"), (2, "sun.li")], True), (signers, before == after))


def _state(answer: Answer) -> str:
    approval = answer.body.get("approval", {}) if isinstance(answer.body, dict) else {}
    return str(approval.get("state", ""))
