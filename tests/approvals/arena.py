"""A company made for races: two people for every signature, spare groups and tags to use up, a fresh customer a round.

Havoc, where it is asked for, is the database's: a trigger of the owner's own makes a share of the statements of this one
corp end as a deadlock or a serialisation failure would, some of them at COMMIT. Isolation is a setting of the connection.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import UUID

import asyncpg

from support.company import GROUPS, PEOPLE, Companies, Company, GrantLine, arrange
from tagwarden.approvals import delegations
from tagwarden.approvals.delegations import Wanted
from tagwarden.assignments import library
from tagwarden.catalog import service as catalog
from tagwarden.catalog.model import Choice
from tagwarden.catalog.service import GroupChange
from tagwarden.kernel import db
from tagwarden.policy.model import Action, Kind

from .desk import DONE, Desk

LEVELS = ("read committed", "serializable")
TEAM = {
    **PEOPLE,
    "hq2": (1, False, ("supervisor",)),
    "west": (10, True, ("manager",)),
    "deputy": (10, False, ("manager",)),
}
SPARES = 12
CHUNK = 25
SHARE = 0.02
STRUCK = (
    "approval",
    "approval_signature",
    "assignment",
    "audit_line",
    "corp_epoch",
    "follow_sync",
    "idempotency",
    "refusal_tally",
)


def groups(spares: int) -> dict[str, tuple[Kind, Choice, tuple[str, ...]]]:
    """The usual groups, and those that a round uses up: value groups, and standard ones."""
    ranks = {f"rank{n}": (Kind.VALUE, Choice.SINGLE, ("high", "mid", "low")) for n in range(spares)}
    plain = {f"plain{n}": (Kind.STANDARD, Choice.MULTIPLE, (f"old{n}", f"new{n}")) for n in range(spares)}
    return {**GROUPS, **ranks, **plain}


@dataclass
class Arena:
    """The company, and what is left of its spare things."""

    company: Company
    dice: random.Random
    ranks: list[str] = field(default_factory=lambda: [f"rank{n}" for n in range(SPARES)])
    plain: list[int] = field(default_factory=lambda: list(range(SPARES)))
    _customers: list[str] = field(default_factory=list)
    _seen: int = 0

    @property
    def used_up(self) -> bool:
        return len(self.ranks) < 2 or not self.plain

    async def customer(self) -> str:
        """A customer of ann's whom nobody touched yet."""
        if not self._customers:
            self._customers = [f"x{self._seen + n}" for n in range(CHUNK)]
            self._seen += CHUNK
            await self.company.add_customers(*(("ann", name, ()) for name in self._customers))
        return self._customers.pop()

    # -- what a race begins with ----------------------------------------------------------------------------------------

    async def asked(self, customer: str, *tags: str, remove: tuple[str, ...] = ()) -> UUID:
        """A request of ann's."""
        found = (await self.company.change("ann", customer, tags, remove, partial=False)).approval_id
        assert found is not None
        return found

    async def signed(self, customer: str, *tags: str, remove: tuple[str, ...] = (), by: str = "east") -> UUID:
        """The same, with its first signature."""
        approval_id = await self.asked(customer, *tags, remove=remove)
        await self.company.sign(by, approval_id)
        return approval_id

    async def carrying(self, customer: str, tag: str) -> None:
        """The customer carries a value tag."""
        await self.company.sign("hq", await self.signed(customer, tag))

    async def migration(self, tag: str, into: str) -> UUID:
        """A merge of value tags that only level 2 is missing from."""
        source, target = self.company.tags[tag], self.company.tags[into]
        found = (await library.merge_tag(self.company.as_("admin"), source, target, "", "*")).approval_id
        await self.company.sign("boss", found)
        assert found is not None
        return found

    async def kind_change(self, group: str) -> UUID:
        """A value group that is to become an ordinary one; only level 2 is missing."""
        change = GroupChange(kind=Kind.STANDARD)
        found = (await catalog.change_group(self.company.as_("admin"), self.company.groups[group], change, "*")).approval_id
        await self.company.sign("boss", found)
        assert found is not None
        return found

    async def away(self) -> UUID:
        """East is away and named the deputy."""
        until = datetime.now(UTC) + timedelta(hours=1)
        return (await delegations.delegate(self.company.as_("east"), Wanted("deputy", None, until))).id

    async def backdate(self, approval_id: UUID, column: str, moment: str) -> None:
        """Moves one of a request's clocks, as often as havoc makes it necessary."""
        sql = f"update approval set {column} = clock_timestamp() + $3::text::interval where corp_id = $1 and id = $2"
        while True:
            with contextlib.suppress(asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
                return await arrange(self.company.corp_id, sql, self.company.corp_id, approval_id, moment)

    # -- afterwards -----------------------------------------------------------------------------------------------------

    async def restore(self) -> None:
        """Everybody is back with his roles, nobody is away, nothing is open."""
        corp_id, desk = self.company.corp_id, Desk(self.company)
        await self._reinstate(desk)
        for row in await db.fetch("select id from delegation where corp_id = $1 and ended_at is null", corp_id):
            assert (await desk.end_delegation("admin", row["id"])).said == DONE
        for row in await db.fetch(
            "select id, requester from approval where corp_id = $1 and state in ('pending_level1', 'pending_level2')", corp_id
        ):
            assert (await desk.withdraw(row["requester"], row["id"])).said == DONE

    async def _reinstate(self, desk: Desk) -> None:
        gone = await db.fetch("select userid from employee where corp_id = $1 and status <> 'active'", self.company.corp_id)
        if gone:
            await self.company.move_people(TEAM)
        rows = await db.fetch("select userid, role from employee_role where corp_id = $1", self.company.corp_id)
        for userid, (_, _, wanted) in TEAM.items():
            if {row["role"] for row in rows if row["userid"] == userid} >= set(wanted):
                continue
            done = (await desk.put_roles(userid, wanted)).value
            if done.approval_id is not None:
                asked = await self.company.approval(done.approval_id)
                await self.company.sign(asked.level1[0], asked.id)
                second = next(one for one in asked.level2 if one not in asked.level1)
                assert (await self.company.sign(second, asked.id)).state == "applied"


async def an_arena(companies: Companies, dice: random.Random) -> Arena:
    """A live company of its own corp."""
    made = groups(SPARES)
    grants = [GrantLine(department, group, Action.USE) for department in (10, 20) for group in made]
    return Arena(await companies.make(people=TEAM, groups=made, grants=grants, customers=[("dan", "c4", ())]), dice)


def at_level(url: str, level: str) -> str:
    """The URL of connections whose transactions are of this isolation level unless they say otherwise."""
    return f"{url}&default_transaction_isolation={quote(level)}"


@contextlib.asynccontextmanager
async def havoc(owner_url: str, corp_id: str, share: float = SHARE) -> AsyncIterator[asyncpg.Connection]:
    """Makes a share of this corp's row writes fail; the sequence named like the function counts how many did."""
    name = f"strike_{corp_id.removeprefix('corp-')}"
    sql = await asyncpg.connect(owner_url)
    try:
        await sql.execute(
            f"create sequence {name};"
            f" create function {name}() returns trigger language plpgsql security definer as $$ begin"
            f" if random() < {share} then perform nextval('{name}');"
            " raise exception 'struck' using errcode = case when random() < 0.5 then '40001' else '40P01' end; end if;"
            " return null; end $$"
        )
        for table in STRUCK:
            when = f"for each row when (new.corp_id = '{corp_id}') execute function {name}()"
            await sql.execute(f"create trigger {name} after insert or update on {table} {when}")
        late = f"deferrable initially deferred for each row when (new.corp_id = '{corp_id}') execute function {name}()"
        await sql.execute(f"create constraint trigger {name}_late after insert or update on approval {late}")
        yield sql
    finally:
        await sql.execute(f"drop function if exists {name}() cascade; drop sequence if exists {name}")
        await sql.close()


async def strikes(sql: asyncpg.Connection, corp_id: str) -> int:
    """How often havoc struck."""
    row = await sql.fetchrow(f"select last_value, is_called from strike_{corp_id.removeprefix('corp-')}")
    return int(row["last_value"]) if row["is_called"] else 0
