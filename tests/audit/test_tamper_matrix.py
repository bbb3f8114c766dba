"""Every kind of tampering by the owner of the database against `audit verify`: what the chain shows, what only heads show.

Nothing here can be done as the application's role; each attempt is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from support.company import Companies
from support.servers import as_operator, tried
from tagwarden.audit import service as audit
from tagwarden.audit.heads import HeadSigner, PublicKeyInvalid, read_witnesses
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls

from .chains import AT, SIGNER, Witnessed, a_life, line_of, told, unguarded, witnesses_of
from .kinds import EARLY, KINDS, LAST, MISSING, VICTIM, Found

MOVED = "a line moved to another corp"
RESTORES: dict[str, tuple[int, Found]] = {
    "a backup restored": (0, (EARLY + 1, "cut")),
    "a backup restored and a little written since": (5, (EARLY + 6, "cut")),
    "a backup restored and much written since": (LAST - EARLY + 6, (LAST, "rewritten")),
}
TRUNCATED = "the table truncated"
NUMBER_OF_KINDS = len(KINDS) + len(RESTORES) + len((TRUNCATED,))


@dataclass
class Scenes:
    """One tampered company a kind, and one that nobody touched."""

    by_kind: dict[str, Witnessed]
    untouched: Witnessed
    robbed: Witnessed
    heads: Path

    async def command(self, database: EmbeddedUrls, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """`audit verify --json`: the exit code, and what it found by corp."""
        code, said = await tried(as_operator(database), "audit", "verify", "--json", *words)
        return code, {one["corp_id"]: one for one in documents(said)}


def documents(said: str) -> Iterable[dict[str, Any]]:
    """What was printed: one JSON document a corp."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(said.rstrip()):
        found, at = decoder.raw_decode(said, at)
        at += len(said[at:]) - len(said[at:].lstrip())
        yield found


@pytest.fixture(scope="module")
async def scenes(companies: Companies, database: EmbeddedUrls, tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    """Every kind done to a company of its own, after its heads left."""
    untouched, robbed = await a_life(companies), await a_life(companies)
    by_kind = {name: await a_life(companies) for name in KINDS}
    owner = await asyncpg.connect(database.owner)
    for name, kind in KINDS.items():
        other = robbed if name == MOVED else untouched
        async with unguarded(owner, by_kind[name].corp_id, other.corp_id) as chain:
            await kind.tamper(chain)
    await owner.close()
    heads = Path(tmp_path_factory.mktemp("heads")) / "heads.jsonl"
    heads.write_text("\n".join(line for one in (untouched, robbed, *by_kind.values()) for line in one.heads), encoding="utf-8")
    return Scenes(by_kind, untouched, robbed, heads)


@pytest.mark.parametrize("name", KINDS)
async def test_each_kind_is_found_at_its_first_line(scenes: Scenes, name: str) -> None:
    alone, witnessed = await scenes.by_kind[name].verify()
    for verdict, expected in ((alone, KINDS[name].alone), (witnessed, KINDS[name].witnessed)):
        assert (None if verdict.sound else (verdict.first_bad, verdict.reason)) == expected
    assert not witnessed.sound, "no kind may pass beside its heads"


async def test_what_nobody_touched_is_sound(scenes: Scenes) -> None:
    assert [(verdict.sound, verdict.lines) for verdict in await scenes.untouched.verify()] == [(True, LAST)] * 2


async def test_a_line_that_came_from_another_corp_is_found_there_too(scenes: Scenes) -> None:
    alone, _ = await scenes.robbed.verify()
    assert (alone.first_bad, alone.reason) == (LAST + 1, "head")


async def test_the_command_finds_the_same_and_exits_3(scenes: Scenes, database: EmbeddedUrls) -> None:
    code, alone = await scenes.command(database)
    assert code == 3
    code, witnessed = await scenes.command(database, "--heads", str(scenes.heads))
    assert code == 3
    for name, kind in KINDS.items():
        corp_id = scenes.by_kind[name].corp_id
        assert told(alone[corp_id]) == (kind.alone or (None, None)), name
        assert told(witnessed[corp_id]) == (kind.witnessed or (None, None)), name
        assert (witnessed[corp_id]["heads"], witnessed[corp_id]["forged_heads"]) == (2, 0)
    assert told(witnessed[scenes.untouched.corp_id]) == (None, None)


async def test_the_command_on_one_corp(scenes: Scenes, database: EmbeddedUrls) -> None:
    rewritten = ("--corp", scenes.by_kind["the whole chain rewritten"].corp_id)
    assert (await scenes.command(database, *rewritten))[0] == 0
    assert (await scenes.command(database, *rewritten, "--heads", str(scenes.heads)))[0] == 3
    assert (await scenes.command(database, "--corp", scenes.by_kind["the head deleted"].corp_id))[0] == 3


async def test_what_only_heads_can_find(scenes: Scenes) -> None:
    hidden = {name for name, kind in KINDS.items() if kind.alone is None}
    assert len(hidden) == 10
    for name in hidden:
        alone, witnessed = await scenes.by_kind[name].verify()
        assert (alone.sound, witnessed.sound) == (True, False), name
    print(f"{NUMBER_OF_KINDS} kinds of tampering found, {len(hidden) + len(RESTORES)} of them by heads alone")


@pytest.mark.parametrize("name", RESTORES)
async def test_an_older_backup(companies: Companies, owner_sql: asyncpg.Connection, name: str) -> None:
    rounds, expected = RESTORES[name]
    witnessed = await a_life(companies)
    backup = await owner_sql.fetchval("select hash from audit_line where corp_id = $1 and seq = $2", witnessed.corp_id, EARLY)
    async with unguarded(owner_sql, witnessed.corp_id) as chain:
        await chain.delete(f"seq > {EARLY}")
        await chain.do("update audit_head set seq = $2, hash = $3 where corp_id = $1", EARLY, backup)
    await witnessed.live_on(rounds)
    alone, beside = await witnessed.verify()
    assert alone.sound
    assert alone.lines == EARLY + rounds
    assert (beside.first_bad, beside.reason) == expected


async def test_truncated(companies: Companies) -> None:
    """In a transaction that is rolled back: the table holds the chains of every other test too."""
    witnessed = await a_life(companies)

    class Enough(Exception):
        pass

    async with companies.as_owner():
        with pytest.raises(Enough):
            async with db.transaction():
                await db.execute("alter table audit_line disable trigger user")
                await db.execute("truncate audit_line")
                for verdict in await witnessed.verify():
                    assert (verdict.first_bad, verdict.reason) == (1, "missing")
                raise Enough
    assert (await audit.verify(witnessed.corp_id)).sound


async def test_what_is_rewritten_after_the_newest_head_is_found_by_the_next_one_alone(
    companies: Companies, owner_sql: asyncpg.Connection
) -> None:
    witnessed = await a_life(companies)
    await witnessed.live_on(3)
    kept = list(witnessed.heads)
    await witnessed.sign()
    async with unguarded(owner_sql, witnessed.corp_id) as chain:
        await chain.forge(LAST + 2)
        await chain.rehash(LAST + 2, head=True)
    older = await audit.verify(witnessed.corp_id, witnesses_of(witnessed.corp_id, kept).heads)
    _, newest = await witnessed.verify()
    assert older.sound
    assert (newest.first_bad, newest.reason) == (LAST + 3, "rewritten")


# -- as the application's role ------------------------------------------------------------------------------------------

ATTEMPTS = {
    "a body": "update audit_line set body = 'x' where corp_id = '{corp}' and seq = 50",
    "a hash": "update audit_line set hash = 'x' where corp_id = '{corp}' and seq = 50",
    "a number": "update audit_line set seq = -seq where corp_id = '{corp}' and seq = 50",
    "another corp's": "update audit_line set corp_id = '{other}' where corp_id = '{corp}' and seq = 50",
    "delete": "delete from audit_line where corp_id = '{corp}' and seq = 50",
    "insert": "insert into audit_line (corp_id, seq, body, hash) values ('{corp}', 61, '{{}}', 'x')",
    "insert below": "insert into audit_line (corp_id, seq, body, hash) values ('{corp}', 0, '{{}}', 'x')",
    "merge": "merge into audit_line a using (select 1) s on a.corp_id = '{corp}' when matched then delete",
    "copy": "copy audit_line from program 'true'",
    "truncate": "truncate audit_line",
    "truncate the heads": "truncate audit_head",
    "the head's number": "update audit_head set seq = 50 where corp_id = '{corp}'",
    "the head's hash": "update audit_head set hash = 'x' where corp_id = '{corp}'",
    "the head": "delete from audit_head where corp_id = '{corp}'",
    "another head": "insert into audit_head (corp_id, hash) values ('x', 'x')",
    "triggers off": "alter table audit_line disable trigger user",
    "triggers off by session": "set session_replication_role = replica",
    "a trigger away": "drop trigger audit_line_frozen on audit_line",
    "the table away": "drop table audit_line cascade",
    "another table": "alter table audit_line rename to lines",
    "the function": "create or replace function refuse_change() returns trigger language plpgsql as 'begin return new; end'",
    "the closing function": "alter function close_command(text, bytea[], boolean) security invoker",
    "the owner": "alter table audit_line owner to current_user",
    "the owner's role": "set role tagwarden_owner",
    "a rule": "create rule r as on insert to audit_line do instead nothing",
}
REFUSED = (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError)


@pytest.mark.parametrize("statement", ATTEMPTS.values(), ids=ATTEMPTS.keys())
async def test_the_applications_role_can_do_none_of_it(scenes: Scenes, sql: asyncpg.Connection, statement: str) -> None:
    with pytest.raises(REFUSED):
        await sql.execute(statement.format(corp=scenes.untouched.corp_id, other=scenes.robbed.corp_id))


async def test_after_all_attempts_the_chain_stands(scenes: Scenes, sql: asyncpg.Connection) -> None:
    before = await sql.fetch("select seq, body, hash from audit_line where corp_id = $1 order by seq", scenes.untouched.corp_id)
    for statement in ATTEMPTS.values():
        with pytest.raises(REFUSED):
            await sql.execute(statement.format(corp=scenes.untouched.corp_id, other=scenes.robbed.corp_id))
    after = await sql.fetch("select seq, body, hash from audit_line where corp_id = $1 order by seq", scenes.untouched.corp_id)
    assert before == after
    assert (await scenes.untouched.verify())[1].sound


# -- heads that are none ------------------------------------------------------------------------------------------------


def forgeries(one: Witnessed, other: Witnessed) -> dict[str, str]:
    """Lines that are not ours, or not any more."""
    head = json.loads(one.heads[-1])
    foreign = json.loads(other.heads[-1])
    stranger = HeadSigner("another installation's secret key, long enough")
    return {
        "hash": json.dumps({**head, "hash": "00" * 32}),
        "number": json.dumps({**head, "seq": LAST + 9}),
        "moment": json.dumps({**head, "at": "2027-01-01T00:00:00.000000Z"}),
        "corp": json.dumps({**foreign, "corp_id": one.corp_id}),
        "signature of another head": json.dumps({**head, "signature": json.loads(one.heads[0])["signature"]}),
        "signature cut": json.dumps({**head, "signature": head["signature"][:-4]}),
        "no signature": json.dumps({**head, "signature": ""}),
        "signature gone": json.dumps({name: value for name, value in head.items() if name != "signature"}),
        "number as text": json.dumps({**head, "seq": str(LAST)}),
        "number too large": json.dumps({**head, "seq": 2**60}),
        "number far too large": json.dumps({**head, "seq": 10**40}),
        "another installation": line_of(stranger.sign(one.corp_id, LAST + 5, bytes(32), AT)),
        "half a line": one.heads[-1][:60],
        "two lines in one": one.heads[0] + one.heads[1],
        "an empty object": "{}",
        "a list": "[1, 2]",
        "no JSON": "\x00\ufffd not a head",
        "without an end": '{"x": ' + "[" * 100_000,
        "a lone surrogate": '{"corp_id": "\\ud800", "seq": 1, "hash": "", "at": "", "signature": ""}',
    }  # fmt: skip


async def test_forged_heads_are_counted_and_never_trusted(scenes: Scenes, database: EmbeddedUrls, tmp_path: Path) -> None:
    one, other = scenes.untouched, scenes.robbed
    wrong = forgeries(one, other)
    for name, line in wrong.items():
        found = witnesses_of(one.corp_id, [line])
        assert (dict(found.heads), found.forged, found.contradicting) == ({}, 1, None), name
    file = tmp_path / "heads.jsonl"
    file.write_text("\n".join([*one.heads, "", *wrong.values(), "  ", *other.heads]) + "\n", encoding="utf-8")
    code, results = await scenes.command(database, "--corp", one.corp_id, "--heads", str(file))
    assert code == 3
    found_there = results[one.corp_id]
    assert (found_there["heads"], found_there["forged_heads"], *told(found_there)) == (2, len(wrong), None, None)


async def test_heads_of_another_corp_say_nothing_of_this_one(scenes: Scenes) -> None:
    found = witnesses_of(scenes.untouched.corp_id, scenes.robbed.heads)
    assert (dict(found.heads), found.forged) == ({}, 0)


async def test_two_heads_of_one_line_that_differ(scenes: Scenes, database: EmbeddedUrls, tmp_path: Path) -> None:
    one = scenes.untouched
    lie = line_of(SIGNER.sign(one.corp_id, EARLY, bytes(32), AT))
    assert witnesses_of(one.corp_id, [lie, *one.heads]).contradicting == EARLY
    file = tmp_path / "heads.jsonl"
    file.write_text("\n".join([*one.heads, lie]), encoding="utf-8")
    code, results = await scenes.command(database, "--corp", one.corp_id, "--heads", str(file))
    assert (code, *told(results[one.corp_id])) == (3, EARLY, "rewritten")


async def test_a_wrong_public_key_makes_every_head_a_forgery(scenes: Scenes, database: EmbeddedUrls) -> None:
    stranger = HeadSigner("another installation's secret key, long enough").public_key
    only = ("--corp", scenes.untouched.corp_id, "--heads", str(scenes.heads), "--public-key")
    code, results = await scenes.command(database, *only, stranger)
    found = results[scenes.untouched.corp_id]
    assert (code, found["heads"], found["forged_heads"]) == (3, 0, 2 * (len(KINDS) + 2))
    code, results = await scenes.command(database, *only, SIGNER.public_key)
    assert (code, results[scenes.untouched.corp_id]["forged_heads"]) == (0, 0)
    code, said = await tried(as_operator(database), "audit", "verify", *only, "")
    assert (code, "public_key_invalid" in said, "Traceback" in said) == (1, True, False), "an unset variable is no key"
    for key in ("", "no key", SIGNER.public_key[:-8], "链"):
        with pytest.raises(PublicKeyInvalid):
            read_witnesses(scenes.untouched.heads, key, scenes.untouched.corp_id)


def test_the_table_of_kinds() -> None:
    assert NUMBER_OF_KINDS == 47
    assert MISSING == (VICTIM, "missing")
