"""What WeCom reports is worked on: re-reads, renamed accounts, drift with its brake, nightly slices, labels."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tagwarden.kernel.migrations import run_sql_files

ID = "2026-11-28T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "inbound and drift"


async def forwards() -> MigrationManager:
    """Additive; rows of the previous version stay valid."""
    manager = MigrationManager(migration_id=ID, app_name="tagwarden", description=DESCRIPTION)

    async def run() -> None:
        await run_sql_files("0013_inbound_and_drift.sql")

    manager.add_raw(run)
    return manager
