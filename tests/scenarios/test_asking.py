"""Questions without doing: explained to whom they concern, thousands at once by one epoch, and who could do it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from support.company import GRANTS, GROUPS, PEOPLE, Action, Companies, Company, Effect, GrantLine, Kind, Reach
from support.service import Service, Web, check_problem
from tagwarden.catalog.model import Choice

STAFF = {
    **PEOPLE,
    "deaf": (12, False, ("staff",)),
    "deputy": (11, True, ("staff",)),
    "plain": (11, False, ()),
    "helper": (10, False, ("subadmin",)),
}
LIBRARY = {**GROUPS, "secret": (Kind.STANDARD, Choice.MULTIPLE, ("paid",)), "raw": (Kind.UNCLASSIFIED, Choice.MULTIPLE, ("one",))}
MATRIX = (
    *GRANTS,
    GrantLine(12, "advice", Action.USE, Effect.DENY),
    GrantLine(10, "secret", Action.VIEW, reach=Reach.OWN),
    GrantLine(11, "secret", Action.USE, inherit=False, reach=Reach.OWN),
)
CUSTOMERS = (("ann", "c1", ()), ("bob", "c2", ()), ("cat", "c3", ()), ("dan", "c4", ()), ("ann", "c5", ()), ("dan", "c5", ()))


@pytest.fixture(scope="module")
async def company(companies: Companies) -> Company:
    return await companies.make(people=STAFF, groups=LIBRARY, grants=MATRIX, customers=CUSTOMERS)


@pytest.fixture
def web(service: Service, company: Company) -> Web:
    return service.web(company)


async def ask(web: Web, company: Company, asker: str, group: str, action: str = "use", **more: Any) -> dict[str, Any]:
    """What the longer answer says."""
    body = {"group_id": str(company.groups[group]), "action": action, **more}
    answer = await web.call(asker, "POST", "/v1/decisions/explain", body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def give(web: Web, userid: str, *modules: str) -> None:
    body = {"roles": ["subadmin"], "modules": list(modules)}
    assert (await web.call("admin", "PUT", f"/v1/employees/{userid}/roles", body)).status_code == 200


# -- explained ----------------------------------------------------------------------------------------------------------


async def test_the_trace_is_for_who_may_read_the_policy(web: Web, company: Company) -> None:
    for asker in ("ann", "deaf", "east", "hq", "plain", "helper"):
        answer = await ask(web, company, asker, "advice", external_userid="c1")
        assert "trace" not in answer, asker
        assert "grant:" not in str(answer), asker
    for asker in ("admin", "auditor"):
        assert (await ask(web, company, asker, "advice", external_userid="c1", userid="deaf"))["trace"]
    await give(web, "helper", "catalog", "members", "sync", "approvals")
    refused = await web.call(
        "helper", "POST", "/v1/decisions", {"group_id": str(company.groups["advice"]), "action": "use", "userid": "ann"}
    )
    check_problem(refused, 403, "module_missing")
    await give(web, "helper", "policy")
    assert (await ask(web, company, "helper", "advice", userid="deaf"))["trace"]
    assert (await ask(web, company, "helper", "advice"))["trace"], "about himself too"
    await give(web, "helper")


async def test_a_row_that_forbids_is_told_from_no_row_that_allows(web: Web, company: Company) -> None:
    denied = await ask(web, company, "deaf", "advice")
    assert (denied["reason"], denied["refusal"], "explicitly denied" in denied["text"]) == ("denied", "explicit", True)
    missing = await ask(web, company, "dan", "secret")
    assert (missing["reason"], missing["refusal"], "not assigned" in missing["text"]) == ("no_grant", "implicit", True)
    assert "refusal" not in await ask(web, company, "ann", "advice")
    for asker, group, customer, reason in (
        ("ann", "advice", "c2", "not_your_customer"),
        ("deputy", "secret", "c1", "not_your_customer"),
        ("east", "secret", "c1", "out_of_reach"),
        ("plain", "advice", None, "no_role"),
        ("auditor", "advice", None, "no_capability"),
    ):
        action = "view" if reason == "out_of_reach" else "use"
        found = await ask(web, company, asker, group, action, external_userid=customer)
        assert (found["reason"], found["refusal"]) == (reason, "implicit"), asker


async def test_the_nearest_change_and_who_can_make_it(web: Web, company: Company) -> None:
    await give(web, "helper", "policy")
    keepers = ["admin", "helper"]
    denied = await ask(web, company, "deaf", "advice")
    assert denied["changes"] == [{"kind": "lift_deny", "module": "policy", "who": keepers, "department": 12, "action": "use"}]
    seen_by_admin = await ask(web, company, "admin", "advice", userid="deaf")
    assert seen_by_admin["changes"][0]["row"] == "grant:12:advice:use:deny"
    missing = await ask(web, company, "dan", "secret")
    assert missing["changes"] == [{"kind": "add_grant", "module": "policy", "who": keepers, "department": 21, "action": "use"}]
    narrow = await ask(web, company, "east", "secret", "view", external_userid="c1")
    assert [one["kind"] for one in narrow["changes"]] == ["widen_grant"]
    stranger = await ask(web, company, "ann", "advice", external_userid="c4")
    assert [one["kind"] for one in stranger["changes"]] == ["record_agreement"]
    assert "dan" not in str(stranger), "never another owner's name"
    roleless = await ask(web, company, "plain", "advice", external_userid="c1")
    assert [one["kind"] for one in roleless["changes"]] == ["give_role", "record_agreement"]
    leading = await ask(web, company, "deputy", "advice", external_userid="c1")
    assert [(one["kind"], one["role"], one["module"]) for one in leading["changes"]] == [("give_role", "manager", "members")]
    raw = await ask(web, company, "ann", "raw")
    assert [one["kind"] for one in raw["changes"]] == ["classify_group", "add_grant"]
    await give(web, "helper")


async def test_a_refused_tag_change_says_the_same(web: Web, company: Company) -> None:
    answer = check_problem(await web.tag("deaf", "c3", [company.tags["advice/keen"]], follow_userid="deaf"), 404)
    assert answer["code"] == "follow_unknown"
    item = check_problem(await web.tag("dan", "c4", [company.tags["secret/paid"]]), 403, "tag_change_refused")["items"][0]
    asked = await ask(web, company, "dan", "secret", external_userid="c4")
    assert {name: item[name] for name in ("step", "reason", "refusal", "text", "nearest", "changes")} == {
        name: asked[name] for name in ("step", "reason", "refusal", "text", "nearest", "changes")
    }


# -- nobody is told who follows whom --------------------------------------------------------------------------------------


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "request_id"}


async def test_naming_a_follower_never_tells_whether_he_is_one(web: Web, company: Company) -> None:
    for asker in ("ann", "deaf", "plain", "dan"):
        told = []
        for named, customer in (("bob", "c2"), ("bob", "c1"), ("cat", "c1"), ("nobody", "c1"), ("south", "c2"), ("", "c2")):
            if asker in (named, "dan") and named == "south":
                continue
            body = {"group_id": str(company.groups["advice"]), "action": "use", "external_userid": customer}
            answer = await web.call(asker, "POST", "/v1/decisions", {**body, "follow_userid": named} if named else body)
            told.append((answer.status_code, plain(answer.json())))
        assert all(one == told[0] for one in told), asker
        assert told[0][1]["allowed"] is False


async def test_who_sees_the_followers_is_told(web: Web, company: Company) -> None:
    body = {"group_id": str(company.groups["advice"]), "action": "use", "external_userid": "c2", "follow_userid": "ann"}
    for asker in ("ann", "east", "auditor"):
        check_problem(await web.call(asker, "POST", "/v1/decisions", body), 404, "follow_unknown")


async def test_a_refused_change_does_not_tell_what_the_customer_carries(companies: Companies, service: Service) -> None:
    company = await companies.make(customers=(("ann", "c1", ("activity/hot",)), ("bob", "c2", ())))
    web = service.web(company)
    warm = [company.tags["activity/warm"]]
    carrying = check_problem(await web.tag("dan", "c1", warm), 403, "tag_change_refused")
    empty = check_problem(await web.tag("dan", "c2", warm), 403, "tag_change_refused")
    assert carrying["items"] == empty["items"]
    assert [item["tag_id"] for item in carrying["items"]] == [str(company.tags["activity/warm"])]


async def test_several_followers_whom_one_may_not_see_are_not_named(companies: Companies, service: Service) -> None:
    company = await companies.make(people=STAFF, customers=(("ann", "c1", ()), ("bob", "c1", ())))
    answer = await service.web(company).tag("deputy", "c1", [company.tags["advice/keen"]])
    check_problem(answer, 403, "tag_change_refused")
    assert not any(name in answer.text for name in ("ann", "bob"))


# -- many at once -------------------------------------------------------------------------------------------------------


async def test_many_questions_are_answered_as_each_alone(web: Web, company: Company) -> None:
    people, customers = ["ann", "deaf", "plain", "east", "hq", "nobody"], ["c1", "c4", "c5", "nowhere"]
    groups, actions = [*company.groups.values(), uuid4()], ["view", "use", "manage"]
    body = {"userids": people, "group_ids": [str(one) for one in groups], "actions": actions, "customers": customers}
    answer = (await web.call("auditor", "POST", "/v1/decisions/batch", body)).json()
    items = iter(answer["items"])
    assert len(answer["items"]) == len(people) * len(groups) * len(actions) * len(customers)
    for userid in people:
        for group in groups:
            for action in actions:
                for customer in customers:
                    alone = {"group_id": str(group), "action": action, "external_userid": customer, "userid": userid}
                    single = await web.call("auditor", "POST", "/v1/decisions", alone)
                    one = next(items)
                    if single.status_code == 404:
                        assert one == {"allowed": False, "reason": single.json()["code"]}, alone
                        continue
                    kept = {name: single.json().get(name) for name in ("allowed", "reason", "step", "refusal", "obligation")}
                    assert one == {name: value for name, value in kept.items() if value is not None}, alone
    last = await web.call("auditor", "POST", "/v1/decisions", {"group_id": str(groups[0]), "action": "use"})
    assert (answer["epoch"], answer["revision"]) == (last.json()["epoch"], last.json()["revision"])


async def test_cells_pick_combinations_in_their_order(web: Web, company: Company) -> None:
    advice, secret = str(company.groups["advice"]), str(company.groups["secret"])
    body: dict[str, Any] = {"group_ids": [advice, secret], "customers": ["c1", "c2"], "actions": ["use", "view"]}
    body["cells"] = [{"group": 1, "customer": 1, "action": 1}, {"group": 0, "customer": 0}, {"group": 0}]
    items = (await web.call("ann", "POST", "/v1/decisions/batch", body)).json()["items"]
    assert [(one["allowed"], one["reason"]) for one in items] == [
        (False, "not_your_customer"),
        (True, "allowed"),
        (True, "allowed"),
    ]
    for wrong in ({"group": 2}, {"group": 0, "customer": 2}, {"group": 0, "user": 1}, {"group": 0, "action": 2}):
        body["cells"] = [{"group": 0}, wrong]
        assert "1" in check_problem(await web.call("ann", "POST", "/v1/decisions/batch", body), 422, "cell_outside")["detail"]
    too_many = {"group_ids": [advice] * 101, "customers": ["c1"] * 100}
    check_problem(await web.call("ann", "POST", "/v1/decisions/batch", too_many), 422, "too_many_cells")


async def test_many_about_somebody_else_are_for_who_may_read_the_policy(web: Web, company: Company) -> None:
    body = {"group_ids": [str(company.groups["advice"])], "userids": ["ann", "bob"]}
    for asker in ("ann", "east", "hq", "plain"):
        check_problem(await web.call(asker, "POST", "/v1/decisions/batch", body), 403, "module_missing")
    assert (await web.call("admin", "POST", "/v1/decisions/batch", body)).status_code == 200


async def test_ten_thousand_cells_of_the_longest_ids_fit_and_hold_nobody_up(web: Web, company: Company) -> None:
    body = {
        "group_ids": [str(uuid4()) for _ in range(9_996)] + [str(one) for one in company.groups.values()][:4],
        "userids": [f"{number:064}" for number in range(9_999)] + ["ann"],
        "customers": [f"{number:064}" for number in range(9_999)] + ["c1"],
        "cells": [{"group": 9_999 - number % 3, "user": 9_999, "action": 0, "customer": 9_999} for number in range(10_000)],
    }
    answer = await web.call("auditor", "POST", "/v1/decisions/batch", body)
    assert answer.status_code == 200, answer.text[:300]
    assert len(answer.json()["items"]) == 10_000


# -- who could ----------------------------------------------------------------------------------------------------------


async def everybody_who_can(web: Web, asker: str, path: str, **query: Any) -> list[dict[str, Any]]:
    """Every page, two at a time."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        answer = await web.get(asker, f"{path}/who-can", limit=2, cursor=cursor, **query)
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found


@pytest.mark.parametrize("customer", [None, "c1", "c5"])
@pytest.mark.parametrize("action", ["view", "use", "manage"])
async def test_who_can_is_everybody_whom_a_single_question_allows(
    action: str, customer: str | None, web: Web, company: Company
) -> None:
    for name, group in company.groups.items():
        listed = await everybody_who_can(web, "admin", f"/v1/tag-groups/{group}", action=action, external_userid=customer)
        allowed = {}
        for userid in STAFF:
            answer = await ask(web, company, "admin", name, action, external_userid=customer, userid=userid)
            if answer["allowed"]:
                allowed[userid] = answer["trace"][-1]["row"]
        assert [one["userid"] for one in listed] == sorted(allowed), name
        assert {one["userid"]: one["row"] for one in listed} == allowed, name


async def test_who_can_names_relation_row_and_what_it_asks(web: Web, company: Company) -> None:
    tag = f"/v1/tags/{company.tags['value/high']}"
    listed = await everybody_who_can(web, "auditor", tag, external_userid="c1")
    assert [(one["userid"], one["relation"]) for one in listed] == [("ann", "own"), ("east", "subordinate")]
    assert {one["row"] for one in listed} == {"grant:10:value:use"}
    whole = (await web.get("auditor", f"{tag}/who-can")).json()
    assert (whole["obligation"], whole["rule"]) == ("approve", None)


async def test_staff_learn_whom_they_can_ask_and_no_more(web: Web, company: Company) -> None:
    path = f"/v1/tag-groups/{company.groups['advice']}"
    listed = await everybody_who_can(web, "ann", path, external_userid="c1")
    assert {(one["userid"], one["relation"]) for one in listed} >= {("ann", "own"), ("east", "subordinate")}
    assert not any("row" in one for one in listed)
    shared = await everybody_who_can(web, "ann", path, external_userid="c5")
    assert "dan" not in {one["userid"] for one in shared}, "he follows it too, which is not ann's to know"
    for customer in ("c2", "c4"):
        check_problem(await web.get("ann", f"{path}/who-can", external_userid=customer), 403, "customer_hidden")
    check_problem(await web.get("ann", f"{path}/who-can", external_userid="nowhere"), 404, "customer_unknown")
    closed = await web.get("dan", f"/v1/tag-groups/{company.groups['secret']}/who-can")
    check_problem(closed, 404, "tag_group_unknown")
    check_problem(await web.get("dan", f"/v1/tags/{company.tags['secret/paid']}/who-can"), 404, "tag_unknown")
