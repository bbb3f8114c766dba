"""Single statements, typed as the application's role against a live corp, and what the database says to each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from support.company import Companies
from tagwarden.kernel.embedded.folder import APPLICATION_ROLE
from tagwarden.kernel.ids import new_id

from .conftest import Fortress

MARK = (
    "insert into assignment (corp_id, id, follow_id, tag_id, source, actor, since{more})"
    " values ('{{corp}}', gen_random_uuid(), {values})"
)


def mark(follow: str, tag: str, source: str = "manual", more: str = "", values: str = "") -> str:
    """An insert of one mark; `more` and `values` add columns."""
    row = f"'{{follow_{follow}}}', '{{{tag}}}', '{source}', 'ann', now()" + (f", {values}" if values else "")
    return MARK.format(more=f", {more}" if more else "", values=row).replace("{{", "{").replace("}}", "}")


def carry(follow: str, tag: str, mark_id: str) -> str:
    """An insert of one mark that claims to be carried over."""
    return mark(follow, tag, "transfer", "carried_from", f"'{{{mark_id}}}'")


DENIED = "42501"
UNCOVERED = "TW050"

MARKS = {
    "by hand": (mark("cat_c3", "value_high"), UNCOVERED),
    "as an import once live": (mark("cat_c3", "value_high", "import"), UNCOVERED),
    "as an approval without one": (mark("cat_c3", "value_high", "approval"), UNCOVERED),
    "naming an old approval": (mark("cat_c3", "value_high", "approval", "approval_id", "'{approval_ann_c1_mid}'"), UNCOVERED),
    "naming an invented approval": (mark("cat_c3", "value_high", "approval", "approval_id", "gen_random_uuid()"), UNCOVERED),
    "born ended": (mark("cat_c3", "value_high", more="ended_at", values="now()"), UNCOVERED),
    "with a silent end": (mark("cat_c3", "value_high", more="until", values="now()"), "TW062"),
    "over an open one": (
        mark("ann_c1", "value_mid")
        + " on conflict (corp_id, follow_id, tag_id) where ended_at is null do update set ended_at = now()",
        UNCOVERED,
    ),
    "by merge": (
        "merge into assignment a using (select 1) s on a.id = '{mark_bob_c2_mid}' when matched then update set ended_at = now()",
        UNCOVERED,
    ),
    "in a with clause": (f"with made as ({mark('cat_c3', 'value_high')} returning 1) select * from made", UNCOVERED),
    "carried from an unsigned mark": (carry("ann_unsigned", "value_low", "mark_bob_unsigned_low"), "TW061"),
    "carried to another customer": (carry("cat_c3", "value_high", "mark_bob_given_high"), "TW061"),
    "carried as another tag": (carry("ann_given", "value_low", "mark_bob_given_high"), "TW061"),
    "carried from a follow that goes on": (carry("ann_shared", "value_high", "mark_bob_shared_high"), "TW061"),
    "carried from an ended mark": (carry("ann_c1", "value_high", "mark_ann_c1_high_ended"), "TW061"),
    "carried to an ended follow": (carry("bob_given", "value_high", "mark_bob_given_high"), "TW061"),
    "an ordinary tag carried": (carry("ann_given", "advice_asked", "mark_bob_given_high"), "TW061"),
    "end a signed mark": ("update assignment set ended_at = now() where id = '{mark_ann_c1_mid}'", UNCOVERED),
    "end a signed mark with its own approval": (
        "update assignment set ended_at = now(), ended_approval_id = approval_id where id = '{mark_ann_c1_mid}'",
        UNCOVERED,
    ),
    "end an unconfirmed mark": ("update assignment set ended_at = now() where id = '{mark_bob_c2_mid}'", UNCOVERED),
    "adopt by hand": (
        "update assignment set approval_id = '{approval_ann_c1_mid}' where id = '{mark_bob_c2_mid}'",
        UNCOVERED,
    ),
    "take the signature away": ("update assignment set approval_id = null where id = '{mark_ann_c1_mid}'", UNCOVERED),
    "give a signed mark an end": ("update assignment set until = now() where id = '{mark_ann_c1_mid}'", "TW062"),
    "un-end a value mark": ("update assignment set ended_at = null where id = '{mark_ann_c1_high_ended}'", "TW060"),
    "un-end an ordinary mark": ("update assignment set ended_at = null where id = '{mark_ann_c1_keen_ended}'", "TW060"),
    "move the end of an ended mark": ("update assignment set ended_at = now() where id = '{mark_ann_c1_high_ended}'", "TW060"),
    "delete": ("delete from assignment where id = '{mark_ann_c1_mid}'", DENIED),
    "truncate": ("truncate assignment cascade", DENIED),
}
REWRITES = {
    "follow": "follow_id = '{follow_cat_c3}'",
    "tag": "tag_id = '{value_high}'",
    "to a value tag": "tag_id = '{value_high}'",
    "source": "source = 'import'",
    "actor": "actor = 'nobody'",
    "since": "since = now() - interval '1 year'",
    "origin": "carried_from = '{mark_bob_given_high}'",
    "id": "id = gen_random_uuid()",
}
CATALOG = {
    "move a value tag out": ("update tag set group_id = '{group_advice}' where id = '{value_high}'", UNCOVERED),
    "move an ordinary tag with marks in": ("update tag set group_id = '{group_value}' where id = '{advice_asked}'", UNCOVERED),
    "rename a value tag": ("update tag set name = 'other' where id = '{value_high}'", UNCOVERED),
    "swap the names of two value tags": (
        "update tag set name = case id when '{value_high}' then 'low2' else 'high2' end"
        " where id in ('{value_high}', '{value_low}')",
        UNCOVERED,
    ),
    "retire a value tag": ("update tag set retired_at = now() where id = '{value_high}'", UNCOVERED),
    "delete a value tag": ("update tag set deleted_at = now() where id = '{value_high}'", UNCOVERED),
    "bind a value tag elsewhere": ("update tag set wecom_id = 'other' where id = '{value_high}'", UNCOVERED),
    "unbind a value tag": ("update tag set wecom_id = null where id = '{value_high}'", UNCOVERED),
    "give a value tag another id": ("update tag set id = gen_random_uuid() where id = '{value_high}'", "TW071"),
    "give a value tag to another corp": ("update tag set corp_id = 'other' where id = '{value_high}'", "TW071"),
    "remove a tag's row": ("delete from tag where id = '{value_high}'", DENIED),
    "value to standard": ("update tag_group set kind = 'standard' where id = '{group_value}'", UNCOVERED),
    "value to unclassified": ("update tag_group set kind = 'unclassified' where id = '{group_value}'", UNCOVERED),
    "standard to value": ("update tag_group set kind = 'value' where id = '{group_advice}'", UNCOVERED),
    "delete a value group": ("update tag_group set deleted_at = now() where id = '{group_value}'", UNCOVERED),
    "kind and deletion at once": (
        "update tag_group set kind = 'standard', deleted_at = now() where id = '{group_value}'",
        UNCOVERED,
    ),
    "give a group another id": ("update tag_group set id = gen_random_uuid() where id = '{group_value}'", "TW070"),
    "remove a group's row": ("delete from tag_group where id = '{group_value}'", DENIED),
}
ROLE = "insert into employee_role (corp_id, userid, role, given_by) values ('{corp}', '%s', '%s', 'admin')"
PEOPLE = {
    "give manager": (ROLE % ("ann", "manager"), UNCOVERED),
    "give supervisor": (ROLE % ("admin", "supervisor"), UNCOVERED),
    "give over a held role": (
        ROLE % ("east", "supervisor") + " on conflict (corp_id, userid, role) do update set given_by = 'x'",
        UNCOVERED,
    ),
    "turn staff into supervisor": (
        "update employee_role set role = 'supervisor' where corp_id = '{corp}' and userid = 'ann'",
        "TW080",
    ),
    "hand a role over": ("update employee_role set userid = 'ann' where corp_id = '{corp}' and role = 'supervisor'", "TW080"),
    "take another's userid": ("update employee set userid = 'x' where corp_id = '{corp}' and userid = 'ann'", "TW081"),
    "remove an employee": ("delete from employee where corp_id = '{corp}'", DENIED),
    "bind an issuer": ("insert into issuer_right (corp_id, issuer) values ('{corp}', 'crm')", UNCOVERED),
    "bind a signing issuer": ("insert into issuer_right (corp_id, issuer, may_sign) values ('{corp}', 'crm', true)", UNCOVERED),
    "rename an issuer": ("update issuer_right set issuer = 'crm' where corp_id = '{corp}'", "TW082"),
}
ELSEWHERE = {
    "back to setup": ("update corp set state = 'setup' where corp_id = '{corp}'", "TW010"),
    "another id for the corp": ("update corp set corp_id = 'x' where corp_id = '{corp}'", "TW010"),
    "a corp in setup of one's own": ("insert into corp (corp_id, name) values ('mine', 'mine')", DENIED),
    "delete the corp": ("delete from corp where corp_id = '{corp}'", DENIED),
    "hand a follow over": ("update follow set userid = 'cat' where id = '{follow_ann_c1}'", "TW064"),
    "give a follow another customer": ("update follow set external_userid = 'c2' where id = '{follow_ann_c1}'", "TW064"),
    "re-open an ended follow": ("update follow set ended_at = null where id = '{follow_bob_given}'", "TW064"),
    "remove a follow": ("delete from follow where id = '{follow_ann_c1}'", DENIED),
    "write a line": (
        "insert into audit_line (corp_id, seq, body, hash) values ('{corp}', 9999, '\\x00', '\\x00')",
        DENIED,
    ),
    "alter a line": ("update audit_line set body = '\\x00' where corp_id = '{corp}' and seq = 1", DENIED),
    "remove a line": ("delete from audit_line where corp_id = '{corp}' and seq = 1", DENIED),
    "truncate the chain": ("truncate audit_line", DENIED),
    "move the head": ("update audit_head set seq = 1 where corp_id = '{corp}'", DENIED),
    "a head of one's own": ("insert into audit_head (corp_id, hash) values ('{corp}', '\\x00')", DENIED),
    "rewrite a revision": ("update policy_revision set content = '{{}}' where corp_id = '{corp}'", DENIED),
    "remove a revision": ("delete from policy_revision where corp_id = '{corp}'", DENIED),
    "widen a grant in place": ("update policy_grant set reach = 'corp' where corp_id = '{corp}'", DENIED),
    "remove a deny": ("delete from policy_grant where corp_id = '{corp}'", DENIED),
    "lift a signature": ("delete from approval_signature where corp_id = '{corp}'", DENIED),
    "alter a signature": ("update approval_signature set verdict = 'approve' where corp_id = '{corp}'", DENIED),
    "re-use an effect": ("update approval_effect set consumed_at = null where corp_id = '{corp}'", DENIED),
    "drop an effect": ("delete from approval_effect where corp_id = '{corp}'", DENIED),
    "drop an approval": ("delete from approval where corp_id = '{corp}'", DENIED),
    "consume an effect directly": ("select consume_effect('{corp}', 'assign:x')", DENIED),
    "ask what carries": ("select carries('{corp}', gen_random_uuid(), gen_random_uuid(), gen_random_uuid())", DENIED),
    "ask for setup": ("select in_setup('{corp}')", DENIED),
    "undo a migration": ("delete from migration", DENIED),
}
SWITCHES = {
    "disable a trigger": "alter table assignment disable trigger assignment_guard",
    "disable all triggers": "alter table assignment disable trigger all",
    "drop a trigger": "drop trigger assignment_guard on assignment",
    "replay as a replica": "set session_replication_role = replica",
    "become the owner": "set role tagwarden_owner",
    "become the superuser": "set session authorization tagwarden_launcher",
    "own the table": "alter table assignment owner to current_user",
    "a table": "create table corp2 (x int)",
    "a table in public": "create table public.pg_authid2 (x int)",
    "a temporary table": "create temp table corp (corp_id text, state text)",
    "a schema": "create schema mine",
    "a function": "create function in_setup(text, text) returns boolean language sql as 'select true'",
    "a temporary function": "create function pg_temp.in_setup(text) returns boolean language sql as 'select true'",
    "replace a guard": "create or replace function guard_assignment() returns trigger language plpgsql"
    " as 'begin return new; end'",
    "alter a guard": "alter function guard_assignment() set search_path = pg_temp",
    "drop a guard": "drop function guard_assignment() cascade",
    "an operator": "create operator public.<> (leftarg = text, rightarg = text, function = texteq)",
    "a type": "create type corp_state as enum ('setup')",
    "a rule": "create rule quiet as on insert to audit_line do instead nothing",
    "a policy": "create policy mine on assignment using (true)",
    "a trigger": "create trigger mine before insert on assignment for each row execute function refuse_change()",
    "a setting of the role": "alter role tagwarden_owner set search_path = pg_temp",
    "a setting of the database": "alter database tagwarden set session_replication_role = replica",
    "a program": "copy assignment to program 'true'",
    "a file": "copy assignment to '/tmp/x'",
}


def cases(table: dict[str, tuple[str, str]]) -> list[object]:
    """One test each, named."""
    return [pytest.param(text, state, id=name) for name, (text, state) in table.items()]


@pytest.mark.parametrize(("text", "state"), cases(MARKS | CATALOG | PEOPLE | ELSEWHERE))
async def test_the_database_refuses(attacker: asyncpg.Connection, fortress: Fortress, text: str, state: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as refused:
        await attacker.execute(text.format_map(fortress.ids))
    assert refused.value.sqlstate == state


@pytest.mark.parametrize("change", REWRITES.values(), ids=REWRITES.keys())
@pytest.mark.parametrize("which", ["mark_ann_c1_mid", "mark_ann_c1_asked"])
async def test_a_mark_is_never_rewritten(attacker: asyncpg.Connection, fortress: Fortress, which: str, change: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as refused:
        await attacker.execute(f"update assignment set {change} where id = '{{{which}}}'".format_map(fortress.ids))
    assert refused.value.sqlstate == "TW060"


@pytest.mark.parametrize("text", SWITCHES.values(), ids=SWITCHES.keys())
async def test_the_guards_cannot_be_switched_off(attacker: asyncpg.Connection, fortress: Fortress, text: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as refused:
        await attacker.execute(text)
    assert refused.value.sqlstate == DENIED, refused.value


async def test_copy_meets_the_same_guard(attacker: asyncpg.Connection, fortress: Fortress) -> None:
    ids = fortress.ids
    row = (ids["corp"], new_id(), ids["follow_cat_c3"], ids["value_high"], "import", "ann", datetime.now(UTC))
    with pytest.raises(asyncpg.PostgresError) as refused:
        await attacker.copy_records_to_table(
            "assignment", records=[row], columns=["corp_id", "id", "follow_id", "tag_id", "source", "actor", "since"]
        )
    assert refused.value.sqlstate == UNCOVERED


async def test_nobody_grants_himself_a_table(attacker: asyncpg.Connection, fortress: Fortress) -> None:
    await attacker.execute("grant all on audit_line, assignment to current_user")  # PostgreSQL only warns
    assert not await attacker.fetchval("select has_table_privilege('audit_line', 'update')")
    assert not await attacker.fetchval("select has_table_privilege('assignment', 'delete')")


async def test_a_signed_mark_is_carried_once(attacker: asyncpg.Connection, fortress: Fortress) -> None:
    ids = fortress.ids
    await attacker.execute(carry("ann_given", "value_high", "mark_bob_given_high").format_map(ids))
    with pytest.raises(asyncpg.UniqueViolationError):
        await attacker.execute(carry("cat_given", "value_high", "mark_bob_given_high").format_map(ids))


async def test_what_was_carried_is_carried_on_only_after_its_follow_ended(
    attacker: asyncpg.Connection, fortress: Fortress
) -> None:
    ids = dict(fortress.ids)
    await attacker.execute(carry("ann_given", "value_high", "mark_bob_given_high").format_map(ids))
    ids["carried"] = await attacker.fetchval(
        "select id from assignment where follow_id = $1 and ended_at is null", ids["follow_ann_given"]
    )
    attempt = attacker.transaction()
    await attempt.start()
    with pytest.raises(asyncpg.PostgresError) as refused:
        await attacker.execute(carry("cat_given", "value_high", "carried").format_map(ids))
    assert refused.value.sqlstate == "TW061"
    await attempt.rollback()
    await attacker.execute("update follow set ended_at = now() where id = $1", ids["follow_ann_given"])
    await attacker.execute(carry("cat_given", "value_high", "carried").format_map(ids))


async def test_a_mark_is_not_carried_from_itself(attacker: asyncpg.Connection, fortress: Fortress) -> None:
    ids = fortress.ids
    with pytest.raises(asyncpg.PostgresError) as refused:
        await attacker.execute(
            "insert into assignment (corp_id, id, follow_id, tag_id, source, actor, since, carried_from)"
            " values ($1, $2, $3, $4, 'transfer', 'ann', now(), $2)",
            ids["corp"],
            new_id(),
            ids["follow_ann_given"],
            ids["value_high"],
        )
    assert refused.value.sqlstate == "TW061"


async def test_a_signing_right_is_not_widened(companies: Companies, sql: asyncpg.Connection) -> None:
    company = await companies.make(may_sign=False, customers=())
    for text in (
        "update issuer_right set may_sign = true where corp_id = $1",
        "insert into issuer_right (corp_id, issuer) values ($1, 'tagwarden') on conflict (corp_id, issuer)"
        " do update set may_sign = true",
    ):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await sql.execute(text, company.corp_id)
        assert refused.value.sqlstate == UNCOVERED


async def test_even_the_owner_deletes_nothing_without_switching_a_trigger_off(
    owner_sql: asyncpg.Connection, fortress: Fortress
) -> None:
    for text in (
        "delete from assignment where id = '{mark_ann_c1_mid}'",
        "delete from follow where id = '{follow_ann_c1}'",
        "delete from tag where id = '{value_high}'",
        "delete from tag_group where id = '{group_value}'",
        "delete from audit_line where corp_id = '{corp}'",
        "update audit_line set body = '\\x00' where corp_id = '{corp}'",
        "truncate audit_line",
        "delete from approval_signature where corp_id = '{corp}'",
        "delete from policy_grant where corp_id = '{corp}'",
        "delete from policy_revision where corp_id = '{corp}'",
    ):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await owner_sql.execute(text.format_map(fortress.ids))
        assert refused.value.sqlstate == "TW001", text


@pytest.fixture
async def temporary_tables(owner_sql: asyncpg.Connection) -> AsyncIterator[None]:
    """Temporary objects allowed, as a database that was not made by our launcher allows them to everybody."""
    database = await owner_sql.fetchval("select current_database()")
    await owner_sql.execute(f"grant temporary on database {database} to {APPLICATION_ROLE}")
    yield
    await owner_sql.execute(f"revoke temporary on database {database} from {APPLICATION_ROLE}")


SHADOWS = """
    create temp table corp as select '{corp}'::text as corp_id, 'setup'::text as state;
    create temp table tag as select corp_id, id, '{group_advice}'::uuid as group_id from public.tag;
    create temp table tag_group as select corp_id, id, 'standard'::text as kind from public.tag_group;
    create temp table approval as select corp_id, id, 'applied'::text as state, pg_current_xact_id() as applied_xid, 1 as round
        from public.approval;
    create temp table approval_effect as select '{corp}'::text as corp_id, '{pending}'::uuid as approval_id, 1 as round,
        'assign:{follow_cat_c3}:{value_high}:add'::text as key, null::timestamptz as consumed_at;
    create function pg_temp.in_setup(text) returns boolean language sql as 'select true';
    create function pg_temp.kind_of_group(text, uuid) returns text language sql as $$ select 'standard' $$;
    create function pg_temp.consume_effect(text, text) returns uuid language sql as 'select gen_random_uuid()';
    create function pg_temp.never(text, text) returns boolean language sql immutable as 'select false';
    create operator pg_temp.<> (leftarg = text, rightarg = text, function = pg_temp.never);
    create operator pg_temp.= (leftarg = text, rightarg = text, function = pg_temp.never);
    set search_path = pg_temp, public, pg_catalog;
"""


@pytest.mark.usefixtures("temporary_tables")
@pytest.mark.parametrize(
    ("text", "state"),
    [
        pytest.param(mark("cat_c3", "value_high").replace("into ", "into public."), UNCOVERED, id="a mark"),
        pytest.param("update public.assignment set ended_at = now() where id = '{mark_ann_c1_mid}'", UNCOVERED, id="an end"),
        pytest.param("update public.tag set retired_at = now() where id = '{value_high}'", UNCOVERED, id="a tag"),
        pytest.param("update public.tag_group set kind = 'standard' where id = '{group_value}'", UNCOVERED, id="a kind"),
        pytest.param((ROLE % ("ann", "supervisor")).replace("into ", "into public."), UNCOVERED, id="a role"),
        pytest.param("update public.corp set state = 'setup' where corp_id operator(pg_catalog.=) '{corp}'", "TW010", id="setup"),
    ],
)
async def test_objects_that_shadow_ours_change_nothing(
    attacker: asyncpg.Connection, fortress: Fortress, text: str, state: str
) -> None:
    await attacker.execute(SHADOWS.format_map(fortress.ids))
    with pytest.raises(asyncpg.PostgresError) as refused:
        await attacker.execute(text.format_map(fortress.ids))
    assert refused.value.sqlstate == state


async def test_who_somebody_is_never_moves(attacker: asyncpg.Connection, fortress: Fortress) -> None:
    with pytest.raises(asyncpg.PostgresError) as refused:
        await attacker.execute(
            "update employee set person = 'x' where corp_id = $1 and userid = 'boss'", fortress.company.corp_id
        )
    assert str(refused.value.sqlstate).startswith("TW")


async def test_no_mark_names_an_approval_that_is_not(attacker: asyncpg.Connection, fortress: Fortress) -> None:
    forged = mark("cat_c3", "advice_asked", "approval", "approval_id", "gen_random_uuid()")
    with pytest.raises(asyncpg.PostgresError):
        await attacker.execute(forged.format_map(fortress.ids))


async def test_a_published_revision_does_not_grow(attacker: asyncpg.Connection, fortress: Fortress) -> None:
    ids = fortress.ids
    with pytest.raises(asyncpg.PostgresError):
        await attacker.execute(
            "insert into policy_grant (corp_id, revision, id, department_id, group_id, action)"
            " select $1, max(revision), 'mine', 1, $2, 'use' from policy_revision where corp_id = $1",
            ids["corp"],
            ids["group_value"],
        )
        await attacker.execute("select close_command($1, '{}', false)", ids["corp"])


async def test_an_epoch_never_goes_back(attacker: asyncpg.Connection, fortress: Fortress) -> None:
    with pytest.raises(asyncpg.PostgresError) as refused:
        await attacker.execute("update corp_epoch set epoch = epoch - 1 where corp_id = $1", fortress.company.corp_id)
    assert str(refused.value.sqlstate).startswith("TW")
