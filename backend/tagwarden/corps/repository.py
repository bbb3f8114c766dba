"""Which corps there are, and which processes live."""

from __future__ import annotations

from uuid import UUID

from tagwarden.kernel import db


async def corp_ids() -> list[str]:
    """Every corp of this installation; what is done for each carries its id."""
    return [row["corp_id"] for row in await db.fetch("select corp_id from corp order by corp_id")]


async def beat(process_id: UUID, role: str, host: str, pid: int, version: str) -> None:
    """Notes that a process lives."""
    await db.execute(
        "insert into process_heartbeat (id, role, host, pid, version) values ($1, $2, $3, $4, $5)"
        " on conflict (id) do update set seen_at = now()",
        process_id,
        role,
        host,
        pid,
        version,
    )
