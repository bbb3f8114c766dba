"""Who may see a request, found by company and person, so that nobody pays for the requests of other companies."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tagwarden.kernel.migrations import run_sql_files

ID = "2026-11-30T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "boxes by corp"


async def forwards() -> MigrationManager:
    """Adds a function and two indexes, which take the place of two others; no row and no column changes."""
    manager = MigrationManager(migration_id=ID, app_name="tagwarden", description=DESCRIPTION)

    async def run() -> None:
        await run_sql_files("0017_boxes_by_corp.sql")

    manager.add_raw(run)
    return manager
