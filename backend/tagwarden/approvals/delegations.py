"""Who signs while somebody is away. Set by himself, before the absence, for one hop; both names stay with the signature.

The delegate holds the signing role himself. A delegation to somebody outside the line of the departments its giver leads
hands authority over people to whom it was never given, so it is a protected change and waits for two signatures.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import msgspec
import rfc8785

from tagwarden.approvals import delegation_rows
from tagwarden.approvals.applier import ProtectedApplier
from tagwarden.approvals.delegation_rows import Delegation
from tagwarden.approvals.model import Approval, Ask
from tagwarden.approvals.service import ask
from tagwarden.approvals.standing import may_sign
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import Work
from tagwarden.identity import repository as identity
from tagwarden.identity.model import Directory, Employee, Module, RoleName
from tagwarden.kernel.clock import iso
from tagwarden.kernel.errors import Conflict, Invalid, NotFound, Refused
from tagwarden.kernel.ids import new_id
from tagwarden.policy import service as policy
from tagwarden.policy.chains import SIGNING_ROLES
from tagwarden.policy.service import Picture

DELEGATION = "delegation"
LONGEST = timedelta(days=92)


class DelegationUnknown(NotFound):
    code = "delegation_unknown"
    zh = "找不到该代理设置"
    en = "No such delegation"


class DelegationRefused(Refused):
    code = "delegation_refused"
    zh = "不能这样设置代理：{why}"
    en = "This delegation is not possible: {why}"


class DelegationInvalid(Invalid):
    code = "delegation_invalid"
    zh = "代理时间有误：{why}"
    en = "The times of the delegation are not valid: {why}"


class DelegationOver(Conflict):
    code = "delegation_over"
    zh = "该代理已经结束"
    en = "This delegation is over already"


@dataclass(frozen=True, slots=True)
class Wanted:
    delegate: str
    starts_at: datetime | None
    ends_at: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Delegated:
    """`approval_id` is set when it waits for two signatures; `id` is the delegation's own in either case."""

    id: UUID
    approval_id: UUID | None = None


@command(Epoch.EXCLUSIVE)
async def delegate(work: Work, wanted: Wanted) -> Delegated:
    """Names who signs for the caller from a moment on (now at the earliest) until another."""
    picture = await policy.in_force(work)
    giver = picture.directory.employee(work.caller.userid)
    if not may_sign(work.caller, picture):
        raise DelegationRefused(why="issuer", audit={"action": "delegate", "why": "issuer"})
    starts_at = max(wanted.starts_at or work.now, work.now)
    _require_times(work, wanted, starts_at)
    taker = picture.directory.known(picture.directory.named(wanted.delegate))
    if (why := why_not(picture.directory, giver, taker)) is not None or taker is None:
        raise DelegationRefused(why=why, audit={"action": "delegate", "why": why, "object": f"employee:{wanted.delegate}"})
    row = Delegation(new_id(), giver.userid, taker.userid, starts_at, wanted.ends_at, wanted.reason, None, work.now, None)
    if crosses_the_line(picture.directory, giver, taker):
        return Delegated(row.id, await _hold(work, picture, row))
    await _write(work, row)
    return Delegated(row.id)


def _require_times(work: Work, wanted: Wanted, starts_at: datetime) -> None:
    if wanted.starts_at is not None and wanted.starts_at < work.now - timedelta(minutes=1):
        raise DelegationInvalid(why="starts_in_the_past")
    if wanted.ends_at <= starts_at:
        raise DelegationInvalid(why="ends_before_it_starts")
    if wanted.ends_at - starts_at > LONGEST:
        raise DelegationInvalid(why=f"longer_than_{LONGEST.days}_days")


def why_not(directory: Directory, giver: Employee, taker: Employee | None) -> str | None:
    """Why one cannot stand in for the other at all; None when he can. Pure."""
    if taker is None or not taker.active:
        return "delegate_unknown"
    if taker.person == giver.person or taker.userid.casefold() == giver.userid.casefold():
        return "delegate_is_you"
    if giver.roles.isdisjoint(SIGNING_ROLES):
        return "nothing_to_delegate"
    if taker.roles.isdisjoint(giver.roles & SIGNING_ROLES) and RoleName.SUPERVISOR not in taker.roles:
        return "delegate_holds_no_signing_role"
    return None


def crosses_the_line(directory: Directory, giver: Employee, taker: Employee) -> bool:
    """Whether the delegate neither stands above nor below the departments the giver leads. Pure."""
    if not giver.leads:
        return False
    his = {up for led in giver.leads for up in directory.line(led)}
    places = taker.departments | taker.leads
    below = any(not giver.leads.isdisjoint(directory.line(place)) for place in places)
    return not below and his.isdisjoint(places)


async def _hold(work: Work, picture: Picture, row: Delegation) -> UUID:
    payload = {
        "id": str(row.id),
        "userid": row.userid,
        "delegate": row.delegate,
        "starts_at": iso(row.starts_at),
        "ends_at": iso(row.ends_at),
        "reason": row.reason,
    }
    return (await ask(work, picture, _asked(payload, row.reason))).id


def _asked(payload: dict[str, Any], reason: str) -> Ask:
    """Whom it would give authority does not sign it."""
    effects = DelegationApplier().effects(payload)
    return Ask(DELEGATION, payload, effects, payload["userid"], None, reason, barred=(payload["delegate"],))


async def _write(work: Work, row: Delegation) -> None:
    await delegation_rows.insert(work.corp_id, row)
    work.record(
        "delegation.set",
        f"delegation:{row.id}",
        userid=row.userid,
        delegate=row.delegate,
        starts_at=iso(row.starts_at),
        ends_at=iso(row.ends_at),
        approval=str(row.approval_id) if row.approval_id else None,
    )


@command(Epoch.EXCLUSIVE)
async def end_delegation(work: Work, delegation_id: UUID) -> UUID:
    """Takes one back at once: its giver, its taker, or who holds the approvals module."""
    picture = await policy.in_force(work)
    caller = picture.directory.employee(work.caller.userid)
    row = await delegation_rows.get(work.corp_id, delegation_id)
    mine = row is not None and caller.userid in (row.userid, row.delegate)
    if row is None or not (mine or manages_approvals(caller)):
        raise DelegationUnknown()
    if row.ended_at is not None or row.ends_at <= work.now:
        raise DelegationOver()
    await delegation_rows.end(work.corp_id, delegation_id, work.now)
    work.record("delegation.ended", f"delegation:{delegation_id}", userid=row.userid, delegate=row.delegate)
    return delegation_id


def manages_approvals(employee: Employee) -> bool:
    """Admin, or sub-admin with the approvals module."""
    if employee.holds(RoleName.ADMIN):
        return True
    return employee.holds(RoleName.SUBADMIN) and Module.APPROVALS in employee.modules


class DelegationApplier(ProtectedApplier):
    """A delegation beyond the giver's line."""

    kind: ClassVar[str] = DELEGATION

    def effects(self, payload: dict[str, Any]) -> tuple[str, ...]:
        """One key that names both."""
        return (f"delegation:{payload['userid']}:{payload['delegate']}:{payload['id']}",)

    async def fingerprint(self, corp_id: str, payload: dict[str, Any]) -> str:
        """Who the two are, and what they may sign."""
        directory = await identity.load_directory(corp_id)
        people = [directory.known(payload[name]) for name in ("userid", "delegate")]
        base: list[Any] = [
            [one.userid, one.person, one.active, sorted(one.roles & SIGNING_ROLES), sorted(one.leads)] if one else None
            for one in people
        ]
        return hashlib.sha256(rfc8785.dumps(base)).hexdigest()

    async def check(self, work: Work, picture: Picture, approval: Approval) -> str | None:
        """Still possible, and not over before it began."""
        payload = approval.payload
        giver = picture.directory.known(payload["userid"])
        if giver is None or not giver.active:
            return "giver_gone"
        if msgspec.convert(payload["ends_at"], datetime) <= work.now:
            return "delegation_over"
        return why_not(picture.directory, giver, picture.directory.known(payload["delegate"]))

    async def revise(self, work: Work, approval: Approval, change: dict[str, Any] | None) -> Ask:
        """The same delegation, only its reason can be edited; asked anew, it is one of its own."""
        await super().revise(work, approval, change)
        own = {} if approval.pending else {"id": str(new_id())}
        return _asked({**approval.payload, **own}, approval.reason)

    async def describe(self, corp_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Who signs for whom, and when."""
        return {"before": payload["userid"], "after": payload["delegate"], **payload}

    async def apply(self, work: Work, picture: Picture, approval: Approval) -> None:
        """Sets it, from now on at the earliest."""
        payload = approval.payload
        starts_at, ends_at = (msgspec.convert(payload[name], datetime) for name in ("starts_at", "ends_at"))
        await _write(
            work,
            Delegation(
                UUID(payload["id"]),
                payload["userid"],
                payload["delegate"],
                max(starts_at, work.now),
                ends_at,
                payload["reason"],
                approval.id,
                work.now,
                None,
            ),
        )
