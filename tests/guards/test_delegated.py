"""Delegations and signatures for somebody else, written by hand: a delegate is the person he stands for, and no more."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from support.company import Companies
from tagwarden.kernel.ids import new_id

from .conftest import Fortress
from .forger import BASE, HASH, Forger

DAY = timedelta(days=1)


@contextlib.asynccontextmanager
async def refused(connection: asyncpg.Connection, *states: str) -> AsyncIterator[None]:
    """The block's statement is refused with one of the states; the transaction goes on."""
    savepoint = connection.transaction()
    await savepoint.start()
    with pytest.raises(asyncpg.PostgresError) as error:
        yield
    assert error.value.sqlstate in states, error.value
    await savepoint.rollback()


async def delegate(forger: Forger, away: str, acting: str, lasts: timedelta = DAY, **more: Any) -> UUID:
    """A delegation from now on; `more` are further columns."""
    now = datetime.now(UTC)
    row = {"userid": away, "delegate": acting, "starts_at": now, "ends_at": now + lasts, **more}
    row |= {"corp_id": forger.company.corp_id, "id": new_id()}
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await forger.sql.execute(f"insert into delegation ({', '.join(row)}) values ({places})", *row.values())
    found: UUID = row["id"]
    return found


async def sign_for(forger: Forger, approval_id: UUID, level: int, acting: str, away: str, *, by_asking: bool = False) -> None:
    """A signature in somebody else's name."""
    await forger.sql.execute(
        "insert into approval_signature (corp_id, id, approval_id, round, level, signer, signer_person, on_behalf_of, by_asking,"
        " verdict, content_hash, fingerprint, epoch, signed_at)"
        " values ($1, $2, $3, 1, $4, $5, $5, $6, $9, 'approve', $7, $8, 1, now())",
        forger.company.corp_id,
        new_id(),
        approval_id,
        level,
        acting,
        away,
        HASH,
        BASE,
        by_asking,
    )


# -- the delegation itself ---------------------------------------------------------------------------------------------


async def test_it_begins_now_at_the_earliest(attacker: asyncpg.Connection, forger: Forger) -> None:
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    made = await delegate(forger, "boss", "hq", starts_at=long_ago, created_at=long_ago)
    row = await attacker.fetchrow(
        "select starts_at = now() as begins, created_at = now() as made from delegation where id = $1", made
    )
    assert (row["begins"], row["made"]) == (True, True)


@pytest.mark.parametrize(
    "times",
    [
        {"starts_at": datetime(2020, 1, 1, tzinfo=UTC), "ends_at": datetime(2020, 2, 1, tzinfo=UTC)},
        {"ended_at": datetime(2020, 1, 1, tzinfo=UTC)},
    ],
    ids=["over before it began", "born ended"],
)
async def test_it_is_not_of_the_past(attacker: asyncpg.Connection, forger: Forger, times: dict[str, datetime]) -> None:
    async with refused(attacker, "TW090"):
        await delegate(forger, "boss", "hq", **times)


async def test_nobody_stands_in_for_himself_or_a_ghost(attacker: asyncpg.Connection, forger: Forger) -> None:
    for away, acting in (("boss", "boss"), ("boss", "BOSS"), ("boss", "ghost"), ("ghost", "boss")):
        async with refused(attacker, "23514", "23503"):
            await delegate(forger, away, acting)


REWRITTEN = {
    "userid": "'east'",
    "delegate": "'east'",
    "starts_at": "now() - interval '1 year'",
    "ends_at": "now() + interval '9 years'",
    "reason": "'other'",
    "approval_id": "(select id from approval limit 1)",
    "created_at": "now() - interval '1 year'",
    "id": "gen_random_uuid()",
    "corp_id": "(select corp_id from corp where corp_id <> delegation.corp_id limit 1)",
}


@pytest.mark.parametrize("column", REWRITTEN)
async def test_it_is_never_rewritten(attacker: asyncpg.Connection, forger: Forger, companies: Companies, column: str) -> None:
    if column == "corp_id":
        await companies.make(customers=())
    made = await delegate(forger, "boss", "hq")
    async with refused(attacker, "TW090"):
        await attacker.execute(f"update delegation set {column} = {REWRITTEN[column]} where id = $1", made)


async def test_what_ended_stays_ended_and_stays(attacker: asyncpg.Connection, forger: Forger) -> None:
    made = await delegate(forger, "boss", "hq")
    await attacker.execute("update delegation set ended_at = now() where id = $1", made)
    for change in ("ended_at = null", "ended_at = now() + interval '1 day'", "reason = 'x'"):
        async with refused(attacker, "TW090"):
            await attacker.execute(f"update delegation set {change} where id = $1", made)
    async with refused(attacker, "TW001", "42501"):
        await attacker.execute("delete from delegation where id = $1", made)


# -- signing for another -----------------------------------------------------------------------------------------------


async def test_the_delegate_signs_for_who_is_away(attacker: asyncpg.Connection, forger: Forger) -> None:
    await delegate(forger, "east", "south")
    approval_id = await forger.ask("x")
    await sign_for(forger, approval_id, 1, "south", "east")
    await forger.move(approval_id, "pending_level2")
    await forger.sign(approval_id, 2, "hq")
    await forger.move(approval_id, "applied")


async def test_without_a_delegation_in_force_nobody_signs_for_another(
    attacker: asyncpg.Connection, forger: Forger, companies: Companies
) -> None:
    approval_id = await forger.ask("x")
    ended = await delegate(forger, "east", "south")
    await attacker.execute("update delegation set ended_at = now() where id = $1", ended)
    await delegate(forger, "boss", "south", starts_at=datetime.now(UTC) + DAY, ends_at=datetime.now(UTC) + 2 * DAY)
    await delegate(forger, "boss", "hq")
    await delegate(forger, "hq", "south")
    await delegate(Forger(attacker, await companies.make(customers=())), "east", "boss")
    for acting, away in (
        ("hq", "east"),  # never named
        ("south", "east"),  # taken back
        ("south", "boss"),  # not away yet, and named by hq, who stands in for boss: one hop only
        ("hq", "south"),  # the other way round
        ("boss", "east"),  # in another corp
        ("east", "east"),  # for himself
    ):
        async with refused(attacker, "TW047"):
            await sign_for(forger, approval_id, 1, acting, away)


async def test_a_delegation_runs_out(attacker: asyncpg.Connection, forger: Forger) -> None:
    approval_id = await forger.ask("x")
    await attacker.execute(
        "insert into delegation (corp_id, id, userid, delegate, starts_at, ends_at)"
        " values ($1, $2, 'east', 'south', now(), clock_timestamp() + interval '50 milliseconds')",
        forger.company.corp_id,
        new_id(),
    )
    await attacker.fetchval("select pg_sleep(0.1)")
    async with refused(attacker, "TW047"):
        await sign_for(forger, approval_id, 1, "south", "east")


async def test_who_is_away_and_disabled_is_not_stood_in_for(attacker: asyncpg.Connection, forger: Forger) -> None:
    await delegate(forger, "east", "south")
    approval_id = await forger.ask("x")
    for who, state in (("east", "TW047"), ("south", "TW043")):
        async with refused(attacker, state):
            await attacker.execute(
                "update employee set status = 'disabled' where corp_id = $1 and userid = $2", forger.company.corp_id, who
            )
            await sign_for(forger, approval_id, 1, "south", "east")


NOBODY = {
    "the requester": ({"requester": "east", "about": "ann"}, "TW044"),
    "the employee concerned": ({"requester": "ann", "about": "east"}, "TW045"),
    "a barred one": ({"requester": "ann", "about": "ann", "barred": ["east"]}, "TW045"),
}


@pytest.mark.parametrize(("asked", "state"), NOBODY.values(), ids=NOBODY.keys())
async def test_nobody_signs_for_one_who_never_signs(
    attacker: asyncpg.Connection, forger: Forger, asked: dict[str, Any], state: str
) -> None:
    await delegate(forger, "east", "south")
    await delegate(forger, "south", "east")
    approval_id = await forger.ask("x", **asked)
    async with refused(attacker, state):
        await sign_for(forger, approval_id, 1, "south", "east")
    async with refused(attacker, state):
        await sign_for(forger, approval_id, 1, "east", "south")


async def test_both_hold_the_role(attacker: asyncpg.Connection, forger: Forger) -> None:
    for away, acting in (("cat", "south"), ("south", "cat"), ("boss", "south"), ("south", "boss")):
        await delegate(forger, away, acting)
    first = await forger.ask("x", requester="ann", about="ann")
    for acting, away in (("south", "cat"), ("cat", "south")):
        async with refused(attacker, "TW046"):
            await sign_for(forger, first, 1, acting, away)
    second = await forger.ask("x", requester="ann", about="ann", state="pending_level2")
    for acting, away in (("south", "boss"), ("boss", "south")):
        async with refused(attacker, "TW046"):
            await sign_for(forger, second, 2, acting, away)


async def test_a_delegate_and_his_giver_are_not_the_two(attacker: asyncpg.Connection, forger: Forger) -> None:
    await delegate(forger, "boss", "hq")
    himself = await forger.ask("x")
    await forger.sign(himself, 1, "boss")
    await forger.move(himself, "pending_level2")
    async with refused(attacker, "TW048"):
        await sign_for(forger, himself, 2, "hq", "boss")
    by_delegate = await forger.ask("x")
    await sign_for(forger, by_delegate, 1, "hq", "boss")
    await forger.move(by_delegate, "pending_level2")
    for second in ("boss", "hq"):
        async with refused(attacker, "TW048"):
            await forger.sign(by_delegate, 2, second)


async def test_asking_is_no_signature_for_another(attacker: asyncpg.Connection, forger: Forger) -> None:
    await delegate(forger, "boss", "east")
    approval_id = await forger.ask("x", requester="east", about="ann", state="pending_level2")
    async with refused(attacker, "TW047"):
        await sign_for(forger, approval_id, 1, "east", "boss", by_asking=True)


# -- who is one person -------------------------------------------------------------------------------------------------


async def person(connection: asyncpg.Connection, fortress: Fortress, userid: str, now: str) -> None:
    """Says that an account is this person."""
    corp_id = fortress.company.corp_id
    await connection.execute("update employee set person = $3 where corp_id = $1 and userid = $2", corp_id, userid, now)


async def test_two_accounts_are_joined_once_and_never_parted(attacker: asyncpg.Connection, fortress: Fortress) -> None:
    for wrong in ("nobody", "", "BOSS"):
        async with refused(attacker, "TW081"):
            await person(attacker, fortress, "hq", wrong)
    await person(attacker, fortress, "hq", "boss")
    for userid, now in (("hq", "hq"), ("hq", "south"), ("boss", "hq"), ("boss", "south"), ("boss", "east")):
        async with refused(attacker, "TW081"):
            await person(attacker, fortress, userid, now)
    await person(attacker, fortress, "south", "boss")


async def test_who_is_joined_signs_no_second_time(attacker: asyncpg.Connection, forger: Forger, fortress: Fortress) -> None:
    approval_id = await forger.ask("x")
    await forger.sign(approval_id, 1, "boss")
    await forger.move(approval_id, "pending_level2")
    await person(attacker, fortress, "hq", "boss")
    async with refused(attacker, "TW048", "23505"):
        await forger.sign(approval_id, 2, "hq", person="boss")


async def test_who_signed_is_joined_to_who_signs(attacker: asyncpg.Connection, forger: Forger, fortress: Fortress) -> None:
    approval_id = await forger.ask("x")
    await forger.sign(approval_id, 1, "boss")
    await forger.move(approval_id, "pending_level2")
    await person(attacker, fortress, "boss", "hq")
    async with refused(attacker, "TW048"):
        await forger.sign(approval_id, 2, "hq")


async def test_who_asked_is_joined_to_who_signs(attacker: asyncpg.Connection, forger: Forger, fortress: Fortress) -> None:
    approval_id = await forger.ask("x", requester="ann", about="bob")
    await person(attacker, fortress, "ann", "east")
    async with refused(attacker, "TW044"):
        await forger.sign(approval_id, 1, "east")
