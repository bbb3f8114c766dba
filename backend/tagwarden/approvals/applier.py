"""What a kind of request brings along. Bound in `app/wiring.py`; approvals themselves know no tags."""

from __future__ import annotations

from typing import Any, Protocol

from tagwarden.approvals.model import Approval
from tagwarden.corps.command import Epoch
from tagwarden.corps.model import Work
from tagwarden.policy.service import Picture


class Applier(Protocol):
    """What is asked of one kind of request, and the epoch lock its application needs."""

    kind: str
    epoch_lock: Epoch

    async def fingerprint(self, corp_id: str, payload: dict[str, Any]) -> str:
        """A hash of everything the request was made on: it moves when the base moves."""
        ...

    async def lock(self, corp_id: str, payload: dict[str, Any]) -> None:
        """Locks what the request is about (follows by id), so that base and application are one moment."""
        ...

    async def check(self, work: Work, picture: Picture, approval: Approval) -> str | None:
        """Writes nothing; a reason when the request can no longer be applied as it stands, else None."""
        ...

    async def describe(self, corp_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Before → after, for readers."""
        ...

    async def apply(self, work: Work, picture: Picture, approval: Approval) -> None:
        """Makes the change, inside the last signature's transaction; a failure takes that signature with it."""
        ...


_appliers: dict[str, Applier] = {}


def bind(appliers: list[Applier]) -> None:
    """Replaces all bound appliers; called by wiring."""
    _appliers.clear()
    _appliers.update({applier.kind: applier for applier in appliers})


def applier_of(kind: str) -> Applier:
    """The applier of a kind; KeyError for a kind nobody bound, which is a mistake in wiring."""
    return _appliers[kind]
