"""Every kind of protected change as a client asks for it over HTTP, and a company that has everybody who must not sign it.

`boss2`, `admin2`, `ann2` and `east2` are second accounts of those people, supervisors all; `robot` is a machine that may
act for somebody; the issuer `second` is bound and may not sign.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import jwt

from support.company import GRANTS, GROUPS, ISSUER, PEOPLE, Action, Companies, Company, GrantLine, Kind, bundle_of
from support.service import ISSUERS, RSA_ISSUER, SECOND_ISSUER, SECOND_KEY, TOKEN_KEY, Service, Web, bearer
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.model import Choice
from tagwarden.governance import issuers, publishing
from tagwarden.kernel import clock, db

STAFF = {
    **PEOPLE,
    **{f"{one}2": (1, False, ("supervisor",)) for one in ("boss", "admin", "ann", "east")},
    "helper": (1, False, ()),
    "robot": (1, False, ("service",)),
}
LIBRARY = {**GROUPS, "grade": (Kind.VALUE, Choice.MULTIPLE, ("gold", "silver"))}
MATRIX = (*GRANTS, GrantLine(10, "grade", Action.USE))
WIDER = (*MATRIX, GrantLine(1, "value", Action.USE))


@dataclass
class Scene:
    """A live company in which c1 carries value/high by two signatures and advice/keen, and its people on the web."""

    company: Company
    web: Web

    async def call(self, userid: str, method: str, path: str, body: Any = None) -> httpx.Response:
        """One request, whatever the ETag."""
        return await self.web.call(userid, method, path, body, If_Match="*")

    async def patch_tag(self, tag: str, **change: Any) -> httpx.Response:
        """The admin's change of a tag."""
        return await self.call("admin", "PATCH", f"/v1/tags/{self.company.tags[tag]}", change)

    async def patch_group(self, group: str, **change: Any) -> httpx.Response:
        """The admin's change of a group."""
        return await self.call("admin", "PATCH", f"/v1/tag-groups/{self.company.groups[group]}", change)

    async def move(self, tag: str, group: str) -> httpx.Response:
        """The admin moves a tag."""
        body = {"group_id": str(self.company.groups[group])}
        return await self.call("admin", "POST", f"/v1/tags/{self.company.tags[tag]}/move", body)

    async def merge(self, tag: str, into: str) -> httpx.Response:
        """The admin merges a tag."""
        body = {"into": str(self.company.tags[into])}
        return await self.call("admin", "POST", f"/v1/tags/{self.company.tags[tag]}/merge", body)

    async def roles(self, userid: str, *roles: str, caller: str = "admin", modules: tuple[str, ...] = ()) -> httpx.Response:
        """Makes somebody's roles exactly these."""
        return await self.call(caller, "PUT", f"/v1/employees/{userid}/roles", {"roles": list(roles), "modules": list(modules)})

    async def decide(self, approval_id: str, verdict: str = "approve", *, token: str = "", userid: str = "") -> httpx.Response:
        """A decision by a person, or by whoever holds a token."""
        if userid:
            return await self.web.sign(userid, approval_id, verdict)
        headers = {**bearer(token), "If-Match": "*"}
        return await self.web.http.post(f"/v1/approvals/{approval_id}/decisions", json={"verdict": verdict}, headers=headers)

    async def sign(self, approval_id: str, *signers: str) -> dict[str, Any]:
        """Each signs in turn; the request as it stands then."""
        answer: dict[str, Any] = {}
        for signer in signers:
            response = await self.web.sign(signer, approval_id)
            assert response.status_code == 200, response.text
            answer = response.json()["approval"]
        return answer

    async def carries(self, *paths: str) -> None:
        """ann's c1 gets value tags, each by two signatures."""
        for path in paths:
            answer = await self.company.change("ann", "c1", [path])
            await self.company.sign("east", answer.approval_id)
            await self.company.sign("hq", answer.approval_id)


async def a_scene(companies: Companies, service: Service) -> Scene:
    """Makes one."""
    company = await companies.make(people=STAFF, groups=LIBRARY, grants=MATRIX, customers=(("ann", "c1", ()),), live=False)
    known = [str(one["issuer"]) for one in ISSUERS]
    await issuers.put_issuer(company.as_("admin"), SECOND_ISSUER, False, "", known)
    await company.own_library()
    scene = Scene(company, service.web(company))
    assert (await scene.web.call("admin", "POST", "/v1/corp/activate")).status_code == 200
    for one in ("boss", "admin", "ann", "east"):
        joined = await scene.call("admin", "PUT", f"/v1/employees/{one}2/person", {"same_as": one})
        assert joined.status_code == 200, joined.text
    await scene.carries("value/high")
    await company.change("ann", "c1", ["advice/keen"])
    return scene


def machine_token(corp_id: str, userid: str, machine: str = "robot") -> str:
    """A token with which a machine acts for a person."""
    return _token(corp_id, userid, ISSUER, TOKEN_KEY, act={"sub": machine})


def unsigned_token(corp_id: str, userid: str) -> str:
    """A token of the issuer that is bound and may not sign."""
    return _token(corp_id, userid, SECOND_ISSUER, SECOND_KEY)


def _token(corp_id: str, userid: str, issuer: str, key: str, **more: Any) -> str:
    now = int(time.time())
    claims = {"iss": issuer, "aud": "tagwarden", "sub": userid, "corp_id": corp_id, "iat": now, "exp": now + 600, "jti": "one"}
    return jwt.encode({**claims, **more}, key, algorithm="HS256")


# -- what is asked for, and how one sees that it has happened ------------------------------------------------------------

Ask = Callable[[Scene], Awaitable[str]]
Look = Callable[[Scene], Awaitable[Any]]


def held(response: httpx.Response) -> str:
    """The approval's id of an answer that something waits."""
    assert response.status_code == 202, response.text
    body = response.json()
    assert body.get("outcome", "pending_approval") == "pending_approval"
    return str(body["approval_id"])


async def delegation(scene: Scene) -> httpx.Response:
    """east names south, who stands in another line."""
    ends_at = (clock.now() + timedelta(days=3)).isoformat()
    return await scene.call("east", "POST", "/v1/delegations", {"delegate": "south", "ends_at": ends_at})


async def _restore(scene: Scene) -> str:
    approval_id = held(await scene.patch_tag("value/low", retired=True))
    await scene.sign(approval_id, "boss", "hq")
    return held(await scene.patch_tag("value/low", retired=False))


async def _wider_policy(scene: Scene) -> str:
    done = await publishing.apply_bundle(scene.company.as_("admin"), bundle_of({}, {}, WIDER), "wider")
    assert done.revision is None
    return str(done.approvals[0])


async def group_of(scene: Scene, name: str) -> Any:
    """Kind and choice of a group; None when it is gone."""
    group = await catalog.group(scene.company.corp_id, scene.company.groups[name])
    return (group.kind.value, group.choice.value) if group else None


async def tag_of(scene: Scene, path: str) -> Any:
    """Name and retirement of a tag; None when it is gone."""
    tag = await catalog.tag(scene.company.corp_id, scene.company.tags[path])
    return (tag.name, tag.retired) if tag else None


async def end_of(scene: Scene, path: str) -> Any:
    """The last day of a tag."""
    tag = await catalog.tag(scene.company.corp_id, scene.company.tags[path])
    return tag.ends_on.isoformat() if tag and tag.ends_on else None


async def marks(scene: Scene) -> Any:
    """What ann's c1 carries."""
    return sorted(await scene.company.carried("ann", "c1"))


async def roles_of_ann(scene: Scene) -> Any:
    """Her roles."""
    rows = await db.fetch("select role from employee_role where corp_id = $1 and userid = 'ann'", scene.company.corp_id)
    return sorted(row["role"] for row in rows)


async def issuers_of(scene: Scene) -> Any:
    """Issuers, and whether their tokens may sign."""
    rows = await db.fetch("select issuer, may_sign from issuer_right where corp_id = $1", scene.company.corp_id)
    return {row["issuer"]: row["may_sign"] for row in rows}


async def revision_of(scene: Scene) -> Any:
    """The revision in force."""
    return await db.fetch_value("select max(revision) from policy_revision where corp_id = $1", scene.company.corp_id)


async def delegates_of_east(scene: Scene) -> Any:
    """Who signs for east."""
    rows = await db.fetch("select delegate from delegation where corp_id = $1 and userid = 'east'", scene.company.corp_id)
    return [row["delegate"] for row in rows]


async def agreements_of(scene: Scene) -> Any:
    """What departments have agreed on."""
    rows = await db.fetch(
        "select department_id, partner_department, made_by from agreement where corp_id = $1", scene.company.corp_id
    )
    return [tuple(row.values()) for row in rows]


@dataclass(frozen=True)
class Case:
    """One kind of protected change."""

    kind: str
    ask: Ask
    look: Look
    after: Any
    level1: str = "boss"
    requester: str = "admin"
    concerned: str = "admin"


def _patch_group(group: str, **change: Any) -> Ask:
    async def ask(scene: Scene) -> str:
        return held(await scene.patch_group(group, **change))

    return ask


def _patch_tag(tag: str, **change: Any) -> Ask:
    async def ask(scene: Scene) -> str:
        return held(await scene.patch_tag(tag, **change))

    return ask


def _delete(kind: str, name: str) -> Ask:
    async def ask(scene: Scene) -> str:
        ids = scene.company.tags if kind == "tags" else scene.company.groups
        return held(await scene.call("admin", "DELETE", f"/v1/{kind}/{ids[name]}?reason=gone"))

    return ask


def _move(tag: str, group: str) -> Ask:
    async def ask(scene: Scene) -> str:
        return held(await scene.move(tag, group))

    return ask


async def _merge(scene: Scene) -> str:
    return held(await scene.merge("value/high", "value/mid"))


async def _role(scene: Scene) -> str:
    return held(await scene.roles("ann", "staff", "manager"))


def _issuer(name: str) -> Ask:
    async def ask(scene: Scene) -> str:
        return held(await scene.call("admin", "PUT", f"/v1/corp/issuers/{name}", {"may_sign": True}))

    return ask


async def _agree(scene: Scene) -> str:
    body = {"department": 20, "partner_department": 10, "group_id": str(scene.company.groups["value"])}
    return held(await scene.call("admin", "POST", "/v1/agreements", body))


async def _delegate(scene: Scene) -> str:
    return held(await delegation(scene))


def _group(name: str) -> Look:
    return lambda scene: group_of(scene, name)


def _tag(path: str) -> Look:
    return lambda scene: tag_of(scene, path)


def _end(path: str) -> Look:
    return lambda scene: end_of(scene, path)


_MINE = {"tagwarden": True, "second": False}
CASES = {
    "value to standard": Case(
        "tag_group_change", _patch_group("value", kind="standard"), _group("value"), ("standard", "single")
    ),
    "standard to value": Case("tag_group_change", _patch_group("advice", kind="value"), _group("advice"), ("value", "multiple")),
    "choice": Case("tag_group_change", _patch_group("value", choice="multiple"), _group("value"), ("value", "multiple")),
    "rename": Case("tag_edit", _patch_tag("value/high", name="highest"), _tag("value/high"), ("highest", False)),
    "retire": Case("tag_edit", _patch_tag("value/high", retired=True), _tag("value/high"), ("high", True)),
    "end": Case("tag_edit", _patch_tag("value/high", ends_on="2030-12-31"), _end("value/high"), "2030-12-31"),
    "restore": Case("tag_edit", _restore, _tag("value/low"), ("low", False)),
    "delete a tag": Case("tag_delete", _delete("tags", "value/low"), _tag("value/low"), None),
    "delete a group": Case("tag_group_delete", _delete("tag-groups", "grade"), _group("grade"), None),
    "move out": Case("tag_migration", _move("value/high", "advice"), marks, ["advice/high", "advice/keen"]),
    "move in": Case("tag_migration", _move("advice/keen", "value"), marks, ["value/keen"]),
    "move between": Case("tag_migration", _move("value/high", "grade"), marks, ["advice/keen", "grade/high"]),
    "merge": Case("tag_migration", _merge, marks, ["advice/keen", "value/mid"]),
    "a signing role": Case("roles_give", _role, roles_of_ann, ["manager", "staff"], level1="east", concerned="ann"),
    "bind an issuer": Case("issuer_right", _issuer(RSA_ISSUER), issuers_of, {**_MINE, RSA_ISSUER: True}),
    "let an issuer sign": Case("issuer_right", _issuer(SECOND_ISSUER), issuers_of, {**_MINE, SECOND_ISSUER: True}),
    "a policy that loosens": Case("policy_publish", _wider_policy, revision_of, 3),
    "an agreement": Case("agreement_make", _agree, agreements_of, [(20, 10, "admin")]),
    "a delegation beyond the line": Case(
        "delegation", _delegate, delegates_of_east, ["south"], requester="east", concerned="east"
    ),
}
