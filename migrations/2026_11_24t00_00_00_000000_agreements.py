"""Collaboration as an agreement on record: one department may use a tag group on another's customers."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tagwarden.kernel.migrations import run_sql_files

ID = "2026-11-24T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "agreements"


async def forwards() -> MigrationManager:
    """Adds a table; rows of the previous version stay valid."""
    manager = MigrationManager(migration_id=ID, app_name="tagwarden", description=DESCRIPTION)

    async def run() -> None:
        await run_sql_files("0009_agreements.sql")

    manager.add_raw(run)
    return manager
