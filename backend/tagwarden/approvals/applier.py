"""What a kind of request brings along. Bound in `app/wiring.py`; approvals themselves know no tags."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from tagwarden.approvals.model import Approval, Ask, NotEditable
from tagwarden.corps.command import Epoch
from tagwarden.corps.model import Work
from tagwarden.policy.service import Picture


class Applier(Protocol):
    """What is asked of one kind of request, and the epoch lock its application needs.

    `protected`: a change of what governance stands on; nobody signs it by asking unless the policy says so.
    `writes_tags`: it changes customers' tags, so it waits while the corp's tag writes are suspended.
    """

    @property
    def kind(self) -> str: ...

    @property
    def epoch_lock(self) -> Epoch: ...

    @property
    def protected(self) -> bool: ...

    @property
    def writes_tags(self) -> bool: ...

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

    async def revise(self, work: Work, approval: Approval, change: dict[str, Any] | None) -> Ask:
        """The request with another content, or the same content on today's base; NotEditable, or what the rules raise."""
        ...

    async def apply(self, work: Work, picture: Picture, approval: Approval) -> None:
        """Makes the change, inside the last signature's transaction; a failure takes that signature with it."""
        ...


class ProtectedApplier:
    """What protected changes have in common: they move the epoch, lock with it, and are asked anew rather than edited."""

    kind: ClassVar[str]
    epoch_lock: ClassVar[Epoch] = Epoch.EXCLUSIVE
    protected: ClassVar[bool] = True
    writes_tags: ClassVar[bool] = False

    def effects(self, payload: dict[str, Any]) -> tuple[str, ...]:
        """The keys under which the database lets the change through."""
        raise NotImplementedError

    async def lock(self, corp_id: str, payload: dict[str, Any]) -> None:
        """Nothing beyond the epoch, which is held exclusively."""

    async def revise(self, work: Work, approval: Approval, change: dict[str, Any] | None) -> Ask:
        """The same content; only its reason can be edited."""
        if change is not None:
            raise NotEditable()
        effects = self.effects(approval.payload)
        return Ask(approval.kind, approval.payload, effects, approval.about_userid, approval.about_customer, approval.reason)


_appliers: dict[str, Applier] = {}


def bind(appliers: list[Applier]) -> None:
    """Replaces all bound appliers; called by wiring."""
    _appliers.clear()
    _appliers.update({applier.kind: applier for applier in appliers})


def applier_of(kind: str) -> Applier:
    """The applier of a kind; KeyError for a kind nobody bound, which is a mistake in wiring."""
    return _appliers[kind]


def kinds() -> tuple[str, ...]:
    """Every kind of request there is."""
    return tuple(_appliers)
