"""Questions without doing: may somebody do this, and why (not)? One picture, so one epoch, for a whole answer.

Whoever asks about himself gets words and the nearest change; who may read the policy asks about anybody and sees the rows.
Naming somebody as a follower never tells whether he is one, unless his customers are the caller's to see.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias, TypeVar

from tagwarden.assignments.sight import Sight
from tagwarden.catalog.model import GroupUnknown
from tagwarden.corps.model import Caller
from tagwarden.customers import repository as customers
from tagwarden.customers.model import CustomerUnknown, FollowUnknown
from tagwarden.identity.model import Module, ModuleMissing, RoleName
from tagwarden.kernel import clock
from tagwarden.policy.explain import Explanation, explain, reason_of
from tagwarden.policy.model import Action, Decision, Group, Kind, Relation, Step, TraceStep
from tagwarden.policy.service import Picture

TURN_SECONDS = 0.005
"""For so long a large question keeps the event loop before others have a turn."""
NOBODY = Decision(False, Step.IDENTITY, None, (TraceStep(Step.IDENTITY, False, None, ()),))
T = TypeVar("T")
Obligation: TypeAlias = Literal["direct", "approve"] | None
"""What using a group asks of who may: nothing more, or two signatures."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, in which language, and the picture that answers."""

    picture: Picture
    caller: Caller
    language: str
    at: datetime = field(default_factory=clock.now)

    @property
    def reads_policy(self) -> bool:
        """Admins, auditors and sub-admins of the policy may ask about anybody and see which row decided."""
        employee = self.picture.directory.employee(self.caller.userid)
        if employee.holds(RoleName.ADMIN, RoleName.AUDITOR):
            return True
        return employee.holds(RoleName.SUBADMIN) and Module.POLICY in employee.modules

    def require_about(self, userids: Iterable[str]) -> None:
        """Raises ModuleMissing where somebody else is asked about and the policy is not the caller's to read."""
        if any(userid != self.caller.userid for userid in userids) and not self.reads_policy:
            raise ModuleMissing(module=Module.POLICY.value, ask=self.picture.directory.admins())


class Question(NamedTuple):
    """May `userid` do this, on this follow, or on the customer's follow that is nearest to him, or at all?"""

    userid: str
    group_id: str
    action: Action
    external_userid: str | None = None
    follow_userid: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    decision: Decision
    why: Explanation
    obligation: Obligation
    relation: Relation | None


async def answer(asking: Asking, question: Question) -> Answer:
    """One question; ModuleMissing, GroupUnknown, CustomerUnknown or FollowUnknown."""
    asking.require_about((question.userid,))
    picture, group = asking.picture, asking.picture.groups.get(question.group_id)
    if group is None:
        raise GroupUnknown()
    relation = await _relation(asking, question, group)
    decision = decide(picture, question.userid, group, question.action, relation)
    himself = question.userid == asking.caller.userid
    why = explain(
        picture, decision, actor=question.userid, group=group, action=question.action, relation=relation, himself=himself
    )
    needs = obligation(group, question.action) if decision.allowed else None
    return Answer(decision, why, needs, relation)


def decide(picture: Picture, userid: str, group: Group, action: Action, relation: Relation | None) -> Decision:
    """The decision, also about somebody who is nobody here: refused at the first step."""
    known = picture.directory.known(userid)
    if known is None or not known.active:
        return NOBODY
    return picture.decide(userid, group.id, group.kind, action, relation)


def obligation(group: Group, action: Action) -> Obligation:
    """What doing this asks of who may."""
    if action is not Action.USE:
        return None
    return "approve" if group.kind is Kind.VALUE else "direct"


async def _relation(asking: Asking, question: Question, group: Group) -> Relation | None:
    if question.external_userid is None:
        return None
    owners = await customers.owners_now(asking.picture.corp_id, question.external_userid)
    if not owners:
        raise CustomerUnknown()
    if question.follow_userid is not None:
        _require_unless_hidden(asking, question.follow_userid, owners)
        owners = [question.follow_userid]
    return nearest_relation(asking, question.userid, owners, group)


def _require_unless_hidden(asking: Asking, named: str, owners: Sequence[str]) -> None:
    """FollowUnknown for who is no follower. Whose customers the caller does not see is answered as a follower would be."""
    if named in owners:
        return
    if Sight(asking.picture, asking.caller.userid, asking.at).sees(named):
        raise FollowUnknown()


def nearest_relation(asking: Asking, userid: str, owners: Iterable[str], group: Group) -> Relation:
    """The best of his relations to these owners' follows, as far as the group is concerned."""
    found = {asking.picture.relation(userid, owner, group.id, asking.at) for owner in owners}
    return next((relation for relation in Relation if relation in found), Relation.NONE)


class Cell(NamedTuple):
    """One cell of a large question, as places in its lists; no customer: about the group itself."""

    user: int
    group: int
    action: int
    customer: int | None


@dataclass(frozen=True, slots=True)
class Many:
    """A large question: its lists, and which of their combinations are meant."""

    userids: Sequence[str]
    group_ids: Sequence[str]
    actions: Sequence[Action]
    customers: Sequence[str]
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class CellAnswer:
    """`reason` is `group_unknown` or `customer_unknown` where there is nothing to decide about."""

    decision: Decision | None
    reason: str
    obligation: Obligation


UNKNOWN_GROUP = CellAnswer(None, GroupUnknown.code, None)
UNKNOWN_CUSTOMER = CellAnswer(None, CustomerUnknown.code, None)


def product(userids: int, groups: int, actions: int, customers: int) -> Iterator[Cell]:
    """Every combination, the last list turning fastest."""
    for user in range(userids):
        for group in range(groups):
            for action in range(actions):
                if not customers:
                    yield Cell(user, group, action, None)
                for customer in range(customers):
                    yield Cell(user, group, action, customer)


async def answer_many(asking: Asking, many: Many) -> list[CellAnswer]:
    """An answer a cell, in order, by one picture and one read of who follows whom; ModuleMissing."""
    asking.require_about(many.userids)
    owners = await customers.owners_of(asking.picture.corp_id, many.customers) if many.customers else {}
    found: list[CellAnswer] = []
    async for cell in in_turns(many.cells):
        found.append(_cell(asking, many, cell, owners))
    return found


def _cell(asking: Asking, many: Many, cell: Cell, owners: dict[str, list[str]]) -> CellAnswer:
    picture = asking.picture
    group = picture.groups.get(many.group_ids[cell.group])
    if group is None:
        return UNKNOWN_GROUP
    userid, action, relation = many.userids[cell.user], many.actions[cell.action], None
    if cell.customer is not None:
        following = owners.get(many.customers[cell.customer])
        if following is None:
            return UNKNOWN_CUSTOMER
        relation = nearest_relation(asking, userid, following, group)
    decision = decide(picture, userid, group, action, relation)
    needs = obligation(group, action) if decision.allowed else None
    return CellAnswer(decision, reason_of(picture, userid, decision), needs)


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """The items, with a turn for others whenever this one has lasted long enough."""
    until = time.perf_counter() + TURN_SECONDS
    for item in items:
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + TURN_SECONDS
        yield item
