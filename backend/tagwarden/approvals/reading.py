"""What a person sees of requests: his inbox, his own, his team's, what is overdue. Reads only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from tagwarden.approvals import box_rows, delegation_rows, repository
from tagwarden.approvals.applier import applier_of, kinds
from tagwarden.approvals.box_rows import Sight
from tagwarden.approvals.chain import Signer, signs_level2, turn_at, turn_now
from tagwarden.approvals.model import Approval, ApprovalUnknown, Signature
from tagwarden.approvals.standing import chain_of, rules_of
from tagwarden.approvals.timing import reminder_moment
from tagwarden.identity.model import Employee, Module, RoleName
from tagwarden.kernel import db
from tagwarden.policy.chains import SIGNING_ROLES
from tagwarden.policy.service import Picture

SCAN = 200
EARLIER = 10


class Box(StrEnum):
    """`inbox`: what awaits me; `overdue`: of that, what has waited too long; `mine`: what I asked for; `team`: what my
    people asked for or what is about their customers; `all`: everything I may see."""

    INBOX = "inbox"
    OVERDUE = "overdue"
    MINE = "mine"
    TEAM = "team"
    ALL = "all"


async def reader(picture: Picture, userid: str, now: datetime) -> Signer:
    """The person with those he stands in for now."""
    return Signer(picture.directory.employee(userid), await delegation_rows.standing_for(picture.corp_id, userid, now))


def can_see(picture: Picture, approval: Approval, signer: Signer, signatures: Iterable[Signature] = ()) -> bool:
    """Requester, employee concerned, whoever edited or signed it, a signer of either level or his delegate, a leader of
    theirs, auditor, admin."""
    me = signer.employee
    if me.userid in (approval.requester, approval.about_userid, *approval.barred):
        return True
    if oversees(me):
        return True
    if any(me.userid in (one.signer, one.on_behalf_of) for one in signatures):
        return True
    if me.roles.isdisjoint(SIGNING_ROLES):
        return False
    listed = me.userid in (*approval.level1, *approval.level2)
    return listed or in_team(picture, approval, signer) or signs(picture, approval, signer)


def oversees(me: Employee) -> bool:
    """Who sees every request of the corp: auditor, admin, sub-admin with the approvals module."""
    return me.holds(RoleName.AUDITOR, RoleName.ADMIN) or (me.holds(RoleName.SUBADMIN) and Module.APPROVALS in me.modules)


def signs(picture: Picture, approval: Approval, signer: Signer) -> bool:
    """Whether some level is this person's to sign, due or not."""
    chain, rules = chain_of(picture, approval), rules_of(picture, approval.kind)
    return any(turn_at(picture.directory, approval, chain, signer, level, rules) for level in (1, 2))


def awaits(picture: Picture, approval: Approval, signer: Signer, signatures: Iterable[Signature] = ()) -> bool:
    """Whether the request is in this person's inbox: open, and the level that is due is his to sign."""
    if not approval.pending or signer.employee.roles.isdisjoint(SIGNING_ROLES):
        return False
    chain, rules = chain_of(picture, approval), rules_of(picture, approval.kind)
    return turn_now(picture.directory, approval, chain, signer, signatures, rules) is not None


def in_team(picture: Picture, approval: Approval, signer: Signer) -> bool:
    """Whether it was asked by, or is about, somebody below a department this person leads."""
    people = (picture.directory.known(userid) for userid in (approval.requester, approval.about_userid))
    return any(one is not None and picture.directory.leads(signer.employee, one) for one in people)


def _chosen(box: Box, picture: Picture, signer: Signer, now: datetime) -> Callable[[Approval, Sequence[Signature]], bool]:
    if box is Box.MINE:
        return lambda approval, _: approval.requester == signer.employee.userid
    if box is Box.INBOX:
        return lambda approval, signed: awaits(picture, approval, signer, signed)
    if box is Box.OVERDUE:
        return lambda approval, signed: (
            awaits(picture, approval, signer, signed) and now >= reminder_moment(approval, rules_of(picture, approval.kind))
        )
    if box is Box.TEAM:
        return lambda approval, signed: in_team(picture, approval, signer) and can_see(picture, approval, signer, signed)
    return lambda approval, signed: can_see(picture, approval, signer, signed)


Rows = Callable[[UUID | None, int], Awaitable[list[Approval]]]


def _rows(box: Box, picture: Picture, signer: Signer) -> Rows | None:
    """Where a box is filled from; None where it is empty whatever was asked for."""
    corp_id, me = picture.corp_id, signer.employee
    if box is Box.MINE:
        return lambda before, limit: box_rows.of_requester(corp_id, me.userid, before, limit)
    if box is Box.TEAM:
        team = Sight(me.userid, signs=False, people=_below(picture, me))
        return lambda before, limit: box_rows.waiting_for(corp_id, team, before, limit)
    sight = sight_of(picture, signer)
    if box is Box.ALL and sight is None:
        return lambda before, limit: box_rows.newest(corp_id, before, limit)
    if box is Box.ALL and sight is not None:
        return lambda before, limit: box_rows.in_sight(corp_id, sight, before, limit)
    if me.roles.isdisjoint(SIGNING_ROLES):
        return None
    return lambda before, limit: box_rows.waiting_for(corp_id, sight, before, limit)


def sight_of(picture: Picture, signer: Signer) -> Sight | None:
    """Why this person may see requests, as rows are found by it; None for who sees nearly all."""
    me, directory = signer.employee, picture.directory
    if oversees(me):
        return None
    if me.roles.isdisjoint(SIGNING_ROLES):
        return Sight(me.userid, signs=False)
    signing = {kind: signs_level2(directory, me, rules_of(picture, kind)) for kind in kinds()}
    if all(signing.values()):
        return None
    away = (one for userid in signer.stands_for if (one := directory.known(userid)) is not None)
    return Sight(me.userid, True, _below(picture, me, *away), tuple(kind for kind, may in signing.items() if may))


def _below(picture: Picture, *leaders: Employee) -> tuple[str, ...]:
    leads, everybody = picture.directory.leads, picture.directory.employees.values()
    return tuple(one.userid for one in everybody if any(leads(leader, one) for leader in leaders))


async def page(
    picture: Picture, signer: Signer, box: Box, *, before: UUID | None, limit: int, now: datetime
) -> tuple[list[Approval], UUID | None]:
    """Requests of a box, newest first, and where the next page begins."""
    rows_of, shown = _rows(box, picture, signer), _chosen(box, picture, signer, now)
    found: list[Approval] = []
    while rows_of is not None and len(found) < limit:
        rows = await rows_of(before, SCAN)
        signed = await repository.signatures_of(picture.corp_id, rows)
        for approval in rows:
            before = approval.id
            if shown(approval, signed.get(approval.id, ())):
                found.append(approval)
            if len(found) == limit:
                return found, before
        if len(rows) < SCAN:
            break
    return found, None


async def read(corp_id: str, approval_id: UUID) -> tuple[Approval, list[Signature], dict[str, Any]]:
    """A request, its signatures, and before → after; whether the caller may see it is asked with `can_see`."""
    approval = await repository.get(corp_id, approval_id)
    if approval is None:
        raise ApprovalUnknown()
    signatures = await repository.signatures(corp_id, approval_id, approval.round)
    async with db.transaction():  # what names people is read in one moment
        return approval, signatures, await applier_of(approval.kind).describe(corp_id, approval.payload)


async def earlier(picture: Picture, approval: Approval, signer: Signer) -> list[Approval]:
    """What was asked about the same customer before, as far as the caller may see it."""
    rows = await repository.earlier(picture.corp_id, approval, EARLIER * 3)
    signed = await repository.signatures_of(picture.corp_id, rows)
    return [one for one in rows if can_see(picture, one, signer, signed.get(one.id, ()))][:EARLIER]
