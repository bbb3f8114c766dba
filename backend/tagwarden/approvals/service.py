"""Asking, signing, withdrawing, expiring. Nothing ever passes by itself.

A signature counts only while content, base, chain, the requester's right and every signer's authority are as they
were; all of it is checked again in the transaction that applies. What moved makes the request stale: a result, not an
error, and everyone sees why.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID

import rfc8785

from tagwarden.approvals import repository
from tagwarden.approvals.applier import applier_of
from tagwarden.approvals.events import ApprovalClosedEvent
from tagwarden.approvals.model import (
    Approval,
    ApprovalUnknown,
    Ask,
    Chain,
    CommentRequired,
    Event,
    MirrorOutdated,
    NoApprover,
    NotASigner,
    NotYours,
    Signature,
    State,
    Verdict,
    chain_for,
    next_state,
    signs_now,
)
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import Caller, Work
from tagwarden.identity.model import IdentityRefused, RoleName
from tagwarden.kernel import clock
from tagwarden.kernel.errors import Outdated, Required
from tagwarden.kernel.events import publish
from tagwarden.kernel.ids import new_id
from tagwarden.policy import service as policy
from tagwarden.policy.service import Picture

MIRROR_LIMIT = timedelta(hours=24)
SYSTEM = "tagwarden"


class DecisionEtagRequired(Required):
    code = "if_match_required"
    zh = "请在 If-Match 中提供审批的当前 ETag"
    en = "Send the request's current ETag in If-Match"


class DecisionEtagOutdated(Outdated):
    code = "etag_outdated"
    zh = "审批内容已变化，请刷新后重试"
    en = "The request changed meanwhile; read it again"


def content_hash(wanted: Ask, fingerprint: str) -> str:
    """What a signature signs: sha256 over the canonical JSON (RFC 8785) of content, base and effects."""
    content: dict[str, Any] = {
        "kind": wanted.kind,
        "payload": wanted.payload,
        "fingerprint": fingerprint,
        "effects": sorted(wanted.effects),
        "about": [wanted.about_userid, wanted.about_customer],
        "reason": wanted.reason,
    }
    return hashlib.sha256(rfc8785.dumps(content)).hexdigest()


async def ask(work: Work, picture: Picture, wanted: Ask) -> Approval:
    """Holds a change inside the caller's command; NoApprover where two different persons cannot be found."""
    chain = chain_for(
        picture.directory,
        owner=wanted.about_userid,
        requester=work.caller.userid,
        asking_is_level1=picture.approvals.asking_is_level1 and _may_sign(work.caller, picture),
    )
    requester = picture.directory.employee(work.caller.userid)
    fingerprint = await applier_of(wanted.kind).fingerprint(work.corp_id, wanted.payload)
    approval = Approval(
        id=new_id(),
        kind=wanted.kind,
        state=State.PENDING_LEVEL2 if chain.asking_signs else State.PENDING_LEVEL1,
        round=1,
        payload=wanted.payload,
        fingerprint=fingerprint,
        content_hash=content_hash(wanted, fingerprint),
        requester=requester.userid,
        requester_person=requester.person,
        act=work.caller.act,
        reason=wanted.reason,
        about_userid=wanted.about_userid,
        about_customer=wanted.about_customer,
        level1=chain.level1,
        level2=chain.level2,
        barred=(),
        closed_reason=None,
        version=1,
        created_at=work.now,
        updated_at=work.now,
        expires_at=work.now + timedelta(days=picture.approvals.expires_after_days),
    )
    await repository.insert(work.corp_id, approval, wanted.effects)
    if chain.asking_signs:
        await _sign(work, approval, Signature(1, requester.userid, requester.person, True, Verdict.APPROVE, "", work.now))
    work.record(
        "approval.asked",
        f"approval:{approval.id}",
        {"row": None, "revision": picture.revision, "epoch": picture.epoch},
        kind=approval.kind,
        content_hash=approval.content_hash,
        about=approval.about_userid,
        customer=approval.about_customer,
        state=approval.state,
    )
    return approval


async def _lock_for(caller: Caller, approval_id: UUID, *_: Any, **__: Any) -> Epoch:
    found = await repository.get(caller.corp_id, approval_id)
    return applier_of(found.kind).epoch_lock if found else Epoch.SHARED


@command(_lock_for)
async def decide(work: Work, approval_id: UUID, verdict: Verdict, comment: str, if_match: str | None) -> UUID:
    """Signs or refuses the level that is due. Order of answers: 403, 409, then 428 and 412."""
    work.corp.require_live()
    picture = await policy.in_force(work)
    approval = await repository.get(work.corp_id, approval_id, lock=True)
    if approval is None:
        raise ApprovalUnknown()
    if not _may_sign(work.caller, picture):
        raise NotASigner(audit={"object": f"approval:{approval_id}", "why": "issuer"})
    signatures = await repository.signatures(work.corp_id, approval_id, approval.round)
    chain = _chain_of(picture, approval)
    signer = picture.directory.employee(work.caller.userid)
    level = signs_now(approval, chain, signer.userid, signer.person, signatures)
    if approval.expires_at <= work.now:
        return await _close(work, approval, Event.EXPIRE, "expired")
    if work.corp.mirror_is_older_than(MIRROR_LIMIT, work.now):
        raise MirrorOutdated(hours=int(MIRROR_LIMIT.total_seconds() // 3600))
    _require_etag(if_match, approval)
    if verdict is Verdict.REJECT and not comment.strip():
        raise CommentRequired()
    signature = Signature(level, signer.userid, signer.person, False, verdict, comment, work.now)
    if verdict is Verdict.REJECT:
        return await _refuse(work, approval, signature)
    await applier_of(approval.kind).lock(work.corp_id, approval.payload)
    work.now = clock.now()  # after the wait for what the request is about
    stale = await _stale_reason(work, picture, approval, chain, signatures)
    if stale is not None:
        return await _close(work, approval, Event.GO_STALE, stale)
    await _sign(work, approval, signature)
    after = next_state(approval.state, Event.SIGN)
    moved = await repository.move(work.corp_id, approval, after, work.now)
    decision = {"row": f"chain:level{level}", "revision": picture.revision, "epoch": picture.epoch}
    work.record("approval.signed", f"approval:{approval.id}", decision, level=level, content_hash=approval.content_hash)
    if after is State.APPLIED:
        await applier_of(approval.kind).apply(work, picture, moved)
        work.record("approval.applied", f"approval:{approval.id}", decision, kind=approval.kind)
        await publish(ApprovalClosedEvent(work.corp_id, approval.id, after.value))
    return approval.id


@command(Epoch.SHARED)
async def withdraw(work: Work, approval_id: UUID) -> UUID:
    """Takes a request back; only the requester may."""
    picture = await policy.in_force(work)
    approval = await repository.get(work.corp_id, approval_id, lock=True)
    if approval is None or not can_see(picture, approval, work.caller.userid):
        raise ApprovalUnknown()
    if approval.requester != work.caller.userid:
        raise NotYours(audit={"object": f"approval:{approval_id}"})
    return await _close(work, approval, Event.WITHDRAW, "withdrawn")


@command(Epoch.SHARED)
async def expire(work: Work, approval_id: UUID) -> bool:
    """Closes a request whose time is over; the worker's own use case."""
    approval = await repository.get(work.corp_id, approval_id, lock=True)
    if approval is None or not approval.pending or approval.expires_at > work.now:
        return False
    await _close(work, approval, Event.EXPIRE, "expired")
    return True


async def expire_due(corp_id: str) -> int:
    """Expires every open request past its time; returns how many."""
    caller = Caller(corp_id, "", SYSTEM)
    return sum([await expire(caller, approval_id) for approval_id in await repository.expired(corp_id, clock.now())])


async def make_stale(work: Work, approval_id: UUID, reason: str) -> None:
    """Closes a request because what it stood on is gone (transfer, departure); inside the caller's command."""
    approval = await repository.get(work.corp_id, approval_id, lock=True)
    if approval is not None and approval.pending:
        await _close(work, approval, Event.GO_STALE, reason)


async def _close(work: Work, approval: Approval, event: Event, reason: str) -> UUID:
    after = next_state(approval.state, event)
    await repository.move(work.corp_id, approval, after, work.now, reason)
    work.record(f"approval.{after.value}", f"approval:{approval.id}", reason=reason)
    await publish(ApprovalClosedEvent(work.corp_id, approval.id, after.value))
    return approval.id


async def _refuse(work: Work, approval: Approval, signature: Signature) -> UUID:
    await _sign(work, approval, signature)
    return await _close(work, approval, Event.REFUSE, "refused")


async def _sign(work: Work, approval: Approval, signature: Signature) -> None:
    await repository.sign(work.corp_id, approval, signature, work.epoch)


async def _stale_reason(
    work: Work, picture: Picture, approval: Approval, chain: Chain, signatures: list[Signature]
) -> str | None:
    effects = await repository.effects(work.corp_id, approval.id, approval.round)
    asked = Ask(approval.kind, approval.payload, tuple(effects), approval.about_userid, approval.about_customer, approval.reason)
    if content_hash(asked, approval.fingerprint) != approval.content_hash:
        return "content_moved"
    requester = picture.directory.known(approval.requester)
    if requester is None or not requester.active or requester.person != approval.requester_person:
        return "requester_gone"
    for signature in signatures:
        if signature.signer not in chain.level1:
            return "signer_lost_authority"
    applier = applier_of(approval.kind)
    if await applier.fingerprint(work.corp_id, approval.payload) != approval.fingerprint:
        return "base_moved"
    return await applier.check(work, picture, approval)


def _chain_of(picture: Picture, approval: Approval) -> Chain:
    """The chain as it stands now; empty where it cannot be built any more."""
    try:
        return chain_for(
            picture.directory,
            owner=approval.about_userid,
            requester=approval.requester,
            barred=approval.barred,
            asking_is_level1=picture.approvals.asking_is_level1 and approval.level1 == (approval.requester,),
        )
    except (NoApprover, IdentityRefused):
        return Chain((), approval.level2 if approval.pending else ())


def _may_sign(caller: Caller, picture: Picture) -> bool:
    return caller.act is None and caller.may_sign and picture.directory.may_sign(caller.issuer)


def _require_etag(if_match: str | None, approval: Approval) -> None:
    if if_match is None:
        raise DecisionEtagRequired()
    if if_match.strip() not in (approval.etag, "*"):
        raise DecisionEtagOutdated()


def can_see(picture: Picture, approval: Approval, userid: str) -> bool:
    """Requester, owner concerned, a signer of either level, an auditor or an admin."""
    employee = picture.directory.employee(userid)
    if userid in (approval.requester, approval.about_userid, *approval.level1, *approval.level2):
        return True
    chain = _chain_of(picture, approval)
    return userid in (*chain.level1, *chain.level2) or employee.holds(RoleName.AUDITOR, RoleName.ADMIN)


def awaits(picture: Picture, approval: Approval, userid: str) -> bool:
    """Whether the request is in this person's inbox: open, and the level that is due is one of his."""
    if not approval.pending:
        return False
    chain = _chain_of(picture, approval)
    return userid in (chain.level1 if approval.level == 1 else chain.level2) and userid != approval.requester


async def read(corp_id: str, approval_id: UUID) -> tuple[Approval, list[Signature], dict[str, Any]]:
    """A request, its signatures, and before → after; whether the caller may see it is asked with `can_see`."""
    approval = await repository.get(corp_id, approval_id)
    if approval is None:
        raise ApprovalUnknown()
    signatures = await repository.signatures(corp_id, approval_id, approval.round)
    return approval, signatures, await applier_of(approval.kind).describe(corp_id, approval.payload)
