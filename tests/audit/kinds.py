"""Every kind of tampering with a chain that somebody with the owner's password could try, and what must be found.

Each is a function of plain SQL on one corp; the lines before and at `LAST` were witnessed at `EARLY` and at `LAST`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg
import msgspec

from tagwarden.audit.model import GENESIS, link

EARLY, VICTIM, LAST = 45, 50, 60
FAR = 10**15
Found = tuple[int, str] | None
"""The first bad line and why; None where nothing is found."""


@dataclass
class Chain:
    """One corp's rows in the hands of the owner."""

    owner: asyncpg.Connection
    corp_id: str
    other: str

    async def do(self, sql: str, *args: object) -> None:
        """A statement about this corp, which is `$1`."""
        await self.owner.execute(sql, self.corp_id, *args)

    async def body(self, seq: int) -> bytes:
        """The bytes of a line."""
        found: bytes = await self.owner.fetchval("select body from audit_line where corp_id = $1 and seq = $2", self.corp_id, seq)
        return found

    async def put(self, seq: int, body: bytes) -> None:
        """Other bytes for a line, nothing else."""
        await self.do("update audit_line set body = $3 where corp_id = $1 and seq = $2", seq, body)

    async def forge(self, seq: int) -> None:
        """A line that says somebody else did it."""
        body = await self.body(seq)
        assert b'"v":1' in body
        await self.put(seq, body.replace(b'"v":1', b'"v":7'))

    async def rehash(self, start: int, end: int = FAR, *, head: bool = False) -> None:
        """Recomputes hashes from a line on, as somebody who knows the formula would; with `head` the head follows."""
        previous = await self.owner.fetchval(
            "select hash from audit_line where corp_id = $1 and seq = $2", self.corp_id, start - 1
        )
        rows = await self.owner.fetch(
            "select seq, body from audit_line where corp_id = $1 and seq between $2 and $3 order by seq", self.corp_id, start, end
        )
        for row in rows:
            previous = link(previous or GENESIS, row["seq"], row["body"])
            await self.do("update audit_line set hash = $3 where corp_id = $1 and seq = $2", row["seq"], previous)
        if head:
            await self.follow()

    async def follow(self) -> None:
        """Sets the head to the last line there is."""
        await self.do(
            "update audit_head h set seq = l.seq, hash = l.hash from audit_line l where h.corp_id = $1 and l.corp_id = $1"
            " and l.seq = (select max(seq) from audit_line where corp_id = $1)"
        )

    async def shift(self, start: int, by: int) -> None:
        """Moves the numbers of a line and all after it."""
        await self.do("update audit_line set seq = -seq where corp_id = $1 and seq >= $2", start)
        await self.do("update audit_line set seq = -seq + $2 where corp_id = $1 and seq < 0", by)

    async def insert(self, seq: int, body: bytes, *, linked: bool = True) -> None:
        """One more line; linked to the one before it, or with any hash."""
        previous = await self.owner.fetchval("select hash from audit_line where corp_id = $1 and seq = $2", self.corp_id, seq - 1)
        hashed = link(previous or GENESIS, max(seq, 0), body) if linked else GENESIS
        await self.do("insert into audit_line (corp_id, seq, body, hash) values ($1, $2, $3, $4)", seq, body, hashed)

    async def delete(self, condition: str) -> None:
        """Removes lines."""
        await self.do(f"delete from audit_line where corp_id = $1 and {condition}")


Tampering = Callable[[Chain], Awaitable[None]]


@dataclass(frozen=True)
class Kind:
    """What is done, what the chain alone shows, and what heads kept outside show."""

    tamper: Tampering
    alone: Found
    witnessed: Found


async def one_byte(chain: Chain) -> None:
    body = bytearray(await chain.body(VICTIM))
    body[7] ^= 1
    await chain.put(VICTIM, bytes(body))


async def white_space(chain: Chain) -> None:
    await chain.put(VICTIM, (await chain.body(VICTIM)).replace(b":", b": ", 1))


async def key_order(chain: Chain) -> None:
    line = msgspec.json.decode(await chain.body(VICTIM))
    await chain.put(VICTIM, msgspec.json.encode(dict(reversed(line.items()))))


async def body_emptied(chain: Chain) -> None:
    await chain.put(VICTIM, b"")


async def a_hash(chain: Chain) -> None:
    await chain.do("update audit_line set hash = sha256(hash) where corp_id = $1 and seq = $2", VICTIM)


async def a_line_and_its_hash(chain: Chain) -> None:
    await chain.forge(VICTIM)
    await chain.rehash(VICTIM, VICTIM)


async def the_first_line_and_its_hash(chain: Chain) -> None:
    await chain.forge(1)
    await chain.rehash(1, 1)


async def the_last_line_and_its_hash(chain: Chain) -> None:
    await chain.forge(LAST)
    await chain.rehash(LAST)


async def the_last_line_and_the_head(chain: Chain) -> None:
    await chain.forge(LAST)
    await chain.rehash(LAST, head=True)


async def first_deleted(chain: Chain) -> None:
    await chain.delete("seq = 1")


async def middle_deleted(chain: Chain) -> None:
    await chain.delete(f"seq = {VICTIM}")


async def last_deleted(chain: Chain) -> None:
    await chain.delete(f"seq = {LAST}")


async def deleted_and_closed_up(chain: Chain) -> None:
    await chain.delete(f"seq = {VICTIM}")
    await chain.shift(VICTIM + 1, -1)


async def inserted(chain: Chain) -> None:
    await chain.shift(VICTIM, 1)
    await chain.insert(VICTIM, b"{}", linked=False)


async def inserted_with_its_hash(chain: Chain) -> None:
    await chain.shift(VICTIM, 1)
    await chain.insert(VICTIM, b"{}")


async def inserted_and_linked_through(chain: Chain) -> None:
    await inserted_with_its_hash(chain)
    await chain.rehash(VICTIM, head=True)


async def inserted_after_the_head(chain: Chain) -> None:
    await chain.insert(LAST + 1, b"{}")


async def inserted_before_the_first(chain: Chain) -> None:
    await chain.insert(0, b"{}")


async def inserted_below_zero(chain: Chain) -> None:
    await chain.insert(-7, b"{}")


async def swapped(chain: Chain) -> None:
    await chain.do("update audit_line set seq = -seq where corp_id = $1 and seq in ($2, $3)", VICTIM, VICTIM + 1)
    await chain.do("update audit_line set seq = $2 + seq where corp_id = $1 and seq < 0", 2 * VICTIM + 1)


async def bodies_swapped(chain: Chain) -> None:
    one, two = await chain.body(VICTIM), await chain.body(VICTIM + 1)
    await chain.put(VICTIM, two)
    await chain.put(VICTIM + 1, one)


async def renumbered(chain: Chain) -> None:
    await chain.shift(VICTIM, 1)


async def renumbered_far_away(chain: Chain) -> None:
    await chain.shift(VICTIM, FAR)


async def duplicated(chain: Chain) -> None:
    await chain.shift(VICTIM + 1, 1)
    await chain.insert(VICTIM + 1, await chain.body(VICTIM))


async def duplicated_over_another(chain: Chain) -> None:
    await chain.put(VICTIM + 1, await chain.body(VICTIM))


async def head_ahead(chain: Chain) -> None:
    await chain.do("update audit_head set seq = seq + 1 where corp_id = $1")


async def head_far_ahead(chain: Chain) -> None:
    await chain.do("update audit_head set seq = $2 where corp_id = $1", FAR)


async def head_behind(chain: Chain) -> None:
    await chain.do("update audit_head set seq = seq - 1 where corp_id = $1")


async def head_behind_with_its_hash(chain: Chain) -> None:
    await chain.do(
        "update audit_head h set seq = l.seq, hash = l.hash from audit_line l"
        " where h.corp_id = $1 and l.corp_id = $1 and l.seq = $2",
        VICTIM,
    )


async def head_hash(chain: Chain) -> None:
    await chain.do("update audit_head set hash = sha256(hash) where corp_id = $1")


async def head_deleted(chain: Chain) -> None:
    await chain.do("delete from audit_head where corp_id = $1")


async def tail_cut(chain: Chain) -> None:
    await chain.delete(f"seq > {VICTIM}")


async def tail_and_head_cut(chain: Chain) -> None:
    await chain.delete(f"seq > {VICTIM}")
    await chain.follow()


async def last_and_head_cut(chain: Chain) -> None:
    await chain.delete(f"seq = {LAST}")
    await chain.follow()


async def everything_deleted(chain: Chain) -> None:
    await chain.delete("true")


async def everything_and_head_reset(chain: Chain) -> None:
    await chain.delete("true")
    await chain.do("update audit_head set seq = 0, hash = $2 where corp_id = $1", GENESIS)


async def whole_chain_rewritten(chain: Chain) -> None:
    await chain.forge(3)
    await chain.rehash(1, head=True)


async def tail_rewritten(chain: Chain) -> None:
    await chain.forge(VICTIM)
    await chain.rehash(VICTIM, head=True)


async def tail_rewritten_and_longer(chain: Chain) -> None:
    await tail_rewritten(chain)
    await chain.insert(LAST + 1, b"{}")
    await chain.follow()


async def deleted_and_rewritten(chain: Chain) -> None:
    await deleted_and_closed_up(chain)
    await chain.rehash(VICTIM, head=True)


async def moved_to_another_corp(chain: Chain) -> None:
    await chain.do("update audit_line set corp_id = $3, seq = seq + $4 where corp_id = $1 and seq = $2", VICTIM, chain.other, FAR)


async def fetched_from_another_corp(chain: Chain) -> None:
    await chain.put(VICTIM, await Chain(chain.owner, chain.other, "").body(VICTIM))


async def replaced_by_another_corps(chain: Chain) -> None:
    await chain.delete("true")
    await chain.do(
        "insert into audit_line (corp_id, seq, body, hash) select $1, seq, body, hash from audit_line where corp_id = $2",
        chain.other,
    )
    await chain.follow()


ALTERED, NEXT = (VICTIM, "altered"), (VICTIM + 1, "altered")
MISSING = (VICTIM, "missing")
KINDS: dict[str, Kind] = {
    "one byte of a body": Kind(one_byte, ALTERED, ALTERED),
    "white space in a body": Kind(white_space, ALTERED, ALTERED),
    "the order of a body's keys": Kind(key_order, ALTERED, ALTERED),
    "a body emptied": Kind(body_emptied, ALTERED, ALTERED),
    "a hash": Kind(a_hash, ALTERED, ALTERED),
    "a line with its hash": Kind(a_line_and_its_hash, NEXT, NEXT),
    "the first line with its hash": Kind(the_first_line_and_its_hash, (2, "altered"), (2, "altered")),
    "the last line with its hash": Kind(the_last_line_and_its_hash, (LAST, "head"), (LAST, "rewritten")),
    "the last line with its hash and the head": Kind(the_last_line_and_the_head, None, (LAST, "rewritten")),
    "the first line deleted": Kind(first_deleted, (1, "missing"), (1, "missing")),
    "a line deleted": Kind(middle_deleted, MISSING, MISSING),
    "the last line deleted": Kind(last_deleted, (LAST, "missing"), (LAST, "missing")),
    "a line deleted, the gap closed": Kind(deleted_and_closed_up, ALTERED, ALTERED),
    "a line inserted": Kind(inserted, ALTERED, ALTERED),
    "a line inserted with its hash": Kind(inserted_with_its_hash, NEXT, NEXT),
    "a line inserted, all after it linked anew": Kind(inserted_and_linked_through, None, (LAST, "rewritten")),
    "a line after the head": Kind(inserted_after_the_head, (LAST + 1, "head"), (LAST + 1, "head")),
    "a line before the first": Kind(inserted_before_the_first, (0, "stray"), (0, "stray")),
    "a line below zero": Kind(inserted_below_zero, (-7, "stray"), (-7, "stray")),
    "two lines swapped": Kind(swapped, ALTERED, ALTERED),
    "two bodies swapped": Kind(bodies_swapped, ALTERED, ALTERED),
    "lines renumbered": Kind(renumbered, MISSING, MISSING),
    "lines renumbered far away": Kind(renumbered_far_away, MISSING, MISSING),
    "a line duplicated": Kind(duplicated, (VICTIM + 2, "altered"), (VICTIM + 2, "altered")),
    "a line duplicated over another": Kind(duplicated_over_another, NEXT, NEXT),
    "the head's number up": Kind(head_ahead, (LAST + 1, "missing"), (LAST + 1, "missing")),
    "the head's number far up": Kind(head_far_ahead, (LAST + 1, "missing"), (LAST + 1, "missing")),
    "the head's number down": Kind(head_behind, (LAST - 1, "head"), (LAST - 1, "head")),
    "the head set back": Kind(head_behind_with_its_hash, (VICTIM + 1, "head"), (VICTIM + 1, "cut")),
    "the head's hash": Kind(head_hash, (LAST, "head"), (LAST, "head")),
    "the head deleted": Kind(head_deleted, (0, "head"), (0, "head")),
    "the tail cut": Kind(tail_cut, (VICTIM + 1, "missing"), (VICTIM + 1, "missing")),
    "the tail cut, the head with it": Kind(tail_and_head_cut, None, (VICTIM + 1, "cut")),
    "the last line cut, the head with it": Kind(last_and_head_cut, None, (LAST, "cut")),
    "everything deleted": Kind(everything_deleted, (1, "missing"), (1, "missing")),
    "everything deleted, the head reset": Kind(everything_and_head_reset, None, (1, "cut")),
    "the whole chain rewritten": Kind(whole_chain_rewritten, None, (EARLY, "rewritten")),
    "the tail rewritten": Kind(tail_rewritten, None, (LAST, "rewritten")),
    "the tail rewritten and made longer": Kind(tail_rewritten_and_longer, None, (LAST, "rewritten")),
    "a line deleted, all after it linked anew": Kind(deleted_and_rewritten, None, (LAST, "cut")),
    "a line moved to another corp": Kind(moved_to_another_corp, MISSING, MISSING),
    "a line fetched from another corp": Kind(fetched_from_another_corp, ALTERED, ALTERED),
    "another corp's chain in its place": Kind(replaced_by_another_corps, None, (EARLY, "rewritten")),
}
