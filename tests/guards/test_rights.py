"""What the application's role holds at all: nothing is its own, and nothing that guards can be called or emptied by it."""

from __future__ import annotations

import asyncpg

from tagwarden.kernel.embedded.folder import APPLICATION_ROLE

OURS = "n.nspname = 'public' and not exists (select 1 from pg_depend d where d.objid = %s.oid and d.deptype = 'e')"


async def test_it_owns_nothing(owner_sql: asyncpg.Connection) -> None:
    for catalog, owner in (
        ("pg_class", "relowner"),
        ("pg_proc", "proowner"),
        ("pg_namespace", "nspowner"),
        ("pg_type", "typowner"),
    ):
        owned = await owner_sql.fetch(f"select 1 from {catalog} where {owner} = $1::text::regrole", APPLICATION_ROLE)
        assert owned == [], catalog


async def test_it_is_a_member_of_nothing_and_has_no_attribute(owner_sql: asyncpg.Connection) -> None:
    assert await owner_sql.fetch("select 1 from pg_auth_members where member = $1::text::regrole", APPLICATION_ROLE) == []
    role = await owner_sql.fetchrow("select * from pg_roles where rolname = $1", APPLICATION_ROLE)
    assert role is not None
    attributes = ("rolsuper", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls")
    assert [name for name in attributes if role[name]] == []


async def test_it_creates_nothing(owner_sql: asyncpg.Connection) -> None:
    for right in ("create", "temporary"):
        assert not await owner_sql.fetchval(
            "select has_database_privilege($1, current_database(), $2)", APPLICATION_ROLE, right
        ), right
    assert not await owner_sql.fetchval("select has_schema_privilege($1, 'public', 'create')", APPLICATION_ROLE)


async def test_it_empties_no_table_and_writes_none_that_is_ours_alone(owner_sql: asyncpg.Connection) -> None:
    rows = await owner_sql.fetch(
        "select relname as name, array_remove(array[case when has_table_privilege($1, c.oid, 'truncate') then 'truncate' end,"
        " case when has_table_privilege($1, c.oid, 'trigger') then 'trigger' end,"
        " case when has_table_privilege($1, c.oid, 'references') then 'references' end,"
        " case when has_table_privilege($1, c.oid, 'update') then 'update' end,"
        " case when has_table_privilege($1, c.oid, 'insert') then 'insert' end,"
        " case when has_table_privilege($1, c.oid, 'delete') then 'delete' end], null) as rights"
        " from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'public' and c.relkind = 'r'",
        APPLICATION_ROLE,
    )
    rights = {row["name"]: set(row["rights"]) for row in rows}
    assert [name for name, held in rights.items() if held & {"truncate", "trigger", "references"}] == []
    for name in ("audit_line", "audit_head", "migration", "tag_count", "tag_owner_count", "tag_count_delta"):
        assert rights[name] == set(), name
    for name in ("approval_effect", "approval_signature", "policy_revision", "policy_grant"):
        assert rights[name] == {"insert"}, name
    for name in ("corp", "corp_epoch"):
        assert rights[name] == {"update"}, name
    for name in ("approval", "assignment", "follow", "tag", "tag_group", "employee", "customer"):
        assert "delete" not in rights[name], name


async def test_functions_that_run_as_the_owner_are_pinned_and_shut(owner_sql: asyncpg.Connection) -> None:
    rows = await owner_sql.fetch(
        "select p.proname as name, p.proconfig as settings, p.prorettype = 'trigger'::regtype as is_trigger,"
        " has_function_privilege($1, p.oid, 'execute') as callable from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where p.prosecdef and " + OURS % "p",
        APPLICATION_ROLE,
    )
    assert len(rows) >= 14
    for row in rows:
        assert row["settings"] == ["search_path=pg_catalog, public, pg_temp"], row["name"]
    assert {row["name"] for row in rows if row["callable"] and not row["is_trigger"]} == {
        "close_command",
        "fold_tag_counts",
    }


async def test_every_guard_is_switched_on(owner_sql: asyncpg.Connection) -> None:
    off = await owner_sql.fetch("select tgname from pg_trigger where not tgisinternal and tgenabled <> 'O'")
    assert off == []
    guarded = await owner_sql.fetch(
        "select distinct tgrelid::regclass::text as name from pg_trigger where not tgisinternal and tgtype & 2 = 2"
    )
    assert {row["name"] for row in guarded} >= {
        "approval",
        "approval_effect",
        "approval_signature",
        "assignment",
        "audit_line",
        "corp",
        "employee",
        "employee_role",
        "follow",
        "issuer_right",
        "policy_grant",
        "policy_revision",
        "tag",
        "tag_group",
    }
