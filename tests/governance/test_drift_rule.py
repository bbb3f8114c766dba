"""What becomes of edits inside WeCom is part of the policy: in files, drafts, revisions and what two people sign."""

from __future__ import annotations

from typing import Any

import pytest

from support.company import Company
from support.service import Service, Web, check_problem
from tagwarden.governance import files
from tagwarden.governance.bundle import BundleInvalid, read_bundle
from tagwarden.governance.operator import default_texts
from tagwarden.policy import service as policy
from tagwarden.policy.drift import DriftRule

Desk = tuple[Company, Web]


@pytest.fixture
def desk(company: Company, service: Service) -> Desk:
    return company, service.web(company)


async def exported(company: Company, **changed: str) -> dict[str, str]:
    texts = await files.export_bundle(company.as_("admin"))
    return {**texts, **{f"{name}.toml": text for name, text in changed.items()}}


async def publish(web: Web, drift: dict[str, Any]) -> dict[str, Any]:
    made = await web.call("admin", "POST", "/v1/policy/drafts", {"drift": drift, "note": "as agreed"})
    assert made.status_code == 201, made.text
    path = f"/v1/policy/drafts/{made.json()['id']}/publish"
    answer = await web.call("admin", "POST", path, {}, If_Match=made.headers["etag"])
    found: dict[str, Any] = answer.json()
    return found


async def test_a_group_by_name_in_files_and_by_id_in_force(desk: Desk) -> None:
    company, _ = desk
    texts = await exported(company, drift='others = "tagwarden"\n[groups]\nadvice = "wecom"\n')
    bundle = read_bundle(texts, default_texts())
    plan = await files.diff_bundle(company.as_("admin"), bundle)
    told = [(one.part, one.what, one.before, one.after, one.held) for one in plan.changes]
    assert told == [("drift", "groups.advice", None, "wecom", False), ("drift", "others", "wecom", "tagwarden", False)]
    done = await files.apply_folder(company.as_("admin"), bundle, "theirs counts")
    assert done.done is not None
    assert done.done.revision is not None
    picture = await policy.current(company.corp_id)
    assert picture.drift.groups == {str(company.groups["advice"]): DriftRule.WECOM}
    assert await files.export_bundle(company.as_("admin")) == await exported(company)
    again = read_bundle(await exported(company), default_texts())
    assert (await files.diff_bundle(company.as_("admin"), again)).empty
    assert (await files.apply_folder(company.as_("admin"), again, "the same")).done is None


async def test_what_loosens_for_value_groups_waits_however_it_is_written(desk: Desk) -> None:
    company, web = desk
    bundle = read_bundle(await exported(company, drift='value = "ask"\n'), default_texts())
    plan = await files.diff_bundle(company.as_("admin"), bundle)
    assert (plan.loosens, [(one.part, one.held) for one in plan.changes]) == (("drift",), [("drift", True)])
    done = await files.apply_folder(company.as_("admin"), bundle, "ask")
    assert done.done is not None
    assert (done.done.revision, len(done.done.approvals)) == (None, 1)
    for drift in ({"groups": {str(company.groups["value"]): "ask"}}, {"stop_above_percent": 0.5}):
        answer = await publish(web, drift)
        assert answer["outcome"] == "pending_approval", drift
    assert (await policy.current(company.corp_id)).drift.value is DriftRule.PUT_BACK


async def test_a_draft_carries_the_rule_and_a_rollback_brings_it_back(desk: Desk) -> None:
    company, web = desk
    before = (await web.get("admin", "/v1/policy")).json()
    made = await publish(web, {"others": "tagwarden"})
    assert made["outcome"] == "published"
    held = (await web.get("admin", "/v1/policy")).json()
    assert held["drift"]["others"] == "tagwarden"
    assert (held["capabilities"], held["approvals"]) == (before["capabilities"], before["approvals"])
    body = {"revision": before["revision"], "note": "back"}
    back = await web.call("admin", "POST", "/v1/policy/rollback", body, If_Match=f'"{held["revision"]}"')
    assert back.json()["outcome"] == "published", back.text
    assert (await policy.current(company.corp_id)).drift.others is DriftRule.WECOM
    looser = await publish(web, {"stop_above_percent": 5})
    assert looser["outcome"] == "published", "the guard stops later: nothing is put back that was not decided"


async def test_a_rollback_that_loosens_waits(desk: Desk) -> None:
    company, web = desk
    first = (await web.get("admin", "/v1/policy")).json()
    waiting = await publish(web, {"value": "ask"})
    for signer in ("boss", "hq"):
        path = f"/v1/approvals/{waiting['approval_id']}"
        seen = await web.get(signer, path)
        signed = await web.call(signer, "POST", f"{path}/decisions", {"verdict": "approve"}, If_Match=seen.headers["etag"])
        assert signed.status_code == 200, signed.text
    asked = (await web.get("admin", "/v1/policy")).json()
    assert asked["drift"]["value"] == "ask"
    body = {"revision": first["revision"], "note": "back"}
    back = await web.call("admin", "POST", "/v1/policy/rollback", body, If_Match=f'"{asked["revision"]}"')
    assert back.json()["outcome"] == "published", back.text
    body = {"revision": asked["revision"], "note": "ask again"}
    again = await web.call("admin", "POST", "/v1/policy/rollback", body, If_Match=f'"{back.json()["revision"]}"')
    assert again.json()["outcome"] == "pending_approval", again.text
    assert (await policy.current(company.corp_id)).drift.value is DriftRule.PUT_BACK


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("value = ", "not_toml"),
        ('value = "never"', "value_invalid"),
        ('values = "ask"', "field_unknown"),
        ("stop_above_percent = 0", "value_invalid"),
        ("stop_above_percent = nan", "value_invalid"),
        ("stop_above_percent = 101", "value_invalid"),
        ('[groups]\nadvice = "never"', "value_invalid"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_the_others(text: str, code: str) -> None:
    with pytest.raises(BundleInvalid) as bad:
        read_bundle({"drift.toml": text, "groups.toml": "[[group]]\n"}, default_texts())
    assert [(one.code, one.where) for one in bad.value.mistakes if one.where == "drift.toml"] == [(code, "drift.toml")]
    assert len(bad.value.mistakes) == 2


async def test_groups_and_values_that_are_not_there_are_refused(desk: Desk) -> None:
    company, web = desk
    with pytest.raises(BundleInvalid):
        bundle = read_bundle(await exported(company, drift='[groups]\nnowhere = "ask"\n'), default_texts())
        await files.diff_bundle(company.as_("admin"), bundle)
    nowhere = {"groups": {"018f0000-0000-7000-8000-000000000000": "ask"}}
    check_problem(await web.call("admin", "POST", "/v1/policy/drafts", {"drift": nowhere}), 422, "cell_unknown")
    for drift in ({"value": "never"}, {"values": "ask"}, {"stop_above_percent": "1"}, {"groups": []}):
        check_problem(await web.call("admin", "POST", "/v1/policy/drafts", {"drift": drift}), 422)
