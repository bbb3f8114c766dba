"""A group that changes its kind: which marks are not confirmed then, what is shown before, and which marks still end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from support.company import Companies, arrange
from support.service import Service
from tagwarden.assignments import repository as assignments
from tagwarden.assignments import service as change
from tagwarden.catalog import service as catalog
from tagwarden.kernel import clock, db

from .people import Library, a_library, refused

IMPORTED = (
    ("ann", "c1", ("value/high", "advice/keen")),
    ("bob", "c2", ("value/mid", "advice/keen", "advice/cheap")),
    ("dan", "c4", ("activity/hot",)),
)


@pytest.fixture
async def held(companies: Companies, service: Service) -> Library:
    """With marks WeCom held already."""
    return await a_library(companies, service, customers=IMPORTED)


async def signed(library: Library, approval_id: str) -> None:
    """boss and hq sign."""
    for signer in ("boss", "hq"):
        assert (await library.web.sign(signer, approval_id)).status_code == 200


async def end_everything(library: Library) -> int:
    """What is due in two months' time."""
    later = clock.now() + timedelta(days=62)
    return len(await assignments.due(library.company.corp_id, later))


async def test_unconfirmed_marks_are_shown_by_group(held: Library) -> None:
    shown = await held.groups()
    assert {name: (one["marks"], one["unconfirmed"]) for name, one in shown.items()} == {
        "value": (2, 2),
        "advice": (3, 0),
        "activity": (1, 0),
    }
    assert (shown["value"]["adoption"], shown["advice"]["adoption"]) == ("/v1/adoptions", None)
    total = (await held.web.get("auditor", "/v1/adoptions")).json()["total"]
    assert total == shown["value"]["unconfirmed"]


async def test_how_many_would_be_unconfirmed_is_said_before(held: Library) -> None:
    usage = await held.web.get("admin", f"/v1/tag-groups/{held.group('advice')}/usage")
    assert usage.json()["assignments"]["unbacked"] == 3
    answer = await held.patch_group("advice", kind="value")
    assert (answer.status_code, answer.json()["unconfirmed_marks"]) == (202, 3)
    approval_id = answer.json()["approval_id"]
    assert (await held.web.get("boss", f"/v1/approvals/{approval_id}")).json()["change"]["unconfirmed_marks"] == 3
    assert (await held.groups())["advice"]["unconfirmed"] == 0
    await signed(held, approval_id)
    assert (await held.groups())["advice"]["unconfirmed"] == 3
    assert await held.company.carried("ann", "c1") == {"value/high", "advice/keen"}, "nothing is taken off"

    bundle = (await held.web.call("east", "POST", "/v1/adoptions", {"reason": "as it was"})).json()["approval_ids"][0]
    assert (await held.web.sign("hq", bundle)).status_code == 200
    shown = await held.groups()
    assert (shown["advice"]["unconfirmed"], shown["value"]["unconfirmed"]) == (0, 0)


async def test_leaving_value_ends_the_question(held: Library) -> None:
    answer = await held.patch_group("value", kind="standard")
    assert (answer.status_code, answer.json()["unconfirmed_marks"]) == (202, 0)
    await signed(held, answer.json()["approval_id"])
    shown = (await held.groups())["value"]
    assert (shown["kind"], shown["marks"], shown["unconfirmed"], shown["adoption"]) == ("standard", 2, 0, None)
    assert (await held.web.get("auditor", "/v1/adoptions")).json()["total"] == 0
    back = await held.patch_group("value", kind="value")
    assert back.json()["unconfirmed_marks"] == 2


async def until_of(library: Library, owner: str, customer: str) -> dict[str, Any]:
    """Ends as the owner is shown them."""
    answer = await library.web.get(owner, f"/v1/customers/{customer}/tags")
    return {tag["tag"]: tag["until"] for tag in answer.json()["follows"][0]["tags"]}


async def test_a_temporary_mark_ends_while_its_group_stays_temporary(held: Library) -> None:
    await held.company.change("ann", "c1", ["activity/warm"])
    assert (await until_of(held, "ann", "c1"))["warm"] is not None
    assert await end_everything(held) == 1
    assert (await held.patch_group("activity", kind="standard")).status_code == 200
    assert (await until_of(held, "ann", "c1"))["warm"] is None, "what will not end shows no end"
    assert await end_everything(held) == 0
    assert (await held.patch_group("activity", kind="temporary")).status_code == 200
    assert await end_everything(held) == 0, "what was a standard mark meanwhile ends by nothing"
    await held.company.change("bob", "c2", ["activity/cold"])
    assert await end_everything(held) == 1
    await held.patch_group("activity", description="words", choice="multiple")
    assert await end_everything(held) == 1, "only another kind makes a difference"


async def test_a_group_that_turns_temporary_ends_nothing_it_held(held: Library) -> None:
    assert (await held.patch_group("advice", kind="temporary")).status_code == 200
    assert await end_everything(held) == 0
    await held.company.change("ann", "c1", ["advice/cheap"])
    assert await end_everything(held) == 1
    shown = await until_of(held, "ann", "c1")
    assert (shown["keen"], shown["cheap"] is None) == (None, False)


async def test_a_mark_never_ends_in_a_group_that_became_a_value_group(held: Library) -> None:
    await held.company.change("ann", "c1", ["activity/warm"])
    await arrange(
        held.company.corp_id,
        "update assignment set until = now() - interval '1 minute' where corp_id = $1 and until is not null",
        held.company.corp_id,
    )
    answer = await held.patch_group("activity", kind="value")
    await signed(held, answer.json()["approval_id"])
    assert await change.end_temporary_tags(held.company.corp_id) == 0
    assert "activity/warm" in await held.company.carried("ann", "c1")


async def test_what_was_temporary_in_the_version_before_still_ends(held: Library) -> None:
    await held.company.change("ann", "c1", ["activity/warm"])
    await arrange(held.company.corp_id, "update tag_group set kind_since = '-infinity' where corp_id = $1", held.company.corp_id)
    assert await end_everything(held) == 1


async def test_the_end_of_a_tag_is_a_day_of_the_corp(held: Library) -> None:
    today = clock.now().astimezone(await _zone(held)).date()
    admin, tag = held.company.as_("admin"), held.company.tags["advice/asked"]
    for days, allowed in ((0, True), (-1, False)):
        await catalog.change_tag(admin, tag, catalog.TagChange(ends_on=today + timedelta(days=days)), "*")
        answer = await held.web.tag("ann", "c1", [tag])
        assert (answer.status_code == 200) == allowed
        await held.web.tag("ann", "c1", [], [tag])
    refused(await held.web.tag("ann", "c1", [tag]), 403, "tag_change_refused")


async def _zone(library: Library) -> Any:
    return ZoneInfo(str(await db.fetch_value("select time_zone from corp where corp_id = $1", library.company.corp_id)))
