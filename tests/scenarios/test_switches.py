"""Sub-admins and their module switches: every endpoint that needs one opens with exactly that one, and says which it is.

The table is held against the running routes, so that a new endpoint of those who configure has to be put into it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.routes import table
from support.company import GRANTS, GROUPS, PEOPLE, Action, Companies, Company, GrantLine, Kind
from support.service import ISSUERS, SECOND_ISSUER, Service, Web, check_problem
from tagwarden.catalog.model import Choice
from tagwarden.governance import issuers
from tagwarden.identity.model import Module

MODULES = [module.value for module in Module]
WORDS = {"catalog": "标签库", "policy": "策略", "members": "成员与角色", "sync": "企业微信同步", "approvals": "审批"}
STAFF = {
    **PEOPLE,
    **{f"has_{module}": (1, False, ("subadmin",)) for module in MODULES},
    **{f"lacks_{module}": (1, False, ("subadmin",)) for module in MODULES},
    "bare": (1, False, ("subadmin",)),
    "twin": (11, False, ("staff",)),
    "other": (11, False, ("staff",)),
}
LIBRARY = {
    **GROUPS,
    "spare": (Kind.STANDARD, Choice.MULTIPLE, ("patched", "deleted", "moved", "merged", "into")),
    "doomed": (Kind.STANDARD, Choice.MULTIPLE, ("x",)),
    "target": (Kind.STANDARD, Choice.MULTIPLE, ("y",)),
}
MATRIX = (*GRANTS, *(GrantLine(1, group, Action.MANAGE) for group in LIBRARY))

# Everybody who configures may: admins alone, by no switch.
ADMINS_ONLY = {
    ("PUT", "/v1/corp"),
    ("PUT", "/v1/corp/credentials/{app}"),
    ("PUT", "/v1/corp/issuers/{issuer}"),
    ("DELETE", "/v1/corp/issuers/{issuer}"),
    ("POST", "/v1/corp/activate"),
}
READERS_ONLY = {("GET", "/v1/audit"), ("GET", "/v1/audit/export")}
# Actions of routes that a switch (or the role of admin or auditor) opens; what else configures is named in the table.
CONFIGURING = {"manage", "policy", "members", "sync", "corp", "audit"}


@dataclass
class Stage:
    """The company, its web, and the ids that fill the paths."""

    company: Company
    web: Web
    ids: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One endpoint: `fills` names what stands in its path, `opened` what it answers to who holds the switch."""

    module: str
    method: str
    path: str
    fills: dict[str, str] = field(default_factory=dict)
    body: Any = None
    opened: tuple[int, ...] = (200,)

    def __str__(self) -> str:
        return f"{self.module} {self.method} {self.path}"


LATER = (datetime.now(UTC) + timedelta(days=30)).isoformat()
ROWS = [
    Row("catalog", "POST", "/v1/tag-groups", {}, {"name": "fresh", "kind": "standard"}, (201,)),
    Row("catalog", "PATCH", "/v1/tag-groups/{group_id}", {"group_id": "target"}, {"description": "d"}),
    Row("catalog", "DELETE", "/v1/tag-groups/{group_id}", {"group_id": "doomed"}, None, (204,)),
    Row("catalog", "POST", "/v1/tag-groups/{group_id}/tags", {"group_id": "target"}, {"name": "fresh"}, (201,)),
    Row("catalog", "PATCH", "/v1/tags/{tag_id}", {"tag_id": "spare/patched"}, {"meaning": "m"}),
    Row("catalog", "DELETE", "/v1/tags/{tag_id}", {"tag_id": "spare/deleted"}, None, (204,)),
    Row("catalog", "POST", "/v1/tags/{tag_id}/move", {"tag_id": "spare/moved"}, {"group_id": "target"}),
    Row("catalog", "POST", "/v1/tags/{tag_id}/remake", {"tag_id": "spare/into"}, {}, (409,)),
    Row("catalog", "POST", "/v1/tag-groups/{group_id}/claim", {"group_id": "target"}),
    Row("catalog", "POST", "/v1/tags/{tag_id}/claim", {"tag_id": "spare/into"}),
    Row("catalog", "POST", "/v1/tags/{tag_id}/merge", {"tag_id": "spare/merged"}, {"into": "spare/into"}),
    Row("policy", "GET", "/v1/policy"),
    Row("policy", "GET", "/v1/policy/revisions"),
    Row("policy", "GET", "/v1/policy/drafts"),
    Row("policy", "POST", "/v1/policy/drafts", {}, {"note": "n"}, (201,)),
    Row("policy", "GET", "/v1/policy/drafts/{draft_id}", {"draft_id": "draft"}),
    Row("policy", "PATCH", "/v1/policy/drafts/{draft_id}", {"draft_id": "draft"}, {"note": "m"}),
    Row("policy", "POST", "/v1/policy/drafts/{draft_id}/impact", {"draft_id": "draft"}),
    Row("policy", "POST", "/v1/policy/drafts/{draft_id}/impact/export", {"draft_id": "draft"}),
    Row("policy", "POST", "/v1/policy/drafts/{draft_id}/publish", {"draft_id": "empty"}, {"note": "n"}, (200, 409)),
    Row("policy", "DELETE", "/v1/policy/drafts/{draft_id}", {"draft_id": "dropped"}, None, (204,)),
    Row("policy", "POST", "/v1/policy/rollback", {}, {"revision": 1, "note": "n"}, (200, 202)),
    Row("policy", "GET", "/v1/agreements"),
    Row(
        "policy",
        "POST",
        "/v1/agreements",
        {},
        {"department": 20, "partner_department": 12, "group_id": "advice", "until": LATER},
        (201,),
    ),
    Row("policy", "DELETE", "/v1/agreements/{agreement_id}", {"agreement_id": "agreement"}, None, (204,)),
    Row("policy", "GET", "/v1/corp"),
    Row("policy", "GET", "/v1/corp/issuers"),
    Row("policy", "POST", "/v1/decisions", {}, {"group_id": "advice", "action": "use", "userid": "ann"}),
    Row("policy", "POST", "/v1/decisions/explain", {}, {"group_id": "advice", "action": "use", "userid": "ann"}),
    Row("members", "GET", "/v1/employees"),
    Row("members", "PUT", "/v1/employees/{userid}/roles", {"userid": "other"}, {"roles": []}),
    Row("members", "PUT", "/v1/employees/{userid}/person", {"userid": "twin"}, {"same_as": "other"}),
    Row("sync", "GET", "/v1/sync/status"),
    Row("sync", "GET", "/v1/sync/drift"),
    Row("sync", "GET", "/v1/sync/drift/offenders"),
    Row("sync", "POST", "/v1/sync/drift/confirm", {}, None, (200, 409)),
    Row("sync", "POST", "/v1/sync/pause", {}, {"reason": "r"}),
    Row("sync", "POST", "/v1/sync/resume", {}, {"reason": "r"}),
    Row("sync", "POST", "/v1/sync/ledger/retry", {}, {}, (409,)),
    Row("sync", "POST", "/v1/sync/runs", {}, {"kind": "org"}, (202, 409)),
    Row("sync", "GET", "/v1/sync/runs/{run_id}", {"run_id": "run"}),
    Row("sync", "GET", "/v1/sync/runs/{run_id}/events", {"run_id": "run"}),
    Row("approvals", "POST", "/v1/approvals/{approval_id}/escalate", {"approval_id": "approval"}),
    Row("approvals", "POST", "/v1/approvals/{approval_id}/remind", {"approval_id": "approval"}),
]


@pytest.fixture(scope="module")
async def company(companies: Companies) -> Company:
    """Live; each sub-admin holds one switch, or all others."""
    made = await companies.make(people=STAFF, groups=LIBRARY, grants=MATRIX, live=False)
    known = [str(one["issuer"]) for one in ISSUERS]
    await issuers.put_issuer(made.as_("admin"), SECOND_ISSUER, False, "", known)
    return made


@pytest.fixture(scope="module")
async def stage(company: Company, service: Service) -> Stage:
    web = service.web(company)
    assert (await web.call("admin", "POST", "/v1/corp/activate")).status_code == 200
    for module in MODULES:
        rest = [other for other in MODULES if other != module]
        for userid, switches in ((f"has_{module}", [module]), (f"lacks_{module}", rest)):
            body = {"roles": ["subadmin"], "modules": switches}
            assert (await web.call("admin", "PUT", f"/v1/employees/{userid}/roles", body)).status_code == 200
    ids = {name: str(one) for name, one in {**company.groups, **company.tags}.items()}
    for name in ("draft", "dropped", "empty"):
        ids[name] = (await web.call("admin", "POST", "/v1/policy/drafts", {"note": name})).json()["id"]
    body = {"department": 10, "partner_department": 20, "group_id": ids["advice"]}
    ids["agreement"] = (await web.call("admin", "POST", "/v1/agreements", body)).json()["id"]
    ids["run"] = (await web.call("admin", "POST", "/v1/sync/runs", {"kind": "catalog"})).json()["id"]
    ids["approval"] = str((await company.change("ann", "c1", ["value/high"])).approval_id)
    return Stage(company, web, ids)


def filled(stage: Stage, row: Row) -> tuple[str, Any]:
    """The path and body with the ids of this company."""
    path = row.path.format(**{name: stage.ids.get(thing, thing) for name, thing in row.fills.items()})
    body = row.body and {name: stage.ids.get(str(value), value) for name, value in row.body.items()}
    return path, body


def test_the_table_holds_every_route_that_configures() -> None:
    named = {(row.method, row.path) for row in ROWS} | ADMINS_ONLY | READERS_ONLY
    routes = {(route.method, route.path.rstrip("/")): route.action for route in table() if not route.public}
    missing = sorted(route for route, action in routes.items() if action in CONFIGURING and route not in named)
    assert not missing, "say in ROWS which switch opens it"
    assert not sorted(named - routes.keys()), "no such route"


@pytest.mark.parametrize("row", ROWS, ids=map(str, ROWS))
async def test_exactly_its_switch_opens_an_endpoint(stage: Stage, row: Row, sql: asyncpg.Connection) -> None:
    path, body = filled(stage, row)
    head = "select seq from audit_head where corp_id = $1"
    for userid in (f"lacks_{row.module}", "bare"):
        refused = check_problem(await stage.web.call(userid, row.method, path, body, If_Match="*"), 403, "module_missing")
        assert refused["facts"] == {"module": row.module, "ask": "admin"}, "which switch, and who can give it"
        assert (row.module in refused["detail"], "admin" in refused["detail"]) == (True, True)
        chinese = await stage.web.call(userid, row.method, path, body, If_Match="*", Accept_Language="zh")
        assert (WORDS[row.module] in chinese.json()["detail"], "管理员" in chinese.json()["detail"]) == (True, True)
    before = await sql.fetchval(head, stage.company.corp_id)
    if row.path.endswith("/events"):
        async with stage.web.http.stream("GET", path, headers=stage.web.headers(f"has_{row.module}")) as stream:
            assert stream.status_code == 200
        return
    answer = await stage.web.call(f"has_{row.module}", row.method, path, body, If_Match="*")
    assert answer.status_code in row.opened, answer.text
    reads = row.method == "GET" or "impact" in row.path or row.path.startswith("/v1/decisions")
    assert (await sql.fetchval(head, stage.company.corp_id) == before) or not reads


@pytest.mark.parametrize("module", MODULES)
async def test_no_switch_opens_what_is_for_admins_and_auditors(stage: Stage, module: str) -> None:
    calls: list[tuple[str, str, Any]] = [
        ("PUT", "/v1/corp", {"name": "mine now"}),
        ("PUT", "/v1/corp/credentials/crm", {"secret": "a new secret of the app"}),
        ("PUT", f"/v1/corp/issuers/{SECOND_ISSUER}", {"may_sign": True}),
        ("DELETE", f"/v1/corp/issuers/{SECOND_ISSUER}", None),
        ("POST", "/v1/corp/activate", None),
        ("GET", "/v1/audit", None),
        ("GET", "/v1/audit/export", None),
        ("PUT", "/v1/employees/bare/roles", {"roles": ["subadmin"], "modules": [module]}),
        ("PUT", f"/v1/employees/has_{module}/roles", {"roles": ["admin"]}),
    ]
    for method, path, body in calls:
        if "/employees/" in path and module != "members":
            continue
        refused = check_problem(await stage.web.call(f"has_{module}", method, path, body), 403, "role_missing")
        assert refused["facts"]["ask"] == "admin"
        assert set(refused["facts"]["roles"]) <= {"admin", "auditor"}
        assert "module" not in refused["facts"], "no switch opens it, so none is named"


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("path", ["/v1/access-review", "/v1/access-review/export"])
async def test_who_holds_what_is_for_two_switches(stage: Stage, module: str, path: str) -> None:
    answer = await stage.web.get(f"has_{module}", path)
    if module in ("policy", "members"):
        assert answer.status_code == 200
    else:
        assert check_problem(answer, 403, "module_missing")["facts"] == {"module": "members", "ask": "admin"}


async def test_a_switch_without_the_role_opens_nothing(stage: Stage) -> None:
    body = {"roles": ["staff"], "modules": MODULES}
    assert (await stage.web.call("admin", "PUT", "/v1/employees/bob/roles", body)).json()["modules"] == []
    check_problem(await stage.web.get("bob", "/v1/policy"), 403, "module_missing")


# -- what the module of approvals opens -------------------------------------------------------------------------------------


async def test_the_approvals_switch_sees_reminds_and_escalates_and_never_signs(companies: Companies, service: Service) -> None:
    people = {**PEOPLE, "clerk": (1, False, ("subadmin",)), "nobody": (1, False, ("subadmin",))}
    company = await companies.make(people=people)
    web = service.web(company)
    for userid, switches in (("clerk", ["approvals"]), ("nobody", ["sync"])):
        given = {"roles": ["subadmin"], "modules": switches}
        assert (await web.call("admin", "PUT", f"/v1/employees/{userid}/roles", given)).status_code == 200
    asked = str((await company.change("ann", "c1", ["value/high"])).approval_id)
    delegated = {"delegate": "boss", "ends_at": (datetime.now(UTC) + timedelta(days=2)).isoformat()}
    assert (await web.call("hq", "POST", "/v1/delegations", delegated)).status_code == 201

    async def sees(userid: str) -> tuple[int, int, int]:
        boxes = [(await web.get(userid, "/v1/approvals", box=box)).json()["items"] for box in ("all", "inbox")]
        return len(boxes[0]), len(boxes[1]), len((await web.get(userid, "/v1/delegations")).json()["items"])

    assert (await sees("clerk"), await sees("nobody")) == ((1, 0, 1), (0, 0, 0))
    check_problem(await web.sign("clerk", asked), 403, "not_a_signer")
    for verb in ("withdraw", "resubmit"):
        check_problem(await web.call("clerk", "POST", f"/v1/approvals/{asked}/{verb}"), 403, "not_the_requester")
    edited = await web.call("clerk", "PATCH", f"/v1/approvals/{asked}", {"reason": "x"}, If_Match="*")
    check_problem(edited, 403, "not_an_editor")
    for _ in range(2):
        assert (await web.call("clerk", "POST", f"/v1/approvals/{asked}/remind")).status_code == 200
    events = [one["event"] for one in (await web.get("east", "/v1/notifications")).json()["items"]]
    assert events.count("reminded") == 1, "nobody is reminded twice within the hour"
    assert (await web.call("clerk", "POST", f"/v1/approvals/{asked}/escalate")).status_code == 200
    assert (await company.approval(UUID(asked))).level1 == ("boss", "east")
    (delegation,) = (await web.get("clerk", "/v1/delegations")).json()["items"]
    check_problem(await web.call("nobody", "DELETE", f"/v1/delegations/{delegation['id']}"), 404, "delegation_unknown")
    assert (await web.call("clerk", "DELETE", f"/v1/delegations/{delegation['id']}")).status_code == 204
    for signer in ("east", "hq"):
        await web.sign(signer, asked)
    check_problem(await web.call("clerk", "POST", f"/v1/approvals/{asked}/remind"), 409, "approval_closed")
