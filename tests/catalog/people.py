"""A live company and whoever shapes its library over HTTP: an admin, and sub-admins with and without switch and grant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from support.company import GRANTS, PEOPLE, Action, Companies, Company, GrantLine
from support.service import Service, Web, check_problem
from tagwarden.governance import roles
from tagwarden.identity.model import Module, RoleName

STAFF = {**PEOPLE, "sub": (10, False, ()), "idle": (10, False, ()), "other": (20, False, ())}
MATRIX = (*GRANTS, GrantLine(10, "advice", Action.MANAGE), GrantLine(10, "value", Action.MANAGE))
Shown = dict[str, Any]


@dataclass
class Library:
    """The company's library, called by its people."""

    company: Company
    web: Web

    def tag(self, path: str) -> str:
        return str(self.company.tags[path])

    def group(self, name: str) -> str:
        return str(self.company.groups[name])

    async def create(self, name: str, group: str = "advice", *, userid: str = "admin", **more: Any) -> httpx.Response:
        """A new tag; kept as "group/name" when it was made."""
        answer = await self.web.call(userid, "POST", f"/v1/tag-groups/{self.group(group)}/tags", {"name": name, **more})
        if answer.status_code == 201:
            self.company.tags[f"{group}/{name}"] = answer.json()["id"]
        return answer

    async def made(self, name: str, group: str = "advice", **more: Any) -> Shown:
        """A new tag that must be taken."""
        answer = await self.create(name, group, **more)
        assert answer.status_code == 201, answer.text
        shown: Shown = answer.json()
        return shown

    async def patch(self, path: str, *, userid: str = "admin", etag: str | None = "*", **change: Any) -> httpx.Response:
        """A change of a tag."""
        headers = {} if etag is None else {"If_Match": etag}
        return await self.web.call(userid, "PATCH", f"/v1/tags/{self.tag(path)}", change, **headers)

    async def patch_group(self, group: str, *, userid: str = "admin", etag: str | None = "*", **change: Any) -> httpx.Response:
        """A change of a group."""
        headers = {} if etag is None else {"If_Match": etag}
        return await self.web.call(userid, "PATCH", f"/v1/tag-groups/{self.group(group)}", change, **headers)

    async def delete(self, path: str, *, userid: str = "admin", etag: str | None = "*") -> httpx.Response:
        """A tag's deletion."""
        headers = {} if etag is None else {"If_Match": etag}
        return await self.web.call(userid, "DELETE", f"/v1/tags/{self.tag(path)}", **headers)

    async def usage(self, path: str, userid: str = "admin") -> Shown:
        """Where a tag is used."""
        answer = await self.web.get(userid, f"/v1/tags/{self.tag(path)}/usage")
        assert answer.status_code == 200, answer.text
        shown: Shown = answer.json()
        return shown

    async def groups(self, userid: str = "admin", **query: Any) -> dict[str, Shown]:
        """The list, by name."""
        answer = await self.web.get(userid, "/v1/tag-groups", **query)
        assert answer.status_code == 200, answer.text
        return {one["name"]: one for one in answer.json()["items"]}

    async def shown(self, path: str, userid: str = "admin") -> Shown:
        """One tag as the list shows it."""
        group, _, name = path.partition("/")
        return next(tag for tag in (await self.groups(userid))[group]["tags"] if tag["name"] == name)

    async def limits(self) -> Shown:
        """How full the library is."""
        shown: Shown = (await self.web.get("admin", "/v1/tag-groups")).json()["limits"]
        return shown


async def a_library(companies: Companies, service: Service, **more: Any) -> Library:
    """A live company: `sub` may manage advice and value, `idle` has no switch, `other` the switch and no grant."""
    company = await companies.make(**{"people": STAFF, "grants": MATRIX, **more})
    for userid, modules in (("sub", [Module.CATALOG]), ("idle", [Module.POLICY]), ("other", [Module.CATALOG])):
        await roles.put_roles(company.as_("admin"), userid, [RoleName.SUBADMIN], modules)
    return Library(company, service.web(company))


def refused(answer: httpx.Response, status: int, code: str) -> Shown:
    """The problem that was expected."""
    return check_problem(answer, status, code)
