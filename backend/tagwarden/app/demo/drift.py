"""A chapter of the story: somebody tags inside WeCom itself, around the service."""

from __future__ import annotations

from tagwarden.app.demo.script import Stage


async def drift(stage: Stage) -> None:
    """WeCom reports the edit; a value tag is put back, what its owner may do is taken in, what he may not is put back."""
    stage.begin("Somebody tags inside WeCom, around the service")
    people, wecom = stage.people, stage.wecom
    stage.step("an address that serves proves its keys to WeCom", True, await wecom.call_back(people.addresses[0]))
    customer, value, allowed = stage.own_customer("li.na"), "客户价值/高净值", "本月活跃度/高活跃"
    sent = await wecom.edit("mark", userid="li.na", external_userid=customer, add=[value, allowed])
    stage.step("li.na puts 高净值 and 高活跃 on a customer in WeCom's own client: one callback", 1, sent)
    await stage.until("the value tag is put back, the other stays", {allowed}, lambda: wecom.held("li.na", customer))
    tags = await people.call("li.na", "GET", f"/v1/customers/{customer}/tags")
    shown = [(tag["tag"], tag["source"]) for tag in tags.body["follows"][0]["tags"]]
    stage.step("here it is li.na's own change, made in WeCom", [("高活跃", "wecom")], shown)
    other = stage.own_customer("chen.jing")
    await wecom.edit("mark", userid="chen.jing", external_userid=other, add=["咨询类/高意向"])
    await stage.until("chen.jing may not use 高意向: put back", set(), lambda: wecom.held("chen.jing", other))
    cases = (await people.call("admin", "GET", "/v1/sync/drift/?limit=10")).body
    found = {(one["tag"], one["state"], one["reason"]) for one in cases["items"]}
    wanted = {("高净值", "put_back", None), ("高活跃", "taken_in", None), ("高意向", "put_back", "grant")}
    stage.step("GET /v1/sync/drift shows each case and what became of it", wanted, found)
    stage.step("the guard goes on", False, cases["guard"]["stopped"])
    refused = await people.call("li.na", "GET", "/v1/sync/drift/")
    stage.status("li.na may not read it", refused, 403, "module_missing")
    stage.changes.append(customer)
