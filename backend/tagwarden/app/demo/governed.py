"""Two chapters of the story: signing while somebody is away, and changing what governance itself stands on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tagwarden.app.demo.people import Answer
from tagwarden.app.demo.script import Stage


async def somebody_is_away(stage: Stage) -> None:
    """A delegate signs in his own name and for another; beyond the giver's line that itself takes two people."""
    stage.begin("Who signs while somebody is away")
    people = stage.people
    until = (datetime.now(UTC) + timedelta(days=7)).isoformat()
    refused = await people.call("wu.gang", "POST", "/v1/delegations/", {"delegate": "li.na", "ends_at": until})
    stage.status("wu.gang names li.na, who holds no signing role", refused, 403, "delegation_refused")
    asked = await people.call(
        "wu.gang", "POST", "/v1/delegations/", {"delegate": "huang.lei", "ends_at": until, "reason": "leave"}
    )
    stage.status("wu.gang names huang.lei of another region: a protected change", asked, 202)
    held = str(asked.body["approval_id"])
    customer = stage.own_customer("li.na")
    request = await people.tag("li.na", customer, add=[stage.tag("客户等级/B级")])
    approval = str(request.body["approval_id"])
    stage.status(
        "until it is signed, huang.lei signs nothing for him", await people.sign("huang.lei", approval), 403, "not_a_signer"
    )
    stage.step("zhao.min, above wu.gang, signs the delegation", "pending_level2", _state(await people.sign("zhao.min", held)))
    stage.step("sun.li signs it too", "applied", _state(await people.sign("sun.li", held)))
    signed = await people.sign("huang.lei", approval)
    stage.step("huang.lei signs level 1 of li.na's request", (200, "pending_level2"), (signed.status, _state(signed)))
    names = [(one["signer"], one["on_behalf_of"]) for one in signed.body["signatures"]]
    stage.step("both names stay with the signature", [("huang.lei", "wu.gang")], names)
    stage.step("sun.li signs level 2", "applied", _state(await people.sign("sun.li", approval)))
    told = await people.call("li.na", "GET", "/v1/notifications/?unread=true")
    stage.step("li.na is told", True, approval in {one["approval_id"] for one in told.body["items"] if one["event"] == "applied"})
    stage.changes.append(customer)
    mine = (await people.call("wu.gang", "GET", "/v1/delegations/")).body["items"]
    ended = await people.call("wu.gang", "DELETE", f"/v1/delegations/{mine[0]['id']}")
    stage.status("wu.gang is back and takes it back", ended, 204)
    other = await people.tag("li.na", stage.own_customer("li.na"), add=[stage.tag("客户等级/B级")])
    approval = str(other.body["approval_id"])
    stage.status("from then on huang.lei signs nothing for him", await people.sign("huang.lei", approval), 403, "not_a_signer")
    withdrawn = await people.call("li.na", "POST", f"/v1/approvals/{approval}/withdraw")
    stage.step("li.na withdraws", (200, "withdrawn"), (withdrawn.status, _state(withdrawn)))


async def a_protected_change(stage: Stage) -> None:
    """An admin alone changes nothing that protects value tags."""
    stage.begin("What an admin cannot change alone")
    people = stage.people
    tag, group = stage.tag("客户等级/C级"), stage.group("客户等级")
    library = await people.call("admin", "GET", f"/v1/tag-groups/{group}")
    etag = next(one["etag"] for one in library.body["tags"] if one["id"] == tag)
    wanted = {"retired": True, "reason": "no longer used"}
    asked = await people.call("admin", "PATCH", f"/v1/tags/{tag}", wanted, **{"If-Match": etag})
    stage.status("admin retires 客户等级/C级, a value tag", asked, 202)
    approval = str(asked.body["approval_id"])
    stage.status("admin cannot sign", await people.sign("admin", approval), 403, "not_a_signer")
    seen = await people.call("zhao.min", "GET", f"/v1/approvals/{approval}")
    change = (seen.body["change"]["before"], seen.body["change"]["after"])
    stage.step("zhao.min sees before and after", ({"retired": False}, {"retired": True}), change)
    stage.step("zhao.min signs level 1", "pending_level2", _state(await people.sign("zhao.min", approval)))
    stage.step("and cannot sign level 2", 403, (await people.sign("zhao.min", approval)).status)
    stage.step("sun.li signs level 2", "applied", _state(await people.sign("sun.li", approval)))
    refused = await people.tag("li.na", stage.own_customer("li.na"), add=[tag])
    stage.step("li.na cannot ask for it any more", (403, "group_rules"), (refused.status, refused.step))
    given = await people.call("admin", "PUT", "/v1/employees/li.na/roles", {"roles": ["staff", "supervisor"]})
    stage.step("admin makes li.na supervisor: that waits too", (202, ["staff"]), (given.status, given.body.get("roles")))
    refused = await people.sign("sun.li", str(given.body["approval_id"]), "reject", "not her work")
    stage.status("sun.li cannot refuse before level 1 has signed", refused, 409, "not_your_turn")
    refused = await people.sign("wu.gang", str(given.body["approval_id"]), "reject", "not her work")
    stage.step("wu.gang, above li.na, refuses", (200, "rejected"), (refused.status, _state(refused)))


def _state(answer: Answer) -> str:
    approval = answer.body.get("approval", {}) if isinstance(answer.body, dict) else {}
    return str(approval.get("state", ""))
