"""A long chain, made once: nothing of it may have to stand in memory."""

from __future__ import annotations

import asyncpg
import pytest

from support.company import Companies, Company

LONG = 50_000
AT_ONCE = 5_000


@pytest.fixture(scope="session")
async def long_company(companies: Companies) -> Company:
    """A company whose chain has `LONG` lines, most of them written by SQL as the owner, through `close_command`."""
    company = await companies.make(customers=(("ann", "c1", ()),))
    await company.change("ann", "c1", ["activity/hot"])
    async with companies.as_owner():
        await _lengthen(company.corp_id, LONG)
    return company


async def _lengthen(corp_id: str, length: int) -> None:
    from tagwarden.kernel import db

    assert isinstance(db.DB.pool, asyncpg.Pool)
    seq = await db.DB.pool.fetchval("select seq from audit_head where corp_id = $1", corp_id)
    while seq < length:
        seq = await db.DB.pool.fetchval(
            'select close_command($1, array_agg(convert_to(format(\'{"action":"tags.changed","actor":{"issuer":"i",'
            '"userid":"ann"},"at":"2026-03-04T05:06:07.000089Z","corp_id":"%s","decision":{"epoch":3,'
            '"revision":2,"row":null},"detail":{"add":["%s"],"remove":[]},"object":"follow:%s",'
            '"request_id":"","v":1}\', $1::text, gen_random_uuid(), number), \'utf8\')), false)'
            " from generate_series(1, $2::integer) number",
            corp_id,
            min(AT_ONCE, length - seq),
        )
