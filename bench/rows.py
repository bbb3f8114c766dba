"""Rows that would take hours through the one write path: written by the owner role, guards aside, and checked at the end.

Only for figures that say so. What a trigger would have kept beside the rows (counts, audit lines) is not there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg  # type: ignore[import-untyped,unused-ignore]

from bench.ground import Ground

# Checked at once when they are put back, not row by row.
REFERENCES = """
select conrelid::regclass::text as "table", quote_ident(conname) as name, pg_get_constraintdef(oid) as definition
from pg_constraint where contype = 'f' and conrelid = any($1::text[]::regclass[])
"""


async def write_rows(ground: Ground, tables: Sequence[str], fill: Callable[[Any], Awaitable[None]]) -> None:
    """Runs `fill` on a connection of the owner role, in one transaction, with the triggers of these tables off; then gathers
    their statistics, as autovacuum would have by and by."""
    owner = await asyncpg.connect(ground.urls.owner)
    try:
        async with owner.transaction():
            for table in tables:
                await owner.execute(f"alter table {table} disable trigger user")
            references = await owner.fetch(REFERENCES, list(tables))
            for one in references:
                await owner.execute(f"alter table {one['table']} drop constraint {one['name']}")
            await owner.execute("set local work_mem = '256MB'")
            await owner.execute("set local maintenance_work_mem = '512MB'")
            await fill(owner)
            for one in references:
                await owner.execute(f"alter table {one['table']} add constraint {one['name']} {one['definition']}")
            for table in tables:
                await owner.execute(f"alter table {table} enable trigger user")
        for table in tables:
            await owner.execute(f"vacuum analyze {table}")
    finally:
        await owner.close()
