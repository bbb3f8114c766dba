"""What a reading of everybody has shown, page by page; plans of the counting triggers that do not grow with the tables."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tagwarden.kernel.migrations import run_sql_files

ID = "2026-11-30T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "large readings"


async def forwards() -> MigrationManager:
    """Adds a table and replaces three functions; no row and no column changes."""
    manager = MigrationManager(migration_id=ID, app_name="tagwarden", description=DESCRIPTION)

    async def run() -> None:
        await run_sql_files("0016_large_readings.sql")

    manager.add_raw(run)
    return manager
