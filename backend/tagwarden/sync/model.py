"""Desired against observed, and when a dirty follow is due. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tagwarden.kernel.errors import Conflict, NotFound
from tagwarden.wecom.model import UNKNOWN, Verdict, VerdictKind

DIRTY = "dirty"
"""The notice that wakes senders: something has become dirty."""
PROGRESS = "progress"
"""The notice that wakes who watches a run: one has begun, moved on or ended."""
RUN_JOB = "sync.run"
SETTLE = timedelta(seconds=1)
SETTLE_AT_MOST = timedelta(seconds=3)
LONGEST_CALL = 60.0
"""Seconds from claim to end of a call, the wait for its slot included."""

LEASE = timedelta(seconds=75)
"""How long what is being sent belongs to one sender; longer than any call, so that a lease ends after its call."""

BACKOFF_AT_MOST = timedelta(minutes=10)
TRIED_ENOUGH = 60.0
"""Seconds to wait at least once WeCom's own advice on the number of tries is used up."""


LARGEST_ORDER = 2**32 - 1
"""WeCom's places lie in [0, 2^32) (path/92117); ours are wider."""


class RunKind(StrEnum):
    ORG = "org"
    CATALOG = "catalog"
    CUSTOMERS = "customers"
    DRIFT = "drift"


class RunUnknown(NotFound):
    code = "sync_run_unknown"
    zh = "找不到该同步任务"
    en = "No such sync run"


class RunUnderWay(Conflict):
    code = "sync_run_under_way"
    zh = "同类同步任务正在进行：{run_id}"
    en = "A run of this kind is under way: {run_id}"


class LineUnknown(NotFound):
    code = "ledger_line_unknown"
    zh = "找不到该同步记录"
    en = "No such line in the ledger"


class NothingGivenUp(Conflict):
    code = "nothing_given_up"
    zh = "没有已放弃的同步可以重试"
    en = "Nothing of this was given up, so there is nothing to try again"


class NothingSeen(Conflict):
    code = "sync_nothing_seen"
    zh = "企业微信没有返回任何部门或成员，组织架构保持不变，请检查应用的可见范围"
    en = "WeCom showed no department or no member; the organisation stays as it is: check what the app may see"


class CardState(StrEnum):
    """`left_open`: nothing can close it on its screen any more; a click on it changes nothing."""

    WAITING = "waiting"
    SENT = "sent"
    CLOSING = "closing"
    CLOSED = "closed"
    LEFT_OPEN = "left_open"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Step:
    """A level of one round of a request: what a card asks for."""

    round: int
    level: int


@dataclass(frozen=True, slots=True)
class Difference:
    """WeCom tag ids to add and to remove in one call."""

    add: tuple[str, ...]
    remove: tuple[str, ...]

    @property
    def empty(self) -> bool:
        return not self.add and not self.remove


def difference(desired: Collection[str], observed: Collection[str], uncertain: Collection[str] = ()) -> Difference:
    """What one `mark_tag` has to carry so that WeCom holds what we want.

    `uncertain` tags stood in a call whose outcome is unknown: they are named again, added or removed as wanted.
    """
    want, have, unsure = set(desired), set(observed), set(uncertain)
    return Difference(tuple(sorted((want - have) | (want & unsure))), tuple(sorted((have | unsure) - want)))


def order_of(sort: int) -> int:
    """A place of ours as WeCom takes it."""
    return max(0, min(sort, LARGEST_ORDER))


def settles_at(first_dirty: datetime, edited: datetime) -> datetime:
    """One second after the last edit, three seconds after the first at most."""
    return min(edited + SETTLE, first_dirty + SETTLE_AT_MOST)


def backoff(attempts: int, at_least: float = 0.0) -> timedelta:
    """How long to wait before the next try: doubling from two seconds, at least what the verdict says."""
    doubling = min(2.0 * 2 ** min(attempts, 12), BACKOFF_AT_MOST.total_seconds())
    return timedelta(seconds=max(doubling, at_least))


def is_final(verdict: Verdict, attempts: int) -> bool:
    """Whether a refusal ends the tries: the call never passes as it is, or nobody knows the code and it was tried enough.

    What passes by itself (WeCom is busy, slow down, another call on the follow) is never given up.
    """
    return verdict.kind is VerdictKind.DROP or (verdict is UNKNOWN and attempts + 1 >= verdict.tries)


def pause_after(verdict: Verdict, attempts: int) -> timedelta:
    """How long to wait after a refusal that is not final."""
    enough = attempts + 1 >= verdict.tries
    return backoff(attempts, max(verdict.seconds, TRIED_ENOUGH if enough else 0.0))
