"""Whose follow of a customer is meant, without telling anybody who follows whom beyond what he may see. Reads nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tagwarden.assignments.model import FollowAmbiguous
from tagwarden.customers.model import CustomerUnknown, Follow, FollowUnknown

OfOwner = Callable[[str], bool]
"""A question about the customers of one owner."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Whose follow is meant. None: it may not be told whether he has one, and it is refused as if he had."""

    userid: str
    follow: Follow | None


def choose_follow(actor: str, follows: Sequence[Follow], named: str | None, sees: OfOwner, serves: OfOwner) -> Chosen:
    """The named one, else the caller's own, else the only one he can mean; CustomerUnknown, FollowUnknown or FollowAmbiguous.

    `sees`: whose customers his view reaches; of others' follows nothing is told, not even that there is none. `serves`:
    whose he leads or works on by an agreement about these groups; they go before those he merely sees.
    """
    if not follows:
        raise CustomerUnknown()
    by_owner = {follow.userid: follow for follow in follows}
    if named is not None:
        if named not in by_owner and sees(named):
            raise FollowUnknown()
        return Chosen(named, by_owner.get(named))
    if actor in by_owner:
        return Chosen(actor, by_owner[actor])
    near = [owner for owner in by_owner if sees(owner)]
    visible = [owner for owner in near if serves(owner)] or near
    if len(visible) > 1:
        raise FollowAmbiguous(userids="、".join(visible), follow_userids=visible)
    owner = visible[0] if visible else follows[0].userid  # whichever it is, it is refused and nobody is named
    return Chosen(owner, by_owner[owner])
