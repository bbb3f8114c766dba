"""A chapter of the story: the matrix changes from a draft, its effect is seen before it is in force, and it is taken back."""

from __future__ import annotations

from typing import Any

from tagwarden.app.demo.people import Answer, People
from tagwarden.app.demo.script import Stage

NEWCOMERS = 60


async def the_matrix_changes(stage: Stage) -> None:
    """Draft, impact, publish, rollback; what loosens waits for two people."""
    stage.begin("An admin changes who may use what")
    people, advice = stage.people, stage.group("咨询类")
    stage.step("he.xin may not use 咨询类", False, await _may(people, "he.xin", advice))
    cell = {"department": NEWCOMERS, "group_id": advice, "action": "use"}
    wanted = {"cells": [cell], "note": "新员工可以打咨询类标签"}
    refused = await people.call("zhou.yan", "POST", "/v1/policy/drafts", wanted)
    stage.status("zhou.yan, sub-admin of the catalog alone, drafts a change", refused, 403, "module_missing")
    made = await people.call("admin", "POST", "/v1/policy/drafts", wanted)
    stage.status("admin drafts it", made, 201)
    draft = f"/v1/policy/drafts/{made.body['id']}"
    stage.step("a draft decides nothing", False, await _may(people, "he.xin", advice))
    impact = (await people.call("admin", "POST", f"{draft}/impact")).body
    gained = {one["userid"] for one in impact["access"]["sample"]}
    stage.step("its impact names who gains, and nobody loses", ({"he.xin"}, 0), (gained, impact["access"]["lost"]))
    done = await people.call("admin", "POST", f"{draft}/publish", {}, **{"If-Match": made.etag or ""})
    stage.step("admin publishes it", (200, "published"), (done.status, done.body.get("outcome")))
    stage.step("from the next request on he.xin may", True, await _may(people, "he.xin", advice))
    await _what_loosens_waits(stage)
    revision = int(done.body["revision"])
    back = {"revision": revision - 1, "note": "先撤回"}
    rolled = await people.call("admin", "POST", "/v1/policy/rollback", back, **{"If-Match": f'"{revision}"'})
    stage.step("admin rolls back: a new revision", (200, revision + 1), (rolled.status, rolled.body.get("revision")))
    stage.step("from the next request on he.xin may not", False, await _may(people, "he.xin", advice))


async def _what_loosens_waits(stage: Stage) -> None:
    people = stage.people
    cell = {"department": NEWCOMERS, "group_id": stage.group("客户价值"), "action": "use"}
    made = await people.call("admin", "POST", "/v1/policy/drafts", {"cells": [cell], "note": "新员工也要打客户价值"})
    draft = f"/v1/policy/drafts/{made.body['id']}"
    impact = (await people.call("admin", "POST", f"{draft}/impact")).body
    stage.step("a draft that opens 客户价值 says that it loosens", ["grants"], impact["loosens"])
    held = await people.call("admin", "POST", f"{draft}/publish", {}, **{"If-Match": made.etag or ""})
    stage.step("published, it waits for two people", (202, "pending_approval"), (held.status, held.body.get("outcome")))
    withdrawn = await people.call("admin", "POST", f"/v1/approvals/{held.body['approval_id']}/withdraw")
    stage.step("admin withdraws it", "withdrawn", _state(withdrawn))
    stage.step("and has the draft back", "open", (await people.call("admin", "GET", draft)).body["state"])


async def _may(people: People, userid: str, group: str) -> bool:
    asked: dict[str, Any] = {"group_id": group, "action": "use"}
    return bool((await people.call(userid, "POST", "/v1/decisions/", asked)).body["allowed"])


def _state(answer: Answer) -> str:
    approval = answer.body.get("approval", {}) if isinstance(answer.body, dict) else {}
    return str(approval.get("state", ""))
