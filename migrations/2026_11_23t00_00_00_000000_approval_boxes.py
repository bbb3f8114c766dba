"""Indexes by which a person's requests are found, however many there are."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tagwarden.kernel.migrations import run_sql_files

ID = "2026-11-23T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "approval boxes"


async def forwards() -> MigrationManager:
    """Adds indexes alone."""
    manager = MigrationManager(migration_id=ID, app_name="tagwarden", description=DESCRIPTION)

    async def run() -> None:
        await run_sql_files("0008_approval_boxes.sql")

    manager.add_raw(run)
    return manager
