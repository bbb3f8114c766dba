"""The first schema: every table, guard and index the house stands on."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tagwarden.kernel.migrations import run_sql_files

ID = "2026-11-21T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "foundation"


async def forwards() -> MigrationManager:
    """Runs the SQL files of this step in order, inside the upgrade's one transaction."""
    manager = MigrationManager(migration_id=ID, app_name="tagwarden", description=DESCRIPTION)

    async def run() -> None:
        await run_sql_files(
            "0001_corps_and_audit.sql",
            "0002_identity_and_policy.sql",
            "0003_customers_catalog_assignments.sql",
            "0004_approvals_and_guards.sql",
            "0005_wecom_and_sync.sql",
            "0006_jobs.sql",
        )

    manager.add_raw(run)
    return manager
