"""A list shows exactly what single questions allow, and every way of asking gives the one answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from support.company import GRANTS, GROUPS, PEOPLE, Action, Companies, Company, Effect, GrantLine, Kind, Reach
from support.service import Service, Web, check_problem
from tagwarden.catalog.model import Choice

STAFF = {
    **PEOPLE,
    "fin": (1, False, ("staff",)),
    "deaf": (12, False, ("staff",)),
    "lone": (1, False, ("staff",)),
    "plain": (11, False, ()),
    "deputy": (11, True, ("staff",)),
    "helper": (10, False, ("subadmin",)),
}
SECRET = {**GROUPS, "money": (Kind.STANDARD, Choice.MULTIPLE, ("paid", "owes"))}
MATRIX = (
    *GRANTS,
    GrantLine(11, "money", Action.VIEW, reach=Reach.OWN),
    GrantLine(1, "money", Action.VIEW, inherit=False, reach=Reach.CORP),
    GrantLine(12, "advice", Action.USE, Effect.DENY),
)
CUSTOMERS = (
    ("ann", "c1", ("money/paid",)),
    ("ann", "c2", ("advice/asked", "money/owes")),
    ("bob", "c2", ("money/paid",)),
    ("bob", "c3", ("advice/asked",)),
    ("cat", "c4", ("advice/asked", "money/paid")),
    ("dan", "c5", ("activity/hot", "money/paid")),
    ("ann", "c6", ("value/high",)),
    ("dan", "c6", ("value/low",)),
    ("east", "c7", ("advice/asked",)),
    ("fin", "c8", ()),
    ("south", "c9", ("value/mid",)),
)
EVERYBODY = sorted(STAFF)
KNOWN = {
    "c1": {"ann"},
    "c2": {"ann", "bob"},
    "c3": {"bob"},
    "c4": {"cat"},
    "c5": {"dan"},
    "c6": {"ann", "dan"},
    "c7": {"east"},
    "c8": {"fin"},
    "c9": {"south"},
}


@pytest.fixture(scope="module")
async def company(companies: Companies) -> Company:
    return await companies.make(people=STAFF, groups=SECRET, grants=MATRIX, customers=CUSTOMERS)


@pytest.fixture
def web(service: Service, company: Company) -> Web:
    return service.web(company)


async def listed(web: Web, userid: str, **query: Any) -> dict[str, list[str]]:
    answer = await web.get(userid, "/v1/customers", limit=200, **query)
    assert answer.status_code == 200, answer.text
    return {one["external_userid"]: one["followers"] for one in answer.json()["items"]}


async def carried(web: Web, userid: str, customer: str) -> dict[str, set[str]]:
    """Tag ids by follower, as far as one person sees them."""
    answer = await web.get(userid, f"/v1/customers/{customer}/tags")
    if answer.status_code != 200:
        return {}
    return {one["follow_userid"]: {tag["tag_id"] for tag in one["tags"]} for one in answer.json()["follows"]}


@pytest.mark.parametrize("userid", EVERYBODY)
async def test_the_list_of_customers_is_what_single_reads_allow(userid: str, web: Web) -> None:
    singly = {}
    for customer in KNOWN:
        answer = await web.get(userid, f"/v1/customers/{customer}")
        statuses = [(await web.get(userid, f"/v1/customers/{customer}/{part}")).status_code for part in ("tags", "history")]
        assert statuses == [answer.status_code] * 2
        if answer.status_code == 200:
            singly[customer] = answer.json()["followers"]
            assert set(singly[customer]) <= KNOWN[customer]
        else:
            check_problem(answer, 403, "customer_hidden")
            assert not any(owner in answer.json()["detail"] for owner in KNOWN[customer])
    assert await listed(web, userid) == singly


async def test_the_expected_people_see_the_expected_customers(web: Web) -> None:
    expected = {
        "ann": {"c1", "c2", "c6"},
        "dan": {"c5", "c6"},
        "east": {"c1", "c2", "c3", "c4", "c6", "c7"},
        "south": {"c5", "c6", "c9"},
        "fin": set(KNOWN),
        "boss": set(KNOWN),
        "hq": set(KNOWN),
        "auditor": set(KNOWN),
        "lone": set(KNOWN),
        "deaf": set(),
        "plain": set(),
    }
    assert {userid: set(await listed(web, userid)) for userid in expected} == expected


@pytest.mark.parametrize("userid", EVERYBODY)
async def test_a_tag_filter_finds_only_by_tags_that_may_be_seen(userid: str, web: Web, company: Company) -> None:
    visible = {customer: await carried(web, userid, customer) for customer in KNOWN}
    for tag_id in map(str, company.tags.values()):
        wanted = {customer: {owner for owner, tags in follows.items() if tag_id in tags} for customer, follows in visible.items()}
        found = {customer: set(owners) for customer, owners in (await listed(web, userid, tag=tag_id)).items()}
        assert found == {customer: owners for customer, owners in wanted.items() if owners}


@pytest.mark.parametrize("userid", ["ann", "bob", "cat", "dan", "deaf", "deputy", "plain", "lone"])
async def test_leaving_out_a_tag_says_nothing_about_tags_that_may_not_be_seen(userid: str, web: Web, company: Company) -> None:
    for path, tag_id in company.tags.items():
        without = await listed(web, userid, not_tag=str(tag_id))
        for customer, followers in without.items():
            for owner in followers:
                question = {
                    "group_id": str(company.groups[path.split("/")[0]]),
                    "action": "view",
                    "external_userid": customer,
                    "follow_userid": owner,
                }
                answer = (await web.call(userid, "POST", "/v1/decisions", question)).json()
                assert answer["allowed"], f"{userid} learns that {customer} lacks {path}"
                assert str(tag_id) not in (await carried(web, userid, customer)).get(owner, set())


@pytest.mark.parametrize("userid", EVERYBODY)
async def test_tags_shown_are_those_whose_group_may_be_viewed_on_that_follow(userid: str, web: Web, company: Company) -> None:
    truth = {("".join((owner, "/", customer))): tags for owner, customer, tags in CUSTOMERS}
    for customer in KNOWN:
        for owner, shown in (await carried(web, userid, customer)).items():
            allowed = set()
            for path in truth[f"{owner}/{customer}"]:
                question = {
                    "group_id": str(company.groups[path.split("/")[0]]),
                    "action": "view",
                    "external_userid": customer,
                    "follow_userid": owner,
                }
                if (await web.call(userid, "POST", "/v1/decisions", question)).json()["allowed"]:
                    allowed.add(str(company.tags[path]))
            assert shown == allowed, f"{userid} {customer} {owner}"


@pytest.mark.parametrize("userid", EVERYBODY)
async def test_the_groups_of_me_the_library_and_single_reads_agree(userid: str, web: Web, company: Company) -> None:
    me = {one["name"]: one["actions"] for one in (await web.get(userid, "/v1/me")).json()["groups"]}
    library = {one["name"]: one["actions"] for one in (await web.get(userid, "/v1/tag-groups")).json()["items"]}
    singly = {}
    for name, group_id in company.groups.items():
        answer = await web.get(userid, f"/v1/tag-groups/{group_id}")
        if answer.status_code == 200:
            singly[name] = answer.json()["actions"]
        else:
            check_problem(answer, 404, "tag_group_unknown")
        for action in ("view", "use", "manage"):
            asked = await web.call(userid, "POST", "/v1/decisions", {"group_id": str(group_id), "action": action})
            assert asked.json()["allowed"] == (action in singly.get(name, [])), f"{userid} {name} {action}"
    assert me == library == singly


ALLOWED = {
    "/v1/audit": {"admin", "auditor"},
    "/v1/sync/status": {"admin", "auditor"},
    "/v1/policy": {"admin", "auditor"},
    "/v1/policy/revisions": {"admin", "auditor"},
    "/v1/corp": {"admin", "auditor"},
    "/v1/employees": {"admin", "auditor"},
}


@pytest.mark.parametrize("path", ALLOWED)
async def test_what_is_for_a_few_is_for_those_only(path: str, web: Web) -> None:
    for userid in EVERYBODY:
        answer = await web.get(userid, path)
        if userid in ALLOWED[path]:
            assert answer.status_code == 200, userid
        else:
            check_problem(answer, 403, "role_missing" if path == "/v1/audit" else "module_missing")
            assert "admin" in answer.json()["detail"], "whom to ask"


async def test_a_switch_opens_its_module_and_no_other(companies: Companies, service: Service) -> None:
    company = await companies.make(people=STAFF)
    web = service.web(company)
    paths = {"members": "/v1/employees", "policy": "/v1/policy", "sync": "/v1/sync/status"}
    for module in paths:
        body = {"roles": ["subadmin"], "modules": [module]}
        assert (await web.call("admin", "PUT", "/v1/employees/helper/roles", body)).status_code == 200
        opened = {name for name, path in paths.items() if (await web.get("helper", path)).status_code == 200}
        assert opened == {module}
    check_problem(await web.get("helper", "/v1/audit"), 403, "role_missing")
    for taken in ({"roles": ["admin"]}, {"roles": ["subadmin"], "modules": ["members", "policy", "sync"]}):
        await web.call("admin", "PUT", "/v1/employees/helper/roles", {"roles": ["subadmin"], "modules": ["members"]})
        check_problem(await web.call("helper", "PUT", "/v1/employees/helper/roles", taken), 403, "role_missing")


@pytest.mark.parametrize("userid", ["ann", "deaf", "deputy", "east", "hq", "plain"])
async def test_decisions_explain_and_tag_changes_agree(userid: str, web: Web, company: Company) -> None:
    for owner, customer, _ in CUSTOMERS:
        for path in ("advice/keen", "activity/warm", "money/paid"):
            group, tag = str(company.groups[path.split("/")[0]]), str(company.tags[path])
            question = {"group_id": group, "action": "use", "external_userid": customer, "follow_userid": owner}
            decided = (await web.call(userid, "POST", "/v1/decisions", question)).json()
            explained = (await web.call(userid, "POST", "/v1/decisions/explain", question)).json()
            for one in (decided, explained):
                one.pop("trace", None)
            assert decided == explained
            made = await web.tag(userid, customer, [tag], follow_userid=owner)
            assert (made.status_code == 200) == decided["allowed"], f"{userid} {customer} {path}: {made.text}"
            if not decided["allowed"]:
                item = check_problem(made, 403, "tag_change_refused")["items"][0]
                assert (item["step"], item["reason"], item["text"]) == (decided["step"], decided["reason"], decided["text"])


async def test_an_explanation_names_every_step_and_the_row_that_decided(web: Web, company: Company) -> None:
    group = str(company.groups["advice"])

    async def steps(userid: str, customer: str) -> list[tuple[str, bool, str | None]]:
        body = {"group_id": group, "action": "use", "external_userid": customer, "userid": userid}
        answer = (await web.call("auditor", "POST", "/v1/decisions/explain", body)).json()
        return [(step["step"], step["passed"], step["row"]) for step in answer["trace"]]

    assert [(step, passed) for step, passed, _ in await steps("ann", "c1")] == [
        ("identity", True),
        ("capability", True),
        ("grant", True),
        ("relation", True),
    ]
    assert (await steps("ann", "c3"))[-1][:2] == ("relation", False)
    assert (await steps("deaf", "c4"))[-1] == ("grant", False, "grant:12:advice:use:deny")
    assert (await steps("auditor", "c1"))[-1][:2] == ("capability", False)


async def test_who_has_no_role_is_told_so(web: Web, company: Company) -> None:
    answer = await web.tag("plain", "c1", [company.tags["advice/keen"]])
    item = check_problem(answer, 403, "tag_change_refused")["items"][0]
    assert (item["step"], "nknown" in item["text"], "admin" in item["text"]) == ("identity", False, True)


async def test_only_admins_and_auditors_ask_about_somebody_else(web: Web, company: Company) -> None:
    question = {"group_id": str(company.groups["money"]), "action": "view", "external_userid": "c5", "userid": "fin"}
    for userid in EVERYBODY:
        for path in ("/v1/decisions", "/v1/decisions/explain"):
            answer = await web.call(userid, "POST", path, question)
            if userid in ("admin", "auditor", "fin"):
                assert answer.status_code == 200
            else:
                check_problem(answer, 403, "module_missing")


async def test_asking_leaves_no_line_in_the_audit(web: Web, company: Company) -> None:
    before = (await web.get("auditor", "/v1/audit", limit=1)).json()["items"][0]["seq"]
    for userid in ("ann", "bob", "lone"):
        body = {"group_id": str(company.groups["advice"]), "action": "use", "external_userid": "c4"}
        await web.call(userid, "POST", "/v1/decisions", body)
    assert (await web.get("auditor", "/v1/audit", limit=1)).json()["items"][0]["seq"] == before


# -- approvals ----------------------------------------------------------------------------------------------------------


async def test_an_approval_is_seen_by_those_whom_it_concerns_only(companies: Companies, service: Service) -> None:
    company = await companies.make(people=STAFF)
    web = service.web(company)
    approval = str((await company.change("ann", "c1", ["value/high"], reason="because")).approval_id)
    see = {"ann", "east", "boss", "hq", "admin", "auditor"}
    for userid in EVERYBODY:
        answer = await web.get(userid, f"/v1/approvals/{approval}")
        everything = [one["id"] for one in (await web.get(userid, "/v1/approvals", box="all")).json()["items"]]
        assert (approval in everything) == (userid in see), userid
        if userid in see:
            body = answer.json()
            assert (body["approval"]["requester"], body["approval"]["reason"]) == ("ann", "because")
            assert (body["change"]["before"], body["change"]["after"]) != (None, None)
        else:
            check_problem(answer, 404, "approval_unknown")
    inboxes = {}
    for userid in EVERYBODY:
        inboxes[userid] = [one["id"] for one in (await web.get(userid, "/v1/approvals")).json()["items"]]
    assert {userid for userid, found in inboxes.items() if found} == {"east"}
    await web.sign("east", approval)
    found = {userid for userid in EVERYBODY if (await web.get(userid, "/v1/approvals", box="inbox")).json()["items"]}
    assert found == {"boss", "hq"}


async def test_what_is_in_nobodys_inbox_cannot_be_signed_by_him(companies: Companies, service: Service) -> None:
    company = await companies.make(people=STAFF)
    web = service.web(company)
    for first in (True, False):
        approval = str((await company.change("ann", "c1", ["value/high" if first else "value/low"])).approval_id)
        if not first:
            assert (await web.sign("east", approval)).status_code == 200
        for userid in EVERYBODY:
            waiting = {one["id"] for one in (await web.get(userid, "/v1/approvals")).json()["items"]}
            if approval not in waiting:
                answer = await web.sign(userid, approval)
                assert answer.status_code in (403, 409), f"{userid}: {answer.text}"
        assert (await company.approval(UUID(approval))).pending
        assert (await web.call("ann", "POST", f"/v1/approvals/{approval}/withdraw")).status_code == 200


async def test_a_refusal_over_http_needs_words_and_closes_the_request(web: Web, company: Company) -> None:
    asked = await web.tag("ann", "c1", [company.tags["value/low"]], reason="bitte")
    approval = asked.json()["approval_id"]
    check_problem(await web.sign("east", approval, "reject", "  "), 422, "comment_required")
    refused = await web.sign("east", approval, "reject", "not yet")
    assert refused.json()["approval"]["state"] == "rejected"
    assert [one["comment"] for one in refused.json()["signatures"]] == ["not yet"]
    check_problem(await web.sign("east", approval), 409, "approval_closed")
    check_problem(await web.call("ann", "POST", f"/v1/approvals/{approval}/withdraw"), 409, "approval_closed")
    check_problem(await web.call("bob", "POST", f"/v1/approvals/{approval}/withdraw"), 404, "approval_unknown")
    assert str(company.tags["value/low"]) not in (await carried(web, "ann", "c1"))["ann"]


async def test_a_request_whose_base_moved_is_stale_and_says_why(companies: Companies, service: Service) -> None:
    company = await companies.make()
    web = service.web(company)
    one = (await web.tag("ann", "c1", [company.tags["value/high"]])).json()["approval_id"]
    two = (await web.tag("ann", "c1", [company.tags["value/low"]])).json()["approval_id"]
    for signer in ("east", "hq"):
        assert (await web.sign(signer, one)).status_code == 200
    answer = await web.sign("east", two)
    assert answer.status_code == 200
    assert (answer.json()["approval"]["state"], answer.json()["approval"]["closed_reason"]) == ("stale", "base_moved")
    assert await company.carried("ann", "c1") == {"value/high"}


# -- the change itself --------------------------------------------------------------------------------------------------


async def test_partial_decides_whether_the_rest_waits_too(companies: Companies, service: Service) -> None:
    company = await companies.make()
    web = service.web(company)
    tags = [company.tags["advice/asked"], company.tags["value/high"]]
    whole = await web.tag("ann", "c1", tags, partial=False)
    assert whole.status_code == 202
    assert {item["outcome"] for item in whole.json()["items"]} == {"pending"}
    assert await company.carried("ann", "c1") == set()
    parts = await web.tag("bob", "c2", tags)
    assert (parts.status_code, parts.json()["outcome"]) == (202, "pending_approval")
    assert [item["outcome"] for item in parts.json()["items"]] == ["applied", "pending"]
    assert await company.carried("bob", "c2") == {"advice/asked"}
    for signer in ("east", "hq"):
        await web.sign(signer, whole.json()["approval_id"])
    assert await company.carried("ann", "c1") == {"advice/asked", "value/high"}


async def test_one_refused_item_refuses_all_and_every_reason_is_told(companies: Companies, service: Service) -> None:
    company = await companies.make(people=STAFF, groups=SECRET, grants=MATRIX, customers=CUSTOMERS)
    web = service.web(company)
    before = await company.carried("cat", "c4")
    tags = [company.tags[path] for path in ("activity/hot", "advice/keen", "money/owes")]
    answer = check_problem(await web.tag("cat", "c4", tags), 403, "tag_change_refused")
    assert [(item["tag_id"], item["reason"]) for item in answer["items"]] == [
        (str(tags[1]), "denied"),
        (str(tags[2]), "no_grant"),
    ]
    assert await company.carried("cat", "c4") == before


async def test_a_follow_that_could_be_several_must_be_named(companies: Companies, service: Service) -> None:
    company = await companies.make(customers=(("ann", "c1", ()), ("bob", "c1", ()), ("dan", "c1", ())))
    web = service.web(company)
    tag = company.tags["advice/asked"]
    several = check_problem(await web.tag("east", "c1", [tag]), 422, "follow_ambiguous")
    assert several["facts"]["follow_userids"] == ["ann", "bob"], "dan's follow is not east's to see"
    assert (await web.tag("east", "c1", [tag], follow_userid="bob")).json()["follow_userid"] == "bob"
    assert (await web.tag("ann", "c1", [tag])).json()["follow_userid"] == "ann"
    assert (await web.tag("south", "c1", [tag])).json()["follow_userid"] == "dan", "the only one he may see"
    stranger = await web.tag("cat", "c1", [tag])
    check_problem(stranger, 403, "tag_change_refused")
    assert not any(name in stranger.text for name in ("ann", "bob", "dan"))


@pytest.fixture(scope="module")
async def differing(companies: Companies) -> Company:
    """One customer on whom ann and bob do not agree."""
    return await companies.make(
        customers=(
            ("ann", "c1", ("value/high", "activity/hot", "advice/asked")),
            ("bob", "c1", ("value/low", "activity/hot", "advice/keen")),
            ("dan", "c2", ("value/low",)),
        )
    )


async def test_followers_who_differ_are_shown_as_a_conflict_to_whom_sees_both(differing: Company, service: Service) -> None:
    web = service.web(differing)
    answer = (await web.get("east", "/v1/customers/c1/tags")).json()
    assert "value" in answer["conflicts"]
    assert "activity" not in answer["conflicts"]
    unconfirmed = {tag["tag"]: tag["unconfirmed"] for one in answer["follows"] for tag in one["tags"]}
    assert unconfirmed == {"high": True, "low": True, "hot": False, "asked": False, "keen": False}
    assert (await web.get("ann", "/v1/customers/c1/tags")).json()["conflicts"] == []
    counted = {userid: (await web.get(userid, "/v1/adoptions")).json() for userid in ("ann", "east", "boss", "dan")}
    assert {userid: one["total"] for userid, one in counted.items()} == {"ann": 1, "east": 2, "boss": 0, "dan": 1}, (
        "whoever may not view the group counts nothing of it"
    )


async def test_two_choices_of_a_multiple_group_are_no_conflict(differing: Company, service: Service) -> None:
    answer = (await service.web(differing).get("east", "/v1/customers/c1/tags")).json()
    assert answer["conflicts"] == ["value"]


async def test_history_shows_what_was_carried_at_a_moment(companies: Companies, service: Service) -> None:
    company = await companies.make()
    web = service.web(company)
    moments = []
    for path in ("hot", "warm", "cold"):
        await web.tag("ann", "c1", [company.tags[f"activity/{path}"]])
        moments.append(datetime.now(UTC).isoformat())
    for path, moment in zip(("hot", "warm", "cold"), moments, strict=True):
        items = (await web.get("ann", "/v1/customers/c1/history", as_of=moment)).json()["items"]
        assert [item["tag"] for item in items] == [path]
    whole = (await web.get("ann", "/v1/customers/c1/history")).json()["items"]
    assert [(item["tag"], item["ended_at"] is None) for item in whole] == [("cold", True), ("warm", False), ("hot", False)]
    assert (await web.get("ann", "/v1/customers/c1/history", as_of="2020-01-01T00:00:00Z")).json()["items"] == []
    check_problem(await web.get("bob", "/v1/customers/c1/history"), 403, "customer_hidden")


async def test_history_is_not_cut_short_by_what_may_not_be_seen(companies: Companies, service: Service) -> None:
    company = await companies.make(
        people=STAFF, groups=SECRET, grants=MATRIX, customers=(("ann", "c1", ("advice/asked",)), ("dan", "c1", ("money/paid",)))
    )
    for path in ("hot", "warm", "cold"):
        await company.change("dan", "c1", [f"activity/{path}"])
    answer = (await service.web(company).get("ann", "/v1/customers/c1/history", limit=1)).json()
    assert [item["tag"] for item in answer["items"]] == ["asked"]


async def test_a_moment_without_a_zone_is_refused(web: Web) -> None:
    check_problem(await web.get("ann", "/v1/customers/c1/history", as_of="2026-01-01T00:00:00"), 422)


async def test_the_answer_about_roles_says_what_was_stored(companies: Companies, service: Service) -> None:
    web = service.web(await companies.make())
    body = {"roles": ["staff", "staff"], "modules": ["sync"]}
    answer = await web.call("admin", "PUT", "/v1/employees/ann/roles", body)
    stored = next(one for one in (await web.get("admin", "/v1/employees")).json()["items"] if one["userid"] == "ann")
    assert answer.json() == {"roles": stored["roles"], "modules": stored["modules"]}
