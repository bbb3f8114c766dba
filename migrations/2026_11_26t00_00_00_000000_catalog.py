"""Counts per tag, the tree guarded, what counts against WeCom's limits, and since when a group is of its kind."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tagwarden.kernel.migrations import run_sql_files

ID = "2026-11-26T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "catalog"


async def forwards() -> MigrationManager:
    """Adds columns and tables and counts what there is; rows of the previous version stay as they are."""
    manager = MigrationManager(migration_id=ID, app_name="tagwarden", description=DESCRIPTION)

    async def run() -> None:
        await run_sql_files("0011_catalog.sql")

    manager.add_raw(run)
    return manager
