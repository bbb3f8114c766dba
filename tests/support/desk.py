"""People at their approvals over HTTP: asking, reading, signing, editing, and what they were told."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import jwt

from support.company import ISSUER, PEOPLE, Company, arrange
from support.service import TOKEN_KEY, Service, Web, bearer

CROWD: dict[str, tuple[int, bool, tuple[str, ...]]] = {
    **PEOPLE,
    "lead": (11, True, ("manager",)),
    "deputy": (11, False, ("manager",)),
    "third": (1, False, ("supervisor",)),
    "bot": (1, False, ("service",)),
}
"""The usual people, a leader of Shanghai, a manager there who leads nobody, a third supervisor and a machine."""

Shown = dict[str, Any]


@dataclass
class Desk:
    """The people of a company and the service they call."""

    company: Company
    web: Web

    @classmethod
    def of(cls, service: Service, company: Company) -> Desk:
        return cls(company, service.web(company))

    def tag(self, path: str) -> str:
        return str(self.company.tags[path])

    async def ask(self, userid: str = "ann", customer: str = "c1", *add: str, **more: Any) -> str:
        """Asks for value tags; the id of the request."""
        answer = await self.web.tag(userid, customer, [self.tag(one) for one in add or ("value/high",)], **more)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["approval_id"])

    async def read(self, userid: str, approval_id: str) -> Shown:
        """One request as somebody sees it."""
        answer = await self.web.get(userid, f"/v1/approvals/{approval_id}")
        assert answer.status_code == 200, answer.text
        shown: Shown = answer.json()
        assert answer.headers["etag"] == shown["approval"]["etag"]
        return shown

    async def post(self, userid: str, approval_id: str, verb: str, **headers: str) -> httpx.Response:
        """`withdraw`, `resubmit` or `escalate`."""
        return await self.web.call(userid, "POST", f"/v1/approvals/{approval_id}/{verb}", **headers)

    async def edit(
        self, userid: str, approval_id: str, *, add: Any = None, remove: Any = None, reason: str | None = None, etag: str = "*"
    ) -> httpx.Response:
        """A PATCH with tags as "group/tag"; without `add` and `remove` only the reason."""
        body: dict[str, Any] = {} if reason is None else {"reason": reason}
        if add is not None or remove is not None:
            body["change"] = {name: [self.tag(one) for one in of or ()] for name, of in (("add", add), ("remove", remove))}
        return await self.web.call(userid, "PATCH", f"/v1/approvals/{approval_id}", body, If_Match=etag)

    async def signed(self, approval_id: str, *signers: str) -> str:
        """Lets people sign one after another; the state after the last."""
        state = ""
        for userid in signers:
            answer = await self.web.sign(userid, approval_id)
            assert answer.status_code == 200, answer.text
            state = answer.json()["approval"]["state"]
        return state

    async def box(self, userid: str, box: str, limit: int = 200) -> list[str]:
        """Ids of a box, page after page."""
        found: list[str] = []
        cursor: str | None = None
        while True:
            answer = await self.web.get(userid, "/v1/approvals", box=box, limit=limit, cursor=cursor)
            assert answer.status_code == 200, answer.text
            found += [one["id"] for one in answer.json()["items"]]
            if (cursor := answer.json()["next_cursor"]) is None:
                assert len(set(found)) == len(found)
                return found

    async def told(self, userid: str, approval_id: str | None = None) -> list[str]:
        """What somebody was told (about one request), oldest first."""
        answer = await self.web.get(userid, "/v1/notifications", limit=200)
        assert answer.status_code == 200, answer.text
        items = answer.json()["items"]
        return [one["event"] for one in reversed(items) if approval_id in (None, one["approval_id"])]

    async def delegate(self, userid: str, delegate: str, ends_at: str, **more: Any) -> httpx.Response:
        return await self.web.call(userid, "POST", "/v1/delegations", {"delegate": delegate, "ends_at": ends_at, **more})

    async def join(self, userid: str, same_as: str) -> None:
        """Finds an account to be one more of a person."""
        answer = await self.web.call("admin", "PUT", f"/v1/employees/{userid}/person", {"same_as": same_as})
        assert answer.status_code == 200, answer.text

    async def roles(self, userid: str, *roles: str) -> None:
        """Takes roles away; giving a signing role would wait for two people."""
        answer = await self.web.call("admin", "PUT", f"/v1/employees/{userid}/roles", {"roles": list(roles)})
        assert answer.status_code == 200, answer.text

    async def waited(self, approval_id: str, hours: float) -> None:
        """Lets so many hours pass for the level that is due."""
        sql = (
            "update approval set level_since = level_since - make_interval(hours => $2),"
            " reminded_at = reminded_at - make_interval(hours => $2) where id = $1::uuid"
        )
        await arrange(self.company.corp_id, sql, approval_id, int(hours))

    def speak_as(self, userid: str, *, act: str | None = None, issuer: str = ISSUER, key: str = TOKEN_KEY) -> None:
        """From now on this person's token is another issuer's, or a machine's that acts for the person."""
        at = int(time.time())
        body = {"iss": issuer, "aud": "tagwarden", "sub": userid, "corp_id": self.company.corp_id, "iat": at, "exp": at + 600}
        acting = {"act": {"sub": act}} if act else {}
        token = jwt.encode({**body, "jti": uuid4().hex, **acting}, key, algorithm="HS256")
        self.web._tokens[userid] = bearer(token)["Authorization"].removeprefix("Bearer ")

    def speak_plainly(self, userid: str) -> None:
        """The person's own token again."""
        self.web._tokens.pop(userid, None)


async def audited(sql: asyncpg.Connection, company: Company, object_: str) -> list[str]:
    """Actions recorded about a thing, oldest first."""
    rows = await sql.fetch(
        "select convert_from(body, 'UTF8')::jsonb ->> 'action' as action from audit_line where corp_id = $1"
        " and convert_from(body, 'UTF8')::jsonb ->> 'object' = $2 order by seq",
        company.corp_id,
        object_,
    )
    return [row["action"] for row in rows]
