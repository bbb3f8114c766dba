"""The nightly reading of all customers: a slice a night, by userid, going on where it stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from support.company import PEOPLE, Companies
from support.town import Town, a_town
from tagwarden.kernel import db
from tagwarden.sync import customers_run, drift_reading, passes
from tagwarden.sync.importer import Importer

STAFF = {f"s{number:02d}": (11, False, ("staff",)) for number in range(6)}
OWNED = [(userid, f"wm{userid}", ()) for userid in STAFF]
NIGHT = datetime(2026, 11, 28, 18, 30, tzinfo=UTC)  # half past two in Shanghai


@pytest.fixture
async def village(companies: Companies, simulator_url: str) -> AsyncIterator[Town]:
    async with a_town(companies, simulator_url, people={**PEOPLE, **STAFF}, customers=OWNED) as made:
        yield made


async def slice_tonight(town: Town, night: datetime) -> dict[str, object]:
    assert await passes.begin_slice(town.corp_id, night, hour=2, calls=1)
    assert await Importer(town.client).run_next(town.corp_id)
    row = await db.fetch_one(
        "select state, cursor ->> 'through' as through from sync_run where corp_id = $1 order by id desc limit 1", town.corp_id
    )
    assert row is not None
    assert row["state"] == "done"
    return row


async def test_a_pass_takes_as_many_nights_as_its_calls_allow(village: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(customers_run, "USERS_AT_ONCE", 6)  # 16 members: three batches
    mark = {"kind": "mark", "userid": "s05", "external_userid": "wms05", "add": ["value/high"]}
    await village.control.corp("POST", "/console", mark)
    reached = [(await slice_tonight(village, NIGHT + timedelta(days=night)))["through"] for night in range(3)]
    assert reached == ["cat", "s02", "south"]
    standing = await passes.standing(village.corp_id)
    assert standing is not None
    assert (standing["after_userid"], standing["last_nights"], standing["last_calls"]) == ("", 3, 3)
    assert standing["finished_at"] is not None
    shown = await drift_reading.reconciliation(village.corp_id, 1)
    assert (shown["nights_a_pass"], shown["last_pass_nights"]) == (2, 3)
    await village.drain()
    assert not await village.different(), "what the last slice found was put back"


async def test_once_a_night_by_the_companys_own_clock(village: Town) -> None:
    for moment in (NIGHT - timedelta(hours=1), NIGHT + timedelta(hours=5)):
        assert not await passes.begin_slice(village.corp_id, moment, hour=2, calls=1)
    assert not await passes.begin_slice(village.corp_id, NIGHT, hour=2, calls=0)
    await slice_tonight(village, NIGHT)
    assert not await passes.begin_slice(village.corp_id, NIGHT + timedelta(minutes=20), hour=2, calls=1)


async def test_no_slice_before_a_company_is_live(companies: Companies, simulator_url: str) -> None:
    async with a_town(companies, simulator_url, live=False) as town:
        assert not await passes.begin_slice(town.corp_id, NIGHT, hour=2, calls=1)
