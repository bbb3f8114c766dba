"""`db upgrade`: one history, run by the owner role, locked and in one transaction.

Piccolo's own runner takes no lock and commits each step alone, so two processes that start together fail. Here the
whole upgrade is one transaction under an advisory lock; a crash leaves the previous version. Rights of the
application's role are granted anew each time, because a new table starts with none.
"""

from __future__ import annotations

import contextlib
import io
import os

from piccolo.apps.migrations.commands.forwards import ForwardsMigrationManager
from piccolo.apps.migrations.tables import Migration
from piccolo.conf.apps import AppConfig

from tagwarden.kernel import db
from tagwarden.kernel.errors import Unavailable
from tagwarden.kernel.resources import folder

APP_NAME = "tagwarden"
UPGRADE_LOCK = 0x7461_6777
INSERT_ONLY = ("approval_effect", "approval_signature", "policy_revision", "policy_grant")
READ_ONLY = ("audit_line", "audit_head", "migration", "tag_count", "tag_owner_count", "tag_count_delta")
UPDATE_ONLY = ("corp", "corp_epoch")
OWNERS_FUNCTIONS = (
    "close_command(text, bytea[], boolean)",
    "consume_effect(text, text)",
    "carries(text, uuid, uuid, uuid)",
    "applied_here(text, uuid)",
    "in_setup(text)",
    "kind_of_group(text, uuid)",
    "stands_in(text, text, text)",
    "is_recovering()",
    "fold_tag_counts(text, integer)",
)
DELETABLE = (
    "idempotency",
    "refusal_tally",
    "department",
    "employee_department",
    "employee_role",
    "issuer_right",
    "process_heartbeat",
    "wecom_token",
    "wecom_callback",
    "wecom_refresh",
    "follow_label",
    "reading_page",
)


class UpgradeFailed(Unavailable):
    code = "upgrade_failed"
    zh = "数据库升级失败：{reason}"
    en = "The database upgrade failed: {reason}"


async def run_sql_files(*names: str) -> None:
    """Executes files of `migrations/sql/` inside the upgrade's transaction; called by the steps themselves."""
    for name in names:
        await db.execute_script((folder("migrations") / "sql" / name).read_text(encoding="utf-8"))


def _app_config() -> AppConfig:
    return AppConfig(app_name=APP_NAME, migrations_folder_path=str(folder("migrations")), table_classes=[])


async def upgrade(application_role: str) -> list[str]:
    """Runs what has not run, as the owner role on the open engine; returns the ids of the steps it ran."""
    os.environ.setdefault("PICCOLO_CONF", "tagwarden.kernel.piccolo_conf")
    Migration._meta.db = db.DB
    async with db.transaction():
        await db.fetch("select pg_advisory_xact_lock($1)", UPGRADE_LOCK)
        await Migration.create_table(if_not_exists=True).run()  # type: ignore[no-untyped-call]
        before = set(await _ran())
        talk = io.StringIO()
        with contextlib.redirect_stdout(talk):
            result = await ForwardsMigrationManager(app_name=APP_NAME).run_migrations(_app_config())
        if not result.success:
            raise UpgradeFailed(reason=result.message or "unknown")
        await _grant(application_role)
        return sorted(set(await _ran()) - before)


async def pending() -> list[str]:
    """The ids of steps that this code has and the database has not."""
    manager = ForwardsMigrationManager(app_name=APP_NAME)
    have = manager.get_migration_ids(manager.get_migration_modules(str(folder("migrations"))))
    if await db.fetch_value("select to_regclass('public.migration')::text") is None:
        return sorted(have)
    return sorted(set(have) - set(await _ran()))


async def _ran() -> list[str]:
    rows = await db.fetch("select name from migration where app_name = $1 order by name", APP_NAME)
    return [row["name"] for row in rows]


async def _grant(role: str) -> None:
    quoted = '"' + role.replace('"', '""') + '"'
    script = [
        f"grant usage on schema public to {quoted}",
        f"revoke all on all tables in schema public from {quoted}",
        f"revoke execute on function {', '.join(OWNERS_FUNCTIONS)} from public",
        f"grant select on all tables in schema public to {quoted}",
        f"grant usage, select on all sequences in schema public to {quoted}",
        f"grant execute on function close_command(text, bytea[], boolean) to {quoted}",
        f"grant execute on function fold_tag_counts(text, integer) to {quoted}",
    ]
    tables = [
        row["name"]
        for row in await db.fetch(
            "select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname = 'public' and c.relkind = 'r' order by 1"
        )
    ]
    for table in tables:
        if table in READ_ONLY:
            continue
        rights = "insert" if table in INSERT_ONLY else "update" if table in UPDATE_ONLY else "insert, update"
        if table in DELETABLE or table.startswith("pgqueuer"):
            rights += ", delete"
        script.append(f'grant {rights} on "{table}" to {quoted}')
    await db.execute_script(";\n".join(script))
