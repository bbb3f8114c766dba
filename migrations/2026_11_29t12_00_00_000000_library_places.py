"""Places of the library in both directions; groups that this app made before anybody noted it are looked for."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tagwarden.kernel.migrations import run_sql_files

ID = "2026-11-29T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "library places"


async def forwards() -> MigrationManager:
    """Adds only; rows of the previous version stay valid."""
    manager = MigrationManager(migration_id=ID, app_name="tagwarden", description=DESCRIPTION)

    async def run() -> None:
        await run_sql_files("0015_library_places.sql")

    manager.add_raw(run)
    return manager
