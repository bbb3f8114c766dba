"""The bytes of a line, the walk along the chain, and every way somebody with the owner's password could bend it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import asyncpg
import pytest

from support.company import Companies, Company
from tagwarden.audit import service as audit
from tagwarden.audit.model import GENESIS, Entry, Walker, link
from tagwarden.kernel import db

AT = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)


def body(detail: dict[str, object], at: datetime = AT) -> bytes:
    """A line with this detail."""
    return audit.canonical("corp", {"userid": "ann", "issuer": "i"}, "r", at, Entry("a", "o", dict(detail)))


def test_the_bytes_of_a_line() -> None:
    entry = Entry("tags.changed", "follow:1", {"b": 1, "a": "高"}, {"row": None, "revision": 2})
    line = audit.canonical("corp", {"userid": "ann", "issuer": "i"}, "r", AT, entry)
    assert line.decode() == (
        '{"action":"tags.changed","actor":{"issuer":"i","userid":"ann"},"at":"2026-03-04T05:06:07.000089Z","corp_id":"corp",'
        '"decision":{"revision":2,"row":null},"detail":{"a":"高","b":1},"object":"follow:1","request_id":"r","v":1}'
    )


def test_one_moment_has_one_spelling() -> None:
    assert body({}, AT.astimezone(timezone(timedelta(hours=8)))) == body({}, AT)
    assert b'"at":"2026-03-04T05:06:07.000000Z"' in body({}, AT.replace(microsecond=0))


@pytest.mark.parametrize(
    ("detail", "text"),
    [
        ({"b": 1, "a": 2}, '{"a":2,"b":1}'),
        (
            {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "ö": 7},
            '{"\\r":2,"1":4,"\x80":6,"ö":7,"€":1,"😀":5,"\ufb33":3}',
        ),
        ({"n": [333333333.33333329, 1e30, 4.50, 2e-3, 1e-27, 1.0, -0.0]}, '{"n":[333333333.3333333,1e+30,4.5,0.002,1e-27,1,0]}'),
        ({"s": '€$\x0f\nA\'B"\\\\"/'}, '{"s":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'),
        ({"l": [None, True, False], "e": {}}, '{"e":{},"l":[null,true,false]}'),
    ],
)
def test_rfc_8785(detail: dict[str, object], text: str) -> None:
    assert f'"detail":{text},'.encode() in body(detail)


def test_a_link_is_the_formula() -> None:
    assert link(GENESIS, 1, b"x") == sha256(bytes(32) + bytes(7) + b"\x01" + b"x").digest()
    walker = Walker()
    assert walker.feed(1, b"x", link(GENESIS, 1, b"x"))
    assert not walker.feed(2, b"y", link(GENESIS, 2, b"y"))
    assert not walker.feed(3, b"z", b"")
    assert walker.verdict(3, b"").first_bad == 2


async def test_the_chain_of_a_life_holds(companies: Companies) -> None:
    company = await companies.make()
    for tag in ("activity/hot", "activity/warm", "value/high"):
        await company.change("ann", "c1", [tag])
    found = await audit.verify(company.corp_id)
    assert found.sound
    assert found.lines == await db.fetch_value("select seq from audit_head where corp_id = $1", company.corp_id)
    decoded = await audit.latest(company.corp_id, before=None, limit=3)
    assert [line["seq"] for line in decoded] == [found.lines, found.lines - 1, found.lines - 2]


async def test_a_corp_without_a_chain_is_not_sound(companies: Companies) -> None:
    assert not (await audit.verify("nobody")).sound


async def rehash(owner: asyncpg.Connection, corp_id: str, start: int, *, head: bool) -> None:
    """Recomputes every hash from a line on, as somebody who knows the formula would."""
    previous = await owner.fetchval("select hash from audit_line where corp_id = $1 and seq = $2", corp_id, start - 1)
    for row in await owner.fetch(
        "select seq, body from audit_line where corp_id = $1 and seq >= $2 order by seq", corp_id, start
    ):
        previous = link(previous or GENESIS, row["seq"], row["body"])
        await owner.execute("update audit_line set hash = $3 where corp_id = $1 and seq = $2", corp_id, row["seq"], previous)
    if head:
        await owner.execute("update audit_head set hash = $2 where corp_id = $1", corp_id, previous)


async def alter(owner: asyncpg.Connection, corp_id: str) -> None:
    await owner.execute(
        "update audit_line set body = convert_to(replace(convert_from(body, 'utf8'), 'ann', 'bob'), 'utf8')"
        " where corp_id = $1 and seq = 30",
        corp_id,
    )


async def one_bit(owner: asyncpg.Connection, corp_id: str) -> None:
    await owner.execute(
        "update audit_line set body = set_bit(body, 7, 1 - get_bit(body, 7)) where corp_id = $1 and seq = 30", corp_id
    )


async def hash_of_one(owner: asyncpg.Connection, corp_id: str) -> None:
    await owner.execute("update audit_line set hash = sha256(hash) where corp_id = $1 and seq = 30", corp_id)


async def swap(owner: asyncpg.Connection, corp_id: str) -> None:
    for step in ("-seq where corp_id = $1 and seq in (30, 31)", "61 + seq where corp_id = $1 and seq in (-30, -31)"):
        await owner.execute(f"update audit_line set seq = {step}", corp_id)


async def swap_bodies(owner: asyncpg.Connection, corp_id: str) -> None:
    await owner.execute(
        "update audit_line a set body = b.body from audit_line b where a.corp_id = $1 and b.corp_id = $1"
        " and (a.seq, b.seq) in ((30, 31), (31, 30))",
        corp_id,
    )


async def no_tail(owner: asyncpg.Connection, corp_id: str) -> None:
    await owner.execute("delete from audit_line where corp_id = $1 and seq > 31", corp_id)


async def no_middle(owner: asyncpg.Connection, corp_id: str) -> None:
    await owner.execute("delete from audit_line where corp_id = $1 and seq = 30", corp_id)


async def no_first(owner: asyncpg.Connection, corp_id: str) -> None:
    await owner.execute("delete from audit_line where corp_id = $1 and seq = 1", corp_id)


async def closed_gap(owner: asyncpg.Connection, corp_id: str) -> None:
    await no_middle(owner, corp_id)
    await owner.execute("update audit_line set seq = -seq where corp_id = $1 and seq > 30", corp_id)
    await owner.execute("update audit_line set seq = -seq - 1 where corp_id = $1 and seq < 0", corp_id)
    await rehash(owner, corp_id, 30, head=False)


async def suffix(owner: asyncpg.Connection, corp_id: str) -> None:
    await alter(owner, corp_id)
    await rehash(owner, corp_id, 30, head=False)


async def head_hash(owner: asyncpg.Connection, corp_id: str) -> None:
    await owner.execute("update audit_head set hash = sha256(hash) where corp_id = $1", corp_id)


async def head_ahead(owner: asyncpg.Connection, corp_id: str) -> None:
    await owner.execute("update audit_head set seq = seq + 1 where corp_id = $1", corp_id)


async def head_behind(owner: asyncpg.Connection, corp_id: str) -> None:
    await owner.execute("update audit_head set seq = seq - 1 where corp_id = $1", corp_id)


async def everything(owner: asyncpg.Connection, corp_id: str) -> None:
    await owner.execute("delete from audit_line where corp_id = $1", corp_id)


async def behind_with_its_hash(owner: asyncpg.Connection, corp_id: str) -> None:
    await owner.execute(
        "update audit_head h set seq = 31, hash = l.hash from audit_line l"
        " where h.corp_id = $1 and l.corp_id = $1 and l.seq = 31",
        corp_id,
    )


async def beyond(owner: asyncpg.Connection, corp_id: str) -> None:
    await owner.execute(
        "insert into audit_line (corp_id, seq, body, hash) select corp_id, seq + 1, 'invented', hash from audit_head"
        " where corp_id = $1",
        corp_id,
    )


Tampering = Callable[[asyncpg.Connection, str], Awaitable[None]]
LAST = 40
TAMPERINGS: list[tuple[Tampering, int, str]] = [
    (alter, 30, "altered"),
    (one_bit, 30, "altered"),
    (hash_of_one, 30, "altered"),
    (swap, 30, "altered"),
    (swap_bodies, 30, "altered"),
    (no_tail, 32, "missing"),
    (no_middle, 30, "missing"),
    (no_first, 1, "missing"),
    (closed_gap, LAST, "missing"),
    (suffix, LAST, "head"),
    (head_hash, LAST, "head"),
    (head_ahead, LAST + 1, "missing"),
    (head_behind, LAST - 1, "head"),
    (everything, 1, "missing"),
]


@pytest.mark.parametrize(
    ("tamper", "first_bad", "reason"),
    [
        *(pytest.param(*case, id=case[0].__name__) for case in TAMPERINGS),
        pytest.param(behind_with_its_hash, 32, "head", id="behind"),
        pytest.param(beyond, LAST + 1, "head", id="beyond"),
    ],
)
async def test_tampering_is_found_at_its_first_line(
    companies: Companies, owner_sql: asyncpg.Connection, tamper: Tampering, first_bad: int, reason: str
) -> None:
    company = await companies.make(customers=())
    await _lengthen(company)
    await owner_sql.execute("alter table audit_line disable trigger user")
    await tamper(owner_sql, company.corp_id)
    await owner_sql.execute("alter table audit_line enable trigger user")
    found = await audit.verify(company.corp_id)
    assert (found.first_bad, found.reason) == (first_bad, reason)


async def _lengthen(company: Company) -> None:
    """Brings the chain to a known length, with ann in every further line."""
    missing = LAST - (await audit.verify(company.corp_id)).lines
    lines = [
        audit.canonical(company.corp_id, {"userid": "ann", "issuer": "i"}, "", AT, Entry("tested", f"corp:{number}"))
        for number in range(missing)
    ]
    async with db.transaction():
        await audit.close(company.corp_id, lines, bumped=False)
