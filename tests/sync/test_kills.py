"""kill -9 at every step of a call: whatever step it was, WeCom ends equal, and at most that call is repeated."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from support.cards import CardTown, a_card_town
from support.company import Companies
from support.service import Service
from support.town import Town
from tagwarden.catalog import service as catalog
from tagwarden.catalog.service import TagDraft
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls

from .killed import STEPS

REACHED = {"after_send", "before_close", "before_settle", "after_settle"}
FOLLOW_STEPS = [step for step in STEPS if not step.startswith(("tag_", "card_"))]


async def die_at(step: str, database: str, simulator: str, corp_id: str) -> None:
    """Lets a sender work until it is killed at that step."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sync.killed", database, simulator, corp_id, step, env=env, stdout=asyncio.subprocess.DEVNULL
    )
    assert await asyncio.wait_for(child.wait(), 90) == -signal.SIGKILL, "the step was never reached"


@pytest.mark.parametrize("step", FOLLOW_STEPS)
async def test_a_marking_ends_equal(town: Town, database: EmbeddedUrls, step: str) -> None:
    await town.change("ann", "wmC2", add=["activity/warm", "advice/keen"])
    await town.hurry()
    await die_at(step, database.application, town.control.url, town.corp_id)
    before = len(await town.marks())
    assert before == (step in REACHED)
    await town.end_leases()
    await town.drain()
    assert not await town.different()
    assert len(await town.marks()) - before <= 1, "at most the call it was killed in"
    if step == "after_settle":
        assert len(await town.marks()) == 1
    assert (await town.row("ann", "wmC2"))["uncertain"] == []


@pytest.mark.parametrize("step", [step for step in STEPS if step.startswith("tag_")])
async def test_a_tag_is_made_once(town: Town, database: EmbeddedUrls, step: str) -> None:
    await catalog.create_tag(town.as_("admin"), town.groups["advice"], TagDraft("fresh"))
    await die_at(step, database.application, town.control.url, town.corp_id)
    await town.end_leases()
    await town.drain()
    library = (await town.control.corp("GET", "/tags"))["tag_group"]
    names = [tag["name"] for group in library if group["group_name"] == "advice" for tag in group["tag"]]
    assert names.count("fresh") == 1
    await town.read_catalog()
    assert town.wecom_tags["advice/fresh"] is not None


@pytest.mark.parametrize("step", [step for step in STEPS if step.startswith("card_")])
async def test_a_card_is_never_lost(
    companies: Companies, simulator_url: str, service: Service, database: EmbeddedUrls, step: str
) -> None:
    async with a_card_town(companies, simulator_url, service) as cards:
        approval_id = await cards.ask()
        await die_at(step, database.application, simulator_url, cards.town.corp_id)
        await db.execute("update approval_card set leased_until = null where corp_id = $1", cards.town.corp_id)
        await cards.send()
        assert len(await cards.shown("east")) == (2 if step == "card_sent" else 1)
        assert await sign_the_newest(cards) == "signed"
        assert await cards.state(approval_id) == "pending_level2"


async def sign_the_newest(cards: CardTown) -> str:
    return await cards.click("east", (await cards.shown("east"))[-1]["task_id"])
