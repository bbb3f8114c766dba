"""`tables.py` of every room says what the migrated database says, and what is declared governed is watched there."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from piccolo.table import Table

import tagwarden

ROOMS = tuple(sorted(file.parent.name for file in Path(tagwarden.__file__).parent.glob("*/tables.py")))
# Written and read by the guards alone.
NOT_OURS_TO_READ = {("approval", "applied_xid"), ("policy_revision", "born_xid"), ("audit_head", "closed_xid")}


def tables_of(room: str) -> list[type[Table]]:
    module = import_module(f"tagwarden.{room}.tables")
    return [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, Table) and one is not Table]


@pytest.mark.parametrize("room", ROOMS)
async def test_columns_are_those_of_the_database(room: str, owner_sql: Any) -> None:
    for table in tables_of(room):
        name = table._meta.tablename
        rows = await owner_sql.fetch(
            "select column_name from information_schema.columns where table_schema = 'public' and table_name = $1", name
        )
        there = {row["column_name"] for row in rows if (name, row["column_name"]) not in NOT_OURS_TO_READ}
        assert {column._meta.db_column_name for column in table._meta.columns} == there, name


async def test_every_table_of_the_database_is_declared_in_one_room(owner_sql: Any) -> None:
    rows = await owner_sql.fetch("select tablename from pg_tables where schemaname = 'public' and tablename not like 'pgqueuer%'")
    declared = [table._meta.tablename for room in ROOMS for table in tables_of(room)]
    assert sorted(declared) == sorted({row["tablename"] for row in rows} - {"migration"})


@pytest.mark.parametrize("room", ROOMS)
async def test_governed_tables_are_watched_and_no_others(room: str, owner_sql: Any) -> None:
    governed = {table._meta.tablename for table in getattr(import_module(f"tagwarden.{room}.tables"), "GOVERNED", ())}
    rows: list[asyncpg.Record] = await owner_sql.fetch(
        "select distinct c.relname from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_proc p on p.oid = t.tgfoid"
        " where p.proname in ('mark_governed', 'mark_epochal')"
    )
    watched = {row["relname"] for row in rows} & {table._meta.tablename for table in tables_of(room)}
    assert watched == governed
