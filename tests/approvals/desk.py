"""Two ways to act: the use cases in this process, and the service over HTTP, call by call on another serving process.

Whatever is answered becomes an `Outcome`; an error that is not ours, and any 500, fails the test on the spot. What has no
address over HTTP (the organisation's mirror, timekeeping) is the worker's own, and stays in this process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any
from uuid import UUID

import httpx

from support.company import Company
from support.service import Web, check_problem
from tagwarden.approvals import delegations, timekeeping
from tagwarden.approvals import service as approvals
from tagwarden.approvals.model import Verdict
from tagwarden.assignments import library
from tagwarden.assignments.service import TagChange, change_tags
from tagwarden.corps.model import Caller, Idempotency
from tagwarden.governance import roles
from tagwarden.identity.model import RoleName
from tagwarden.kernel.errors import Refused, TagwardenError

People = dict[str, tuple[int, bool, tuple[str, ...]]]
DONE = "done"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`said` is `done` or the refusal's code; `refused` where the audit must tell of it."""

    said: str
    value: Any = None
    refused: bool = False


class Desk:
    """The use cases, called as the controllers call them."""

    def __init__(self, company: Company) -> None:
        self.company = company

    async def sign(self, userid: str, approval_id: UUID, verdict: str = "approve", key: str = "") -> Outcome:
        comment = "no" if verdict == "reject" else ""
        return await _tried(approvals.decide(self._keyed(userid, key), approval_id, Verdict(verdict), comment, "*"))

    async def edit(self, userid: str, approval_id: UUID, add: Sequence[str]) -> Outcome:
        change = {"add": [str(self.company.tags[tag]) for tag in add], "remove": []}
        return await _tried(approvals.edit(self.company.as_(userid), approval_id, change, None, "*"))

    async def withdraw(self, userid: str, approval_id: UUID) -> Outcome:
        return await _tried(approvals.withdraw(self.company.as_(userid), approval_id))

    async def resubmit(self, userid: str, approval_id: UUID, key: str = "") -> Outcome:
        return await _tried(approvals.resubmit(self._keyed(userid, key), approval_id))

    async def escalate(self, userid: str, approval_id: UUID) -> Outcome:
        return await _tried(timekeeping.escalate(self.company.as_(userid), approval_id))

    async def change(self, userid: str, customer: str, add: Sequence[str], key: str = "") -> Outcome:
        change = TagChange(customer, tuple(self.company.tags[tag] for tag in add))
        return await _tried(change_tags(self._keyed(userid, key), change))

    async def put_roles(self, userid: str, given: Sequence[str]) -> Outcome:
        return await _tried(roles.put_roles(self.company.as_("admin"), userid, [RoleName(role) for role in given], []))

    async def end_delegation(self, userid: str, delegation_id: UUID) -> Outcome:
        return await _tried(delegations.end_delegation(self.company.as_(userid), delegation_id))

    async def merge(self, tag: str, into: str) -> Outcome:
        source, target = self.company.tags[tag], self.company.tags[into]
        return await _tried(library.merge_tag(self.company.as_("admin"), source, target, "", "*"))

    async def move(self, tag: str, group: str) -> Outcome:
        source, target = self.company.tags[tag], self.company.groups[group]
        return await _tried(library.move_tag(self.company.as_("admin"), source, target, "", "*"))

    async def mirror(self, people: People) -> Outcome:
        return await _tried(self.company.move_people(people))

    async def keep_time(self) -> Outcome:
        return await _tried(timekeeping.keep_time(self.company.corp_id))

    def _keyed(self, userid: str, key: str) -> Caller:
        caller = self.company.as_(userid)
        return replace(caller, idempotency=Idempotency("/r", key, "b")) if key else caller


async def _tried(call: Awaitable[Any]) -> Outcome:
    try:
        return Outcome(DONE, await call)
    except TagwardenError as error:
        return Outcome(error.code, refused=isinstance(error, Refused))


class WebDesk(Desk):
    """The same people over HTTP; each call takes the next serving process."""

    def __init__(self, company: Company, servers: Sequence[httpx.AsyncClient]) -> None:
        super().__init__(company)
        self._webs = cycle([Web(http, company.corp_id) for http in servers])

    async def sign(self, userid: str, approval_id: UUID, verdict: str = "approve", key: str = "") -> Outcome:
        body = {"verdict": verdict, "comment": "no" if verdict == "reject" else ""}
        return await self._call(userid, "POST", f"/v1/approvals/{approval_id}/decisions", body, key)

    async def edit(self, userid: str, approval_id: UUID, add: Sequence[str]) -> Outcome:
        change = {"add": [str(self.company.tags[tag]) for tag in add], "remove": []}
        return await self._call(userid, "PATCH", f"/v1/approvals/{approval_id}", {"change": change})

    async def withdraw(self, userid: str, approval_id: UUID) -> Outcome:
        return await self._call(userid, "POST", f"/v1/approvals/{approval_id}/withdraw")

    async def resubmit(self, userid: str, approval_id: UUID, key: str = "") -> Outcome:
        return await self._call(userid, "POST", f"/v1/approvals/{approval_id}/resubmit", None, key)

    async def escalate(self, userid: str, approval_id: UUID) -> Outcome:
        return await self._call(userid, "POST", f"/v1/approvals/{approval_id}/escalate")

    async def change(self, userid: str, customer: str, add: Sequence[str], key: str = "") -> Outcome:
        body = {"add": [str(self.company.tags[tag]) for tag in add]}
        return await self._call(userid, "POST", f"/v1/customers/{customer}/tag-changes", body, key)

    async def put_roles(self, userid: str, given: Sequence[str]) -> Outcome:
        return await self._call("admin", "PUT", f"/v1/employees/{userid}/roles", {"roles": list(given)})

    async def end_delegation(self, userid: str, delegation_id: UUID) -> Outcome:
        return await self._call(userid, "DELETE", f"/v1/delegations/{delegation_id}")

    async def merge(self, tag: str, into: str) -> Outcome:
        body = {"into": str(self.company.tags[into])}
        return await self._call("admin", "POST", f"/v1/tags/{self.company.tags[tag]}/merge", body)

    async def move(self, tag: str, group: str) -> Outcome:
        body = {"group_id": str(self.company.groups[group])}
        return await self._call("admin", "POST", f"/v1/tags/{self.company.tags[tag]}/move", body)

    async def _call(self, userid: str, method: str, path: str, body: Any = None, key: str = "") -> Outcome:
        web = next(self._webs)
        headers = {**web.headers(userid), "If-Match": "*", **({"Idempotency-Key": key} if key else {})}
        response = await web.http.request(method, path, json=body, headers=headers)
        assert response.status_code not in (500, 502), response.text
        if response.status_code >= 400:
            return Outcome(check_problem(response)["code"], refused=response.status_code == 403)
        return Outcome(DONE, response.json() if response.content else None)
