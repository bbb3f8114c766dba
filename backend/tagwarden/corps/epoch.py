"""One row per corp says which epoch of roles, organisation, kinds and policy is in force.

`barrier` makes a revoke immediate: a request waits for a read of that row which *started after it arrived*. Many
requests share one read, so the barrier costs one query at a time however many wait. `watch` and `note` carry the newest
epoch that a request's answer stands on, or leaves behind, to whoever sends the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar

from tagwarden.corps.model import CorpUnknown
from tagwarden.kernel import db
from tagwarden.kernel.shared_read import SharedRead


class EpochMoved(Exception):
    """The epoch under the lock is not the one loaded: roll back, `reload`, begin again."""

    def __init__(self, reload: Callable[[], Awaitable[object]]) -> None:
        self.reload = reload
        super().__init__("epoch moved")


class EpochSeen:
    """The newest epoch that one request met; 0 before it met any."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


_seen: ContextVar[EpochSeen | None] = ContextVar("epoch_seen", default=None)


def watch() -> EpochSeen:
    """From here on, what this task notes is found in the answer; tasks that it starts share it."""
    seen = EpochSeen()
    _seen.set(seen)
    return seen


def note(epoch: int) -> None:
    """Says that what is answered stands on this epoch: one that was read under a lock, or committed."""
    seen = _seen.get()
    if seen is not None and epoch > seen.number:
        seen.number = epoch


class EpochBarrier:
    """Coalesces reads of `corp_epoch` in one process; at most one is in flight."""

    def __init__(self) -> None:
        self._read: SharedRead[str, int] = SharedRead(_epochs)

    async def current(self, corp_id: str) -> int:
        """The epoch by a read that started after this call; CorpUnknown when there is no such corp."""
        epoch = await self._read(corp_id)
        if epoch is None:
            raise CorpUnknown()
        return epoch


async def _epochs(corp_ids: Sequence[str]) -> dict[str, int]:
    rows = await db.fetch("select corp_id, epoch from corp_epoch where corp_id = any($1)", list(corp_ids))
    return {row["corp_id"]: row["epoch"] for row in rows}


barrier = EpochBarrier()


async def bump(corp_id: str) -> int:
    """Moves the epoch; the caller holds its row exclusively."""
    return int(await db.fetch_value("update corp_epoch set epoch = epoch + 1 where corp_id = $1 returning epoch", corp_id))


async def standing(corp_id: str) -> int:
    """The epoch as it is committed now, of the current transaction's moment; 0 for an unknown corp."""
    return int(await db.fetch_value("select epoch from corp_epoch where corp_id = $1", corp_id) or 0)
