"""A box costs what it shows, not what there is: many requests of others lie beside a person's own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from support.company import PEOPLE, Companies, Company
from tagwarden.approvals import box_rows, reading
from tagwarden.approvals.reading import Box
from tagwarden.kernel import clock, db
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.policy import service as policy

from . import boxes

OTHERS = 40_000
PAGES = 1_500
"""Of 8 KB, read or found in memory; the requests of others fill some 4,000."""
FILL = """
insert into approval (corp_id, id, kind, state, payload, fingerprint, content_hash, requester, requester_person, about_userid,
                      level1, level2, barred, created_at, updated_at, expires_at)
select $1, gen_random_uuid(), 'tag_change', 'applied', '{}', '', '', 'dan', 'dan', 'dan', array['south'], array['hq', 'boss'],
       '{}', now(), now(), now() from generate_series(1, $2)"""

ELSEWHERE = FILL.replace("array['south']", "array['east']").replace("'{}', now()", "array['ann'], now()")
"""The same in another company, whose people have the userids of this one's."""


@pytest.fixture(scope="module")
async def crowded(companies: Companies, database: EmbeddedUrls) -> AsyncIterator[Company]:
    """ann asked three times and east signed once; the south asked for all the others, long ago."""
    company = await companies.make(people={**PEOPLE, "plain": (1, False, ("manager",)), "overseer": (1, False, ("auditor",))})
    other = await companies.make(customers=())
    for tag in ("value/high", "value/mid", "value/low"):
        answer = await company.change("ann", "c1", [tag])
    await company.sign("east", answer.approval_id)
    owner = await asyncpg.connect(database.owner)
    async with owner.transaction():
        await owner.execute("alter table approval disable trigger user")
        await owner.execute(FILL, company.corp_id, OTHERS)
        await owner.execute(ELSEWHERE, other.corp_id, OTHERS)
        await owner.execute("alter table approval enable trigger user")
    await owner.execute("vacuum analyze approval")
    yield company
    await owner.close()


async def _plan(sql: str, *args: Any) -> dict[str, Any]:
    [row] = await db.fetch(f"explain (analyze, buffers, format json) {sql}", *args)
    plan: dict[str, Any] = json.loads(row["QUERY PLAN"])[0]["Plan"]
    return plan


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in _nodes(child))]


@pytest.mark.parametrize("userid", ["ann", "east", "plain", "south"])
async def test_one_query_reads_little(crowded: Company, userid: str) -> None:
    picture, now = await policy.current(crowded.corp_id), clock.now()
    sight = reading.sight_of(picture, await reading.reader(picture, userid, now))
    assert sight is not None
    args = (crowded.corp_id, box_rows.LAST, 200, sight.userid, sight.signs, list(sight.people), list(sight.kinds))
    plan = await _plan(box_rows._IN_SIGHT, *args)
    assert not [node for node in _nodes(plan) if node["Node Type"] == "Seq Scan" and node.get("Relation Name") == "approval"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < PAGES, plan


@pytest.mark.parametrize(
    ("userid", "box"), [(userid, box) for userid in ("ann", "east", "hq", "overseer", "plain") for box in Box]
)
async def test_a_page_takes_few_queries(crowded: Company, monkeypatch: pytest.MonkeyPatch, userid: str, box: Box) -> None:
    picture, now = await policy.current(crowded.corp_id), clock.now()
    signer, asked, fetch = await reading.reader(picture, userid, now), list[str](), db.fetch

    async def counted(sql: str, *args: Any) -> list[db.Row]:
        asked.append(sql)
        return await fetch(sql, *args)

    monkeypatch.setattr(db, "fetch", counted)
    found, _ = await reading.page(picture, signer, box, before=None, limit=50, now=now)
    assert len(asked) <= 3, asked
    monkeypatch.undo()
    if box is Box.ALL:
        assert len(found) == {"ann": 3, "east": 3, "hq": 50, "overseer": 50, "plain": 0}[userid]


async def test_every_box_is_exact(companies: Companies) -> None:
    """The same rules on a company small enough to ask one by one; the walks ask it of theirs too."""
    company = await companies.make()
    for tag in ("value/high", "value/mid"):
        answer = await company.change("ann", "c1", [tag])
    await company.sign("east", answer.approval_id)
    await boxes.require_exact(company, PEOPLE)
