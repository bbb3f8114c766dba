"""Time limits: reminding who is due, letting the next leader sign too, expiring. The worker's own use cases.

Each request is looked at again under its lock, so any number of workers may keep time; a change of state is `service.close`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

from tagwarden.approvals import messages, repository
from tagwarden.approvals.applier import applier_of
from tagwarden.approvals.events import SignersChanged
from tagwarden.approvals.messages import Told
from tagwarden.approvals.model import Approval, ApprovalClosed, ApprovalUnknown, Event, NotASigner
from tagwarden.approvals.service import SYSTEM, close
from tagwarden.approvals.standing import chain_of, due_people, rules_of
from tagwarden.approvals.timing import escalation_due, reminder_due
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import Caller, Work
from tagwarden.identity.model import Module
from tagwarden.kernel import clock, db
from tagwarden.kernel.events import publish
from tagwarden.policy import service as policy
from tagwarden.policy.service import Picture

PAGE = 500
REMIND_AGAIN = timedelta(hours=1)


@command(Epoch.SHARED)
async def expire(work: Work, approval_id: UUID) -> bool:
    """Closes a request whose time is over."""
    approval = await repository.get(work.corp_id, approval_id, lock=True)
    if approval is None or not approval.pending or approval.expires_at > work.now:
        return False
    await close(work, approval, Event.EXPIRE, "expired")
    return True


async def expire_due(corp_id: str) -> int:
    """Expires every open request past its time; returns how many."""
    return sum([await expire(_system(corp_id), approval_id) for approval_id in await repository.expired(corp_id, clock.now())])


async def keep_time(corp_id: str) -> dict[str, int]:
    """Expires, escalates and reminds what is due in one corp; returns how many of each."""
    counted = {"expired": await expire_due(corp_id), "escalated": 0, "reminded": 0, "stale": 0}
    picture = await policy.current(corp_id)
    async for approval in _waiting(corp_id):
        rules, moment = rules_of(picture, approval.kind), clock.now()
        async with db.transaction():  # a base that names people is read in one moment
            moved = await _has_moved(corp_id, approval)
        if moved:
            counted["stale"] += await drop_moved(_system(corp_id), approval.id)
            continue
        if escalation_due(approval, rules, moment):
            counted["escalated"] += await escalate_by_clock(_system(corp_id), approval.id)
        if reminder_due(approval, rules, moment):
            counted["reminded"] += await remind(_system(corp_id), approval.id)
    return counted


async def _waiting(corp_id: str) -> AsyncIterator[Approval]:
    after: UUID | None = None
    while page := await repository.waiting(corp_id, after, PAGE):
        for approval in page:
            yield approval
        after = page[-1].id


async def _has_moved(corp_id: str, approval: Approval) -> bool:
    return await applier_of(approval.kind).fingerprint(corp_id, approval.payload) != approval.fingerprint


@command(Epoch.SHARED)
async def drop_moved(work: Work, approval_id: UUID) -> bool:
    """Ends a request whose base has moved, so that nobody signs in vain."""
    approval = await repository.get(work.corp_id, approval_id, lock=True)
    if approval is None or not approval.pending:
        return False
    await applier_of(approval.kind).lock(work.corp_id, approval.payload)
    if not await _has_moved(work.corp_id, approval):
        return False
    await close(work, approval, Event.GO_STALE, "base_moved")
    return True


@command(Epoch.SHARED)
async def remind(work: Work, approval_id: UUID) -> bool:
    """Reminds whoever may sign the level that is due."""
    picture = await policy.known(work)
    approval = await repository.get(work.corp_id, approval_id, lock=True)
    if approval is None or not approval.pending or not reminder_due(approval, rules_of(picture, approval.kind), work.now):
        return False
    return await _remind(work, picture, approval)


async def _remind(work: Work, picture: Picture, approval: Approval) -> bool:
    due = await due_people(work, picture, approval, chain_of(picture, approval))
    await messages.tell(work, approval, Told.REMINDED, due)
    await repository.set_reminded(work.corp_id, approval.id, work.now)
    work.record("approval.reminded", f"approval:{approval.id}", level=approval.level)
    return True


@command(Epoch.SHARED)
async def remind_by_hand(work: Work, approval_id: UUID) -> bool:
    """Reminds them now: an admin, or a sub-admin with the approvals module. Nobody is reminded twice within the hour."""
    picture = await policy.in_force(work)
    picture.directory.require_module(picture.directory.employee(work.caller.userid), Module.APPROVALS)
    approval = await repository.get(work.corp_id, approval_id, lock=True)
    if approval is None:
        raise ApprovalUnknown()
    if not approval.pending:
        raise ApprovalClosed(state=approval.state.value)
    if approval.reminded_at is not None and work.now - approval.reminded_at < REMIND_AGAIN:
        return False
    return await _remind(work, picture, approval)


@command(Epoch.SHARED)
async def escalate_by_clock(work: Work, approval_id: UUID) -> bool:
    """Lets the next leader in line sign too when level 1 has waited too long."""
    picture = await policy.known(work)
    approval = await repository.get(work.corp_id, approval_id, lock=True)
    if approval is None or not approval.pending or not escalation_due(approval, rules_of(picture, approval.kind), work.now):
        return False
    return await _escalate(work, picture, approval)


@command(Epoch.SHARED)
async def escalate(work: Work, approval_id: UUID) -> bool:
    """The same by hand: an admin, or a sub-admin with the approvals module, who has no part in the request."""
    picture = await policy.in_force(work)
    caller = picture.directory.employee(work.caller.userid)
    picture.directory.require_module(caller, Module.APPROVALS)
    approval = await repository.get(work.corp_id, approval_id, lock=True)
    if approval is None:
        raise ApprovalUnknown()
    part = {one.person for userid in (approval.requester, approval.about_userid) if (one := picture.directory.known(userid))}
    if caller.person in part:
        raise NotASigner(audit={"object": f"approval:{approval_id}", "action": "escalate"})
    if not approval.pending:
        raise ApprovalClosed(state=approval.state.value)
    return approval.level == 1 and await _escalate(work, picture, approval)


async def _escalate(work: Work, picture: Picture, approval: Approval) -> bool:
    step = approval.escalations + 1
    before, after = chain_of(picture, approval), chain_of(picture, approval, escalations=step)
    added = set(after.level1) - set(before.level1)
    if not added or after.asking_signs:
        return False
    await repository.escalate(work.corp_id, approval, step, after.level1, work.now)
    told = await due_people(work, picture, approval, after) - await due_people(work, picture, approval, before)
    await messages.tell(work, approval, Told.ESCALATED, {*told, approval.requester})
    await publish(SignersChanged(work.corp_id, approval.id))
    work.record("approval.escalated", f"approval:{approval.id}", escalations=step, added=sorted(added))
    return True


def _system(corp_id: str) -> Caller:
    return Caller(corp_id, "", SYSTEM)
