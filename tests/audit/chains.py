"""Chains of real companies: what real use cases wrote, brought to a known length, its heads signed and kept outside."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncpg
import msgspec
import pytest

from support.company import Companies, Company
from support.service import SECRET_KEY
from tagwarden.approvals.model import Verdict
from tagwarden.assignments.model import TagChangeRefused
from tagwarden.audit import service as audit
from tagwarden.audit.heads import HeadSigner, SignedHead, Witnesses, read_witnesses
from tagwarden.audit.model import Entry, Verification
from tagwarden.kernel import db

from .kinds import EARLY, LAST, Chain

SIGNER = HeadSigner(SECRET_KEY)
AT = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
CHUNK = 500


def line_of(head: SignedHead) -> str:
    """A head as it stands in a file."""
    return msgspec.json.encode(head).decode()


def witnesses_of(corp_id: str, lines: list[str]) -> Witnesses:
    """What is believed of some lines of a file."""
    return read_witnesses(lines, SIGNER.public_key, corp_id)


@dataclass
class Witnessed:
    """A company and the heads that left before anybody tampered."""

    company: Company
    heads: list[str] = field(default_factory=list)

    @property
    def corp_id(self) -> str:
        return self.company.corp_id

    async def sign(self) -> str:
        """One more head leaves."""
        found = await audit.head(self.corp_id)
        assert found is not None
        self.heads.append(line_of(SIGNER.sign(self.corp_id, *found, AT)))
        return self.heads[-1]

    async def verify(self) -> tuple[Verification, Verification]:
        """What the chain alone shows, and what it shows beside its heads."""
        return await audit.verify(self.corp_id), await audit.verify(self.corp_id, witnesses_of(self.corp_id, self.heads).heads)

    async def live_on(self, rounds: int) -> None:
        """So many changes by ann, one line each."""
        for number in range(rounds):
            await self.company.change("ann", "c1", [f"activity/{('warm', 'hot')[number % 2]}"])


async def lengthen(corp_id: str, length: int) -> None:
    """Brings a chain to a length, through the one function that writes it."""
    missing = length - int(await db.fetch_value("select seq from audit_head where corp_id = $1", corp_id))
    assert missing >= 0, f"{-missing} lines too many"
    actor = {"userid": "ann", "issuer": "i"}
    for start in range(0, missing, CHUNK):
        numbers = range(start, min(start + CHUNK, missing))
        lines = [audit.canonical(corp_id, actor, "", AT, Entry("tested", f"corp:{number}")) for number in numbers]
        async with db.transaction():
            await audit.close(corp_id, lines, bumped=False)


async def a_life(companies: Companies) -> Witnessed:
    """Tags, approvals, a refusal of each kind, then a chain of `LAST` lines whose heads left at `EARLY` and `LAST`."""
    company = await companies.make(customers=(("ann", "c1", ()), ("bob", "c2", ())))
    first = (await company.change("ann", "c1", ["value/high", "activity/hot"])).approval_id
    await company.sign("east", first)
    await company.sign("hq", first)
    second = (await company.change("bob", "c2", ["value/low"])).approval_id
    await company.sign("east", second, Verdict.REJECT, "no")
    with pytest.raises(TagChangeRefused):
        await company.change("dan", "c1", ["activity/warm"])
    witnessed = Witnessed(company)
    for length in (EARLY, LAST):
        await lengthen(company.corp_id, length)
        await witnessed.sign()
    return witnessed


@contextlib.asynccontextmanager
async def unguarded(owner: asyncpg.Connection, corp_id: str, other: str = "") -> AsyncIterator[Chain]:
    """The chain in the hands of the owner, its triggers off: one transaction."""
    async with owner.transaction():
        await owner.execute("alter table audit_line disable trigger user")
        yield Chain(owner, corp_id, other)
        await owner.execute("alter table audit_line enable trigger user")


def told(found: Mapping[str, object]) -> tuple[object, object]:
    """First bad line and reason of what a command printed."""
    return found["first_bad"], found["reason"]
