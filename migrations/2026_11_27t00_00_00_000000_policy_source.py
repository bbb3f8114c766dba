"""Where a corp's policy is written: in the console, or in files that are its truth."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tagwarden.kernel.migrations import run_sql_files

ID = "2026-11-27T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "policy source"


async def forwards() -> MigrationManager:
    """Adds a column; a corp of the previous version writes its policy in the console, as before."""
    manager = MigrationManager(migration_id=ID, app_name="tagwarden", description=DESCRIPTION)

    async def run() -> None:
        await run_sql_files("0012_policy_source.sql")

    manager.add_raw(run)
    return manager
