"""Drafts of the matrix, from which a revision is published."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tagwarden.kernel.migrations import run_sql_files

ID = "2026-11-25T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "policy drafts"


async def forwards() -> MigrationManager:
    """Adds one table; revisions of the previous version stay as they are."""
    manager = MigrationManager(migration_id=ID, app_name="tagwarden", description=DESCRIPTION)

    async def run() -> None:
        await run_sql_files("0010_policy_drafts.sql")

    manager.add_raw(run)
    return manager
