"""Other ways to what two people have to sign: combined fields, bundles, names made anew, machines, other corps, WeCom itself."""

from __future__ import annotations

from typing import Any

import pytest

from support.company import Companies, bundle_of, library_of
from support.protected import LIBRARY, MATRIX, Scene, a_scene, held, marks, roles_of_ann, tag_of
from support.service import Service, check_problem
from tagwarden.catalog import repository as catalog
from tagwarden.governance import publishing
from tagwarden.governance.roles import LastAdmin
from tagwarden.identity.model import RoleMissing
from tagwarden.kernel import db
from tagwarden.policy.chains import read_rules
from tagwarden.sync import service as sync

RULES = {"asking_is_level1": True, "expires_after_days": 7}


@pytest.fixture
async def scene(companies: Companies, service: Service) -> Scene:
    return await a_scene(companies, service)


async def open_requests(scene: Scene) -> int:
    """How many requests wait."""
    found = await db.fetch_value(
        "select count(*) from approval where corp_id = $1 and state in ('pending_level1', 'pending_level2')",
        scene.company.corp_id,
    )
    return int(found)


# -- who may configure -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("roles", [("admin",), ("staff", "subadmin")])
async def test_a_subadmin_makes_himself_no_more_by_a_bundle(scene: Scene, roles: tuple[str, ...]) -> None:
    every = ("policy", "catalog", "members")
    assert (await scene.roles("bob", "subadmin", modules=every)).status_code == 200
    check_problem(await scene.roles("bob", *roles, caller="bob", modules=()), 403, "role_missing")
    for userid in ("bob", "ann"):
        people = {userid: (11, False, roles)}
        with pytest.raises(RoleMissing):
            await publishing.apply_bundle(scene.company.as_("bob"), bundle_of(people, {}, MATRIX), "me")
    with pytest.raises(RoleMissing):
        people = {"admin": (1, False, ("staff",))}
        await publishing.apply_bundle(scene.company.as_("bob"), bundle_of(people, {}, MATRIX), "not him")


async def test_a_bundle_takes_no_last_admin(scene: Scene) -> None:
    with pytest.raises(LastAdmin):
        await publishing.apply_bundle(scene.company.as_("admin"), bundle_of({"admin": (1, False, ("staff",))}, {}, MATRIX), "bye")


async def test_what_was_decided_later_stands(scene: Scene) -> None:
    """Roles are exactly what was put last: a request of before gives nothing that was left out since."""
    asked = held(await scene.roles("ann", "staff", "manager"))
    kept = held(await scene.roles("dan", "staff", "manager"))
    assert (await scene.roles("ann", "staff")).status_code == 200
    assert (await scene.roles("dan", "staff", "auditor", "manager")).status_code == 202
    shown = (await scene.web.get("admin", f"/v1/approvals/{asked}")).json()["approval"]
    assert (shown["state"], shown["closed_reason"]) == ("stale", "roles_put_since")
    assert await roles_of_ann(scene) == ["staff"]
    assert (await scene.sign(kept, "south", "hq"))["state"] == "applied"


# -- the same effect by another way -------------------------------------------------------------------------------------


async def test_a_change_waits_as_a_whole(scene: Scene) -> None:
    asked = held(await scene.patch_tag("value/high", name="highest", meaning="m", service_process="p"))
    tag = await catalog.tag(scene.company.corp_id, scene.company.tags["value/high"])
    assert tag is not None
    assert (tag.name, tag.meaning, tag.service_process) == ("high", "", "")
    group = held(await scene.patch_group("value", name="worth", kind="standard", choice="multiple", description="d"))
    row = await catalog.group(scene.company.corp_id, scene.company.groups["value"])
    assert row is not None
    assert (row.name, row.kind, row.choice, row.description) == ("value", "value", "single", "")
    for approval_id in (asked, group):
        await scene.sign(approval_id, "boss", "hq")
    tag, row = await catalog.tag(scene.company.corp_id, tag.id), await catalog.group(scene.company.corp_id, row.id)
    assert tag is not None
    assert row is not None
    assert (tag.name, tag.meaning, tag.service_process) == ("highest", "m", "p")
    assert (row.name, row.kind, row.choice, row.description) == ("worth", "standard", "multiple", "d")


async def test_what_waits_opens_nothing_meanwhile(scene: Scene) -> None:
    """A kind that is asked for counts from the second signature, in both directions."""
    held(await scene.patch_group("value", kind="standard"))
    held(await scene.patch_tag("value/high", name="highest"))
    held(await scene.move("value/high", "advice"))
    held(await scene.call("admin", "DELETE", f"/v1/tags/{scene.company.tags['value/low']}"))
    waiting = await scene.company.change("ann", "c1", ["value/mid"])
    assert waiting.approval_id is not None
    into = held(await scene.patch_group("advice", kind="value"))
    assert (await scene.patch_tag("advice/cheap", name="dear")).status_code == 200
    assert (await scene.sign(into, "boss", "hq"))["state"] == "applied"
    held(await scene.patch_tag("advice/cheap", name="cheap"))
    assert await marks(scene) == ["advice/keen", "value/high"]


async def test_a_name_made_anew_inherits_nothing(scene: Scene) -> None:
    low, group = scene.company.tags["value/low"], scene.company.groups["value"]
    asked = held(await scene.call("admin", "DELETE", f"/v1/tags/{low}"))
    check_problem(await scene.call("admin", "POST", f"/v1/tag-groups/{group}/tags", {"name": "low"}), 409, "name_taken")
    await scene.sign(asked, "boss", "hq")
    made = await scene.call("admin", "POST", f"/v1/tag-groups/{group}/tags", {"name": "low"})
    assert (made.status_code, made.json()["id"] != str(low)) == (201, True)
    check_problem(await scene.call("admin", "DELETE", f"/v1/tags/{low}"), 404)
    held(await scene.call("admin", "DELETE", f"/v1/tags/{made.json()['id']}"))
    check_problem(await scene.patch_group("grade", name="value"), 409, "name_taken")


async def test_signatures_are_used_once(scene: Scene) -> None:
    retire = held(await scene.patch_tag("value/low", retired=True))
    await scene.sign(retire, "boss", "hq")
    back = held(await scene.patch_tag("value/low", retired=False))
    check_problem(await scene.call("admin", "POST", f"/v1/approvals/{retire}/resubmit"), 409, "approval_open")
    for userid in ("boss", "hq"):
        check_problem(await scene.decide(retire, userid=userid), 409, "approval_closed")
    await scene.sign(back, "boss", "hq")
    again = held(await scene.patch_tag("value/low", retired=True))
    assert again not in (retire, back)
    assert await tag_of(scene, "value/low") == ("low", False)


async def test_what_is_protected_is_asked_anew_and_not_edited(scene: Scene) -> None:
    asked = held(await scene.patch_tag("value/high", name="highest"))
    for change in ({"name": "other"}, {"change": {"name": "other"}}, {"add": []}, {}):
        edited = await scene.call("admin", "PATCH", f"/v1/approvals/{asked}", {"change": change})
        check_problem(edited, 409, "not_editable")
    await scene.sign(asked, "boss")
    edited = await scene.call("admin", "PATCH", f"/v1/approvals/{asked}", {"reason": "a better one"})
    assert (edited.json()["approval"]["state"], edited.json()["signatures"]) == ("pending_level1", [])
    check_problem(await scene.decide(asked, userid="hq"), 409, "not_your_turn")


async def test_who_lost_the_right_asks_no_more(scene: Scene) -> None:
    path, body = f"/v1/tags/{scene.company.tags['value/high']}/merge", {"into": str(scene.company.tags["value/mid"])}
    asked = held(await scene.web.call("admin", "POST", path, body, If_Match="*", Idempotency_Key="k"))
    await scene.web.call("admin", "POST", f"/v1/approvals/{asked}/withdraw")
    assert (await scene.roles("helper", "admin")).status_code == 200
    assert (await scene.roles("admin", "staff", caller="helper")).status_code == 200
    check_problem(await scene.call("admin", "POST", f"/v1/approvals/{asked}/resubmit"), 409, "cannot_stand")
    check_problem(await scene.web.call("admin", "POST", path, body, If_Match="*", Idempotency_Key="other"), 403)
    repeated = await scene.web.call("admin", "POST", path, body, If_Match="*", Idempotency_Key="k")
    assert repeated.json()["approval_id"] == asked  # the old answer, and nothing new
    assert await open_requests(scene) == 0


async def test_staff_and_machines_shape_no_library(scene: Scene) -> None:
    tag, group = scene.company.tags["value/high"], scene.company.groups["value"]
    asks: list[tuple[str, str, Any]] = [
        ("PATCH", f"/v1/tags/{tag}", {"name": "mine"}),
        ("DELETE", f"/v1/tags/{tag}", None),
        ("POST", f"/v1/tags/{tag}/move", {"group_id": str(scene.company.groups["advice"])}),
        ("POST", f"/v1/tags/{tag}/merge", {"into": str(scene.company.tags["value/mid"])}),
        ("PATCH", f"/v1/tag-groups/{group}", {"kind": "standard"}),
        ("DELETE", f"/v1/tag-groups/{group}", None),
        ("PUT", "/v1/employees/ann/roles", {"roles": ["supervisor"], "modules": []}),
        ("PUT", "/v1/employees/ann/person", {"same_as": "boss"}),
        ("PUT", "/v1/corp/issuers/second", {"may_sign": True}),
        ("DELETE", "/v1/corp/issuers/second", None),
    ]
    for userid in ("ann", "east", "boss", "auditor", "robot"):
        for method, path, body in asks:
            check_problem(await scene.call(userid, method, path, body), 403)
    assert await open_requests(scene) == 0


async def test_another_corps_things_are_not_found(scene: Scene, companies: Companies, service: Service) -> None:
    other = Scene(elsewhere := await companies.make(customers=()), service.web(elsewhere))
    tag, group = scene.company.tags["value/high"], scene.company.groups["value"]
    asked = held(await scene.patch_tag("value/high", name="highest"))
    for method, path, body in (
        ("PATCH", f"/v1/tags/{tag}", {"name": "mine"}),
        ("POST", f"/v1/tags/{tag}/move", {"group_id": str(elsewhere.groups["advice"])}),
        ("POST", f"/v1/tags/{elsewhere.tags['value/high']}/move", {"group_id": str(group)}),
        ("POST", f"/v1/tags/{elsewhere.tags['value/high']}/merge", {"into": str(tag)}),
        ("DELETE", f"/v1/tag-groups/{group}", None),
        ("PUT", "/v1/employees/ann2/roles", {"roles": ["supervisor"], "modules": []}),
        ("GET", f"/v1/approvals/{asked}", None),
        ("PATCH", f"/v1/approvals/{asked}", {"reason": "mine"}),
        ("POST", f"/v1/approvals/{asked}/withdraw", None),
        ("POST", f"/v1/approvals/{asked}/resubmit", None),
        ("POST", f"/v1/approvals/{asked}/escalate", None),
    ):
        check_problem(await other.call("admin", method, path, body), 404)
    item = {"id": asked, "verdict": "approve", "etag": '"1"'}
    done = (await other.call("boss", "POST", "/v1/approvals/decisions", {"items": [item]})).json()["items"][0]
    assert (done["outcome"], done["code"]) == ("refused", "approval_unknown")


async def test_a_library_read_from_wecom_renames_no_value_tag(scene: Scene) -> None:
    library = library_of(LIBRARY)
    for group in library:
        for tag in group["tag"]:
            tag["name"] = {"high": "low", "low": "high", "asked": "told"}.get(tag["name"], tag["name"])
    found = await sync.mirror_catalog(scene.company.as_("admin"), library)
    assert (found.renamed, len(found.conflicts)) == (1, 2)
    assert await tag_of(scene, "value/high") == ("high", False)
    assert await tag_of(scene, "advice/asked") == ("told", False)


def test_a_kinds_own_time_makes_nobody_sign_by_asking() -> None:
    rules = read_rules({**RULES, "protected": {"asking_is_level1": False}, "kinds": {"roles_give": {"expires_after_days": 30}}})
    assert rules.of("roles_give", protected=True).expires_after_days == 30
    assert not rules.of("roles_give", protected=True).asking_is_level1
