"""What a transaction leaves behind: its connection where it came from, and after a rehearsal nothing else."""

from __future__ import annotations

import asyncpg
import pytest

from support.company import Company
from support.engine import engine_on
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls

ROWS = "select count(*) from idempotency where corp_id = $1"
WRITE = (
    "insert into idempotency (corp_id, subject, route, key, body_hash, result, created_at)"
    " values ($1, '', '', '', '', '1', now())"
)


def idle(pool: asyncpg.Pool | None) -> bool:
    return pool is not None and pool.get_idle_size() == pool.get_size()


async def test_a_connection_goes_back_to_the_pool_it_came_from(database: EmbeddedUrls) -> None:
    async with engine_on(database.application):
        mine = db.DB.pool
        begun = db.transaction()
        await begun.__aenter__()
        async with engine_on(database.application):
            await begun.__aexit__(None, None, None)
            assert idle(db.DB.pool)
        assert idle(mine)


async def test_a_transaction_may_end_after_its_pool(database: EmbeddedUrls) -> None:
    async with engine_on(database.application):
        begun = db.transaction()
        await begun.__aenter__()
        assert db.DB.pool is not None
        db.DB.pool.terminate()
        with pytest.raises(db.DatabaseUnavailable):
            await begun.__aexit__(None, None, None)


async def test_a_rehearsal_keeps_nothing(company: Company) -> None:
    async with db.rehearsal():
        await db.execute(WRITE, company.corp_id)
        assert await db.fetch_value(ROWS, company.corp_id) == 1
    assert await db.fetch_value(ROWS, company.corp_id) == 0


async def test_a_rehearsal_meets_what_is_checked_at_commit(company: Company) -> None:
    """A governed row without its line: the database says so at the end of a rehearsal, as it would at the commit."""
    rename = "update tag set meaning = 'another' where corp_id = $1"
    for frame in (db.transaction, db.rehearsal):
        with pytest.raises(asyncpg.PostgresError) as refused:
            async with frame():
                await db.execute(rename, company.corp_id)
        assert (refused.value.sqlstate or "").startswith("TW"), frame
