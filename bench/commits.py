"""What the machine itself can commit: one-row inserts on bare connections, beside which figures of writing are read."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import asyncpg  # type: ignore[import-untyped,unused-ignore]

from bench.report import percentile

TABLE = "create table if not exists bare_commit (id bigint generated always as identity primary key, body text not null)"


@dataclass(frozen=True, slots=True)
class Commits:
    """Commits a second, and milliseconds of one."""

    per_second: float
    p50: float
    p99: float

    def __str__(self) -> str:
        return f"{self.per_second:.0f}/s (p50 {self.p50:.2f}, p99 {self.p99:.2f} ms)"


async def bare_commits(owner_url: str, connections: int, seconds: float) -> Commits:
    """So many connections, each committing one row after the other."""
    pool = await asyncpg.create_pool(owner_url, min_size=connections, max_size=connections)
    took: list[float] = []
    try:
        await pool.execute(TABLE)
        until = time.perf_counter() + seconds
        await asyncio.gather(*(_commit_until(pool, until, took) for _ in range(connections)))
    finally:
        await pool.close()
    return Commits(len(took) / seconds, percentile(took, 0.5) * 1000, percentile(took, 0.99) * 1000)


async def _commit_until(pool: asyncpg.Pool, until: float, took: list[float]) -> None:
    async with pool.acquire() as connection:
        while (since := time.perf_counter()) < until:
            await connection.execute("insert into bare_commit (body) values ($1)", "one row, one commit")
            took.append(time.perf_counter() - since)
