"""Moving and merging lock as every command does: follows, then tags, then groups. So nobody waits in a circle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from corps.waiting import until_somebody_waits
from support.company import Company
from tagwarden.assignments import library
from tagwarden.catalog import service as catalog
from tagwarden.kernel.ids import new_id

LOCK_FOLLOW = "select 1 from follow where id = $1 for update"
LOCK_TAG = "select 1 from tag where id = $1 for share nowait"
LOCK_GROUP = "select 1 from tag_group where id = $1 for share nowait"
Moving = Callable[[Company], Coroutine[Any, Any, Any]]


async def _merge(company: Company) -> Any:
    asked, keen = company.tags["advice/asked"], company.tags["advice/keen"]
    return await library.merge_tag(company.as_("admin"), asked, keen, "", "*")


async def _move(company: Company) -> Any:
    return await library.move_tag(company.as_("admin"), company.tags["advice/asked"], company.groups["activity"], "", "*")


@pytest.mark.parametrize("moving", [_merge, _move])
async def test_who_waits_for_a_follow_holds_no_tag(company: Company, owner_sql: asyncpg.Connection, moving: Moving) -> None:
    await company.change("ann", "c1", ["advice/asked"])
    async with owner_sql.transaction():
        await owner_sql.execute(LOCK_FOLLOW, await company.follow_id("ann", "c1"))
        task = asyncio.create_task(moving(company))
        await until_somebody_waits(owner_sql)
        for tag in ("advice/asked", "advice/keen"):
            await owner_sql.execute(LOCK_TAG, company.tags[tag])
        for group in ("advice", "activity"):
            await owner_sql.execute(LOCK_GROUP, company.groups[group])
    assert (await task).moved == 1


async def test_so_does_the_last_signature_of_a_held_merge(company: Company, owner_sql: asyncpg.Connection) -> None:
    answer = await company.change("ann", "c1", ["value/high"])
    for signer in ("east", "hq"):
        await company.sign(signer, answer.approval_id)
    high, low = company.tags["value/high"], company.tags["value/low"]
    asked = await library.merge_tag(company.as_("admin"), high, low, "", "*")
    await company.sign("boss", asked.approval_id)
    async with owner_sql.transaction():
        await owner_sql.execute(LOCK_FOLLOW, await company.follow_id("ann", "c1"))
        task = asyncio.create_task(company.sign("hq", asked.approval_id))
        await until_somebody_waits(owner_sql)
        for tag in (high, low):
            await owner_sql.execute(LOCK_TAG, tag)
    assert (await task).state == "applied"
    assert await company.carried("ann", "c1") == {"value/low"}


async def test_a_mark_that_came_meanwhile_is_moved_too(company: Company, owner_sql: asyncpg.Connection) -> None:
    """Somebody gives the tag to one more while the merge waits for it: the merge begins again with that follow."""
    await company.change("ann", "c1", ["advice/asked"])
    source, follow_id = company.tags["advice/asked"], await company.follow_id("bob", "c2")
    async with owner_sql.transaction():
        await owner_sql.execute(LOCK_TAG, source)
        task = asyncio.create_task(_merge(company))
        await until_somebody_waits(owner_sql)
        await _given(owner_sql, company.corp_id, follow_id, source)
    assert (await task).moved == 2
    for owner, customer in (("ann", "c1"), ("bob", "c2")):
        assert await company.carried(owner, customer) == {"advice/keen"}


async def _given(sql: asyncpg.Connection, corp_id: str, follow_id: UUID, tag_id: UUID) -> None:
    await sql.execute(
        "insert into assignment (corp_id, id, follow_id, tag_id, source, actor, since)"
        " values ($1, $2, $3, $4, 'manual', '', now())",
        *(corp_id, new_id(), follow_id, tag_id),
    )


async def test_a_name_taken_while_a_held_rename_is_applied_is_said(company: Company, owner_sql: asyncpg.Connection) -> None:
    """A new tag of that name waits for the signature, or the signature for the tag; neither meets the index."""
    asked = await catalog.change_tag(company.as_("admin"), company.tags["value/high"], catalog.TagChange(name="best"), "*")
    await company.sign("boss", asked.approval_id)
    async with owner_sql.transaction():
        await owner_sql.execute("select 1 from tag_group where id = $1 for update", company.groups["value"])
        making = asyncio.create_task(catalog.create_tag(company.as_("admin"), company.groups["value"], catalog.TagDraft("best")))
        await until_somebody_waits(owner_sql)
        signing = asyncio.create_task(company.sign("hq", asked.approval_id))
        await asyncio.sleep(0.2)
    await making
    found = await signing
    assert (found.state, found.closed_reason) == ("stale", "name_taken")
