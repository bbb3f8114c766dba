"""How long until everything that waits has been sent, said honestly: pace, slots, what settles or was put off, and what
stands still. It promises nothing where a pause or a refused credential keeps all of it here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tagwarden.sync import cards_rows, outbox, repository
from tagwarden.wecom import pause
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.model import CallClass, code_at_head, verdict
from tagwarden.wecom.pause import Pause

LONG = 90.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """`seconds` is None where nothing moves: `pause`, or `stopped`, the reason for which WeCom refuses the credential."""

    waiting: int
    given_up: int
    seconds: float | None
    pause: Pause | None = None
    stopped: str | None = None

    def as_seen(self, waiting: int, given_up: int) -> Estimate:
        """For a reader who sees so much of it: he reads of nobody else's changes. The time is the whole company's, in which
        his are sent too; none where nothing of his waits."""
        seen = replace(self, waiting=waiting, given_up=given_up)
        return seen if waiting else replace(seen, seconds=0.0, stopped=None)

    def in_words(self, language: str) -> str:
        """One sentence: how many, how long or why not, and what was given up."""
        return (_zh if language == "zh" else _en)(self)


async def of(budget: Budget, corp_id: str) -> Estimate:
    """The estimate for a corp, over every process."""
    counted = await repository.counts(corp_id)
    library = [*await outbox.library_waiting(corp_id), *await outbox.groups_waiting(corp_id)]
    cards = await cards_rows.counts(corp_id)
    pieces = sum(row["given_up"] is None for row in library)
    waiting = counted["waiting"] + pieces
    given_up = counted["given_up"] + len(library) - pieces + cards["given_up"]
    paused, stopped = await pause.read(corp_id), await repository.stopped_reason(corp_id)
    if waiting and (paused or stopped):
        return Estimate(waiting, given_up, None, paused, stopped)
    # A batch keeps its pace beside what people changed, and all of it shares the slots.
    everything = await budget.estimate(corp_id, waiting + cards["waiting"], CallClass.INTERACTIVE)
    batches = await budget.estimate(corp_id, counted["bulk"], CallClass.BULK)
    return Estimate(waiting, given_up, max(everything, batches, counted["last_in"]), paused, stopped)


def _zh(found: Estimate) -> str:
    lost = f"；{found.given_up} 项已放弃" if found.given_up else ""
    if found.waiting == 0:
        return ("同步已暂停，没有等待同步的更改" if found.pause else "没有等待同步的更改") + lost
    if found.pause:
        return f"{found.waiting} 项等待同步，已暂停" + lost
    if found.stopped:
        return f"{found.waiting} 项等待同步，企业微信拒绝了凭据（{found.stopped}），处理后才会继续" + lost
    seconds = found.seconds or 0.0
    span = f"{max(1, round(seconds))} 秒" if seconds < LONG else f"{round(seconds / 60)} 分钟"
    return f"{found.waiting} 项等待同步，约 {span}" + lost


def _en(found: Estimate) -> str:
    lost = f"; {found.given_up} given up" if found.given_up else ""
    if found.waiting == 0:
        return ("paused, nothing is waiting" if found.pause else "nothing is waiting") + lost
    if found.pause:
        return f"{found.waiting} waiting, paused" + lost
    if found.stopped:
        code = code_at_head(found.stopped)
        why = f"{code} {verdict(code).words_en}" if code else "refused"
        return f"{found.waiting} waiting, WeCom refuses the credential ({why}): nothing moves until that is mended" + lost
    seconds = found.seconds or 0.0
    span = f"{max(1, round(seconds))} seconds" if seconds < LONG else f"{round(seconds / 60)} minutes"
    return f"{found.waiting} waiting, about {span}" + lost
