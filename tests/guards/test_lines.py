"""Rows committed without their audit line, escalations taken back, recovery claimed: what the database says at commit."""

from __future__ import annotations

import asyncpg
import pytest

from support.company import Companies, Company

from .conftest import Fortress
from .forger import Forger
from .test_delegated import delegate, refused

MARK = (
    "insert into assignment (corp_id, id, follow_id, tag_id, source, actor, since)"
    " values ('{corp}', gen_random_uuid(), '{follow_cat_c3}', '{advice_cheap}', 'manual', 'cat', now())"
)
LINELESS = {
    "a mark": MARK,
    "a mark's end": "update assignment set ended_at = now() where id = '{mark_ann_c1_asked}'",
    "a follow": "insert into follow (corp_id, id, userid, external_userid, since)"
    " values ('{corp}', gen_random_uuid(), 'dan', 'c1', now())",
    "a follow's end": "update follow set ended_at = now() where id = '{follow_cat_c3}'",
    "a tag": "insert into tag (corp_id, id, group_id, name) values ('{corp}', gen_random_uuid(), '{group_advice}', 'mine')",
    "a tag's name": "update tag set name = 'mine' where id = '{advice_cheap}'",
    "a tag's end": "update tag set ends_on = '2020-01-01' where id = '{advice_cheap}'",
    "a group": "insert into tag_group (corp_id, id, name, kind) values ('{corp}', gen_random_uuid(), 'mine', 'value')",
    "a group's kind": "update tag_group set kind = 'temporary' where id = '{group_advice}'",
    "a role": "insert into employee_role (corp_id, userid, role, given_by) values ('{corp}', 'ann', 'admin', 'ann')",
    "a role taken": "delete from employee_role where corp_id = '{corp}' and userid = 'hq'",
    "a role's switches": "update employee_role set modules = '{{members}}' where corp_id = '{corp}' and userid = 'ann'",
    "an employee": "insert into employee (corp_id, userid, name, person) values ('{corp}', 'eve', 'eve', 'eve')",
    "an employee's state": "update employee set status = 'disabled' where corp_id = '{corp}' and userid = 'hq'",
    "a person": "update employee set person = 'boss' where corp_id = '{corp}' and userid = 'hq'",
    "a place": "insert into employee_department (corp_id, userid, department_id, is_leader) values ('{corp}', 'ann', 10, true)",
    "a leader": "update employee_department set is_leader = true where corp_id = '{corp}' and userid = 'ann'",
    "a place lost": "delete from employee_department where corp_id = '{corp}' and userid = 'east'",
    "a department": "insert into department (corp_id, id, name, parent_id) values ('{corp}', 99, 'mine', 1)",
    "a department moved": "update department set parent_id = 20 where corp_id = '{corp}' and id = 11",
    "a department lost": "delete from department where corp_id = '{corp}' and id = 12",
    "an issuer's right": "update issuer_right set may_sign = false where corp_id = '{corp}'",
    "an issuer": "delete from issuer_right where corp_id = '{corp}'",
    "a revision": "insert into policy_revision (corp_id, revision, content, content_hash, published_by)"
    " values ('{corp}', 99, '{{}}', '', 'ann')",
    "a request": "update approval set expires_at = now() + interval '1 year' where id = '{pending}'",
    "a request taken back": "update approval set state = 'withdrawn' where id = '{pending}'",
    "a delegation": "insert into delegation (corp_id, id, userid, delegate, starts_at, ends_at)"
    " values ('{corp}', gen_random_uuid(), 'boss', 'hq', now(), now() + interval '1 day')",
    "an agreement": "insert into agreement (corp_id, id, department_id, partner_department, group_id, made_by, since)"
    " values ('{corp}', gen_random_uuid(), 20, 10, '{group_advice}', 'admin', now())",
    "the brake let go": "insert into drift_guard (corp_id, stopped_at) values ('{corp}', now()) on conflict do nothing;"
    " update drift_guard set stopped_at = null, released_by = 'ann', allowance = 1000000 where corp_id = '{corp}'",
    "the corp": "update corp set writes_suspended = true where corp_id = '{corp}'",
}
QUIET = "select set_config('tagwarden.governed', '', {local}), set_config('tagwarden.epochal', '', {local})"


@pytest.mark.parametrize("text", LINELESS.values(), ids=LINELESS.keys())
async def test_no_row_is_committed_without_a_line(sql: asyncpg.Connection, fortress: Fortress, text: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as error:
        assert (await sql.execute(text.format_map(fortress.ids))).endswith(("1", "2"))
    assert error.value.sqlstate == "TW002"


@pytest.mark.parametrize(
    "trick",
    [
        QUIET.format(local="true"),
        QUIET.format(local="false"),
        "set constraints all deferred",
        "select close_command('{corp}', '{{}}', true)",
        "select close_command('{other}', array['{{}}'::bytea], true)",
        "savepoint s; select close_command('{corp}', array['{{}}'::bytea], true); rollback to s",
        "set local tagwarden.recover = 'on'",
    ],
)
@pytest.mark.parametrize("first", [False, True], ids=["after", "before"])
async def test_no_trick_commits_without_a_line(
    sql: asyncpg.Connection, fortress: Fortress, companies: Companies, trick: str, first: bool
) -> None:
    ids = {**fortress.ids, "other": (await companies.make(customers=())).corp_id}
    quiet, change = QUIET.format(local="true"), LINELESS["a tag's name"].format_map(ids)
    steps = [trick.format_map(ids), change] if first else [change, quiet, trick.format_map(ids)]
    transaction = sql.transaction()
    await transaction.start()
    for step in steps:
        await sql.execute(step)
    with pytest.raises(asyncpg.PostgresError) as error:
        await transaction.commit()
    assert error.value.sqlstate == "TW002"


async def test_a_line_of_yesterday_is_no_line(sql: asyncpg.Connection, fortress: Fortress) -> None:
    corp_id = fortress.company.corp_id
    await sql.fetch("select close_command($1, array['{}'::bytea], true)", corp_id)
    for text in (
        "update audit_head set closed_xid = pg_current_xact_id() where corp_id = $1",
        "insert into audit_head (corp_id, hash, closed_xid) values ($1, '', pg_current_xact_id())"
        " on conflict (corp_id) do update set closed_xid = pg_current_xact_id()",
    ):
        with pytest.raises(asyncpg.PostgresError) as error:
            await sql.execute(text, corp_id)
        assert error.value.sqlstate == "42501"
    with pytest.raises(asyncpg.PostgresError):
        await sql.execute(LINELESS["a tag's name"].format_map(fortress.ids))


@pytest.mark.parametrize("which", ["signature", "effect"])
async def test_no_signature_is_committed_without_a_line(sql: asyncpg.Connection, company: Company, which: str) -> None:
    forger = Forger(sql, company)
    async with sql.transaction():
        approval_id = await forger.ask("x")
        await sql.fetch("select close_command($1, array['{}'::bytea], true)", company.corp_id)
    with pytest.raises(asyncpg.PostgresError) as error:
        await (forger.sign(approval_id, 1, "east") if which == "signature" else forger.effect(approval_id, "y"))
    assert error.value.sqlstate == "TW002"


# -- what 0007 added to requests, roles and groups -----------------------------------------------------------------------


async def test_an_escalation_is_never_taken_back(attacker: asyncpg.Connection, forger: Forger) -> None:
    async with refused(attacker, "TW020"):
        await forger.ask("x", escalations=1)
    approval_id = await forger.ask("x")
    await attacker.execute("update approval set escalations = 2 where id = $1", approval_id)
    for count in (1, 0, -1):
        async with refused(attacker, "TW022"):
            await attacker.execute("update approval set escalations = $2 where id = $1", approval_id, count)
    async with refused(attacker, "TW022"):
        await attacker.execute("update approval set resubmitted_from = gen_random_uuid() where id = $1", approval_id)


CLAIMS = {
    "set": "set tagwarden.recover = 'on'",
    "set local": "set local tagwarden.recover = 'on'",
    "set_config": "select set_config('tagwarden.recover', 'on', false)",
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
@pytest.mark.parametrize("role", ["supervisor", "manager"])
async def test_the_service_recovers_nothing(attacker: asyncpg.Connection, fortress: Fortress, claim: str, role: str) -> None:
    await attacker.execute(claim)
    async with refused(attacker, "TW050"):
        await attacker.execute(
            "insert into employee_role (corp_id, userid, role, given_by) values ($1, 'ann', $2, 'ann')",
            fortress.company.corp_id,
            role,
        )
    async with refused(attacker, "42501"):
        await attacker.execute("alter role current_user set tagwarden.recover = 'on'")


async def test_a_value_groups_choice_is_changed_by_its_own_effect_once(
    attacker: asyncpg.Connection, forger: Forger, fortress: Fortress
) -> None:
    group = fortress.company.groups["value"]
    change = "update tag_group set choice = $2 where id = $1"
    async with refused(attacker, "TW050"):
        await attacker.execute(change, group, "multiple")
    await forger.approve(f"group:{group}:choice:multiple", f"group:{group}:kind:standard")
    async with refused(attacker, "TW050"):
        await attacker.execute("update tag_group set choice = 'multiple', deleted_at = now() where id = $1", group)
    await attacker.execute(change, group, "multiple")
    async with refused(attacker, "TW050"):
        await attacker.execute(change, group, "single")
    await attacker.execute("update tag_group set kind = 'standard' where id = $1", group)
    await attacker.execute(change, group, "single")


CALLS = (
    "stands_in('{corp}', 'boss', 'hq')",
    "is_recovering()",
    "consume_effect('{corp}', 'x')",
    "applied_here('{corp}', '{pending}')",
    "kind_of_group('{corp}', '{group_value}')",
    "require_line()",
    "guard_delegation()",
    "guard_signature()",
)


@pytest.mark.parametrize("call", CALLS)
async def test_no_guard_is_called_by_hand(attacker: asyncpg.Connection, fortress: Fortress, call: str) -> None:
    async with refused(attacker, "42501", "0A000"):
        await attacker.execute("select " + call.format_map(fortress.ids))


async def test_a_standing_delegation_moves_the_epoch(attacker: asyncpg.Connection, forger: Forger, fortress: Fortress) -> None:
    await delegate(forger, "boss", "hq")
    async with refused(attacker, "TW003"):
        await attacker.fetch("select close_command($1, array['{}'::bytea], false)", fortress.company.corp_id)
