"""Approvals, signatures and effects written by hand: which forgeries the database sees through, and that the true path passes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from support.company import Companies

from .conftest import Fortress
from .forger import Forger


@contextlib.asynccontextmanager
async def refused(connection: asyncpg.Connection, *states: str) -> AsyncIterator[None]:
    """The block's statement is refused with one of the states; the transaction goes on."""
    savepoint = connection.transaction()
    await savepoint.start()
    with pytest.raises(asyncpg.PostgresError) as error:
        yield
    assert error.value.sqlstate in states, error.value
    await savepoint.rollback()


@pytest.fixture
def add(fortress: Fortress) -> str:
    """The effect key of 高 on cat's customer."""
    return f"assign:{fortress.ids['follow_cat_c3']}:{fortress.ids['value_high']}:add"


async def test_two_signatures_pass(attacker: asyncpg.Connection, forger: Forger, fortress: Fortress, add: str) -> None:
    ids = fortress.ids
    approval_id = await forger.approve(add, about="cat")
    await forger.mark(ids["follow_cat_c3"], ids["value_high"], source="approval", approval_id=approval_id)
    assert await attacker.fetchval("select consumed_at is not null from approval_effect where approval_id = $1", approval_id)


async def test_every_protected_change_passes_with_its_effect(
    attacker: asyncpg.Connection, forger: Forger, fortress: Fortress
) -> None:
    ids = fortress.ids
    tag, advice = ids["value_low"], ids["group_advice"]
    keys = {
        f"tag:{tag}:rename:least": f"update tag set name = 'least' where id = '{tag}'",
        f"tag:{tag}:retire": f"update tag set retired_at = now() where id = '{tag}'",
        f"tag:{tag}:restore": f"update tag set retired_at = null where id = '{tag}'",
        f"tag:{tag}:rebind:other": f"update tag set wecom_id = 'other' where id = '{tag}'",
        f"tag:{tag}:move:{advice}": f"update tag set group_id = '{advice}' where id = '{tag}'",
        f"group:{advice}:kind:value": f"update tag_group set kind = 'value' where id = '{advice}'",
        f"group:{advice}:delete": f"update tag_group set deleted_at = now() where id = '{advice}'",
        "role:ann:manager:give": "insert into employee_role (corp_id, userid, role, given_by)"
        " values ('{corp}', 'ann', 'manager', 'x')",
        "issuer:crm:bind": "insert into issuer_right (corp_id, issuer) values ('{corp}', 'crm')",
        "issuer:crm:may_sign:give": "update issuer_right set may_sign = true where corp_id = '{corp}' and issuer = 'crm'",
    }
    await forger.approve(*keys)
    for key, text in keys.items():
        assert await attacker.execute(text.format_map(ids)) in ("UPDATE 1", "INSERT 0 1"), key
    assert (
        await attacker.fetchval(
            "select count(*) from approval_effect where corp_id = $2 and key = any($1) and consumed_at is null",
            list(keys),
            fortress.company.corp_id,
        )
        == 0
    )


async def test_signed_is_not_applied(attacker: asyncpg.Connection, forger: Forger, fortress: Fortress, add: str) -> None:
    approval_id = await forger.signed_by_two(add)
    async with refused(attacker, "TW050"):
        await forger.mark(fortress.ids["follow_cat_c3"], fortress.ids["value_high"], approval_id=approval_id)


@pytest.mark.parametrize("state", ["applied", "rejected", "withdrawn", "expired", "stale"])
async def test_nothing_begins_closed(attacker: asyncpg.Connection, forger: Forger, state: str) -> None:
    async with refused(attacker, "TW020"):
        await forger.ask("x", state=state)


async def test_nothing_begins_in_a_later_round_or_with_a_transaction(attacker: asyncpg.Connection, forger: Forger) -> None:
    async with refused(attacker, "TW020"):
        await forger.ask(round=2)
    async with refused(attacker, "TW020"):
        await forger.ask(applied_xid=5)


@pytest.mark.parametrize("signatures", [(), (1,), (2,)])
async def test_fewer_than_two_signatures_do_not_apply(
    attacker: asyncpg.Connection, forger: Forger, signatures: tuple[int, ...]
) -> None:
    approval_id = await forger.ask("x", state="pending_level2" if 2 in signatures else "pending_level1")
    for level in signatures:
        await forger.sign(approval_id, level, {1: "east", 2: "hq"}[level])
    async with refused(attacker, "TW024"):
        await forger.move(approval_id, "applied")


async def test_a_refusal_does_not_count(attacker: asyncpg.Connection, forger: Forger) -> None:
    approval_id = await forger.ask("x")
    await forger.sign(approval_id, 1, "east", verdict="reject")
    await forger.move(approval_id, "pending_level2")
    await forger.sign(approval_id, 2, "hq")
    async with refused(attacker, "TW024"):
        await forger.move(approval_id, "applied")


async def test_an_applied_transaction_is_not_claimed(attacker: asyncpg.Connection, forger: Forger) -> None:
    approval_id = await forger.ask("x")
    async with refused(attacker, "TW024"):
        await attacker.execute("update approval set applied_xid = pg_current_xact_id() where id = $1", approval_id)


async def test_a_signature_is_not_doubled(attacker: asyncpg.Connection, forger: Forger) -> None:
    approval_id = await forger.ask("x")
    await forger.sign(approval_id, 1, "boss")
    async with refused(attacker, "23505"):
        await forger.sign(approval_id, 1, "east")
    await forger.move(approval_id, "pending_level2")
    async with refused(attacker, "TW048"):
        await forger.sign(approval_id, 2, "boss")


async def test_the_requester_never_signs(attacker: asyncpg.Connection, forger: Forger) -> None:
    for level, by_asking in ((1, False), (2, False), (2, True)):
        approval_id = await forger.ask("x", requester="boss", state=f"pending_level{level}")
        async with refused(attacker, "TW044"):
            await forger.sign(approval_id, level, "boss", by_asking=by_asking)


async def test_another_cannot_sign_by_asking(attacker: asyncpg.Connection, forger: Forger) -> None:
    approval_id = await forger.ask("x", requester="ann", state="pending_level2")
    async with refused(attacker, "TW044"):
        await forger.sign(approval_id, 1, "east", by_asking=True)


@pytest.mark.parametrize(
    ("level", "signer", "state"),
    [
        (1, "ghost", "TW043"),
        (1, "ann", "TW044"),
        (1, "bob", "TW046"),
        (1, "admin", "TW046"),
        (1, "auditor", "TW046"),
        (2, "east", "TW046"),
        (2, "admin", "TW046"),
        (2, "EAST", "TW043"),
    ],
)
async def test_somebody_who_may_not_sign(
    attacker: asyncpg.Connection, forger: Forger, level: int, signer: str, state: str
) -> None:
    approval_id = await forger.ask("x", about="bob", state=f"pending_level{level}")
    async with refused(attacker, state, "TW045"):
        await forger.sign(approval_id, level, signer)


@pytest.mark.parametrize("status", ["disabled", "inactive", "left"])
async def test_the_inactive_do_not_sign(attacker: asyncpg.Connection, forger: Forger, status: str) -> None:
    approval_id = await forger.ask("x")
    await attacker.execute(
        "update employee set status = $2 where corp_id = $1 and userid = 'east'", forger.company.corp_id, status
    )
    async with refused(attacker, "TW043"):
        await forger.sign(approval_id, 1, "east")


async def test_nobody_signs_as_another_person(attacker: asyncpg.Connection, forger: Forger) -> None:
    approval_id = await forger.ask("x")
    async with refused(attacker, "TW043"):
        await forger.sign(approval_id, 1, "east", person="somebody")


async def test_the_barred_and_the_concerned_do_not_sign(attacker: asyncpg.Connection, forger: Forger) -> None:
    barred = await forger.ask("x", barred=["east"])
    concerned = await forger.ask("x", about="east")
    for approval_id in (barred, concerned):
        async with refused(attacker, "TW045"):
            await forger.sign(approval_id, 1, "east")


async def test_a_signature_is_for_this_content_and_base(attacker: asyncpg.Connection, forger: Forger) -> None:
    approval_id = await forger.ask("x")
    async with refused(attacker, "TW041"):
        await forger.sign(approval_id, 1, "east", content_hash="other")
    async with refused(attacker, "TW041"):
        await forger.sign(approval_id, 1, "east", fingerprint="other")


async def test_levels_are_signed_in_order_and_in_their_round(attacker: asyncpg.Connection, forger: Forger) -> None:
    approval_id = await forger.ask("x")
    async with refused(attacker, "TW042"):
        await forger.sign(approval_id, 2, "hq")
    async with refused(attacker, "TW040"):
        await forger.sign(approval_id, 1, "east", round_=2)
    await forger.move(approval_id, "pending_level2")
    async with refused(attacker, "TW042"):
        await forger.sign(approval_id, 1, "east")
    await forger.move(approval_id, "withdrawn")
    async with refused(attacker, "TW040"):
        await forger.sign(approval_id, 2, "hq")


async def test_one_person_with_two_accounts_is_one_signer(companies: Companies, owner_sql: asyncpg.Connection) -> None:
    company = await companies.make(live=False, customers=())
    transaction = owner_sql.transaction()
    await transaction.start()
    forger = Forger(owner_sql, company)
    await owner_sql.execute("alter table employee disable trigger user")
    await owner_sql.execute("update employee set person = 'boss' where corp_id = $1 and userid = 'hq'", company.corp_id)
    await owner_sql.execute("alter table employee enable trigger user")
    approval_id = await forger.ask("x")
    await forger.sign(approval_id, 1, "boss")
    await forger.move(approval_id, "pending_level2")
    async with refused(owner_sql, "TW043"):
        await forger.sign(approval_id, 2, "hq")
    async with refused(owner_sql, "TW048"):
        await forger.sign(approval_id, 2, "hq", person="boss")
    asked = await forger.ask("x", requester="boss", state="pending_level2")
    async with refused(owner_sql, "TW044"):
        await forger.sign(asked, 2, "hq", person="boss")
    await transaction.rollback()


CONTENT = {
    "payload": ('\'{"add": ["x"]}\'', "TW023"),
    "fingerprint": ("'other'", "TW023"),
    "content_hash": ("'other'", "TW023"),
    "about_userid": ("'bob'", "TW023"),
    "about_customer": ("'c9'", "TW023"),
    "round": ("3", "TW023"),
    "requester": ("'bob'", "TW022"),
    "requester_person": ("'bob'", "TW022"),
    "kind": ("'adopt_marks'", "TW022"),
    "created_at": ("now() - interval '1 year'", "TW022"),
}


@pytest.mark.parametrize("column", CONTENT)
async def test_what_was_signed_never_changes(attacker: asyncpg.Connection, forger: Forger, column: str) -> None:
    value, state = CONTENT[column]
    approval_id = await forger.ask("x")
    await forger.sign(approval_id, 1, "east")
    async with refused(attacker, state):
        await attacker.execute(f"update approval set {column} = {value} where id = $1", approval_id)


async def test_a_new_round_makes_old_signatures_void(attacker: asyncpg.Connection, forger: Forger) -> None:
    approval_id = await forger.signed_by_two("x")
    for careless in ("state = 'applied'", "state = 'pending_level1'", "barred = '{ann}'"):
        async with refused(attacker, "TW023"):
            await attacker.execute(f"update approval set round = 2, {careless} where id = $1", approval_id)
    edited = "update approval set round = 2, state = 'pending_level1', barred = '{ann}' where id = $1"
    await attacker.execute(edited, approval_id)
    async with refused(attacker, "TW024"):
        await forger.move(approval_id, "applied")
    async with refused(attacker, "TW023"):
        await attacker.execute("update approval set round = 1 where id = $1", approval_id)


async def test_a_closed_request_never_changes(attacker: asyncpg.Connection, forger: Forger) -> None:
    applied = await forger.approve("x")
    refused_one = await forger.ask("y")
    await forger.move(refused_one, "rejected")
    for approval_id in (applied, refused_one):
        async with refused(attacker, "TW021"):
            await forger.move(approval_id, "pending_level1")


async def test_effects_come_with_the_request(attacker: asyncpg.Connection, forger: Forger) -> None:
    approval_id = await forger.ask("x")
    async with refused(attacker, "TW030"):
        await forger.effect(approval_id, "used", used=True)
    async with refused(attacker, "TW031"):
        await forger.effect(approval_id, "another round", round_=2)
    await forger.sign(approval_id, 1, "east")
    async with refused(attacker, "TW032"):
        await forger.effect(approval_id, "late")
    await forger.move(approval_id, "withdrawn")
    async with refused(attacker, "TW031"):
        await forger.effect(approval_id, "later")


async def test_an_effect_is_used_once(attacker: asyncpg.Connection, forger: Forger, fortress: Fortress) -> None:
    tag = fortress.ids["value_low"]
    await forger.approve(f"tag:{tag}:retire", f"tag:{tag}:restore")
    await attacker.execute("update tag set retired_at = now() where id = $1", tag)
    await attacker.execute("update tag set retired_at = null where id = $1", tag)
    async with refused(attacker, "TW050"):
        await attacker.execute("update tag set retired_at = now() where id = $1", tag)


async def test_an_effect_covers_its_own_row_only(
    attacker: asyncpg.Connection, forger: Forger, fortress: Fortress, add: str
) -> None:
    ids = fortress.ids
    approval_id = await forger.approve(add)
    mine: dict[str, Any] = {"source": "approval", "approval_id": approval_id}
    async with refused(attacker, "TW050"):
        await forger.mark(ids["follow_cat_c3"], ids["value_mid"], **mine)
    async with refused(attacker, "TW050"):
        await forger.mark(ids["follow_ann_shared"], ids["value_high"], **mine)
    async with refused(attacker, "TW063"):
        await forger.mark(ids["follow_cat_c3"], ids["value_high"])
    async with refused(attacker, "TW063"):
        await forger.mark(ids["follow_cat_c3"], ids["value_high"], approval_id=ids["approval_ann_c1_mid"])
    await forger.mark(ids["follow_cat_c3"], ids["value_high"], **mine)
    async with refused(attacker, "TW050", "23505"):
        await forger.mark(ids["follow_cat_c3"], ids["value_high"], **mine)


async def test_an_effect_adopts_and_removes_in_its_own_name(
    attacker: asyncpg.Connection, forger: Forger, fortress: Fortress
) -> None:
    ids = fortress.ids
    at = f"assign:{ids['follow_bob_c2']}:{ids['value_mid']}"
    approval_id = await forger.approve(f"{at}:adopt", f"{at}:remove", about="bob")
    mark = ids["mark_bob_c2_mid"]
    async with refused(attacker, "TW063"):
        await attacker.execute("update assignment set approval_id = $2 where id = $1", mark, ids["approval_ann_c1_mid"])
    async with refused(attacker, "TW063"):
        await attacker.execute("update assignment set ended_at = now() where id = $1", mark)
    await attacker.execute("update assignment set approval_id = $2 where id = $1", mark, approval_id)
    await attacker.execute("update assignment set ended_at = now(), ended_approval_id = $2 where id = $1", mark, approval_id)


async def test_a_signed_mark_is_not_adopted_again(attacker: asyncpg.Connection, forger: Forger, fortress: Fortress) -> None:
    ids = fortress.ids
    approval_id = await forger.approve(f"assign:{ids['follow_ann_c1']}:{ids['value_mid']}:adopt")
    async with refused(attacker, "TW063"):
        await attacker.execute("update assignment set approval_id = $2 where id = $1", ids["mark_ann_c1_mid"], approval_id)


async def test_what_is_left_over_dies_with_its_transaction(sql: asyncpg.Connection, companies: Companies) -> None:
    company = await companies.make(customers=(("cat", "c3", ()),))
    forger = Forger(sql, company)
    follow, high, mid = await company.follow_id("cat", "c3"), company.tags["value/high"], company.tags["value/mid"]
    keys = [f"assign:{follow}:{tag}:add" for tag in (high, mid)]
    async with sql.transaction():
        approval_id = await forger.approve(*keys, about="cat")
        await forger.mark(follow, high, source="approval", approval_id=approval_id)
        await sql.fetch("select close_command($1, array['{}'::bytea], true)", company.corp_id)
    for tag in (high, mid):
        with pytest.raises(asyncpg.PostgresError) as late:
            await forger.mark(follow, tag, source="approval", approval_id=approval_id)
        assert late.value.sqlstate in ("TW050", "23505")
    with pytest.raises(asyncpg.PostgresError) as closed:
        await sql.execute("update approval set applied_xid = pg_current_xact_id() where id = $1", approval_id)
    assert closed.value.sqlstate == "TW021"


async def test_another_corps_approval_covers_nothing_here(
    attacker: asyncpg.Connection, forger: Forger, fortress: Fortress, companies: Companies, add: str
) -> None:
    other = Forger(attacker, await companies.make(customers=()))
    approval_id = await other.approve(add)
    ids = fortress.ids
    async with refused(attacker, "TW050"):
        await forger.mark(ids["follow_cat_c3"], ids["value_high"], source="approval", approval_id=approval_id)


async def test_the_owner_does_not_sign_his_own_follow_by_asking(attacker: asyncpg.Connection, forger: Forger) -> None:
    approval_id = await forger.ask("x", requester="east", about="east", state="pending_level2")
    async with refused(attacker, "TW045"):
        await forger.sign(approval_id, 1, "east", by_asking=True)


async def test_a_request_names_the_person_who_asks(attacker: asyncpg.Connection, forger: Forger) -> None:
    async with refused(attacker, "TW020", "TW022"):
        await forger.ask("x", requester="boss", person="somebody else")


async def test_nobody_is_cleared(attacker: asyncpg.Connection, forger: Forger) -> None:
    approval_id = await forger.ask("x", barred=["east"])
    async with refused(attacker, "TW022", "TW023"):
        await attacker.execute("update approval set barred = '{}' where id = $1", approval_id)


@pytest.mark.parametrize("how", [{"about": "hq"}, {"barred": ["hq"]}])
async def test_a_second_account_of_the_concerned_or_barred_does_not_sign(
    companies: Companies, owner_sql: asyncpg.Connection, how: dict[str, Any]
) -> None:
    company = await companies.make(live=False, customers=())
    transaction = owner_sql.transaction()
    await transaction.start()
    try:
        await owner_sql.execute("alter table employee disable trigger user")
        await owner_sql.execute("update employee set person = 'hq' where corp_id = $1 and userid = 'boss'", company.corp_id)
        await owner_sql.execute("alter table employee enable trigger user")
        forger = Forger(owner_sql, company)
        approval_id = await forger.ask("x", **how)
        async with refused(owner_sql, "TW045"):
            await forger.sign(approval_id, 1, "boss", person="hq")
    finally:
        await transaction.rollback()
