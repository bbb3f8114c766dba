"""One transaction, one lock order: no change without its line, no epochal change without its epoch, retries, revokes."""

from __future__ import annotations

import asyncio
import sys
from uuid import UUID

import asyncpg
import pytest

from support.company import Companies, Company
from tagwarden.assignments.model import TagChangeRefused
from tagwarden.audit import service as audit
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.epoch import EpochMoved
from tagwarden.corps.model import CorpUnknown, GuardRefused, Overtaken, Work, WritesSuspended
from tagwarden.customers import repository as customers
from tagwarden.governance import roles
from tagwarden.identity.model import IdentityRefused, RoleName
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls

from .waiting import until_somebody_waits

GOVERNED = {
    "a tag": "update tag set meaning = 'other' where corp_id = $1",
    "a mark": "update assignment set until = now() where corp_id = $1 and until is not null",
    "a follow": "update follow set ended_reason = 'x' where corp_id = $1",
    "an approval": "update approval set reason = 'x' where corp_id = $1",
    "a suspension": "update corp set writes_suspended = true where corp_id = $1",
}
EPOCHAL = {
    "a department": "update department set parent_id = 1 where corp_id = $1 and id = 12",
    "an employee": "update employee set status = 'disabled' where corp_id = $1 and userid = 'ann'",
    "a leader": "update employee_department set is_leader = true where corp_id = $1 and userid = 'ann'",
    "a role taken": "delete from employee_role where corp_id = $1 and userid = 'hq'",
    "a role given": "insert into employee_role (corp_id, userid, role, given_by) values ($1, 'ann', 'auditor', 'x')",
    "an issuer": "update issuer_right set may_sign = false where corp_id = $1",
    "a group": "update tag_group set choice = 'multiple' where corp_id = $1 and name = 'activity'",
    "a revision": "insert into policy_revision (corp_id, revision, content, content_hash, published_by)"
    " values ($1, 99, '{}', 'x', 'x')",
}


@command(Epoch.SHARED)
async def run_silently(work: Work, statement: str) -> None:
    """Changes rows and records nothing."""
    await db.execute(statement, work.corp_id)


@command(Epoch.SHARED)
async def run_with_a_line(work: Work, statement: str) -> None:
    """Changes rows and records it, and holds the epoch shared only."""
    await db.execute(statement, work.corp_id)
    work.record("tested", "corp")


@command(Epoch.EXCLUSIVE)
async def run_whole(work: Work, statement: str) -> None:
    """Changes rows, records it, moves the epoch."""
    await db.execute(statement, work.corp_id)
    work.record("tested", "corp")


async def lines(company: Company) -> int:
    """How long the chain is."""
    return int(await db.fetch_value("select seq from audit_head where corp_id = $1", company.corp_id))


async def epoch(company: Company) -> int:
    """The epoch in force."""
    return int(await db.fetch_value("select epoch from corp_epoch where corp_id = $1", company.corp_id))


@pytest.mark.parametrize("statement", GOVERNED.values(), ids=GOVERNED.keys())
async def test_no_change_without_its_line(company: Company, statement: str) -> None:
    await company.change("ann", "c1", ["activity/hot", "value/high"])
    before = await lines(company)
    with pytest.raises(GuardRefused) as refused:
        await run_silently(company.as_("admin"), statement)
    assert getattr(refused.value.__cause__, "sqlstate", None) == "TW002"
    assert await lines(company) == before
    await run_with_a_line(company.as_("admin"), statement)
    assert await lines(company) == before + 1


@pytest.mark.parametrize("statement", EPOCHAL.values(), ids=EPOCHAL.keys())
async def test_no_change_of_what_decisions_stand_on_without_a_new_epoch(company: Company, statement: str) -> None:
    before = await epoch(company)
    with pytest.raises(GuardRefused) as refused:
        await run_with_a_line(company.as_("admin"), statement)
    assert getattr(refused.value.__cause__, "sqlstate", None) == "TW003"
    with pytest.raises(GuardRefused):
        await run_silently(company.as_("admin"), statement)
    assert await epoch(company) == before
    await run_whole(company.as_("admin"), statement)
    assert await epoch(company) == before + 1


async def test_nothing_changed_needs_no_line(company: Company) -> None:
    await company.change("ann", "c1", ["activity/hot"])
    before = await lines(company)
    await company.change("ann", "c1", ["activity/hot"], ["advice/asked"])
    assert await lines(company) == before


async def test_a_guard_speaks_as_a_conflict_and_leaves_nothing(company: Company) -> None:
    before = await lines(company)
    with pytest.raises(GuardRefused):
        await run_whole(company.as_("admin"), "update tag_group set kind = 'standard' where corp_id = $1 and name = 'value'")
    assert await lines(company) == before


async def test_an_unknown_corp_is_not_found(company: Company) -> None:
    with pytest.raises(CorpUnknown):
        await run_silently(Company("nobody").as_("admin"), "select $1::text")


async def test_a_role_taken_before_the_lock_is_honoured(company: Company) -> None:
    await company.change("ann", "c1", ["activity/hot"])
    await roles.put_roles(company.as_("admin"), "ann", [], [])
    with pytest.raises(TagChangeRefused) as refused:
        await company.change("ann", "c1", ["activity/warm"])
    assert refused.value.facts["step"] == "identity"
    await roles.put_roles(company.as_("admin"), "ann", [RoleName.STAFF], [])
    await company.change("ann", "c1", ["activity/warm"])


ELSEWHERE = """
import asyncio, sys
from tagwarden.app import wiring
from tagwarden.corps.model import Caller
from tagwarden.governance.roles import put_roles
from tagwarden.kernel import db

async def main(url, corp_id):
    wiring.wire()
    await db.DB.open(url, size=2)
    await put_roles(Caller(corp_id, "admin", "tagwarden"), "ann", [], [])
    await db.DB.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_role_taken_by_another_process_is_honoured(company: Company, database: EmbeddedUrls) -> None:
    await company.change("ann", "c1", ["activity/hot"])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ELSEWHERE, database.application, company.corp_id, stderr=asyncio.subprocess.PIPE
    )
    _, problem = await process.communicate()
    assert process.returncode == 0, problem.decode()
    with pytest.raises(TagChangeRefused) as refused:
        await company.change("ann", "c1", ["activity/warm"])
    assert refused.value.facts["step"] == "identity"


async def test_a_role_taken_while_the_command_waits_is_honoured(company: Company, owner_sql: asyncpg.Connection) -> None:
    await company.change("ann", "c1", ["activity/hot"])
    async with owner_sql.transaction():
        await owner_sql.execute("select 1 from corp_epoch where corp_id = $1 for update", company.corp_id)
        late = asyncio.create_task(company.change("ann", "c1", ["activity/warm"]))
        await until_somebody_waits(owner_sql)
        await owner_sql.execute("update employee set status = 'disabled' where corp_id = $1 and userid = 'ann'", company.corp_id)
        await owner_sql.execute("update corp_epoch set epoch = epoch + 1 where corp_id = $1", company.corp_id)
    with pytest.raises(IdentityRefused):
        await late
    assert await company.carried("ann", "c1") == {"activity/hot"}


async def test_a_suspension_holds_for_whoever_waited(company: Company, owner_sql: asyncpg.Connection) -> None:
    await company.change("ann", "c1", ["activity/hot"])
    async with owner_sql.transaction():
        await owner_sql.execute("update corp_epoch set epoch = epoch where corp_id = $1", company.corp_id)
        late = asyncio.create_task(company.change("ann", "c1", ["activity/warm"]))
        await until_somebody_waits(owner_sql)
        await owner_sql.execute("update corp set writes_suspended = true where corp_id = $1", company.corp_id)
    with pytest.raises(WritesSuspended):
        await late


async def test_an_import_that_waited_for_activation_takes_in_no_marks(
    companies: Companies, owner_sql: asyncpg.Connection
) -> None:
    company = await companies.make(live=False)
    async with owner_sql.transaction():
        await owner_sql.execute("update corp_epoch set epoch = epoch + 1 where corp_id = $1", company.corp_id)
        late = asyncio.create_task(company.add_customers(("ann", "c1", ("activity/hot",))))
        await until_somebody_waits(owner_sql)
        await owner_sql.execute("update corp set state = 'live' where corp_id = $1", company.corp_id)
    await late
    assert await company.carried("ann", "c1") == set()


@command(Epoch.SHARED)
async def never_ready(work: Work, seen: list[int]) -> None:
    """Finds the epoch moved, every time."""
    seen.append(work.epoch)

    async def reload() -> None:
        seen.append(0)

    raise EpochMoved(reload)


async def test_a_command_gives_up_in_the_end(company: Company) -> None:
    seen: list[int] = []
    with pytest.raises(Overtaken):
        await never_ready(company.as_("admin"), seen)
    assert seen.count(0) == 8


@command(Epoch.SHARED)
async def lock_crosswise(work: Work, follow_ids: list[UUID], met: asyncio.Barrier, attempts: list[UUID]) -> None:
    """Locks follows in the given order; the first attempt of each meets the other's in the middle."""
    attempts.append(follow_ids[0])
    await customers.lock_follows(work.corp_id, follow_ids[:1])
    if len(attempts) <= 2:
        await met.wait()
    await customers.lock_follows(work.corp_id, follow_ids[1:])
    await db.execute("update follow set ended_reason = 'x' where id = any($1)", follow_ids)
    work.record("tested", "follow")


async def test_a_deadlock_is_tried_again(company: Company) -> None:
    ids = [await company.follow_id("ann", "c1"), await company.follow_id("bob", "c2")]
    met, attempts, before = asyncio.Barrier(2), [], await lines(company)  # type: ignore[var-annotated]
    both = (lock_crosswise(company.as_("admin"), order, met, attempts) for order in (ids, ids[::-1]))
    await asyncio.gather(*both)
    assert len(attempts) >= 3  # one of them at least was the victim and began again
    assert await lines(company) == before + 2
    assert (await audit.verify(company.corp_id)).sound


async def test_a_command_that_is_cancelled_leaves_nothing_and_no_connection(company: Company, sql: asyncpg.Connection) -> None:
    before = await lines(company)
    for _ in range(15):  # more than the pool holds
        async with sql.transaction():
            await sql.execute("select 1 from corp_epoch where corp_id = $1 for update", company.corp_id)
            late = asyncio.create_task(company.change("ann", "c1", ["activity/hot"]))
            await asyncio.sleep(0.02)
            late.cancel()
            with pytest.raises(asyncio.CancelledError):
                await late
    assert (await lines(company), await company.carried("ann", "c1")) == (before, set())
    await asyncio.wait_for(company.change("ann", "c1", ["activity/hot"]), 5)


@pytest.mark.parametrize("statement", [*GOVERNED.values(), *EPOCHAL.values()], ids=[*GOVERNED, *EPOCHAL])
async def test_plain_sql_without_a_line_does_not_commit(company: Company, sql: asyncpg.Connection, statement: str) -> None:
    await company.change("ann", "c1", ["activity/hot"])
    await company.change("ann", "c1", ["value/high"])
    before = await lines(company)
    with pytest.raises(asyncpg.PostgresError) as late:
        await sql.execute(statement, company.corp_id)
    assert late.value.sqlstate == "TW002"
    assert await lines(company) == before
