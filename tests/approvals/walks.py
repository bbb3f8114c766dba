"""Many random walks, several at a time in one process: each in its own corp, so they never meet. Prints what came of them.

TAGWARDEN_TEST_SEED plays a run again, with TAGWARDEN_TEST_WALK only that walk of it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import accumulate, islice
from random import Random

from support.company import Companies
from support.engine import engine_on
from tagwarden.kernel.embedded import EmbeddedUrls

from . import walk_changes, walk_steps
from .look import EVERYTHING
from .model_of_changes import KINDS
from .random_walk import Walk, begin

SEED = int(os.environ.get("TAGWARDEN_TEST_SEED", "0")) or secrets.randbits(32)
ONLY = os.environ.get("TAGWARDEN_TEST_WALK")
LENGTH = 380
AT_ONCE = 6
HALF = 66
"""Walks in each of two files, which two workers share: 2 · 66 · 380 steps in every run of CI."""

Step = Callable[[Walk], Awaitable[None]]
STEPS: dict[Step, int] = {
    walk_steps.sign: 440,
    walk_steps.ask_tags: 90,
    walk_steps.ask_ordinary: 60,
    walk_steps.withdraw: 20,
    walk_steps.refuse: 15,
    walk_steps.edit: 40,
    walk_steps.resubmit: 40,
    walk_steps.escalate: 25,
    walk_steps.expire: 8,
    walk_steps.keep_time: 8,
    walk_steps.delegate: 25,
    walk_steps.end_delegation: 10,
    walk_changes.move_tag: 12,
    walk_changes.merge_tag: 10,
    walk_changes.change_group: 12,
    walk_changes.edit_tag: 14,
    walk_changes.delete_tag: 16,
    walk_changes.delete_group: 12,
    walk_changes.create_tag: 20,
    walk_changes.put_roles: 30,
    walk_changes.put_issuer: 14,
    walk_changes.publish: 14,
    walk_changes.organise: 16,
    walk_changes.transfer: 8,
    walk_steps.ask_adoption: 14,
}
"""Each with its weight."""
WEIGHTS = list(accumulate(STEPS.values()))
RELAXED = {"synchronous_commit": "off"}
"""Nobody pulls the plug of a walk's server."""


class Tally:
    """How much was asked and applied, by kind, what happened, and how often each refusal came."""

    def __init__(self) -> None:
        self.steps = 0
        self.asked, self.applied, self.refusals = Counter[str](), Counter[str](), Counter[str]()
        self.happened = Counter[str]()

    def add(self, walk: Walk) -> None:
        """A walk that came to its end."""
        self.steps += len(walk.history)
        self.asked += walk.asked
        self.applied += walk.applied
        self.refusals += walk.refusals
        self.happened += walk.happened

    def tell(self) -> None:
        """Prints the shares."""
        print(f"{self.steps} steps")
        for kind in KINDS:
            print(f"  {kind}: {self.applied[kind]} of {self.asked[kind]} applied")
        print("  happened:", {name: self.happened[name] for name in EVERYTHING})
        print("  refusals:", dict(self.refusals.most_common()))

    def require_everything(self) -> None:
        """Walks in which something never happens would prove nothing about it."""
        dull = [name for name in EVERYTHING if not self.happened[name]]
        dull += [kind for kind in KINDS if not self.applied[kind]]
        assert ONLY or not dull, f"never in {self.steps} steps: {dull}"


async def walk_on(walk: Walk, name: str) -> Walk:
    """The steps of one walk; a failure tells the way there and how to go it again."""
    try:
        while len(walk.history) < LENGTH:
            [step] = walk.random.choices(list(STEPS), cum_weights=WEIGHTS)
            await walk.take(step)
        await walk.finish()
    except Exception as error:
        told = "\n".join(f"{at:4} {line}" for at, line in enumerate(walk.history))
        raise AssertionError(f"{error!r}\n{told}\nplay it again: {name}") from error
    return walk


async def walk_many(urls: EmbeddedUrls, numbers: Iterable[int], seed: int = SEED) -> Tally:
    """These walks of a run, some at a time: companies are made first, because making one takes the engine."""
    tally, companies = Tally(), Companies(urls.owner)
    async with engine_on(urls.application, 2 * AT_ONCE, server_settings=RELAXED):
        for some in batches(number for number in numbers if ONLY is None or number == int(ONLY)):
            begun = [await begin(companies, Random(f"{seed}/{number}")) for number in some]
            names = [f"TAGWARDEN_TEST_SEED={seed} TAGWARDEN_TEST_WALK={number}" for number in some]
            # All to their end: what is left running would walk on in the next test's engine.
            for walk in await asyncio.gather(*map(walk_on, begun, names), return_exceptions=True):
                if isinstance(walk, BaseException):
                    raise walk
                tally.add(walk)
    tally.tell()
    return tally


def batches(numbers: Iterable[int]) -> Iterator[list[int]]:
    """So many at a time, to the last."""
    rest = iter(numbers)
    while some := list(islice(rest, AT_ONCE)):
        yield some


async def walk_a_half(urls: EmbeddedUrls, half: int) -> None:
    """One of the two halves of CI's walks."""
    tally = await walk_many(urls, range(half * HALF, (half + 1) * HALF))
    tally.require_everything()
    assert ONLY or tally.steps == HALF * LENGTH
