"""Delegation, escalation, notifications, the guard of every line at commit, and recovery by the operator."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tagwarden.kernel.migrations import run_sql_files

ID = "2026-11-22T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "approvals complete"


async def forwards() -> MigrationManager:
    """Adds to the foundation; rows of the previous version stay valid."""
    manager = MigrationManager(migration_id=ID, app_name="tagwarden", description=DESCRIPTION)

    async def run() -> None:
        await run_sql_files("0007_approvals_complete.sql")

    manager.add_raw(run)
    return manager
