"""What two people have signed reaches WeCom, and nothing does before: names, new tags, deletions, and the marks that move."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.company import Companies
from support.protected import Scene, held
from support.service import Service, simulating, working
from support.town import Town, a_town
from tagwarden.kernel.embedded import EmbeddedUrls


@dataclass
class Street(Scene):
    """A scene whose company lives in a simulated WeCom, with a worker of its own."""

    town: Town

    async def library(self) -> dict[str, set[str]]:
        """Groups in WeCom with the names of their tags, once everything was sent."""
        await self.town.until_quiet()
        found = (await self.town.control.corp("GET", "/tags"))["tag_group"]
        return {group["group_name"]: {tag["name"] for tag in group["tag"]} for group in found}

    async def marks(self) -> dict[str, set[str]]:
        """What bob's and cat's customers carry in WeCom, once everything was sent."""
        await self.town.until_quiet()
        return {customer: await self.town.control.held(owner, customer) for owner, customer in (("bob", "wmC3"), ("cat", "wmC4"))}

    async def make(self, group: str, name: str) -> None:
        """The admin makes a tag; `path` names it from then on."""
        made = await self.call("admin", "POST", f"/v1/tag-groups/{self.town.groups[group]}/tags", {"name": name})
        assert made.status_code == 201, made.text
        self.town.tags[f"{group}/{name}"] = made.json()["id"]

    async def done(self, answer: Any) -> None:
        """It is signed by two."""
        assert (await self.sign(held(answer), "boss", "hq"))["state"] == "applied"


@pytest.fixture
async def street(
    companies: Companies, service: Service, database: EmbeddedUrls, tmp_path: Path, nothing_left_over: None
) -> AsyncIterator[Street]:
    with simulating(tmp_path / "state.sqlite") as simulator:
        async with a_town(companies, simulator.url) as town:
            with working(database.application, simulator.url):
                yield Street(town, service.web(town), town)


async def test_it_reaches_wecom_with_the_second_signature(street: Street) -> None:
    for name in ("gold", "trash"):
        await street.make("value", name)
    before = await street.library()
    assert before["value"] == {"high", "mid", "low", "gold", "trash"}
    assert await street.marks() == {"wmC3": {"value/high", "advice/asked"}, "wmC4": {"value/low"}}

    rename = await street.patch_tag("value/gold", name="platinum")
    delete = await street.call("admin", "DELETE", f"/v1/tags/{street.town.tags['value/trash']}")
    move, merge = await street.move("value/high", "advice"), await street.merge("value/low", "value/mid")
    for answer in (rename, delete, move, merge):
        await street.sign(held(answer), "boss")
    assert await street.library() == before
    assert await street.marks() == {"wmC3": {"value/high", "advice/asked"}, "wmC4": {"value/low"}}

    for answer in (rename, delete, move, merge):
        assert (await street.sign(held(answer), "hq"))["state"] == "applied"
    assert await street.marks() == {"wmC3": {"advice/high", "advice/asked"}, "wmC4": {"value/mid"}}
    after = await street.library()
    assert after["value"] == {"high", "mid", "low", "platinum"}  # what was moved or merged is retired and stays there
    assert after["advice"] == before["advice"] | {"high"}
    assert await street.town.different() == {}

    made = await street.call("admin", "POST", "/v1/tag-groups", {"name": "grade", "kind": "value"})
    street.town.groups["grade"] = made.json()["id"]
    for name in ("first", "second"):
        await street.make("grade", name)
    assert (await street.library())["grade"] == {"first", "second"}
    await street.done(await street.call("admin", "DELETE", f"/v1/tag-groups/{street.town.groups['grade']}"))
    assert "grade" not in await street.library()
