"""States, transitions, and who may sign. Pure: takes the organisation and *now*, never looks.

Level 1 is the nearest leader in line above the employee concerned who also holds the role; the next one up only when
none is left. Level 2 is an HQ supervisor, another person. The requester never signs, but a requester who is himself
the eligible level 1 has signed by asking where the policy says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from tagwarden.identity.model import Directory, Employee, RoleName
from tagwarden.kernel.errors import Conflict, Invalid, NotFound, Refused


class State(StrEnum):
    PENDING_LEVEL1 = "pending_level1"
    PENDING_LEVEL2 = "pending_level2"
    APPLIED = "applied"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    STALE = "stale"


class Event(StrEnum):
    SIGN = "sign"
    REFUSE = "refuse"
    WITHDRAW = "withdraw"
    EXPIRE = "expire"
    GO_STALE = "go_stale"


class Verdict(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"


PENDING = (State.PENDING_LEVEL1, State.PENDING_LEVEL2)

TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.PENDING_LEVEL1, Event.SIGN): State.PENDING_LEVEL2,
    (State.PENDING_LEVEL2, Event.SIGN): State.APPLIED,
    **{(state, Event.REFUSE): State.REJECTED for state in PENDING},
    **{(state, Event.WITHDRAW): State.WITHDRAWN for state in PENDING},
    **{(state, Event.EXPIRE): State.EXPIRED for state in PENDING},
    **{(state, Event.GO_STALE): State.STALE for state in PENDING},
}


class ApprovalUnknown(NotFound):
    code = "approval_unknown"
    zh = "找不到该审批"
    en = "No such approval"


class NoApprover(Conflict):
    code = "no_approver"
    zh = "找不到两位不同的审批人，无法发起：{why}"
    en = "Two different signers cannot be found, so this cannot be asked for: {why}"


class NotASigner(Refused):
    code = "not_a_signer"
    zh = "您不是此审批的审批人"
    en = "You are not a signer of this request"


class NotYourTurn(Conflict):
    code = "not_your_turn"
    zh = "还没有轮到您：一级审批尚未完成"
    en = "Not your turn yet: level 1 has not signed"


class ApprovalClosed(Conflict):
    code = "approval_closed"
    zh = "该审批已结束（{state}）"
    en = "This request is closed ({state})"


class CommentRequired(Invalid):
    code = "comment_required"
    zh = "驳回时请填写意见"
    en = "A refusal needs a comment"


class MirrorOutdated(Conflict):
    code = "mirror_outdated"
    zh = "组织架构超过 {hours} 小时没有同步，暂停签批，请先同步"
    en = "The organisation was not mirrored for {hours} hours; signing waits for a fresh mirror"


class NotYours(Refused):
    code = "not_the_requester"
    zh = "只有申请人可以撤回"
    en = "Only the requester may withdraw"


@dataclass(frozen=True, slots=True)
class Ask:
    """What somebody wants held: `effects` are the opaque keys the database will let through once, when applied."""

    kind: str
    payload: dict[str, Any]
    effects: tuple[str, ...]
    about_userid: str
    about_customer: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    id: UUID
    kind: str
    state: State
    round: int
    payload: dict[str, Any]
    fingerprint: str
    content_hash: str
    requester: str
    requester_person: str
    act: str | None
    reason: str
    about_userid: str
    about_customer: str | None
    level1: tuple[str, ...]
    level2: tuple[str, ...]
    barred: tuple[str, ...]
    closed_reason: str | None
    version: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime

    @property
    def etag(self) -> str:
        return f'"{self.version}"'

    @property
    def pending(self) -> bool:
        return self.state in PENDING

    @property
    def level(self) -> int:
        """The level that is due."""
        return 1 if self.state is State.PENDING_LEVEL1 else 2


@dataclass(frozen=True, slots=True)
class Signature:
    level: int
    signer: str
    signer_person: str
    by_asking: bool
    verdict: Verdict
    comment: str
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class Chain:
    """Who may sign which level now; any one of a level does."""

    level1: tuple[str, ...]
    level2: tuple[str, ...]
    asking_signs: bool = False


def next_state(state: State, event: Event) -> State:
    """The state after the event; ApprovalClosed where the table knows no such pair."""
    after = TRANSITIONS.get((state, event))
    if after is None:
        raise ApprovalClosed(state=state.value)
    return after


def chain_for(directory: Directory, *, owner: str, requester: str, barred: Iterable[str] = (), asking_is_level1: bool) -> Chain:
    """Who signs a request that concerns `owner`; NoApprover where two different persons cannot be found."""
    concerned = directory.known(owner)
    asking = directory.employee(requester)
    if concerned is None:
        raise NoApprover(why="owner_unknown")
    never = {userid.casefold() for userid in (*barred, owner)}
    supervisors = [one for one in directory.holders(RoleName.SUPERVISOR) if _free(one, never, asking, concerned)]
    for leaders in directory.leaders_above(concerned):
        eligible = [one for one in leaders if _signs_level1(one) and one.userid.casefold() not in never]
        eligible = [one for one in eligible if one.person != concerned.person]
        if asking_is_level1 and any(one.userid == requester for one in eligible):
            seconds = tuple(one.userid for one in supervisors)
            if seconds:
                return Chain((requester,), seconds, asking_signs=True)
            raise NoApprover(why="level2")
        first = [one for one in eligible if _free(one, never, asking, concerned)]
        second = [two for two in supervisors if any(one.person != two.person for one in first)]
        if first and second:
            paired = [one for one in first if any(one.person != two.person for two in second)]
            return Chain(_ids(paired), _ids(second))
    raise NoApprover(why="level1" if supervisors else "level2")


def _signs_level1(leader: Employee) -> bool:
    return leader.holds(RoleName.MANAGER, RoleName.SUPERVISOR)


def _free(one: Employee, never: set[str], asking: Employee, concerned: Employee) -> bool:
    persons = {asking.person, concerned.person}
    return one.person not in persons and one.userid.casefold() not in never and one.userid.casefold() != asking.userid.casefold()


def _ids(employees: Iterable[Employee]) -> tuple[str, ...]:
    return tuple(sorted(one.userid for one in employees))


def signs_now(approval: Approval, chain: Chain, signer: str, person: str, signatures: Iterable[Signature]) -> int:
    """The level the signer may sign now; NotASigner, ApprovalClosed or NotYourTurn otherwise, in that order."""
    signed = [signature for signature in signatures if signature.verdict is Verdict.APPROVE]
    already = any(signature.signer == signer or signature.signer_person == person for signature in signed)
    first, second = signer in chain.level1 and not chain.asking_signs, signer in chain.level2
    if not approval.pending:
        if not (first or second or already):
            raise NotASigner(audit={"object": f"approval:{approval.id}"})
        raise ApprovalClosed(state=approval.state.value)
    if approval.level == 1 and first:
        return 1
    if approval.level == 1 and second:
        raise NotYourTurn()
    if approval.level == 2 and second and not already:
        return 2
    raise NotASigner(audit={"object": f"approval:{approval.id}", "level": approval.level})
