"""South (20) working on the customers of East (10): a company with customers of both, and agreements over HTTP."""

from __future__ import annotations

from typing import Any

import httpx

from support.company import Company
from support.service import Web

SOUTH, SHENZHEN, EAST, SHANGHAI = 20, 21, 10, 11
CUSTOMERS = (
    ("ann", "c1", ("advice/asked", "activity/hot", "value/high")),
    ("cat", "c3", ("advice/cheap",)),
    ("dan", "c4", ()),
    ("ann", "c5", ()),
    ("cat", "c5", ()),
)


async def propose(
    web: Web, company: Company, group: str = "advice", *, userid: str = "admin", department: int = SOUTH, **more: Any
) -> httpx.Response:
    """People of South (or of `department`) on the customers of East."""
    headers = {name: more.pop(name) for name in list(more) if name[:1].isupper()}
    body = {"department": department, "partner_department": EAST, "group_id": str(company.groups[group]), **more}
    return await web.call(userid, "POST", "/v1/agreements", body, **headers)


async def agreed(web: Web, company: Company, group: str = "advice", **more: Any) -> dict[str, Any]:
    """One in force at once."""
    answer = await propose(web, company, group, **more)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def agreed_by_two(web: Web, company: Company, group: str = "value", **more: Any) -> str:
    """One about a value group, signed twice; its id."""
    asked = await propose(web, company, group, **more)
    assert asked.status_code == 202, asked.text
    for signer in ("boss", "hq"):
        assert (await web.sign(signer, asked.json()["approval_id"])).status_code == 200
    (made,) = (await web.get("admin", "/v1/agreements")).json()["items"]
    assert (made["approval_id"], made["made_by"]) == (asked.json()["approval_id"], "admin")
    return str(made["id"])


async def seen(web: Web, userid: str, **query: Any) -> dict[str, list[str]]:
    answer = await web.get(userid, "/v1/customers", **query)
    return {one["external_userid"]: one["followers"] for one in answer.json()["items"]}


async def tags(web: Web, userid: str, customer: str) -> dict[str, set[str]]:
    answer = await web.get(userid, f"/v1/customers/{customer}/tags")
    return {one["follow_userid"]: {tag["tag"] for tag in one["tags"]} for one in answer.json().get("follows", [])}
