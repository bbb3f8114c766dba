"""A change of the matrix at 110,000 grants, from draft to revision: its impact, its publishing, the new picture.

Through the use cases, in the process that serves: how long each takes, and how long the event loop stood still for it.
The draft denies one group to a department with hundreds of people below it.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.epoch import TICK, Heart
from bench.ground import Corp, Ground
from bench.matrix import LARGEST, shape
from bench.report import Options, Row, Runs
from tagwarden.governance import drafts
from tagwarden.governance.cells import Cell, Place
from tagwarden.governance.drafts import DraftEdit
from tagwarden.governance.impact import impact_of_draft
from tagwarden.policy import service as policy
from tagwarden.policy.model import Action, Effect

COMMAND = "python -m bench draft"
DEPARTMENT = 3
PAUSE = "includes the 1 ms beat"


def measure(ground: Ground, options: Options) -> list[Row]:
    """Time and longest pause of each step."""
    return ground.run(lambda: _measure(ground, options))


async def _measure(ground: Ground, options: Options) -> list[Row]:
    corp = await ground.company(shape(LARGEST, follows_each=20))
    await policy.current(corp.corp_id)
    steps: dict[str, list[tuple[float, float]]] = {"impact": [], "publish": [], "picture": []}
    noise = Runs(options.runs)
    for number, _ in enumerate(noise):
        gc.collect()
        for step, figure in (await _draft_to_revision(corp, f"g{number * 3}")).items():
            steps[step].append(figure)
    rows = []
    for step, goal in (("impact", ""), ("publish", ""), ("picture", "≤ 50 ms")):
        name = {"impact": "impact of a draft", "publish": "publishing it", "picture": "the new revision's picture"}[step]
        rows.append(Row(f"{name}, {LARGEST.grants:,} grants", "", _shown(steps[step], 0), COMMAND, noise.note))
        rows.append(Row("longest pause of the event loop meanwhile", goal, _shown(steps[step], 1), COMMAND, PAUSE))
    return rows


def _shown(figures: list[tuple[float, float]], part: int) -> list[str]:
    return [f"{figure[part] * 1000:.0f} ms" for figure in figures]


async def _draft_to_revision(corp: Corp, group: str) -> dict[str, tuple[float, float]]:
    admin = corp.as_("admin")
    place = Place(DEPARTMENT, str(corp.groups[group]), Action.VIEW, Effect.DENY)
    draft_id = await drafts.create_draft(admin, DraftEdit(cells=(Cell(place),), note="figures"))
    picture = await policy.current(corp.corp_id)
    found = {"impact": await _watched(lambda: impact_of_draft(picture, admin, draft_id, 7))}
    found["publish"] = await _watched(lambda: drafts.publish_draft(admin, draft_id, None, "*"))
    found["picture"] = await _watched(lambda: policy.current(corp.corp_id))
    return found


async def _watched(step: Callable[[], Awaitable[Any]]) -> tuple[float, float]:
    """Seconds, and the longest pause within."""
    heart = Heart()
    beating = asyncio.create_task(heart.beat())
    await asyncio.sleep(10 * TICK)
    heart.longest = 0.0
    since = time.perf_counter()
    await step()
    seconds = time.perf_counter() - since
    await asyncio.sleep(2 * TICK)
    beating.cancel()
    return seconds, heart.longest
