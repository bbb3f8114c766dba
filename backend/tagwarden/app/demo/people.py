"""The demo's client: people of the sample company calling the service over HTTP, and a look into the simulated WeCom."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from tagwarden.kernel.errors import Conflict


class CompanyRefused(Conflict):
    code = "company_refused"
    zh = "模拟的企业微信不接受示例企业（{status}）"
    en = "The simulated WeCom refused the sample company ({status})"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any
    etag: str | None

    @property
    def code(self) -> str:
        """The problem's code, or the empty text."""
        return str(self.body.get("code", "")) if isinstance(self.body, dict) else ""

    @property
    def step(self) -> str:
        """The step at which a decision refused."""
        return str(self.body.get("facts", {}).get("step", "")) if isinstance(self.body, dict) else ""


class People:
    """One HTTP session for everybody; each call carries its own person's token."""

    def __init__(self, session: aiohttp.ClientSession, base: str, tokens: dict[str, str]) -> None:
        self._session = session
        self._base = base
        self._tokens = tokens

    async def call(self, userid: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request as one person."""
        sent = {"Authorization": f"Bearer {self._tokens[userid]}", "Accept-Language": "en", **headers}
        data = msgspec.json.encode(body) if body is not None else None
        if data is not None:
            sent["Content-Type"] = "application/json"
        async with self._session.request(method, self._base + path, data=data, headers=sent) as response:
            raw = await response.read()
            kind = response.headers.get("Content-Type", "")
            return Answer(
                response.status, msgspec.json.decode(raw) if raw and "json" in kind else raw, response.headers.get("ETag")
            )

    async def tag(
        self, userid: str, customer: str, *, add: list[str] | None = None, remove: list[str] | None = None, **more: Any
    ) -> Answer:
        """A tag change."""
        body = {"add": add or [], "remove": remove or [], **more}
        return await self.call(userid, "POST", f"/v1/customers/{quote(customer)}/tag-changes", body)

    async def sign(self, userid: str, approval_id: str, verdict: str = "approve", comment: str = "") -> Answer:
        """A decision on an approval, naming the ETag the person saw (any, where he may not see it)."""
        seen = await self.call(userid, "GET", f"/v1/approvals/{approval_id}")
        body = {"verdict": verdict, "comment": comment}
        return await self.call(userid, "POST", f"/v1/approvals/{approval_id}/decisions", body, **{"If-Match": seen.etag or "*"})


class Wecom:
    """What the simulated WeCom holds and heard, through its control API."""

    def __init__(self, session: aiohttp.ClientSession, base: str, corp_id: str) -> None:
        self._session = session
        self._corp = f"{base}/control/corps/{quote(corp_id)}"

    async def load(self, control: str, setup: dict[str, Any]) -> None:
        """Loads a company."""
        async with self._session.post(
            f"{control}/control/corps", data=msgspec.json.encode(setup), headers={"Content-Type": "application/json"}
        ) as response:
            if response.status >= 300:
                raise CompanyRefused(status=response.status)

    async def _get(self, path: str) -> Any:
        async with self._session.get(self._corp + path) as response:
            return msgspec.json.decode(await response.read())

    async def held(self, userid: str, customer: str) -> set[str]:
        """Names ("group/tag") WeCom holds on one follow."""
        found = await self._get(f"/follows/{quote(userid)}/{quote(customer)}")
        return set(found["tags"]) if "tags" in found else set(found.get("names", ()))

    async def marks(self, since: int) -> list[dict[str, Any]]:
        """`mark_tag` calls after a moment of the simulator's monotonic clock."""
        return list((await self._get(f"/calls?since={since}&api=mark_tag"))["calls"])

    async def moment(self) -> int:
        """The moment of the last call of any kind."""
        calls = (await self._get("/calls"))["calls"]
        return int(calls[-1]["at"]) if calls else 0

    async def library(self) -> dict[str, list[str]]:
        """Tag names by group."""
        groups = (await self._get("/tags"))["tag_group"]
        return {group["group_name"]: [tag["name"] for tag in group["tag"]] for group in groups}

    async def worst_window(self) -> tuple[int, int]:
        """The most calls in any rolling minute, and how many in all."""
        found = await self._get("/window?seconds=60")
        return int(found["worst"]), int(found["calls"])


def seconds_since(start: float) -> str:
    """Elapsed time for a line."""
    return f"{time.monotonic() - start:.1f} s"
