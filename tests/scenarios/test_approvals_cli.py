"""`tagwarden approvals` beside a running service: what one does, the other sees; the same refusals, as exit codes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import jwt
import pytest

from support.company import ISSUER, Companies, Company
from support.protected import machine_token
from support.servers import as_operator, tried
from support.service import SECOND_KEY, TOKEN_KEY, Service, Web, token_for
from tagwarden.kernel.embedded import EmbeddedUrls


@dataclass
class Desk:
    """A company with two requests, and the command line of anybody."""

    company: Company
    web: Web
    env: dict[str, str]
    first: str
    second: str

    async def run(self, userid: str, *words: str, token: str | None = None) -> tuple[int, str]:
        """`tagwarden approvals …` with somebody's token in the environment."""
        given = token_for(self.company.corp_id, userid) if token is None else token
        return await tried({**self.env, "TAGWARDEN_TOKEN": given}, "approvals", *words)

    async def json(self, userid: str, *words: str) -> Any:
        """A read that must succeed."""
        code, said = await self.run(userid, *words, "--json")
        assert code == 0, said
        return json.loads(said)

    async def box(self, userid: str, box: str) -> list[str]:
        """Ids in a box, newest first."""
        return [one["id"] for one in await self.json(userid, "list", "--box", box)]

    async def state(self, approval_id: str) -> Any:
        """As it stands over HTTP."""
        return (await self.web.get("admin", f"/v1/approvals/{approval_id}")).json()["approval"]["state"]


@pytest.fixture(scope="module")
async def company(companies: Companies) -> Company:
    return await companies.make()


@pytest.fixture(scope="module")
async def desk(company: Company, service: Service, database: EmbeddedUrls) -> Desk:
    first = str((await company.change("ann", "c1", ["value/high"], reason="她升级了")).approval_id)
    second = str((await company.change("bob", "c2", ["value/low"], reason="小客户")).approval_id)
    return Desk(company, service.web(company), as_operator(database), first, second)


async def test_boxes_are_those_of_the_service(desk: Desk) -> None:
    both = [desk.second, desk.first]
    expected = {("east", "inbox"): both, ("ann", "mine"): [desk.first], ("hq", "inbox"): [], ("auditor", "all"): both}
    for (userid, box), ids in expected.items():
        assert await desk.box(userid, box) == ids, (userid, box)
        items = (await desk.web.get(userid, "/v1/approvals", box=box)).json()["items"]
        assert [one["id"] for one in items] == ids
    code, said = await desk.run("east", "list")
    assert code == 0
    assert [line.split()[0] for line in said.splitlines()] == both
    assert "她升级了" in said
    code, said = await desk.run("hq", "list")
    assert (code, said.strip()) == (0, "没有")


async def test_one_request_is_shown_as_over_http(desk: Desk) -> None:
    shown = await desk.json("east", "show", desk.first)
    assert shown == (await desk.web.get("east", f"/v1/approvals/{desk.first}")).json()
    code, said = await desk.run("east", "show", desk.first)
    assert (code, "待一级审批" in said, "ann → c1" in said) == (0, True, True)
    for approval_id in (desk.first, str(uuid4())):
        code, said = await desk.run("dan", "show", approval_id)
        assert (code, "[approval_unknown]" in said) == (1, True), "not his, or not there: the same"


async def test_deciding(desk: Desk) -> None:
    for userid, words, code in (
        ("hq", ("approve",), "not_your_turn"),
        ("ann", ("approve",), "not_a_signer"),
        ("east", ("reject",), "comment_required"),
        ("east", ("approve", "--etag", '"gone"'), "etag_outdated"),
    ):
        exit_code, said = await desk.run(userid, "decide", desk.first, *words)
        assert (exit_code, "Traceback" in said) == (1, False), said
        assert f"[{code}]" in said, said
    code, said = await desk.run("east", "decide", desk.first, "approve", "--dry-run")
    assert (code, await desk.state(desk.first)) == (0, "pending_level1"), said
    assert (await desk.run("east", "decide", desk.first, "approve", "--comment", "好"))[0] == 0
    assert await desk.state(desk.first) == "pending_level2"
    decided = await desk.json("hq", "decide", desk.first, "approve")
    assert decided["approval"]["state"] == "applied"
    assert [(one["signer"], one["comment"]) for one in decided["signatures"]] == [("east", "好"), ("hq", "")]
    assert await desk.company.carried("ann", "c1") == {"value/high"}
    code, said = await desk.run("hq", "decide", desk.first, "approve")
    assert (code, "[approval_closed]" in said) == (1, True), said


async def test_a_decision_that_comes_too_late_fails(desk: Desk, owner_sql: asyncpg.Connection) -> None:
    """What moved, or ran out of time, is shown as it stands; a script is told that nothing was decided."""
    one, other = [str((await desk.company.change("cat", "c3", [tag])).approval_id) for tag in ("value/high", "value/low")]
    for userid in ("east", "hq"):
        assert (await desk.run(userid, "decide", one, "approve"))[0] == 0
    late = str((await desk.company.change("cat", "c3", ["value/mid"])).approval_id)
    await owner_sql.execute("update approval set expires_at = now() where id = $1", UUID(late))
    for asked, verdict, state in ((other, "approve", "已失效"), (late, "reject", "已过期")):
        code, said = await desk.run("east", "decide", asked, verdict, "--comment", "好")
        assert (code, state in said, "Traceback" in said) == (1, True, False), said


async def test_refusing_and_taking_back(desk: Desk) -> None:
    refused = await desk.json("east", "decide", desk.second, "reject", "--comment", "再等等")
    assert refused["approval"]["state"] == "rejected"
    third = str((await desk.company.change("bob", "c2", ["value/mid"])).approval_id)
    code, said = await desk.run("ann", "withdraw", third)
    assert (code, await desk.state(third)) == (1, "pending_level1"), said
    assert (await desk.run("bob", "withdraw", third, "--dry-run"))[0] == 0
    assert await desk.state(third) == "pending_level1", "a dry run takes nothing back"
    assert (await desk.run("bob", "withdraw", third))[0] == 0
    assert await desk.state(third) == "withdrawn"
    assert await desk.company.carried("bob", "c2") == set()


async def test_tokens_that_say_nothing(desk: Desk) -> None:
    corp = desk.company.corp_id
    claims = jwt.decode(token_for(corp, "east"), options={"verify_signature": False})
    bad = {
        "none": "",
        "garbage": "garbage",
        "another key": jwt.encode(claims, SECOND_KEY, "HS256"),
        "run out": jwt.encode({**claims, "exp": claims["iat"] - 10, "iat": claims["iat"] - 20}, TOKEN_KEY, "HS256"),
        "another corp": token_for("nowhere", "east"),
        "nobody": token_for(corp, "ghost"),
        "a machine that is none": machine_token(corp, "east", "ann"),
        "a machine nobody knows": machine_token(corp, "east", "ghost"),
    }
    for name, token in bad.items():
        code, said = await desk.run("", "list", token=token)
        assert (code, "Traceback" in said, "eyJ" in said) == (1, False, False), (name, said)
    assert claims["iss"] == ISSUER


async def test_usage(desk: Desk) -> None:
    for words in (("decide", "no-id", "approve"), ("decide", desk.first, "maybe"), ("list", "--box", "none"), ("show",)):
        assert (await desk.run("east", *words))[0] == 2, words


@pytest.mark.parametrize("many", [205])
async def test_a_long_box_is_listed_to_its_end(companies: Companies, service: Service, database: EmbeddedUrls, many: int) -> None:
    company = await companies.make(customers=[("ann", f"c{number}", ()) for number in range(many)])
    for number in range(many):
        await company.change("ann", f"c{number}", ["value/high"])
    desk = Desk(company, service.web(company), as_operator(database), "", "")
    assert len(await desk.box("ann", "mine")) == many
