"""Pause of sending, turns of departments, the library's groups on their way out, approval cards, credential checks."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tagwarden.kernel.migrations import run_sql_files

ID = "2026-11-29T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "outbound and cards"


async def forwards() -> MigrationManager:
    """Adds only; rows of the previous version stay valid."""
    manager = MigrationManager(migration_id=ID, app_name="tagwarden", description=DESCRIPTION)

    async def run() -> None:
        await run_sql_files("0014_outbound_and_cards.sql")

    manager.add_raw(run)
    return manager
