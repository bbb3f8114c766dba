"""Marks that WeCom already held in value groups: shown as "not confirmed", adopted in bundles by two people.

Nothing is rewritten, removed or re-sent: a mark in a value group with no approval behind it *is* not confirmed. One
bundle per level-1 signer, at most 500 marks each; asked for by that signer (which is level 1) or by an admin.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tagwarden.approvals import service as approvals
from tagwarden.approvals.chain import Chain, chain_for
from tagwarden.approvals.model import Ask, NoApprover
from tagwarden.approvals.standing import rules_of
from tagwarden.assignments import queries
from tagwarden.assignments.appliers import ADOPTION
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import Work
from tagwarden.identity.model import RoleName
from tagwarden.kernel import db
from tagwarden.kernel.errors import Conflict, Refused
from tagwarden.policy import service as policy
from tagwarden.policy.service import Picture

LARGEST_BUNDLE = 500
MARK = ("assignment_id", "follow_id", "tag_id", "userid", "external_userid")
"""What a bundle says of each mark."""


class NothingToAdopt(Conflict):
    code = "nothing_to_adopt"
    zh = "没有待确认的价值标签"
    en = "There are no unconfirmed marks to adopt"


class NotAnAdopter(Refused):
    code = "not_an_adopter"
    zh = "只有一级审批人或管理员可以发起确认"
    en = "Only a level-1 signer or an admin may ask for adoption"


@command(Epoch.SHARED)
async def ask_adoptions(work: Work, reason: str) -> list[UUID]:
    """Asks for every adoption that is the caller's to ask; returns the approvals, one per signer and 500 marks."""
    work.corp.require_live()
    picture = await policy.in_force(work)
    caller = picture.directory.employee(work.caller.userid)
    is_admin = caller.holds(RoleName.ADMIN)
    if not is_admin and not caller.holds(RoleName.MANAGER, RoleName.SUPERVISOR):
        raise NotAnAdopter(audit={"action": "adopt"})
    bundles = _bundles(picture, work, await queries.unconfirmed(work.corp_id), only_as_signer=not is_admin)
    pending = await _already_asked(work.corp_id)
    asked: list[UUID] = []
    for marks in bundles.values():
        fresh = [mark for mark in marks if mark["assignment_id"] not in pending]
        for start in range(0, len(fresh), LARGEST_BUNDLE):
            asked.append(await _ask_one(work, picture, fresh[start : start + LARGEST_BUNDLE], reason))
    if not asked:
        raise NothingToAdopt()
    return asked


def _bundles(picture: Picture, work: Work, rows: list[db.Row], *, only_as_signer: bool) -> dict[Chain, list[dict[str, Any]]]:
    """Marks by the chain of their owners: who may sign one row of a bundle may sign every row of it."""
    chains: dict[str, Chain | None] = {}
    bundles: dict[Chain, list[dict[str, Any]]] = {}
    for row in rows:
        owner = row["userid"]
        if owner not in chains:
            chains[owner] = _chain(picture, owner, work.caller.userid)
        chain = chains[owner]
        if chain is None or (only_as_signer and work.caller.userid not in chain.level1):
            continue
        bundles.setdefault(chain, []).append({name: str(row[name]) for name in MARK})
    return bundles


def _chain(picture: Picture, owner: str, requester: str) -> Chain | None:
    try:
        rules = rules_of(picture, ADOPTION)
        return chain_for(
            picture.directory, owner=owner, requester=requester, asking_is_level1=rules.asking_is_level1, rules=rules
        )
    except NoApprover:
        return None


async def _already_asked(corp_id: str) -> set[str]:
    rows = await db.fetch(
        "select mark ->> 'assignment_id' as id from approval, jsonb_array_elements(payload -> 'marks') as mark"
        " where corp_id = $1 and kind = $2 and state in ('pending_level1', 'pending_level2')",
        corp_id,
        ADOPTION,
    )
    return {row["id"] for row in rows}


async def _ask_one(work: Work, picture: Picture, marks: list[dict[str, Any]], reason: str) -> UUID:
    marks = sorted(marks, key=lambda mark: mark["assignment_id"])
    effects = tuple(f"assign:{mark['follow_id']}:{mark['tag_id']}:adopt" for mark in marks)
    about = min(mark["userid"] for mark in marks)
    return (await approvals.ask(work, picture, Ask(ADOPTION, {"marks": marks}, effects, about, None, reason))).id
