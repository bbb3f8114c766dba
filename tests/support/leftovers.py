"""What tests leave undone on the database they share, and a worker of a later test would take up."""

from __future__ import annotations

from tagwarden.kernel import db


async def set_aside() -> None:
    """Nothing of any company waits for a worker after this; for the beginning of a test that starts one."""
    for table in ("follow_sync", "library_sync", "library_group_sync", "card_draw"):
        await db.execute(f"update {table} set dirty = false where dirty")
    await db.execute("update approval_card set state = 'given_up' where state in ('waiting', 'closing')")
    await db.execute("update card_click set handled_at = now() where handled_at is null")
    await db.execute("update wecom_callback set processed_at = now() where processed_at is null")
    await db.execute("update sync_run set state = 'failed' where state in ('queued', 'running')")
    for table in ("wecom_refresh", "pgqueuer"):
        await db.execute(f"delete from {table}")
