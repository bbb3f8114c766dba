"""A customer with more followers than fit on one page: all pages are read, and a page that fails in the middle ends nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from support.company import PEOPLE, SEALER, Companies
from support.mailbox import Mailbox, a_mailbox
from support.town import Town, a_town
from tagwarden.kernel import db
from tagwarden.sync import inbox, refresh
from tagwarden.sync.inbound import Inbound

MANY = {f"p{number:02d}": (11, False, ("staff",)) for number in range(11)}
FOLLOWS = [(userid, "wmStar", ()) for userid in sorted(MANY)] + [("ann", "wmC1", ())]
PASSES = {"kind": "slow", "api": "externalcontact/get", "seconds": 0.0}
BROKEN = [
    {"kind": "errcode", "code": 84061},
    {"kind": "errcode", "code": 40096},
    {"kind": "errcode", "code": 50100},
    {"kind": "errcode", "code": 45009},
    {"kind": "errcode", "code": -1},
    {"kind": "truncated"},
    {"kind": "empty"},
    {"kind": "reset"},
    {"kind": "html"},
    {"kind": "without", "fields": ["follow_user"]},
]


@pytest.fixture
async def star(companies: Companies, simulator_url: str) -> AsyncIterator[Mailbox]:
    """Eleven follow wmStar, four to a page."""
    async with a_town(companies, simulator_url, people={**PEOPLE, **MANY}, customers=FOLLOWS) as town:
        await town.control.switch(followers_a_page=4)
        async with a_mailbox(town) as mail:
            yield mail


async def following(town: Town) -> list[str]:
    sql = "select userid from follow where corp_id = $1 and external_userid = 'wmStar' and ended_at is null order by userid"
    return [row["userid"] for row in await db.fetch(sql, town.corp_id)]


async def read_once(mail: Mailbox) -> None:
    """Opens what came and reads what it was about, once."""
    await inbox.open_stored(SEALER, mail.town.corp_id)
    await mail.hurry()
    await Inbound(mail.town.client).read_one(mail.town.corp_id)


async def test_all_pages_are_read(star: Mailbox) -> None:
    town = star.town
    await star.edit("mark", userid="p10", external_userid="wmStar", add=["advice/keen"], remove=[])
    await star.work()
    assert len(await town.control.calls("externalcontact/get")) == 3
    assert await town.carried("p10", "wmStar") == {"advice/keen"}, "he stands on the last page"
    await star.edit("add_contact", userid="ann", external_userid="wmStar")
    await star.edit("del_contact", userid="p00", external_userid="wmStar")
    await star.work()
    assert await following(town) == ["ann", *sorted(MANY)[1:]]


@pytest.mark.parametrize("page", [2, 3])
@pytest.mark.parametrize("broken", BROKEN, ids=lambda one: f"{one['kind']}{one.get('code', '')}")
async def test_a_page_that_fails_in_the_middle_changes_nothing(star: Mailbox, broken: dict[str, object], page: int) -> None:
    town = star.town
    for number in (1, 9):
        await star.edit("mark", userid=f"p{number:02d}", external_userid="wmStar", add=["advice/keen"], remove=[])
    await star.edit("mark", userid="p10", external_userid="wmStar", add=["advice/keen"], remove=[])
    for _ in range(page - 1):
        await town.control.fault(**PASSES)
    await town.control.fault(api="externalcontact/get", **broken)
    await read_once(star)
    assert len(await town.control.calls("externalcontact/get")) == page
    assert await following(town) == sorted(MANY), "nobody has left"
    assert await town.carried("p01", "wmStar") == set(), "half a reading is none"
    await db.execute("update wecom_refresh set attempts = 0 where corp_id = $1", town.corp_id)
    await star.work()
    assert await town.carried("p01", "wmStar") == await town.carried("p10", "wmStar") == {"advice/keen"}
    assert await following(town) == sorted(MANY)


async def test_a_cursor_that_leads_nowhere_is_no_end(star: Mailbox) -> None:
    town = star.town
    await town.control.switch(cursor_stands_still=True)
    await star.edit("del_contact", userid="p10", external_userid="wmStar")
    await star.edit("mark", userid="p09", external_userid="wmStar", add=["advice/keen"], remove=[])
    await read_once(star)
    assert await following(town) == sorted(MANY), "those named by events stand on pages that never came"
    assert len(await town.control.calls("externalcontact/get")) == 2
    await town.control.switch(cursor_stands_still=False)
    await star.work()
    assert await following(town) == sorted(MANY)[:-1]


async def test_a_reading_of_many_pages_keeps_its_lease(star: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages take longer together than one lease."""
    monkeypatch.setattr(refresh, "LEASE", timedelta(seconds=0.9))
    for _ in range(3):
        await star.town.control.fault(kind="slow", api="externalcontact/get", seconds=0.5)
    await star.edit("del_contact", userid="p10", external_userid="wmStar")
    await read_once(star)
    assert await following(star.town) == sorted(MANY)[:-1]
    assert await db.fetch_value("select count(*) from wecom_refresh where corp_id = $1", star.town.corp_id) == 0
    assert len(await star.town.control.calls("externalcontact/get")) == 3
