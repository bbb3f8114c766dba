"""What a protected change was asked on has moved, in every way there is: nobody's signature makes it happen any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from support.company import DEPARTMENTS, Companies, GrantLine, bundle_of
from support.protected import CASES, MATRIX, STAFF, Case, Scene, a_scene, held, marks, tag_of
from support.service import RSA_ISSUER, Service, check_problem
from tagwarden.governance import publishing
from tagwarden.policy.model import Action, Effect
from tagwarden.sync import service as sync
from tagwarden.sync.service import OrgSeen

KINDS = {case.kind: case for case in CASES.values()}
EACH = pytest.mark.parametrize("case", KINDS.values(), ids=KINDS.keys())
Mover = Callable[[Scene], Awaitable[Any]]


@pytest.fixture
async def scene(companies: Companies, service: Service) -> Scene:
    return await a_scene(companies, service)


async def mirrored(scene: Scene, *, disabled: str = "", gone: str = "") -> None:
    """WeCom shows the organisation with somebody disabled or gone."""
    shown = {userid: place for userid, place in STAFF.items() if userid != gone}
    people = tuple((userid, userid, "disabled" if userid == disabled else "active", place[0]) for userid, place in shown.items())
    places = tuple((userid, place[0], place[1]) for userid, place in shown.items())
    await sync.mirror_org(scene.company.as_("admin2"), OrgSeen(DEPARTMENTS, people, places))


async def expect(scene: Scene, case: Case, approval_id: str, signer: str, *reasons: str) -> None:
    """The signature is answered with `stale`, and nothing has changed."""
    before = await case.look(scene)
    answer = await scene.sign(approval_id, signer)
    assert (answer["state"], answer["closed_reason"] in reasons) == ("stale", True), answer["closed_reason"]
    assert await case.look(scene) == before


# -- people ------------------------------------------------------------------------------------------------------------


@EACH
async def test_the_requester_is_disabled(scene: Scene, case: Case) -> None:
    approval_id = await case.ask(scene)
    await scene.sign(approval_id, case.level1)
    await mirrored(scene, disabled=case.requester)
    await expect(scene, case, approval_id, "hq", "requester_gone")


@EACH
async def test_the_requester_no_longer_may(scene: Scene, case: Case) -> None:
    approval_id = await case.ask(scene)
    await scene.sign(approval_id, case.level1)
    if case.requester == "admin":
        assert (await scene.roles("helper", "admin")).status_code == 200
    caller = "helper" if case.requester == "admin" else "admin"
    assert (await scene.roles(case.requester, "staff", caller=caller)).status_code == 200
    await expect(scene, case, approval_id, "hq", "requester_lost_right", "base_moved")


@EACH
async def test_who_signed_no_longer_may(scene: Scene, case: Case) -> None:
    approval_id = await case.ask(scene)
    await scene.sign(approval_id, case.level1)
    assert (await scene.roles(case.level1, "staff")).status_code == 200
    await expect(scene, case, approval_id, "hq", "signer_lost_authority", "base_moved")


async def test_who_leaves_takes_what_is_about_him_along(scene: Scene) -> None:
    role, rename = await CASES["a signing role"].ask(scene), await CASES["rename"].ask(scene)
    await mirrored(scene, gone="ann")
    shown = (await scene.web.get("admin", f"/v1/approvals/{role}")).json()["approval"]
    assert (shown["state"], shown["closed_reason"]) == ("stale", "owner_or_requester_left")
    assert (await scene.sign(rename, "boss", "hq"))["state"] == "applied"


async def test_the_employee_concerned_is_disabled(scene: Scene) -> None:
    case = CASES["a signing role"]
    approval_id = await case.ask(scene)
    await mirrored(scene, disabled="ann")
    answer = await scene.sign(approval_id, "east")
    assert (answer["state"], answer["closed_reason"]) == ("stale", "base_moved")


async def test_the_second_signer_turns_out_to_be_the_first(scene: Scene) -> None:
    approval_id = await CASES["rename"].ask(scene)
    await scene.sign(approval_id, "boss")
    assert (await scene.call("admin", "PUT", "/v1/employees/hq/person", {"same_as": "boss"})).status_code == 200
    check_problem(await scene.decide(approval_id, userid="hq"), 403, "not_a_signer")
    assert await tag_of(scene, "value/high") == ("high", False)
    assert (await scene.sign(approval_id, "east2"))["state"] == "applied"


# -- the library -------------------------------------------------------------------------------------------------------


async def applied(scene: Scene, approval_id: str) -> None:
    assert (await scene.sign(approval_id, "boss", "hq"))["state"] == "applied"


async def _renamed(scene: Scene) -> None:
    await applied(scene, held(await scene.patch_tag("value/high", name="top")))


async def _retired(scene: Scene) -> None:
    await applied(scene, held(await scene.patch_tag("value/high", retired=True)))


async def _low_renamed(scene: Scene) -> None:
    await applied(scene, held(await scene.patch_tag("value/low", name="least")))


async def _value_is_standard(scene: Scene) -> None:
    await applied(scene, held(await scene.patch_group("value", kind="standard")))


async def _advice_is_value(scene: Scene) -> None:
    await applied(scene, held(await scene.patch_group("advice", kind="value")))


async def _grade_is_single(scene: Scene) -> None:
    await applied(scene, held(await scene.patch_group("grade", choice="single")))


async def _group_renamed(scene: Scene) -> None:
    assert (await scene.patch_group("value", name="worth")).status_code == 200


async def _another_mark(scene: Scene) -> None:
    await scene.company.add_customers(("ann", "c9", ()))
    answer = await scene.company.change("ann", "c9", ["value/high"])
    await scene.company.sign("east", answer.approval_id)
    await scene.company.sign("hq", answer.approval_id)


async def _mark_gone(scene: Scene) -> None:
    answer = await scene.company.change("ann", "c1", remove=["value/high"])
    await scene.company.sign("east", answer.approval_id)
    await scene.company.sign("hq", answer.approval_id)


async def _keen_mark_gone(scene: Scene) -> None:
    await scene.company.change("ann", "c1", remove=["advice/keen"])


async def _low_wanted(scene: Scene) -> None:
    await scene.company.change("ann", "c1", ["value/low"])


async def _gold_carried(scene: Scene) -> None:
    await scene.carries("grade/gold")


async def _mid_retired(scene: Scene) -> None:
    await applied(scene, held(await scene.patch_tag("value/mid", retired=True)))


def _made(group: str, name: str) -> Mover:
    async def make(scene: Scene) -> None:
        path = f"/v1/tag-groups/{scene.company.groups[group]}/tags"
        assert (await scene.call("admin", "POST", path, {"name": name})).status_code == 201

    return make


async def _bound_without_right(scene: Scene) -> None:
    await applied(scene, held(await scene.call("admin", "PUT", f"/v1/corp/issuers/{RSA_ISSUER}", {"may_sign": False})))


async def _unbound(scene: Scene) -> None:
    assert (await scene.call("admin", "DELETE", "/v1/corp/issuers/second")).status_code == 204


async def _stricter(scene: Scene) -> None:
    grants = (*MATRIX, GrantLine(12, "value", Action.USE, Effect.DENY))
    assert (await publishing.apply_bundle(scene.company.as_("admin"), bundle_of({}, {}, grants), "n")).revision == 3


async def _supervises(scene: Scene) -> None:
    approval_id = held(await scene.roles("ann", "staff", "manager", "supervisor"))
    assert (await scene.sign(approval_id, "east", "hq"))["state"] == "applied"


async def _south_is_staff(scene: Scene) -> None:
    assert (await scene.roles("south", "staff")).status_code == 200


MOVED: list[tuple[str, Mover, str]] = [
    ("value to standard", _group_renamed, "base_moved"),
    ("choice", _value_is_standard, "base_moved"),
    ("rename", _renamed, "base_moved"),
    ("rename", _retired, "base_moved"),
    ("rename", _value_is_standard, "base_moved"),
    ("rename", _made("value", "highest"), "name_taken"),
    ("retire", _renamed, "base_moved"),
    ("restore", _low_renamed, "base_moved"),
    ("delete a tag", _low_renamed, "base_moved"),
    ("delete a tag", _value_is_standard, "base_moved"),
    ("delete a tag", _low_wanted, "in_use"),
    ("delete a group", _gold_carried, "in_use"),
    ("delete a group", _made("grade", "bronze"), "base_moved"),
    ("delete a group", _grade_is_single, "base_moved"),
    ("move out", _another_mark, "base_moved"),
    ("move out", _mark_gone, "base_moved"),
    ("move out", _advice_is_value, "base_moved"),
    ("move out", _made("advice", "high"), "name_taken"),
    ("move in", _keen_mark_gone, "base_moved"),
    ("move in", _mark_gone, "base_moved"),
    ("move in", _made("value", "keen"), "name_taken"),
    ("move between", _grade_is_single, "base_moved"),
    ("move between", _retired, "base_moved"),
    ("merge", _another_mark, "base_moved"),
    ("merge", _mark_gone, "base_moved"),
    ("merge", _mid_retired, "base_moved"),
    ("bind an issuer", _bound_without_right, "base_moved"),
    ("let an issuer sign", _unbound, "base_moved"),
    ("a policy that loosens", _stricter, "base_moved"),
    ("a signing role", _supervises, "base_moved"),
    ("a delegation beyond the line", _south_is_staff, "base_moved"),
]


@pytest.mark.parametrize(("name", "move", "reason"), MOVED, ids=[f"{one[0]}-{number}" for number, one in enumerate(MOVED)])
async def test_the_base_moves(scene: Scene, name: str, move: Mover, reason: str) -> None:
    case = CASES[name]
    approval_id = await case.ask(scene)
    await scene.sign(approval_id, case.level1)
    await move(scene)
    before = await case.look(scene)
    shown = (await scene.web.get("auditor", f"/v1/approvals/{approval_id}")).json()["approval"]
    if shown["state"] != "stale":  # else whoever moved it has closed it already
        shown = await scene.sign(approval_id, "hq")
    assert (shown["state"], shown["closed_reason"]) == ("stale", reason)
    assert await case.look(scene) == before


# -- more than one request ---------------------------------------------------------------------------------------------


async def test_of_two_requests_on_one_base_one_happens(scene: Scene) -> None:
    first, second = held(await scene.patch_tag("value/high", name="top")), held(await scene.patch_tag("value/high", name="best"))
    assert first != second
    await scene.sign(second, "boss")
    await applied(scene, first)
    shown = (await scene.web.get("admin", f"/v1/approvals/{second}")).json()["approval"]
    assert (shown["state"], shown["closed_reason"]) == ("stale", "base_moved")
    assert await tag_of(scene, "value/high") == ("top", False)


async def test_the_same_thing_is_asked_for_once(scene: Scene) -> None:
    for ask in (CASES["rename"].ask, CASES["a signing role"].ask, CASES["bind an issuer"].ask, CASES["choice"].ask):
        assert await ask(scene) == await ask(scene)
    path, body = f"/v1/tags/{scene.company.tags['value/high']}/merge", {"into": str(scene.company.tags["value/mid"])}
    asked = [await scene.web.call("admin", "POST", path, body, If_Match="*", Idempotency_Key="one") for _ in range(2)]
    assert held(asked[0]) == held(asked[1])
    body["into"] = str(scene.company.tags["value/low"])
    check_problem(await scene.web.call("admin", "POST", path, body, If_Match="*", Idempotency_Key="one"), 422)


async def test_in_bulk_each_stands_for_itself(scene: Scene) -> None:
    rename, merge, role = [await CASES[name].ask(scene) for name in ("rename", "merge", "a signing role")]
    await _another_mark(scene)
    items = [{"id": one, "verdict": "approve", "etag": '"1"'} for one in (rename, merge, role)]
    done = (await scene.call("boss", "POST", "/v1/approvals/decisions", {"items": items})).json()["items"]
    assert [(one["outcome"], one.get("state"), one.get("code")) for one in done] == [
        ("decided", "pending_level2", None),
        ("decided", "stale", None),
        ("refused", None, "not_your_turn"),
    ]
    done = (await scene.call("boss", "POST", "/v1/approvals/decisions", {"items": items[:1]})).json()["items"]
    assert done[0]["code"] == "not_a_signer"
    assert (await marks(scene), await tag_of(scene, "value/high")) == (["advice/keen", "value/high"], ("high", False))
