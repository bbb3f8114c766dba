"""`tagwarden tags` beside a running service: what one does, the other sees; dry runs keep nothing; refusals are exit codes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from support.company import Companies, Company
from support.servers import as_operator, tried
from support.service import Service, Web, token_for
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls


@dataclass
class Shelf:
    """A company and the command line of anybody in it."""

    company: Company
    web: Web
    env: dict[str, str]

    async def run(self, userid: str, *words: str) -> tuple[int, str]:
        """`tagwarden tags …` with somebody's token in the environment."""
        token = token_for(self.company.corp_id, userid)
        return await tried({**self.env, "TAGWARDEN_TOKEN": token}, "tags", *words)

    async def json(self, userid: str, *words: str) -> Any:
        """A command that must succeed."""
        code, said = await self.run(userid, *words, "--json")
        assert code == 0, said
        return json.loads(said)

    async def listed(self) -> Any:
        """The list over HTTP."""
        return (await self.web.get("admin", "/v1/tag-groups")).json()

    async def lines(self) -> int:
        """How many audit lines there are."""
        return int(await db.fetch_value("select seq from audit_head where corp_id = $1", self.company.corp_id))


@pytest.fixture(scope="module")
async def shelf(companies: Companies, service: Service, database: EmbeddedUrls) -> Shelf:
    company = await companies.make(customers=(("ann", "c1", ("advice/keen",)), ("bob", "c2", ("value/high",))))
    return Shelf(company, service.web(company), as_operator(database))


async def test_reading_is_as_over_http(shelf: Shelf) -> None:
    assert await shelf.json("admin", "list") == await shelf.listed()
    code, said = await shelf.run("admin", "list", "--kind", "value")
    assert (code, "1 处待确认" in said, "advice" in said, "/ 10000" in said) == (0, True, False, True), said
    assert [group["tags"] for group in (await shelf.json("admin", "groups", "list"))["items"]] == [[], [], []]
    shown = await shelf.json("ann", "show", "advice/keen")
    assert (shown["carried"], shown["id"]) == (1, str(shelf.company.tags["advice/keen"]))
    used = await shelf.json("auditor", "usage", shown["id"])
    assert (used["assignments"]["by_owner"], used["blocking"]) == ({"ann": 1}, ["assignments"])
    code, said = await shelf.run("auditor", "groups", "usage", "advice")
    assert (code, "不能删除：assignments" in said) == (0, True), said
    code, said = await shelf.run("ann", "show", "advice/nothing")
    assert (code, "[tag_unknown]" in said) == (1, True), said


async def test_a_dry_run_says_what_the_change_would_and_keeps_nothing(shelf: Shelf) -> None:
    before, lines = await shelf.listed(), await shelf.lines()
    for words, outcome in (
        (("create", "advice", "新标签"), "applied"),
        (("retire", "value/high"), "pending_approval"),
        (("merge", "advice/keen", "advice/cheap"), "applied"),
        (("groups", "change", "advice", "--kind", "value"), "pending_approval"),
    ):
        done = await shelf.json("admin", *words, "--dry-run")
        assert (done["outcome"], done["dry_run"]) == (outcome, True), words
        assert "approval_id" not in done, "a request that was rolled back has no id to look at"
        assert done.get("unconfirmed_marks", 1) == 1
    code, said = await shelf.run("admin", "move", "advice/keen", "activity", "--dry-run")
    assert (code, "未做任何更改" in said) == (0, True), said
    for userid, words, code in (
        ("admin", ("delete", "advice/keen"), "in_use"),
        ("admin", ("change", "advice/keen", "--name", "eager", "--etag", '"99"'), "etag_outdated"),
        ("ann", ("retire", "advice/asked"), "module_missing"),
    ):
        exit_code, said = await shelf.run(userid, *words, "--dry-run")
        assert (exit_code, f"[{code}]" in said) == (1, True), said
    assert await shelf.listed() == before
    assert await shelf.lines() == lines
    assert await db.fetch_value("select count(*) from approval where corp_id = $1", shelf.company.corp_id) == 0


async def test_changing(shelf: Shelf) -> None:
    more = ("--parent", "advice/cheap", "--ends-on", "2030-12-31", "--sort", "5")
    made = await shelf.json("admin", "create", "advice", "叶子", *more)
    leaf = await shelf.json("admin", "show", made["id"])
    assert (leaf["depth"], leaf["ends_on"], leaf["sort"], leaf["wecom"]["ours"]) == (2, "2030-12-31", 5, True)
    assert (await shelf.json("admin", "change", "advice/叶子", "--parent", "none", "--ends-on", "never"))["outcome"] == "applied"
    leaf = await shelf.json("admin", "show", "advice/叶子")
    assert (leaf["depth"], leaf["ends_on"]) == (1, None)
    await shelf.json("admin", "delete", "advice/叶子")
    moved = await shelf.json("admin", "merge", "advice/keen", "advice/cheap")
    assert (moved["outcome"], moved["follows"]) == ("applied", 1)
    assert await shelf.company.carried("ann", "c1") == {"advice/cheap"}
    await shelf.json("admin", "restore", "advice/keen")
    held = await shelf.json("admin", "change", "value/low", "--name", "lowest", "--reason", "plainer")
    asked = (await shelf.web.get("boss", f"/v1/approvals/{held['approval_id']}")).json()["approval"]
    assert (held["outcome"], asked["kind"], asked["reason"]) == ("pending_approval", "tag_edit", "plainer")
    group = await shelf.json("admin", "groups", "create", "季节", "--kind", "temporary", "--choice", "single")
    assert (await shelf.json("admin", "groups", "change", "季节", "--name", "节气", "--sort", "9"))["id"] == group["id"]
    listed = await shelf.listed()
    assert listed["items"][0]["name"] == "节气"
    assert "叶子" not in json.dumps(listed, ensure_ascii=False)


async def test_usage_errors_are_two(shelf: Shelf) -> None:
    for words in (("change", "advice/cheap", "--ends-on", "soon"), ("create", "advice", "x", "--ends-on", "never")):
        code, said = await shelf.run("admin", *words)
        assert (code, "Traceback" in said) == (2, False), said


async def test_whose_a_tag_is_and_making_it_anew(shelf: Shelf) -> None:
    claimed = "select claimed from library_sync where corp_id = $1 and tag_id = $2"
    tag_id = shelf.company.tags["advice/asked"]
    assert (await shelf.json("admin", "claim", "advice/asked", "--dry-run"))["outcome"] == "asking_wecom"
    assert await db.fetch_value(claimed, shelf.company.corp_id, tag_id) is None
    assert (await shelf.json("admin", "claim", "advice/asked"))["id"] == str(tag_id)
    assert await db.fetch_value(claimed, shelf.company.corp_id, tag_id) is True
    assert (await shelf.json("admin", "groups", "claim", "advice"))["outcome"] == "asking_wecom"
    await shelf.json("admin", "create", "advice", "自建")
    for userid, words, refusal in (
        ("admin", ("claim", "advice/自建"), "nothing_to_claim"),
        ("admin", ("remake", "advice/asked"), "tag_not_missing"),
        ("ann", ("groups", "claim", "advice"), "module_missing"),
    ):
        code, said = await shelf.run(userid, *words)
        assert (code, f"[{refusal}]" in said) == (1, True), said
