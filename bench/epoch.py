"""A new epoch at 110,000 grants: how long until the new picture is there, and how long the event loop stood still for it.

Loaded through `policy.service` from PostgreSQL while the old picture is in use, as in a running service.
"""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import dataclass

from bench.ground import Corp, Ground
from bench.matrix import LARGEST, shape
from bench.report import Options, Row, Runs
from tagwarden.corps import epoch as epochs
from tagwarden.kernel import db
from tagwarden.policy import service as policy

COMMAND = "python -m bench epoch"
TICK = 0.001


@dataclass
class Heart:
    """Beats every millisecond and keeps the longest time between two beats, that millisecond included."""

    longest: float = 0.0

    async def beat(self) -> None:
        """Until cancelled."""
        last = time.perf_counter()
        while True:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last)
            last = now


def measure(ground: Ground, options: Options) -> list[Row]:
    """Load time and longest pause."""
    return ground.run(lambda: _measure(ground, options))


async def _measure(ground: Ground, options: Options) -> list[Row]:
    corp = await ground.company(shape(LARGEST))
    await policy.current(corp.corp_id)
    took, pauses = [], []
    noise = Runs(options.runs)
    for _ in noise:
        gc.collect()
        seconds, pause = await _new_epoch(corp)
        took.append(f"{seconds * 1000:.0f} ms")
        pauses.append(f"{pause * 1000:.0f} ms")
    return [
        Row(f"a new epoch at {LARGEST.grants:,} grants, load time", "", took, COMMAND, noise.note),
        Row("longest pause of the event loop meanwhile", "≤ 50 ms", pauses, COMMAND, "includes the 1 ms beat"),
    ]


async def _new_epoch(corp: Corp) -> tuple[float, float]:
    """Seconds from the commit of a new epoch to its picture, and the longest pause within."""
    async with db.transaction():
        epoch = await epochs.bump(corp.corp_id)
    heart = Heart()
    beating = asyncio.create_task(heart.beat())
    await asyncio.sleep(10 * TICK)
    heart.longest = 0.0
    since = time.perf_counter()
    picture = await policy.current(corp.corp_id)
    seconds = time.perf_counter() - since
    await asyncio.sleep(2 * TICK)
    beating.cancel()
    if picture.epoch != epoch or len(picture.matrix) != LARGEST.grants:
        raise RuntimeError("not the picture that was asked for")
    return seconds, heart.longest
