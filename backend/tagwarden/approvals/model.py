"""States, transitions, and the words and refusals of approvals. Pure; who may sign stands in `chain.py`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

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
    EDIT = "edit"
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
    **{(state, Event.EDIT): State.PENDING_LEVEL1 for state in PENDING},
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
    zh = "只有申请人可以这样做"
    en = "Only the requester may do this"


class NotAnEditor(Refused):
    code = "not_an_editor"
    zh = "只有申请人和审批人可以修改申请"
    en = "Only the requester and the signers may edit a request"


class NotEditable(Conflict):
    code = "not_editable"
    zh = "此类申请只能修改理由；要改内容请撤回后重新申请"
    en = "Only the reason of this kind of request can be edited; to change its content, withdraw and ask again"


class NotStanding(Conflict):
    code = "cannot_stand"
    zh = "按现在的情况无法申请：{why}"
    en = "As things are now this cannot be asked for: {why}"


class StillOpen(Conflict):
    code = "approval_open"
    zh = "该审批尚未结束或已生效，不能重新提交"
    en = "This request is open or applied; there is nothing to submit again"


@dataclass(frozen=True, slots=True)
class Ask:
    """What somebody wants held: `effects` are the opaque keys the database will let through once, when applied;
    `barred`, who never signs it beside its requester and the employee it is about."""

    kind: str
    payload: dict[str, Any]
    effects: tuple[str, ...]
    about_userid: str
    about_customer: str | None = None
    reason: str = ""
    barred: tuple[str, ...] = ()


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
    escalations: int
    level_since: datetime
    reminded_at: datetime | None = None
    resubmitted_from: UUID | None = None

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
    on_behalf_of: str | None = None


def next_state(state: State, event: Event) -> State:
    """The state after the event; ApprovalClosed where the table knows no such pair."""
    after = TRANSITIONS.get((state, event))
    if after is None:
        raise ApprovalClosed(state=state.value)
    return after
