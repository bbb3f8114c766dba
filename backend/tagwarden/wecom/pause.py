"""Whether sending is paused: what changes WeCom's tags stays here, everything that only reads or tells goes on.

Looked at in the statement that records a call, so that after a pause nothing is recorded as sent any more; a call that was
recorded before it is under way and ends as it ends. Who may pause, and its audit line, are the sync room's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tagwarden.kernel import db

TAG_WRITES = frozenset(f"externalcontact/{name}" for name in ("mark_tag", "add_corp_tag", "edit_corp_tag", "del_corp_tag"))
"""What a pause holds back."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Who paused sending, since when and why."""

    reason: str
    actor: str
    since: datetime


async def read(corp_id: str) -> Pause | None:
    """The pause in force, or None."""
    row = await db.fetch_one("select reason, actor, since from wecom_pause where corp_id = $1 and paused", corp_id)
    return Pause(**row) if row else None


async def write(corp_id: str, paused: bool, reason: str, actor: str, now: datetime) -> None:
    """Pauses or resumes, in the caller's command."""
    await db.execute(
        "insert into wecom_pause (corp_id, paused, reason, actor, since) values ($1, $2, $3, $4, $5) on conflict (corp_id)"
        " do update set paused = excluded.paused, reason = excluded.reason, actor = excluded.actor, since = excluded.since",
        corp_id,
        paused,
        reason,
        actor,
        now,
    )
