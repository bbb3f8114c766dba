"""Whose tokens count in this corp, and whether they may sign. Keys stand in the settings; these rights are rows.

Taking is immediate; binding another issuer, or letting one sign, waits for two people once the corp is live.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from uuid import UUID

from tagwarden.approvals import service as approvals
from tagwarden.approvals.applier import ProtectedApplier
from tagwarden.approvals.model import Approval, Ask, NotStanding
from tagwarden.catalog.appliers import decided_by, digest
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import CorpState, Work
from tagwarden.identity import repository as identity
from tagwarden.identity.model import RoleName
from tagwarden.kernel.errors import Conflict, NotFound
from tagwarden.policy import service as policy
from tagwarden.policy.service import Picture

ISSUER_RIGHT = "issuer_right"


class IssuerUnknown(NotFound):
    code = "issuer_unknown"
    zh = "找不到该签发方：未在系统设置中配置，或未绑定到本企业"
    en = "No such issuer: the settings hold no key of it, or it is not bound to the corp"


class OwnIssuer(Conflict):
    code = "own_issuer"
    zh = "不能移除您当前令牌的签发方，否则所有人都将无法登录"
    en = "The issuer of the token you call with cannot be removed: it would shut everybody out"


class LastSigningIssuer(Conflict):
    code = "last_signing_issuer"
    zh = "只有“{issuer}”签发的令牌可以签批，取消后就没有人能签批了；请先让另一个签发方可以签批"
    en = "Only tokens of “{issuer}” may sign; without it nobody could sign anything: let another issuer sign first"


@dataclass(frozen=True, slots=True)
class IssuerChanged:
    """The right as it stands from now on, None where the issuer is not bound; the rest waits under `approval_id`."""

    may_sign: bool | None
    approval_id: UUID | None = None


async def _admin(work: Work) -> Picture:
    picture = await policy.in_force(work)
    picture.directory.require_role(picture.directory.employee(work.caller.userid), RoleName.ADMIN)
    return picture


@command(Epoch.EXCLUSIVE)
async def put_issuer(work: Work, issuer: str, may_sign: bool, reason: str, known: Collection[str]) -> IssuerChanged:
    """Binds an issuer whose keys the installation has (`known`), or changes whether its tokens may sign."""
    picture = await _admin(work)
    if issuer not in known:
        raise IssuerUnknown()
    bound, signs = issuer in picture.directory.issuers, issuer in picture.directory.signing_issuers
    widens = not bound or (may_sign and not signs)
    if widens and work.corp.state is CorpState.LIVE:
        payload = {"issuer": issuer, "may_sign": may_sign, "bind": not bound}
        wanted = Ask(ISSUER_RIGHT, payload, IssuerApplier().effects(payload), work.caller.userid, None, reason)
        return IssuerChanged(signs if bound else None, (await approvals.ask(work, picture, wanted)).id)
    if not may_sign:
        _require_another(work, picture, issuer)
    await identity.put_issuer(work.corp_id, issuer, may_sign)
    work.record("issuer.changed", f"issuer:{issuer}", may_sign=may_sign)
    return IssuerChanged(may_sign)


def _require_another(work: Work, picture: Picture, issuer: str) -> None:
    """Once live, giving the right back takes two signatures, which nobody could give any more."""
    if work.corp.state is CorpState.LIVE and picture.directory.signing_issuers == {issuer}:
        raise LastSigningIssuer(issuer=issuer)


@command(Epoch.EXCLUSIVE)
async def remove_issuer(work: Work, issuer: str) -> str:
    """Unbinds an issuer: from the next request on its tokens are nobody's here."""
    picture = await _admin(work)
    if issuer not in picture.directory.issuers:
        raise IssuerUnknown()
    if issuer == work.caller.issuer:
        raise OwnIssuer()
    _require_another(work, picture, issuer)
    await identity.remove_issuer(work.corp_id, issuer)
    work.record("issuer.removed", f"issuer:{issuer}")
    return issuer


class IssuerApplier(ProtectedApplier):
    """An issuer more, or one that may sign from now on."""

    kind: ClassVar[str] = ISSUER_RIGHT

    def effects(self, payload: dict[str, Any]) -> tuple[str, ...]:
        """Binding, and the right to sign."""
        keys = [f"issuer:{payload['issuer']}:bind"] if payload["bind"] else []
        return (*keys, f"issuer:{payload['issuer']}:may_sign:give") if payload["may_sign"] else tuple(keys)

    async def fingerprint(self, corp_id: str, payload: dict[str, Any]) -> str:
        """What the issuer may do now."""
        directory = await identity.load_directory(corp_id)
        return digest([payload["issuer"] in directory.issuers, payload["issuer"] in directory.signing_issuers])

    async def revise(self, work: Work, approval: Approval, change: dict[str, Any] | None) -> Ask:
        """The same right for the issuer as it is bound today."""
        asked = await super().revise(work, approval, change)
        directory, issuer = await identity.load_directory(work.corp_id), asked.payload["issuer"]
        bound = issuer in directory.issuers
        if bound and (issuer in directory.signing_issuers or not asked.payload["may_sign"]):
            raise NotStanding(why="nothing_to_change")
        payload = {**asked.payload, "bind": not bound}
        return replace(asked, payload=payload, effects=self.effects(payload))

    async def check(self, work: Work, picture: Picture, approval: Approval) -> str | None:
        """The requester is still an admin."""
        employee = picture.directory.known(approval.requester)
        return None if employee and employee.active and employee.holds(RoleName.ADMIN) else "requester_lost_right"

    async def describe(self, corp_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """What its tokens may do, before and after: only what widens is held, so it could not sign before."""
        before = {"bound": not payload["bind"], "may_sign": False}
        return {"issuer": payload["issuer"], "before": before, "after": {"bound": True, "may_sign": payload["may_sign"]}}

    async def apply(self, work: Work, picture: Picture, approval: Approval) -> None:
        """Writes the right; the database lets each part through once."""
        payload = approval.payload
        await identity.put_issuer(work.corp_id, payload["issuer"], payload["may_sign"])
        work.record("issuer.changed", f"issuer:{payload['issuer']}", decided_by(picture, approval), may_sign=payload["may_sign"])
