"""Who is let in where: every route of the running table × every role, against one table. What is not listed is shut.

A person is let in when the answer is neither "may not" nor "no such thing" for something that is there. What he may do
with one thing or another is looked at elsewhere; here a door that stands open to a role too many fails, and so does a new
route that nobody thought about.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from support.company import GRANTS, PEOPLE, Companies, Company
from support.service import Service, Web, check_problem
from tagwarden.approvals.delegations import Wanted, delegate
from tagwarden.governance import agreements
from tagwarden.governance.agreements import make_agreement
from tagwarden.governance.drafts import DraftEdit, create_draft

from . import routes
from .foreign import of_another_corp, other_run
from .routes import Route

TABLE = [route for route in routes.table() if not route.public]
MODULES = ("catalog", "policy", "members", "sync", "approvals")
SUBADMINS = {f"sub-{module}" for module in MODULES}
ROLES = {"ann": "staff", "east": "manager", "boss": "supervisor", "admin": "admin", "auditor": "auditor"}
NOBODY = {"plain", "bot", "gone"}
"""An employee without a role, a machine without a person, and somebody who was never here."""
EVERYBODY = {*ROLES, *SUBADMINS, "plain"}
PEOPLE_HERE = {
    **PEOPLE,
    "plain": (11, False, ()),
    "bot": (1, False, ("service",)),
    **{f"sub-{module}": (1, False, ("subadmin",)) for module in MODULES},
}
HIDING = {"approval_unknown", "tag_group_unknown", "tag_unknown", "delegation_unknown", "ledger_line_unknown"}
"""Codes that hide a thing which is there."""


def only(*userids: str) -> set[str]:
    return set(userids)


SEES_VALUE_OF_ANN = only("ann", "east", "boss", "admin", "auditor", "sub-approvals")
OPEN_GROUP = only("ann", "east", "admin", "auditor")
READS_POLICY = only("admin", "auditor", "sub-policy")

LET_IN: dict[str, set[str]] = {
    "DELETE /v1/agreements/{agreement_id}": only("admin", "sub-policy"),
    "DELETE /v1/corp/issuers/{issuer}": only("admin"),
    "DELETE /v1/delegations/{delegation_id}": only("boss", "admin", "sub-approvals"),
    "DELETE /v1/policy/drafts/{draft_id}": only("admin", "sub-policy"),
    "DELETE /v1/tag-groups/{group_id}": only("admin"),
    "DELETE /v1/tags/{tag_id}": only("admin"),
    "GET /v1/access-review": only("admin", "auditor", "sub-policy", "sub-members"),
    "GET /v1/access-review/export": only("admin", "auditor", "sub-policy", "sub-members"),
    "GET /v1/adoptions": EVERYBODY,
    "GET /v1/agreements": READS_POLICY,
    "GET /v1/approvals": EVERYBODY,
    "GET /v1/approvals/{approval_id}": SEES_VALUE_OF_ANN,
    "GET /v1/audit": only("admin", "auditor"),
    "GET /v1/audit/export": only("admin", "auditor"),
    "GET /v1/corp": READS_POLICY,
    "GET /v1/corp/issuers": READS_POLICY,
    "GET /v1/customers": EVERYBODY,
    "GET /v1/customers/{external_userid}": only("ann", "east", "boss", "auditor"),
    "GET /v1/customers/{external_userid}/history": only("ann", "east", "boss", "auditor"),
    "GET /v1/customers/{external_userid}/tags": only("ann", "east", "boss", "auditor"),
    "GET /v1/delegations": EVERYBODY,
    "GET /v1/departments": EVERYBODY,
    "GET /v1/employees": only("admin", "auditor", "sub-members"),
    "GET /v1/me": EVERYBODY,
    "GET /v1/notifications": EVERYBODY,
    "GET /v1/policy": READS_POLICY,
    "GET /v1/policy/drafts": READS_POLICY,
    "GET /v1/policy/drafts/{draft_id}": READS_POLICY,
    "GET /v1/policy/revisions": READS_POLICY,
    "GET /v1/sync/drift": only("admin", "auditor", "sub-sync"),
    "GET /v1/sync/drift/offenders": only("admin", "auditor", "sub-sync"),
    "GET /v1/sync/ledger": EVERYBODY,
    "GET /v1/sync/runs/{run_id}": only("admin", "auditor", "sub-sync"),
    "GET /v1/sync/runs/{run_id}/events": only("admin", "auditor", "sub-sync"),
    "GET /v1/sync/status": only("admin", "auditor", "sub-sync"),
    "GET /v1/tag-groups": EVERYBODY,
    "GET /v1/tag-groups/{group_id}": OPEN_GROUP,
    "GET /v1/tag-groups/{group_id}/usage": OPEN_GROUP,
    "GET /v1/tag-groups/{group_id}/who-can": OPEN_GROUP | READS_POLICY,
    "GET /v1/tags/{tag_id}/usage": OPEN_GROUP,
    "GET /v1/tags/{tag_id}/who-can": OPEN_GROUP | READS_POLICY,
    "PATCH /v1/approvals/{approval_id}": only("ann", "east", "boss"),
    "PATCH /v1/policy/drafts/{draft_id}": only("admin", "sub-policy"),
    "PATCH /v1/tag-groups/{group_id}": only("admin", "sub-catalog"),
    "PATCH /v1/tags/{tag_id}": only("admin"),
    "POST /v1/adoptions": only("east", "boss", "admin"),
    "POST /v1/agreements": only("admin", "sub-policy"),
    "POST /v1/approvals/decisions": EVERYBODY,
    "POST /v1/approvals/{approval_id}/decisions": only("east", "boss"),
    "POST /v1/approvals/{approval_id}/escalate": only("admin", "sub-approvals"),
    "POST /v1/approvals/{approval_id}/remind": only("admin", "sub-approvals"),
    "POST /v1/approvals/{approval_id}/resubmit": only("ann"),
    "POST /v1/approvals/{approval_id}/withdraw": only("ann"),
    "POST /v1/corp/activate": only("admin"),
    "POST /v1/customers/{external_userid}/tag-changes": only("ann", "east"),
    "POST /v1/decisions": EVERYBODY,
    "POST /v1/decisions/batch": EVERYBODY,
    "POST /v1/decisions/explain": EVERYBODY,
    "POST /v1/delegations": only("east", "boss"),
    "POST /v1/notifications/read": EVERYBODY,
    "POST /v1/policy/drafts": only("admin", "sub-policy"),
    "POST /v1/policy/drafts/{draft_id}/impact": only("admin", "sub-policy"),
    "POST /v1/policy/drafts/{draft_id}/impact/export": only("admin", "sub-policy"),
    "POST /v1/policy/drafts/{draft_id}/publish": only("admin", "sub-policy"),
    "POST /v1/policy/rollback": only("admin", "sub-policy"),
    "POST /v1/sync/drift/confirm": only("admin", "sub-sync"),
    "POST /v1/sync/ledger/retry": only("admin", "sub-sync"),
    "POST /v1/sync/ledger/{line_id}/retry": only("ann", "east", "boss", "admin", "sub-sync"),
    "POST /v1/sync/pause": only("admin", "sub-sync"),
    "POST /v1/sync/resume": only("admin", "sub-sync"),
    "POST /v1/sync/runs": only("admin", "sub-sync"),
    "POST /v1/tag-groups": only("admin", "sub-catalog"),
    "POST /v1/tag-groups/{group_id}/tags": only("admin"),
    "POST /v1/tags/{tag_id}/merge": only("admin"),
    "POST /v1/tags/{tag_id}/move": only("admin"),
    "PUT /v1/corp": only("admin"),
    "POST /v1/tag-groups/{group_id}/claim": only("admin", "sub-catalog"),
    "POST /v1/tags/{tag_id}/claim": only("admin"),
    "POST /v1/tags/{tag_id}/remake": only("admin"),
    "PUT /v1/corp/credentials/{app}": only("admin"),
    "PUT /v1/corp/issuers/{issuer}": only("admin"),
    "PUT /v1/employees/{userid}/person": only("admin", "sub-members"),
    "PUT /v1/employees/{userid}/roles": only("admin", "sub-members"),
}


@pytest.fixture(scope="module")
async def company(companies: Companies, service: Service) -> Company:
    made = await companies.make(people=PEOPLE_HERE, grants=GRANTS)
    web = service.web(made)
    for module in MODULES:
        body = {"roles": ["subadmin"], "modules": [module]}
        assert (await web.call("admin", "PUT", f"/v1/employees/sub-{module}/roles", body)).status_code == 200
    return made


@pytest.fixture(scope="module")
async def known(company: Company) -> dict[str, str]:
    """One thing of each kind that is there."""
    asked = await company.change("ann", "c1", ["value/high"])
    delegated = await delegate(company.as_("boss"), Wanted("hq", None, datetime.now(UTC) + timedelta(days=1)))
    made = await make_agreement(company.as_("admin"), agreements.Wanted(11, 20, company.groups["advice"]))
    return {
        "group_id": str(company.groups["advice"]),
        "tag_id": str(company.tags["advice/asked"]),
        "external_userid": "c1",
        "approval_id": str(asked.approval_id),
        "run_id": str(await other_run(company)),
        "line_id": str(await company.follow_id("ann", "c1")),
        "userid": "dan",
        "issuer": "an-issuer",
        "delegation_id": str(delegated.id),
        "draft_id": str(await create_draft(company.as_("admin"), DraftEdit(note="one"))),
        "agreement_id": str(made.id),
        "app": "crm",
    }


async def ask(web: Web, userid: str, route: Route, path: str, company: Company) -> httpx.Response:
    body = body_for(route, company)
    headers = {**web.headers(userid), "If-Match": '"0"', "Content-Type": "application/json"}
    content = routes.encode(body) if body is not None else None
    if route.path.endswith("/events"):  # a stream goes on: its head is enough
        async with web.http.stream(route.method, path, headers=headers) as answer:
            if answer.status_code != 200:
                await answer.aread()
            return answer
    return await web.http.request(route.method, path, content=content, headers=headers)


def body_for(route: Route, company: Company) -> dict[str, Any] | None:
    if route.body is None:
        return None
    body, kinds = routes.least(route.body), routes.fields_of(route.body)
    if "add" in kinds:
        body["add"] = [str(company.tags["advice/asked"])]
    if "group_id" in kinds:
        body["group_id"] = str(company.groups["advice"])
    if "delegate" in kinds:
        body |= {"delegate": "hq", "ends_at": (datetime.now(UTC) + timedelta(days=1)).isoformat()}
    if "into" in kinds:
        body["into"] = str(company.tags["advice/cheap"])
    if "same_as" in kinds:
        body["same_as"] = "dan"
    return body


def let_in(answer: httpx.Response) -> bool:
    if answer.status_code == 404:
        return answer.json()["code"] not in HIDING
    return answer.status_code not in (401, 403)


def test_the_table_names_every_route_and_no_other() -> None:
    assert {str(route) for route in TABLE} == LET_IN.keys()


@pytest.mark.parametrize("route", TABLE, ids=str)
async def test_a_role_is_let_in_where_the_table_says(
    route: Route, company: Company, known: dict[str, str], service: Service
) -> None:
    web, allowed = service.web(company), LET_IN.get(str(route), set())
    found = set()
    for userid in sorted({*EVERYBODY, *NOBODY}):
        answer = await ask(web, userid, route, route.fill(**{name: known[name] for name, _ in route.params}), company)
        assert answer.status_code < 500, answer.text
        if let_in(answer):
            found.add(userid)
        else:
            check_problem(answer)
    assert found == allowed, f"{route}: too many {sorted(found - allowed)}, missing {sorted(allowed - found)}"


@pytest.fixture(scope="module")
async def foreign(companies: Companies) -> dict[str, str]:
    return await of_another_corp(await companies.make(customers=(("ann", "theirs", ()),)))


@pytest.mark.parametrize("route", [route for route in TABLE if {name for name, _ in route.params} - {"app"}], ids=str)
async def test_another_corps_thing_is_answered_to_every_role_like_an_unknown_one(
    route: Route,
    company: Company,
    known: dict[str, str],
    foreign: dict[str, str],
    service: Service,
) -> None:
    web = service.web(company)
    for userid in sorted(EVERYBODY):
        theirs = await ask(web, userid, route, route.fill(**{name: foreign[name] for name, _ in route.params}), company)
        nowhere = await ask(web, userid, route, route.fill(), company)
        assert _plain(theirs) == _plain(nowhere), f"{route} as {userid}"
        assert theirs.status_code in (403, 404, 409, 412, 422), theirs.text


def _plain(answer: httpx.Response) -> dict[str, Any]:
    return {name: value for name, value in check_problem(answer).items() if name != "request_id"}


# -- ids that differ between path, query and body ---------------------------------------------------------------------------


async def test_the_path_counts_and_an_id_beside_it_is_refused_or_ignored(company: Company, service: Service) -> None:
    web, tag = service.web(company), str(company.tags["advice/cheap"])
    for extra in ({"external_userid": "c2"}, {"userid": "bob"}, {"corp_id": "another"}, {"group_id": str(uuid4())}):
        answer = await web.call("ann", "POST", "/v1/customers/c1/tag-changes", {"add": [tag], **extra})
        check_problem(answer, 422, "request_invalid")
    query = "?external_userid=c2&follow_userid=bob&userid=admin&corp_id=another&act=admin"
    answer = await web.call("ann", "POST", f"/v1/customers/c1/tag-changes{query}", {"add": [tag]})
    assert (answer.status_code, answer.json()["follow_userid"]) == (200, "ann")
    assert await company.carried("bob", "c2") == set()
    me = await web.get("ann", "/v1/me?userid=admin&corp_id=another")
    assert me.json()["userid"] == "ann"
    group = await web.get("ann", f"/v1/tag-groups/{company.groups['advice']}", group_id=str(company.groups["value"]))
    assert group.json()["id"] == str(company.groups["advice"])
    able = await web.get("ann", f"/v1/tags/{tag}/who-can?userid=admin&tag_id={company.tags['value/high']}")
    assert able.json()["group_id"] == str(company.groups["advice"])


# -- tricks with identifiers ----------------------------------------------------------------------------------------------

TRICKS = [
    "admin", "role:admin", "subadmin", "dept:1", "*", "ann,admin", "ann ", " ann", "ann\u200b", "cafe\u0301", "caf\u00e9",
    "1", "01", "ann|admin", "ann act admin", "%61nn", "ann/../admin", "null", "None", "[]", "{}", "\uff41\uff4e\uff4e",
]  # fmt: skip


async def test_a_name_that_looks_like_a_right_gives_none(companies: Companies, service: Service) -> None:
    named = [trick for trick in TRICKS if trick != "admin"]
    people = {**PEOPLE, **dict.fromkeys(named, (11, False, ()))}
    company = await companies.make(people=people)
    web = service.web(company)
    question = {"group_id": str(company.groups["advice"]), "action": "use", "external_userid": "c1"}
    for trick in named:
        me = await web.get(trick, "/v1/me")
        if me.status_code != 200:
            check_problem(me, 401 if me.status_code == 401 else 403)
            continue
        assert (me.json()["userid"], me.json()["roles"], me.json()["groups"]) == (trick, [], [])
        assert (await web.call(trick, "POST", "/v1/decisions", question)).json()["allowed"] is False
        check_problem(await web.get(trick, "/v1/audit"), 403, "role_missing")
        check_problem(await web.get(trick, "/v1/customers/c1"), 403, "customer_hidden")


async def test_two_writings_of_a_name_are_two_people(companies: Companies, service: Service) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    people = {**PEOPLE, composed: (11, False, ("staff",)), apart: (21, False, ())}
    company = await companies.make(people=people, customers=((composed, "c1", ()),))
    web = service.web(company)
    assert (await web.get(composed, "/v1/customers/c1")).status_code == 200
    check_problem(await web.get(apart, "/v1/customers/c1"), 403, "customer_hidden")
    question = {"group_id": str(company.groups["advice"]), "action": "use", "external_userid": "c1"}
    many = {"userids": [composed, apart], "group_ids": [question["group_id"]], "customers": ["c1"]}
    answer = (await web.call("admin", "POST", "/v1/decisions/batch", many)).json()
    assert [one["allowed"] for one in answer["items"]] == [True, False]


@pytest.mark.parametrize("value", [1, 1.0, True, ["ann"], {"userid": "ann"}, "", "a" * 65])
async def test_what_is_no_text_names_nobody(value: Any, company: Company, service: Service) -> None:
    web, group = service.web(company), str(company.groups["advice"])
    for field in ("userid", "external_userid", "follow_userid"):
        body = {"group_id": group, "action": "use", "external_userid": "c1", field: value}
        check_problem(await web.call("admin", "POST", "/v1/decisions", body), 422, "request_invalid")
    for field in ("userids", "customers"):
        many = {"group_ids": [group], field: [value]}
        check_problem(await web.call("admin", "POST", "/v1/decisions/batch", many), 422, "request_invalid")


async def test_no_wildcard_means_anything(company: Company, service: Service) -> None:
    web = service.web(company)
    for trick in ("*", "%", "_", "c*", "c1,c2", "c1 ", "C1", ".*"):
        for path in (f"/v1/customers/{httpx.URL('/' + trick).raw_path.decode()[1:]}", "/v1/decisions"):
            if path == "/v1/decisions":
                body = {"group_id": str(company.groups["advice"]), "action": "use", "external_userid": trick}
                answer = await web.call("ann", "POST", path, body)
            else:
                answer = await web.get("ann", path)
            assert answer.status_code in (404, 422), f"{path} {trick}: {answer.text}"


def test_ids_of_ours_are_uuids_in_one_writing() -> None:
    assert all(kind in (UUID, str) for route in TABLE for _, kind in route.params)
