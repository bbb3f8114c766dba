"""What a customer carried on any day: `history?as_of=` at moments between, before and after, in the corp's own zone."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from support.company import Companies, Company
from support.service import Service, Web

SHANGHAI = ZoneInfo("Asia/Shanghai")
FIRST = datetime(2026, 3, 1, 9, 30, tzinfo=SHANGHAI)
# tag: (day it began, day it ended)
LIFE: dict[str, tuple[int, int | None]] = {
    "value/high": (0, 20),
    "value/mid": (20, None),
    "activity/hot": (2, 5),
    "activity/warm": (5, 30),
    "advice/asked": (10, 12),
    "advice/keen": (11, None),
}


def on(day: int, **shift: float) -> datetime:
    """A moment of the customer's life."""
    return FIRST + timedelta(days=day, **shift)


def carried(at: datetime) -> set[str]:
    """What the life above says."""
    return {
        tag for tag, (began, ended) in LIFE.items() if on(began) <= at and (ended is None or at < on(ended))
    }  # fmt: skip


@pytest.fixture(scope="module")
async def company(companies: Companies, service: Service) -> Company:
    """ann's c1 lived that life; bob followed it too until day 15, with a mark of his own."""
    company = await companies.make(customers=(("ann", "c1", ()), ("bob", "c1", ())))
    web = service.web(company)
    for value in ("value/high", "value/mid"):
        await _two_signatures(company, value)
    for tag in ("activity/hot", "activity/warm", "advice/asked", "advice/keen"):
        assert (await web.tag("ann", "c1", [company.tags[tag]])).status_code == 200
    assert (await web.tag("ann", "c1", [], [company.tags["advice/asked"]])).status_code == 200
    assert (await web.tag("bob", "c1", [company.tags["advice/cheap"]])).status_code == 200
    return company


async def _two_signatures(company: Company, tag: str) -> None:
    asked = (await company.change("ann", "c1", [tag])).approval_id
    await company.sign("east", asked)
    await company.sign("hq", asked)


@pytest.fixture(scope="module")
async def long_ago(company: Company, companies: Companies, service: Service) -> Web:
    """The same rows, as they would stand had the days passed."""
    async with companies.as_owner():
        from tagwarden.kernel import db

        assert isinstance(db.DB.pool, asyncpg.Pool)
        async with db.DB.pool.acquire() as owner, owner.transaction():
            await owner.execute("alter table assignment disable trigger user")
            await owner.execute("alter table follow disable trigger user")
            for tag, (began, ended) in LIFE.items():
                await owner.execute(
                    "update assignment set since = $3, ended_at = $4 where corp_id = $1 and tag_id = $2",
                    *(company.corp_id, company.tags[tag], on(began), on(ended) if ended is not None else None),
                )
            bobs = await company_follow(owner, company)
            await owner.execute("update assignment set since = $2 where follow_id = $1", bobs, on(1))
            await owner.execute("update follow set ended_at = $2 where id = $1", bobs, on(15))
            await owner.execute("alter table assignment enable trigger user")
            await owner.execute("alter table follow enable trigger user")
    return service.web(company)


async def company_follow(owner: asyncpg.Connection, company: Company) -> object:
    """bob's follow."""
    return await owner.fetchval("select id from follow where corp_id = $1 and userid = 'bob'", company.corp_id)


async def shown(web: Web, at: datetime, userid: str = "ann", owner: str = "ann") -> set[str]:
    """What the service says was carried on one owner's follow."""
    answer = await web.get(userid, "/v1/customers/c1/history", as_of=at.isoformat(), limit=100)
    assert answer.status_code == 200, answer.text
    return {f"{one['group_name']}/{one['tag']}" for one in answer.json()["items"] if one["userid"] == owner}


async def test_every_day(long_ago: Web) -> None:
    for day in range(-2, 35, 1):
        for hours in (0, 14):
            assert await shown(long_ago, on(day, hours=hours)) == carried(on(day, hours=hours)), (day, hours)


async def test_before_the_first_mark_there_is_nothing(long_ago: Web) -> None:
    assert await shown(long_ago, on(0, microseconds=-1)) == set()
    assert await shown(long_ago, on(0)) == {"value/high"}


async def test_a_change_is_exact_at_its_moment(long_ago: Web) -> None:
    assert "value/high" in await shown(long_ago, on(20, microseconds=-1))
    after = await shown(long_ago, on(20))
    assert ("value/high" in after, "value/mid" in after) == (False, True)


async def test_a_day_of_the_corp_is_not_a_day_of_utc(long_ago: Web) -> None:
    """09:30 in Shanghai is 01:30 in UTC: midnight of the same date lies before it in one zone and the evening after."""
    day = on(5).date().isoformat()
    moments = {zone: datetime.fromisoformat(f"{day}T06:00:00{zone}") for zone in ("+08:00", "+00:00", "-05:00")}
    assert {zone: await shown(long_ago, at) == carried(at) for zone, at in moments.items()} == dict.fromkeys(moments, True)
    assert "activity/hot" in await shown(long_ago, moments["+08:00"])
    assert "activity/warm" in await shown(long_ago, moments["+00:00"])


async def test_an_ended_follow_shows_what_it_carried_while_it_lasted(long_ago: Web) -> None:
    assert await shown(long_ago, on(14), "east", "bob") == {"advice/cheap"}
    assert await shown(long_ago, on(0, hours=1), "east", "bob") == set()
    assert await shown(long_ago, on(15), "east", "bob") == set()
    assert await shown(long_ago, on(34), "east", "bob") == set()
