"""What a draft would do before it is in force: who gains or loses what, which marks could no longer be made, which open
requests would lose a signer or go stale, and which decisions of the last days would have come out differently.

It builds the policy aside, asks both, and writes nothing. It names people, groups and numbers, never a customer: whoever
configures does not see by that who carries a tag.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from tagwarden.approvals import box_rows
from tagwarden.approvals import repository as approval_rows
from tagwarden.approvals.model import Approval
from tagwarden.approvals.standing import chain_of, stale_reason
from tagwarden.assignments import queries as assignments
from tagwarden.corps.command import corp_of
from tagwarden.corps.model import Caller, CorpState, Work
from tagwarden.governance import repository
from tagwarden.governance.cells import Difference, rows_with
from tagwarden.governance.drafts import content_with, made_of
from tagwarden.governance.impact_access import AccessChange, Side, access_changes
from tagwarden.governance.impact_past import Past, reversals
from tagwarden.governance.model import DraftUnknown
from tagwarden.governance.publishing import POLICY_PUBLISH, what_loosens
from tagwarden.kernel import clock, db, memory
from tagwarden.policy import repository as policies
from tagwarden.policy.chains import read_rules
from tagwarden.policy.drift import read_drift
from tagwarden.policy.enforcer import PolicyEngine
from tagwarden.policy.matrix import Matrix
from tagwarden.policy.model import Action, Grant, Group, Relation
from tagwarden.policy.service import Picture, model_text

APPROVALS_AT_MOST = 1_000
PAGE = 5_000


@dataclass(frozen=True, slots=True)
class LostMarks:
    """Open marks of one owner in one group that he could put on today and could not any more."""

    owner: str
    group_id: str
    marks: int


@dataclass(frozen=True, slots=True)
class ApprovalAffected:
    """An open request that would go stale, or (`no_signer`) that nobody could sign any more."""

    approval_id: UUID
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Impact:
    """Everything that would come of it; `loosens` is not empty where two people have to sign."""

    base: int
    loosens: list[str]
    access: list[AccessChange]
    marks: list[LostMarks]
    approvals: list[ApprovalAffected]
    approvals_complete: bool
    past: Past


async def impact_of_draft(picture: Picture, caller: Caller, draft_id: UUID, days: int) -> Impact:
    """What publishing this draft now would do; DraftUnknown, DraftClosed, DraftOutdated."""
    draft = await repository.draft(picture.corp_id, draft_id)
    if draft is None:
        raise DraftUnknown()
    draft.require_open()
    draft.require_base(picture.revision)
    content = await _content(picture)
    return await impact(picture, caller, made_of(picture, draft), content, content_with(content, draft), days)


async def _content(picture: Picture) -> dict[str, Any]:
    row = await policies.revision(picture.corp_id, picture.revision)
    return {"capabilities": [], "approvals": {}, **(policies.content_of(row) if row else {})}


async def impact(
    picture: Picture, caller: Caller, made: Difference, content: dict[str, Any], wanted: dict[str, Any], days: int
) -> Impact:
    """What it would do if the difference and the wanted content were in force instead of `content`."""
    text = model_text()
    now = PolicyEngine(policies.capabilities_in(content["capabilities"]), picture.matrix, text)
    matrix = await _matrix(picture.matrix, made)
    engine = PolicyEngine(policies.capabilities_in(wanted["capabilities"]), matrix, text)
    rules = read_rules(wanted["approvals"])
    trial = replace(
        picture,
        engine=engine,
        approvals=rules,
        drift=read_drift(wanted.get("drift", {})),
        matrix=matrix,
        explained={},
        _subjects={},
        _places={},
    )
    touched = _touched(picture, made, content, wanted)
    access = await access_changes(picture, touched, Side(now, picture.matrix), Side(engine, matrix))
    corp = await corp_of(caller.corp_id)
    affected, complete = await _approvals(Work(caller, corp, picture.epoch, clock.now()), picture, trial)
    kinds = {id_: group.kind for id_, group in picture.groups.items()}
    return Impact(
        picture.revision,
        what_loosens(picture, made, content, wanted, kinds) if corp.state is CorpState.LIVE else [],
        access,
        await _lost_marks(picture.corp_id, access),
        affected,
        complete,
        await reversals(picture, trial, clock.now() - timedelta(days=days)),
    )


async def _matrix(base: Matrix, made: Difference) -> Matrix:
    found = Matrix()
    with memory.long_lived():
        for page in _pages(list(rows_with(base, made))):
            found.add(page)
            await asyncio.sleep(0)
    return found


def _pages(rows: Sequence[Grant]) -> Iterator[Sequence[Grant]]:
    yield from (rows[start : start + PAGE] for start in range(0, len(rows), PAGE))


def _touched(
    picture: Picture, made: Difference, content: dict[str, Any], wanted: dict[str, Any]
) -> dict[Group, frozenset[int] | None]:
    """Groups whose cells differ with the departments of those; every department where a capability of their kind differs."""
    before, after = ({_row_key(row) for row in one["capabilities"]} for one in (content, wanted))
    kinds = {kind for _, kind, *_ in before ^ after}
    places = made.places(picture.matrix)
    found: dict[Group, frozenset[int] | None] = {}
    for id_, group in sorted(picture.groups.items()):
        if group.kind.value in kinds:
            found[group] = None
        elif id_ in places:
            found[group] = frozenset(places[id_])
    return found


def _row_key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["role"], row["kind"], row["action"], tuple(sorted(row["relations"])), row["needs_grant"]


async def _lost_marks(corp_id: str, access: Sequence[AccessChange]) -> list[LostMarks]:
    own = Relation.OWN.value
    pairs = [(one.userid, UUID(one.group_id)) for one in access if one.action is Action.USE and own in one.lost]
    rows = await assignments.marks_by_owner_and_group(corp_id, pairs) if pairs else []
    return [LostMarks(row["userid"], str(row["group_id"]), row["marks"]) for row in rows]


async def _approvals(work: Work, picture: Picture, trial: Picture) -> tuple[list[ApprovalAffected], bool]:
    pending = await box_rows.waiting_for(work.corp_id, None, None, APPROVALS_AT_MOST + 1)
    found = []
    for approval in pending[:APPROVALS_AT_MOST]:
        async with db.transaction("repeatable read"):
            reason = await _affected(work, picture, trial, approval)
        if reason is not None:
            found.append(ApprovalAffected(approval.id, approval.kind, reason))
    return found, len(pending) <= APPROVALS_AT_MOST


async def _affected(work: Work, picture: Picture, trial: Picture, approval: Approval) -> str | None:
    """Why the request would not stand or could not be signed, where it does and could be today."""
    if approval.kind == POLICY_PUBLISH:
        return "base_moved"
    after = await _why_not(work, trial, approval)
    return after if after is not None and await _why_not(work, picture, approval) is None else None


async def _why_not(work: Work, picture: Picture, approval: Approval) -> str | None:
    chain = chain_of(picture, approval)
    if not chain.level2 or not (chain.of(approval.level) or chain.asking_signs):
        return "no_signer"
    signatures = await approval_rows.signatures(work.corp_id, approval.id, approval.round)
    return await stale_reason(work, picture, approval, chain, signatures)
