"""The figures that are kept are what counting would find: at random, at once, rolled back, folded meanwhile, and migrated."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from support.company import GROUPS, Companies, Company, arrange
from support.installation import engine_on
from tagwarden.assignments import adoption
from tagwarden.catalog import counts
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedPostgres, EmbeddedUrls
from tagwarden.kernel.errors import TagwardenError
from tagwarden.kernel.ids import new_id
from tagwarden.kernel.resources import folder

SEED = int(os.environ.get("TAGWARDEN_TEST_SEED", "20261128"))
PEOPLE_WITH_CUSTOMERS = ("ann", "bob", "cat", "dan")
MANY = tuple((owner, f"c-{owner}-{number}", ()) for owner in PEOPLE_WITH_CUSTOMERS for number in range(6))
TRUTH = (
    "select a.tag_id, f.userid, count(*) as carried,"
    " count(*) filter (where a.approval_id is null and a.carried_from is null) as unbacked from assignment a"
    " join follow f on f.corp_id = a.corp_id and f.id = a.follow_id and f.ended_at is null"
    " where a.corp_id = $1 and a.ended_at is null group by 1, 2"
)


async def require_true(corp_id: str) -> int:
    """Every kept figure is what counting finds; how many marks there are."""
    truth = await db.fetch(TRUTH, corp_id)
    by_tag: dict[UUID, list[int]] = {}
    for row in truth:
        of_tag = by_tag.setdefault(row["tag_id"], [0, 0])
        of_tag[0], of_tag[1] = of_tag[0] + row["carried"], of_tag[1] + row["unbacked"]
    kept = {tag: [one.carried, one.unbacked] for tag, one in (await counts.by_tag(corp_id)).items() if one != counts.NONE}
    assert kept == by_tag
    for tag in by_tag:
        expected = {row["userid"]: (row["carried"], row["unbacked"]) for row in truth if row["tag_id"] == tag}
        owners = await counts.by_owner(corp_id, [tag])
        assert {owner: (one.carried, one.unbacked) for owner, one in owners.items()} == expected
    return sum(row["carried"] for row in truth)


@pytest.fixture
async def crowd(companies: Companies) -> Company:
    return await companies.make(customers=MANY)


async def _change(company: Company, dice: random.Random) -> None:
    """One random change through the write path, or a signature, or a follow that ends and begins again."""
    owner = dice.choice(PEOPLE_WITH_CUSTOMERS)
    customer = f"c-{owner}-{dice.randrange(6)}"
    paths = dice.sample(list(company.tags), dice.randint(1, 3))
    if dice.random() < 0.1:
        await arrange(
            company.corp_id,
            "update follow set ended_at = now() where corp_id = $1 and userid = $2 and external_userid = $3 and ended_at is null",
            company.corp_id,
            owner,
            customer,
        )
        await company.add_customers((owner, customer, ()))
        return
    add, remove = paths[:1], paths[1:]
    answer = await company.change(owner, customer, add, remove)
    if answer.approval_id and dice.random() < 0.7:
        await company.sign("south" if owner == "dan" else "east", answer.approval_id)
        await company.sign("hq", answer.approval_id)


async def _walk(company: Company, seed: str, steps: int) -> None:
    dice = random.Random(seed)
    for _ in range(steps):
        try:
            await _change(company, dice)
        except TagwardenError:
            continue  # a follow that just ended, a signature that came too late


async def test_random_changes_at_once(crowd: Company) -> None:
    for round_ in range(3):
        walks = [_walk(crowd, f"{SEED}-{round_}-{one}", 15) for one in range(6)]
        await asyncio.gather(*walks, counts.fold(crowd.corp_id))
        assert await require_true(crowd.corp_id) > 0, SEED
    assert await counts.fold(crowd.corp_id) > 0
    assert await db.fetch_value("select count(*) from tag_count_delta where corp_id = $1", crowd.corp_id) == 0
    await require_true(crowd.corp_id)


OPEN = (
    "insert into assignment (corp_id, id, follow_id, tag_id, source, actor, since)"
    " select $1, $2, f.id, $4, 'manual', 'x', now() from follow f where f.corp_id = $1 and f.userid = $3 and f.ended_at is null"
    " and f.external_userid = $5 on conflict (corp_id, follow_id, tag_id) where ended_at is null do nothing"
)
END = (
    "update assignment a set ended_at = now() from follow f where f.id = a.follow_id and f.corp_id = $1 and f.userid = $2"
    " and f.external_userid = $4 and a.tag_id = $3 and a.ended_at is null"
)
LEAVE = (
    "update follow set ended_at = clock_timestamp() where corp_id = $1 and userid = $2 and external_userid = $3"
    " and ended_at is null"
)
COME = (
    "insert into follow (corp_id, id, userid, external_userid, since) values ($1, $2, $3, $4, now())"
    " on conflict (corp_id, userid, external_userid) where ended_at is null do nothing"
)


async def _rough(url: str, company: Company, seed: str, isolation: Any) -> None:
    """Plain statements, several a transaction, some of it rolled back: what no use case does, the figures stand too."""
    dice, tags = random.Random(seed), [company.tags[f"advice/{one}"] for one in GROUPS["advice"][2]]
    connection = await asyncpg.connect(url)
    for _ in range(60):
        try:
            async with connection.transaction(isolation=isolation):
                for _ in range(dice.randint(1, 4)):
                    owner = dice.choice(PEOPLE_WITH_CUSTOMERS)
                    customer, tag = f"c-{owner}-{dice.randrange(3)}", dice.choice(tags)
                    what = dice.random()
                    if what < 0.5:
                        await connection.execute(OPEN, company.corp_id, new_id(), owner, tag, customer)
                    elif what < 0.75:
                        await connection.execute(END, company.corp_id, owner, tag, customer)
                    elif what < 0.9:
                        await connection.execute(LEAVE, company.corp_id, owner, customer)
                        await connection.execute(COME, company.corp_id, new_id(), owner, customer)
                    else:
                        await asyncio.sleep(0.002)
                if dice.random() < 0.2:
                    raise asyncio.CancelledError
        except (asyncio.CancelledError, asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
            continue
    await connection.close()


@pytest.mark.parametrize("isolation", ["read_committed", "serializable"])
async def test_statements_that_cross(crowd: Company, database: EmbeddedUrls, isolation: str) -> None:
    walks = [_rough(database.owner, crowd, f"{SEED}-{isolation}-{one}", isolation) for one in range(6)]
    folding = asyncio.create_task(_fold_until_cancelled(crowd.corp_id))
    await asyncio.gather(*walks)
    folding.cancel()
    assert await require_true(crowd.corp_id) > 0, SEED


async def _fold_until_cancelled(corp_id: str) -> None:
    while True:
        await asyncio.gather(counts.fold(corp_id), counts.fold(corp_id))
        await asyncio.sleep(0.01)


async def test_a_mark_made_while_its_follow_ends(crowd: Company, database: EmbeddedUrls) -> None:
    """Each order of the two: whoever comes second waits, and sees what the first left."""
    first, second = await asyncpg.connect(database.owner), await asyncpg.connect(database.owner)
    for number, mark_first in ((0, True), (1, False)):
        where = (crowd.corp_id, "ann", f"c-ann-{number}")
        mark = (OPEN, crowd.corp_id, new_id(), "ann", crowd.tags["advice/keen"], where[2])
        steps = [(first, *mark), (second, LEAVE, *where)] if mark_first else [(first, LEAVE, *where), (second, *mark)]
        held = first.transaction()
        await held.start()
        await first.execute(*steps[0][1:])
        waits = asyncio.create_task(second.execute(*steps[1][1:]))
        await asyncio.sleep(0.2)
        assert not waits.done()
        await held.commit()
        await waits
        await require_true(crowd.corp_id)
    await first.close()
    await second.close()


async def test_adopting_takes_marks_off_what_nobody_approved(companies: Companies) -> None:
    company = await companies.make(customers=(("ann", "c1", ("value/high",)), ("bob", "c2", ("value/high", "advice/keen"))))
    high = company.tags["value/high"]
    assert (await counts.by_tag(company.corp_id))[high] == counts.Count(2, 2)
    (bundle,) = await adoption.ask_adoptions(company.as_("east"), "as it was")
    await company.sign("hq", bundle)
    assert (await counts.by_tag(company.corp_id))[high] == counts.Count(2, 0)
    await require_true(company.corp_id)


async def test_a_fold_that_dies_takes_nothing_with_it(crowd: Company, sql: asyncpg.Connection) -> None:
    await crowd.change("ann", "c-ann-0", ["advice/keen"])
    dying = sql.transaction()
    await dying.start()
    assert await sql.fetchval("select fold_tag_counts($1, 100)", crowd.corp_id) == 1
    assert await counts.fold(crowd.corp_id) == 0, "who comes second has nothing to do"
    await require_true(crowd.corp_id)
    await dying.rollback()
    await require_true(crowd.corp_id)
    assert await counts.fold(crowd.corp_id) == 1
    await require_true(crowd.corp_id)


async def test_rows_of_the_previous_version_are_counted() -> None:
    """An installation of the version before, with marks, ended marks and an ended follow."""
    steps = folder("migrations") / "sql"
    before = sorted(one.name for one in steps.iterdir() if one.name < "0011")
    with tempfile.TemporaryDirectory(prefix="tw-old-", dir="/tmp") as made:
        server = EmbeddedPostgres(Path(made))
        try:
            urls = server.start()
            connection = await asyncpg.connect(urls.owner)
            for name in before:
                await connection.execute((steps / name).read_text(encoding="utf-8"))
            await connection.execute(PREVIOUS)
            await connection.execute((steps / "0011_catalog.sql").read_text(encoding="utf-8"))
            await connection.close()
            async with engine_on(urls.owner):
                assert await require_true("old") == 3
        finally:
            server.stop()


PREVIOUS = """
insert into corp (corp_id, name) values ('old', 'old');
insert into tag_group (corp_id, id, name, kind) values ('old', '00000000-0000-0000-0000-0000000000a0', 'g', 'standard');
insert into tag (corp_id, id, group_id, name) select 'old', ('00000000-0000-0000-0000-0000000000b' || n)::uuid,
    '00000000-0000-0000-0000-0000000000a0', 't' || n from generate_series(1, 2) n;
insert into customer (corp_id, external_userid, name) values ('old', 'c', 'c');
insert into follow (corp_id, id, userid, external_userid, since) select 'old',
    ('00000000-0000-0000-0000-0000000000c' || n)::uuid, 'u' || n, 'c', now() from generate_series(1, 3) n;
insert into assignment (corp_id, id, follow_id, tag_id, source, actor, since) select 'old', gen_random_uuid(), f.id, t.id,
    'manual', 'u', now() from follow f, tag t;
update assignment set ended_at = now() where follow_id = '00000000-0000-0000-0000-0000000000c1'
    and tag_id = '00000000-0000-0000-0000-0000000000b1';
update follow set ended_at = now() where id = '00000000-0000-0000-0000-0000000000c2';
"""
