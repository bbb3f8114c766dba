"""Personal and strategy tags (规则组): shown as they are now, never written, and counted against WeCom's limit."""

from __future__ import annotations

from typing import Any

from support.mailbox import Mailbox
from support.service import Service, Web
from support.town import Town
from tagwarden.sync.model import RunKind

GOLD = {"id": "stGold", "name": "gold", "group": "rules"}
BLUE = {"id": "stBlue", "name": "blue", "group": "rules"}


async def labels(web: Web, customer: str, owner: str = "ann") -> list[tuple[str, str | None, str | None]]:
    answer = (await web.get(owner, f"/v1/customers/{customer}/tags")).json()
    (follow,) = [one for one in answer["follows"] if one["follow_userid"] == owner]
    return [(one["kind"], one["name"], one["wecom_id"]) for one in follow["labels"]]


async def limits(web: Web) -> dict[str, Any]:
    found: dict[str, Any] = (await web.get("admin", "/v1/tag-groups")).json()["limits"]
    return found


async def test_strategy_tags_count_once_however_many_carry_them(town: Town, mail: Mailbox, service: Service) -> None:
    web = service.web(town)
    before = await limits(web)
    assert (before["strategy_tags"], before["tags_used"]) == (0, 9)
    await mail.edit("add_contact", userid="ann", external_userid="wmS1", strategy_tags=[GOLD, BLUE], personal_tags=["mine"])
    await mail.edit("add_contact", userid="bob", external_userid="wmS2", strategy_tags=[GOLD])
    await mail.work()
    assert ((await limits(web))["strategy_tags"], (await limits(web))["tags_used"]) == (2, 11), "told by events"
    mail.lose = 1.0
    await mail.edit("add_contact", userid="dan", external_userid="wmS3", strategy_tags=[{**GOLD, "id": "stRed"}])
    await town.run(RunKind.DRIFT)
    assert (await limits(web))["strategy_tags"] == 3, "found by a reading of everybody, which shows ids alone"
    await mail.edit("del_contact", userid="dan", external_userid="wmS3")
    await town.run(RunKind.CUSTOMERS)
    assert (await limits(web))["strategy_tags"] == 2
    both = [("strategy", "blue", "stBlue"), ("strategy", "gold", "stGold")]
    assert await labels(web, "wmS1") == [("personal", "mine", None), *both]


async def test_a_strategy_tag_taken_off_is_shown_no_more(town: Town, mail: Mailbox, service: Service) -> None:
    web = service.web(town)
    await mail.edit("add_contact", userid="ann", external_userid="wmS1", strategy_tags=[GOLD, BLUE], personal_tags=["mine"])
    await mail.work()
    mail.lose = 1.0
    await mail.edit("mark", userid="ann", external_userid="wmS1", strategy_tags=[BLUE])
    await town.run(RunKind.DRIFT)
    left = await labels(web, "wmS1")
    assert left == [("personal", "mine", None), ("strategy", "blue", "stBlue")], "a list of many shows ids; names are kept"
    assert (await limits(web))["strategy_tags"] == 1


async def test_an_enterprise_tag_we_keep_out_is_no_strategy_tag(town: Town, mail: Mailbox, service: Service) -> None:
    web = service.web(town)
    mail.lose = 1.0
    await mail.edit("create_group", group="fresh", tags=["new"])
    await mail.edit("mark", userid="ann", external_userid="wmC1", add=["fresh/new"], remove=[])
    await town.run(RunKind.CUSTOMERS)
    assert (await limits(web))["strategy_tags"] == 1, "not known to be of the library yet"
    await town.run(RunKind.CATALOG)
    await town.run(RunKind.CUSTOMERS)
    assert ((await limits(web))["strategy_tags"], (await limits(web))["kept_out"]) == (0, 0)
    assert await labels(web, "wmC1") == []
