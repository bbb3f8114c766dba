"""The demo's client: people of the sample company calling the service over HTTP, and a look into the simulated WeCom."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Sequence
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
    """One HTTP session for everybody; each call carries its own person's token.

    Where several processes serve, each call goes to the next address, as behind a balancer; the list is read at every
    call, so an address may leave it.
    """

    def __init__(self, session: aiohttp.ClientSession, addresses: Sequence[str], tokens: dict[str, str]) -> None:
        self._session = session
        self.addresses = addresses
        self._tokens = tokens
        self._calls = 0

    async def call(self, userid: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request as one person."""
        base = self.addresses[self._calls % len(self.addresses)]
        self._calls += 1
        sent = {"Authorization": f"Bearer {self._tokens[userid]}", "Accept-Language": "en", **headers}
        data = msgspec.json.encode(body) if body is not None else None
        if data is not None:
            sent["Content-Type"] = "application/json"
        async with self._session.request(method, base + path, data=data, headers=sent) as response:
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


CallbackKeys = tuple[str, str]


def callback_keys() -> CallbackKeys:
    """A Token and an EncodingAESKey as the console would show them."""
    letters = string.ascii_letters + string.digits
    token, key = ("".join(secrets.choice(letters) for _ in range(length)) for length in (16, 42))
    return token, key + secrets.choice("AEIMQUYcgkosw048")  # 43 characters are 32 bytes and two bits that must be 0


class Wecom:
    """What the simulated WeCom holds and heard, through its control API."""

    def __init__(self, session: aiohttp.ClientSession, base: str, corp_id: str, keys: CallbackKeys | None = None) -> None:
        """`keys`: Token and EncodingAESKey of the app `crm`, where WeCom is to call back."""
        self._session = session
        self.corp_id = corp_id
        self.keys = keys
        self._corp = f"{base}/control/corps/{quote(corp_id)}"

    async def load(self, control: str, setup: dict[str, Any]) -> None:
        """Loads a company."""
        async with self._session.post(
            f"{control}/control/corps", data=msgspec.json.encode(setup), headers={"Content-Type": "application/json"}
        ) as response:
            if response.status >= 300:
                raise CompanyRefused(status=response.status)

    async def call_back(self, base: str) -> bool:
        """Saves the service's callback address in WeCom's console, which keeps it only if it proves its keys."""
        if self.keys is None:
            return False
        url = f"{base}/callbacks/wecom/{quote(self.corp_id)}/crm"
        body = {"url": url, "token": self.keys[0], "aes_key": self.keys[1]}
        answer = await self._send("PUT", "/apps/crm/callback", body)
        return bool(answer.get("verified"))

    async def edit(self, kind: str, **edit: Any) -> int:
        """Somebody edits something inside WeCom itself; how many callbacks that causes."""
        return int((await self._send("POST", "/console", {"kind": kind, **edit}))["callbacks"])

    async def _get(self, path: str) -> Any:
        async with self._session.get(self._corp + path) as response:
            return msgspec.json.decode(await response.read())

    async def _send(self, method: str, path: str, body: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        async with self._session.request(method, self._corp + path, data=msgspec.json.encode(body), headers=headers) as response:
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

    async def open_cards(self, reason: str) -> dict[str, str]:
        """Who has an open card of the request with this reason on his screen: userid → task id."""
        found = (await self._get("/cards"))["cards"]
        return {
            userid: card["task_id"]
            for card in found
            if reason in card["body"]["template_card"]["main_title"].get("desc", "")
            for userid in card["receivers"]
            if userid not in card["closed_for"]
        }

    async def worst_window(self) -> tuple[int, int]:
        """The most calls in any rolling minute, and how many in all."""
        found = await self._get("/window?seconds=60")
        return int(found["worst"]), int(found["calls"])


def seconds_since(start: float) -> str:
    """Elapsed time for a line."""
    return f"{time.monotonic() - start:.1f} s"
