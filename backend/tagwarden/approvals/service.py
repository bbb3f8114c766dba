"""Asking, signing, editing, withdrawing, submitting again. Nothing ever passes by itself.

A signature counts only while content, base, chain, the requester's right and every signer's authority are as they
were (`standing.py`); all of it is checked again in the transaction that applies. What moved makes the request stale: a
result, not an error, and everyone sees why.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tagwarden.approvals import messages, repository
from tagwarden.approvals.applier import applier_of
from tagwarden.approvals.chain import Chain, chain_for, signs_for, signs_now
from tagwarden.approvals.events import ApprovalClosedEvent, SignersChanged
from tagwarden.approvals.messages import Told
from tagwarden.approvals.model import (
    Approval,
    ApprovalClosed,
    ApprovalUnknown,
    Ask,
    CommentRequired,
    Event,
    MirrorOutdated,
    NotAnEditor,
    NotASigner,
    NotStanding,
    NotYours,
    Signature,
    State,
    StillOpen,
    Verdict,
    next_state,
)
from tagwarden.approvals.reading import can_see
from tagwarden.approvals.standing import chain_of, content_hash, due_people, may_sign, rules_of, signer_of, stale_reason
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import Caller, Work
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


async def ask(work: Work, picture: Picture, wanted: Ask, *, resubmitted_from: UUID | None = None) -> Approval:
    """Holds a change inside the caller's command; NoApprover where two different persons cannot be found."""
    chain, expires_at = _asked_chain(work, picture, wanted)
    requester = picture.directory.employee(work.caller.userid)
    applier = applier_of(wanted.kind)
    fingerprint = await applier.fingerprint(work.corp_id, wanted.payload)
    if applier.protected and (open_already := await _asked_already(work, content_hash(wanted, fingerprint))):
        return open_already
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
        barred=wanted.barred,
        closed_reason=None,
        version=1,
        created_at=work.now,
        updated_at=work.now,
        expires_at=expires_at,
        escalations=0,
        level_since=work.now,
        resubmitted_from=resubmitted_from,
    )
    await repository.insert(work.corp_id, approval, wanted.effects)
    if chain.asking_signs:
        await _sign(work, approval, Signature(1, requester.userid, requester.person, True, Verdict.APPROVE, "", work.now))
    await _tell_signers(work, picture, approval, chain)
    work.record(
        "approval.asked",
        f"approval:{approval.id}",
        {"row": None, "revision": picture.revision, "epoch": picture.epoch},
        kind=approval.kind,
        content_hash=approval.content_hash,
        about=approval.about_userid,
        customer=approval.about_customer,
        state=approval.state,
        **({"resubmitted_from": str(resubmitted_from)} if resubmitted_from else {}),
    )
    return approval


async def _asked_already(work: Work, content: str) -> Approval | None:
    """The caller's own open request for the very same thing on the same base: a repeated PUT asks once."""
    found = await repository.open_with_content(work.corp_id, work.caller.userid, content)
    if found is not None:
        work.record("approval.asked_again", f"approval:{found.id}")
    return found


def _asked_chain(work: Work, picture: Picture, wanted: Ask) -> tuple[Chain, datetime]:
    rules = rules_of(picture, wanted.kind)
    chain = chain_for(
        picture.directory,
        owner=wanted.about_userid,
        requester=work.caller.userid,
        asking_is_level1=rules.asking_is_level1 and may_sign(work.caller, picture),
        barred=wanted.barred,
        rules=rules,
    )
    return chain, work.now + timedelta(days=rules.expires_after_days)


async def _lock_for(caller: Caller, approval_id: UUID, *_: Any, **__: Any) -> Epoch:
    found = await repository.get(caller.corp_id, approval_id)
    return applier_of(found.kind).epoch_lock if found else Epoch.SHARED


@command(_lock_for)
async def decide(work: Work, approval_id: UUID, verdict: Verdict, comment: str, if_match: str | None) -> UUID:
    """Signs or refuses the level that is due. Order of answers: 403, 409, then 428 and 412."""
    picture = await policy.in_force(work)
    approval = await repository.get(work.corp_id, approval_id, lock=True)
    if approval is None:
        raise ApprovalUnknown()
    if not may_sign(work.caller, picture):
        raise NotASigner(audit={"object": f"approval:{approval_id}", "why": "issuer"})
    signatures = await repository.signatures(work.corp_id, approval_id, approval.round)
    chain, rules = chain_of(picture, approval), rules_of(picture, approval.kind)
    signer = await signer_of(work, picture)
    try:
        turn = signs_now(picture.directory, approval, chain, signer, signatures, rules)
    except ApprovalClosed:
        if approval.state is State.STALE:
            return approval.id  # a result like staleness found now: its signer is shown why
        raise
    _require_writable(work, approval)
    if approval.expires_at <= work.now:
        return await close(work, approval, Event.EXPIRE, "expired")
    if work.corp.mirror_is_older_than(MIRROR_LIMIT, work.now):
        raise MirrorOutdated(hours=int(MIRROR_LIMIT.total_seconds() // 3600))
    _require_etag(if_match, approval)
    if verdict is Verdict.REJECT and not comment.strip():
        raise CommentRequired()
    me = signer.employee
    signature = Signature(turn.level, me.userid, me.person, False, verdict, comment, work.now, turn.on_behalf_of)
    if verdict is Verdict.REJECT:
        await _sign(work, approval, signature)
        return await close(work, approval, Event.REFUSE, "refused")
    await applier_of(approval.kind).lock(work.corp_id, approval.payload)
    work.now = clock.now()  # after the wait for what the request is about
    stale = await stale_reason(work, picture, approval, chain, signatures)
    if stale is not None:
        return await close(work, approval, Event.GO_STALE, stale)
    await _sign(work, approval, signature)
    return await _passed(work, picture, approval, signature, chain)


async def _passed(work: Work, picture: Picture, approval: Approval, signature: Signature, chain: Chain) -> UUID:
    """After a signature: the next level is told, or the change is made."""
    after = next_state(approval.state, Event.SIGN)
    moved = await repository.move(work.corp_id, approval, after, work.now)
    decision = {"row": f"chain:level{signature.level}", "revision": picture.revision, "epoch": picture.epoch}
    named = {"on_behalf_of": signature.on_behalf_of} if signature.on_behalf_of else {}
    content = {"level": signature.level, "content_hash": approval.content_hash, **named}
    work.record("approval.signed", f"approval:{approval.id}", decision, **content)
    if after is not State.APPLIED:
        await _tell_signers(work, picture, moved, chain)
        await messages.tell(work, moved, Told.SIGNED, [approval.requester])
        return approval.id
    await applier_of(approval.kind).apply(work, picture, moved)
    work.record("approval.applied", f"approval:{approval.id}", decision, kind=approval.kind)
    await _tell_outcome(work, moved, Told.APPLIED)
    await publish(ApprovalClosedEvent(work.corp_id, approval.id, after.value))
    await _drop_overtaken(work, moved)
    return approval.id


async def _drop_overtaken(work: Work, applied: Approval) -> None:
    """Requests that stood on the base which has just moved end now, and their people are told."""
    for other in await repository.siblings(work.corp_id, applied):
        if await applier_of(other.kind).fingerprint(work.corp_id, other.payload) != other.fingerprint:
            await close(work, other, Event.GO_STALE, "base_moved")


@command(_lock_for)
async def edit(work: Work, approval_id: UUID, change: dict[str, Any] | None, reason: str | None, if_match: str | None) -> UUID:
    """Changes content or reason: every signature is void and the editor barred. Saving what stands there changes nothing."""
    picture = await policy.in_force(work)
    approval = await _seen(work, picture, approval_id)
    editors = await _editors(work, picture, approval)
    _require_writable(work, approval)
    after = next_state(approval.state, Event.EDIT)
    if approval.expires_at <= work.now:
        return await close(work, approval, Event.EXPIRE, "expired")
    _require_etag(if_match, approval)
    wanted = await _wanted(work, approval, change, reason)
    if wanted is None:
        return approval.id
    applier = applier_of(approval.kind)
    fingerprint = await applier.fingerprint(work.corp_id, wanted.payload)
    edited = replace(
        approval,
        state=after,
        round=approval.round + 1,
        payload=wanted.payload,
        fingerprint=fingerprint,
        content_hash=content_hash(wanted, fingerprint),
        reason=wanted.reason,
        barred=tuple(dict.fromkeys((*approval.barred, *editors))),
        updated_at=work.now,
    )
    chain = _chain_after_edit(picture, edited)
    edited = replace(edited, level1=chain.level1, level2=chain.level2)
    if (why := await applier.check(work, picture, edited)) is not None:
        raise NotStanding(why=why)
    await repository.begin_round(work.corp_id, edited, wanted.effects)
    await messages.tell(work, edited, Told.EDITED, {approval.requester} - {work.caller.userid})
    await _tell_signers(work, picture, edited, chain)
    work.record("approval.edited", f"approval:{approval.id}", round=edited.round, content_hash=edited.content_hash)
    return approval.id


def _chain_after_edit(picture: Picture, edited: Approval) -> Chain:
    """Who signs now that the editor is barred; NoApprover where nobody is left. Nobody has signed it by asking."""
    return chain_for(
        picture.directory,
        owner=edited.about_userid,
        requester=edited.requester,
        barred=edited.barred,
        asking_is_level1=False,
        rules=rules_of(picture, edited.kind),
        escalations=edited.escalations,
    )


async def _wanted(work: Work, approval: Approval, change: dict[str, Any] | None, reason: str | None) -> Ask | None:
    """What is asked for from now on, on today's base; None where that is what stands there."""
    applier = applier_of(approval.kind)
    asked = await applier.revise(work, approval, change) if change is not None else await _as_asked(work, approval)
    reason = approval.reason if reason is None else reason
    if content_hash(replace(asked, reason=reason), approval.fingerprint) == approval.content_hash:
        return None
    if asked.payload == approval.payload:  # another reason only: the same content, as it has to read today
        asked = await applier.revise(work, approval, None)
    return replace(asked, reason=reason)


async def _as_asked(work: Work, approval: Approval) -> Ask:
    effects = await repository.effects(work.corp_id, approval.id, approval.round)
    return Ask(approval.kind, approval.payload, tuple(effects), approval.about_userid, approval.about_customer, approval.reason)


async def _editors(work: Work, picture: Picture, approval: Approval) -> tuple[str, ...]:
    """Who edits: the caller, and everybody he stands in for where it is not his own to sign; NotAnEditor otherwise."""
    me = work.caller.userid
    chain, rules = chain_of(picture, approval), rules_of(picture, approval.kind)
    if me == approval.requester or any(me in chain.of(level) for level in (1, 2)):
        return (me,)
    signer = await signer_of(work, picture)
    away = [one for level in (1, 2) for one in signs_for(picture.directory, approval, chain, signer, level, rules)]
    if not away:
        raise NotAnEditor(audit={"object": f"approval:{approval.id}"})
    return (me, *away)


@command(_lock_for)
async def resubmit(work: Work, approval_id: UUID) -> UUID:
    """Asks anew for what was refused, withdrawn, expired or went stale, on today's base. Nothing carries over, and while
    what was asked anew is open, it is the answer to asking again."""
    picture = await policy.in_force(work)
    approval = await _seen(work, picture, approval_id)
    if approval.requester != work.caller.userid:
        raise NotYours(audit={"object": f"approval:{approval_id}"})
    if approval.pending or approval.state is State.APPLIED:
        raise StillOpen()
    _require_writable(work, approval)
    if (open_already := await repository.open_again(work.corp_id, approval_id)) is not None:
        work.record("approval.asked_again", f"approval:{open_already}")
        return open_already
    wanted = await applier_of(approval.kind).revise(work, approval, None)
    fresh = await ask(work, picture, wanted, resubmitted_from=approval.id)
    if (why := await applier_of(fresh.kind).check(work, picture, fresh)) is not None:
        raise NotStanding(why=why)
    return fresh.id


@command(Epoch.SHARED)
async def withdraw(work: Work, approval_id: UUID) -> UUID:
    """Takes a request back; only the requester may."""
    picture = await policy.in_force(work)
    approval = await _seen(work, picture, approval_id)
    if approval.requester != work.caller.userid:
        raise NotYours(audit={"object": f"approval:{approval_id}"})
    return await close(work, approval, Event.WITHDRAW, "withdrawn")


async def make_stale(work: Work, approval_id: UUID, reason: str) -> None:
    """Closes a request because what it stood on is gone (transfer, departure); inside the caller's command."""
    approval = await repository.get(work.corp_id, approval_id, lock=True)
    if approval is not None and approval.pending:
        await close(work, approval, Event.GO_STALE, reason)


async def close(work: Work, approval: Approval, event: Event, reason: str) -> UUID:
    """Ends a request without its change, and tells everyone whom it concerns."""
    after = next_state(approval.state, event)
    await repository.move(work.corp_id, approval, after, work.now, reason)
    work.record(f"approval.{after.value}", f"approval:{approval.id}", reason=reason)
    await _tell_outcome(work, approval, Told(after.value), reason)
    await publish(ApprovalClosedEvent(work.corp_id, approval.id, after.value))
    return approval.id


async def _seen(work: Work, picture: Picture, approval_id: UUID) -> Approval:
    approval = await repository.get(work.corp_id, approval_id, lock=True)
    if approval is None or not can_see(picture, approval, await signer_of(work, picture)):
        raise ApprovalUnknown()
    return approval


async def _sign(work: Work, approval: Approval, signature: Signature) -> None:
    await repository.sign(work.corp_id, approval, signature, work.epoch)


async def _tell_signers(work: Work, picture: Picture, approval: Approval, chain: Chain) -> None:
    await messages.tell(work, approval, Told.TO_SIGN, await due_people(work, picture, approval, chain))
    await publish(SignersChanged(work.corp_id, approval.id))


async def _tell_outcome(work: Work, approval: Approval, event: Told, reason: str | None = None) -> None:
    """Requester, the employee concerned, and whoever has signed already."""
    signatures = await repository.signatures(work.corp_id, approval.id, approval.round)
    signers = {name for one in signatures for name in (one.signer, one.on_behalf_of) if name}
    await messages.tell(work, approval, event, {approval.requester, approval.about_userid, *signers} - {""}, reason)


def _require_writable(work: Work, approval: Approval) -> None:
    work.corp.require_live(suspended_too=not applier_of(approval.kind).writes_tags)


def _require_etag(if_match: str | None, approval: Approval) -> None:
    if if_match is None:
        raise DecisionEtagRequired()
    if if_match.strip() not in (approval.etag, "*"):
        raise DecisionEtagOutdated()
