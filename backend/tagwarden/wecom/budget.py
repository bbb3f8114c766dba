"""How many calls a corp may make: slots shared through PostgreSQL by any number of workers.

A slot is free again one window after its call was *answered*, or after claim + time-out + window when no answer came.
Timed from the claim, delayed calls pile up at WeCom's side and more than the limit fall into one window; timed from the
answer they cannot. The pessimistic time is written with the claim, so a worker killed at any instant is safe.

Time is the database's alone. The process's monotonic clock only judges whether that one jumped, and then this process
uses no slot until every call made before the jump has left the window. A jump may stall us, none may burst us.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id
from tagwarden.wecom import slots
from tagwarden.wecom.clock_watch import ClockWatch
from tagwarden.wecom.model import CallClass
from tagwarden.wecom.slots import Taken

BEGIN_WITHIN = 1.0
"""Seconds from claim to the begin of the call; later than that the slot is given back."""

MARGIN = 0.001
"""Share added to the window: a clock that is being slewed runs up to 500 ppm slow or fast (NTP)."""

JUMP = 1 / 60
"""Drift between database and monotonic clock, as a share of the window, that counts as a jump (1 s at 60 s)."""


@dataclass(slots=True)
class Slot:
    """The right to make one call; `claimed` is the monotonic second of the claim, from which time-outs count."""

    budget: Budget
    corp_id: str
    n: int
    claim: UUID
    claimed: float
    was: float

    def age(self) -> float:
        """Seconds since the claim."""
        return self.budget.monotonic() - self.claimed

    async def answered(self) -> None:
        """WeCom answered: free one window from now."""
        await slots.free_after(self.corp_id, self.n, self.claim, self.budget.safe_window)

    async def unanswered(self) -> None:
        """No answer: the time written with the claim stands, because the call may still arrive until its time-out."""

    async def give_back(self) -> None:
        """The call never began: the slot is as free as it was before the claim."""
        await slots.restore(self.corp_id, self.n, self.claim, self.was)


class Budget:
    """The budget of all corps as one process sees it; processes with the same settings share it.

    `calls_per_minute` calls in any rolling `window` seconds per corp; a call is over `call_timeout` seconds after its
    claim. `monotonic` is a parameter so that a jump of the database's clock can be shown in a test.
    """

    def __init__(
        self,
        calls_per_minute: int = 60,
        window: float = 60.0,
        call_timeout: float = 10.0,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if calls_per_minute < 1 or window <= 0 or call_timeout <= 0:
            raise ValueError("calls_per_minute, window and call_timeout must be positive")
        self.limit = calls_per_minute
        self.window = window
        self.call_timeout = call_timeout
        self.safe_window = window * (1 + MARGIN)
        self.spacing = window / calls_per_minute
        self.monotonic = monotonic
        self._busy = self.safe_window + call_timeout
        self._known: set[str] = set()
        self._queues: defaultdict[tuple[str, CallClass], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._watch = ClockWatch(window * JUMP)
        self._hold_until = float("-inf")

    async def start(self) -> None:
        """Takes the first reading of both clocks, so that a jump before the first claim is noticed too."""
        before = self.monotonic()
        self._watch.jumped(await slots.clock(), before, self.monotonic())

    async def claim(self, corp_id: str, call_class: CallClass) -> Slot:
        """Waits until one call may begin; the caller must begin it within BEGIN_WITHIN or give the slot back.

        A person's call takes the next slot; those of batches and mirrors are spaced evenly, and mirrors yield.
        """
        if db.in_transaction():
            raise RuntimeError("a slot is claimed outside transactions")
        while True:
            async with self._queues[corp_id, call_class]:
                slot, wait = await self._next(corp_id, call_class)
            if wait <= 0 or await self._wait_for_turn(slot, wait):
                return slot

    async def hold(self, corp_id: str, seconds: float) -> None:
        """WeCom asked to slow down: no slot of the corp, in any process, is free before `seconds`, at most a window."""
        await self._prepare(corp_id)
        await slots.hold(corp_id, min(seconds, self.window))

    async def estimate(self, corp_id: str, calls: int, call_class: CallClass) -> float:
        """Seconds until the last of so many calls may begin, if nobody else calls and WeCom answers at once."""
        if calls < 1:
            return 0.0
        await self._prepare(corp_id)
        turn, all_waits = await slots.waits(corp_id, self.limit)
        free = sorted(max(0.0, wait - self.call_timeout) if claimed else wait for wait, claimed in all_waits)
        rounds, last = divmod(calls - 1, self.limit)
        by_slot = free[last] + rounds * self.safe_window
        by_pace = 0.0
        if call_class is not CallClass.INTERACTIVE:
            by_pace = turn + self._lag(call_class) + (calls - 1) * self.spacing
        return max(by_pace, by_slot, self._hold_until - self.monotonic(), 0.0)

    async def _prepare(self, corp_id: str) -> None:
        if corp_id not in self._known:
            await slots.prepare(corp_id, self.limit, self._busy)
            self._known.add(corp_id)

    async def _next(self, corp_id: str, call_class: CallClass) -> tuple[Slot, float]:
        """The next slot in the order of asking, and the seconds until it may be used."""
        while True:
            await self._sit_out_a_jump()
            await self._prepare(corp_id)
            before = self.monotonic()
            claim = new_id()
            taken = await self._try(corp_id, call_class, claim)
            if taken is None:
                await asyncio.sleep(await self._pause(corp_id, call_class))
                continue
            slot = Slot(self, corp_id, taken.n, claim, before, taken.was)
            if await self._fit(slot, taken):
                return slot, taken.start - taken.now

    async def _try(self, corp_id: str, call_class: CallClass, claim: UUID) -> Taken | None:
        if call_class is CallClass.INTERACTIVE:
            return await slots.take_next(corp_id, self.limit, claim, self._busy)
        lag = self._lag(call_class)
        return await slots.take_paced(corp_id, self.limit, claim, self._busy, self.spacing, lag)

    def _lag(self, call_class: CallClass) -> float:
        # A mirror takes a turn that no batch has taken for half a spacing: it yields, and alone loses nothing.
        return self.spacing / 2 if call_class is CallClass.READ else 0.0

    async def _pause(self, corp_id: str, call_class: CallClass) -> float:
        if call_class is CallClass.INTERACTIVE:
            return self.spacing / 4
        wait = await slots.turn_in(corp_id, self.limit, self._lag(call_class))
        return min(max(wait, self.spacing / 20), max(self.spacing, 0.05))

    async def _wait_for_turn(self, slot: Slot, seconds: float) -> bool:
        """Sleeps until a reserved slot is free and begins it; False when the reservation was lost."""
        try:
            while seconds > 0:
                await asyncio.sleep(seconds)
                slot.claimed = self.monotonic()
                taken = await slots.confirm(slot.corp_id, slot.n, slot.claim, self._busy)
                if taken is None or not await self._fit(slot, taken):
                    return False
                seconds = taken.start - taken.now
        except BaseException:
            with contextlib.suppress(db.DatabaseUnavailable):
                await asyncio.shield(slot.give_back())
            raise
        return True

    async def _fit(self, slot: Slot, taken: Taken) -> bool:
        """Whether a slot just taken may be used: the clocks agree and the answer did not dawdle."""
        if self._watch.jumped(taken.now, slot.claimed, self.monotonic()):
            self._hold_until = self.monotonic() + self._busy
            self._known.clear()
        if self._hold_until <= self.monotonic() and slot.age() <= BEGIN_WITHIN:
            return True
        await slot.give_back()
        return False

    async def _sit_out_a_jump(self) -> None:
        rest = self._hold_until - self.monotonic()
        if rest > 0:
            await asyncio.sleep(rest)
