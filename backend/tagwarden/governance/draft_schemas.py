"""Shapes of drafts and of their impact, as HTTP shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from tagwarden.governance.cells import Cell, Place
from tagwarden.governance.impact import Impact
from tagwarden.governance.model import Draft
from tagwarden.policy.model import Action, Effect, Reach
from tagwarden.policy.service import Picture

SAMPLE = 50
Note = Annotated[str, msgspec.Meta(max_length=1000)]
ActionName = Literal["view", "use", "manage"]
EffectName = Literal["allow", "deny"]
ReachName = Literal["own", "subordinate", "collaborating", "corp"]


class CellIn(msgspec.Struct, forbid_unknown_fields=True):
    """A cell of the matrix; `unset` takes away what stands there."""

    department: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    group_id: UUID
    action: ActionName
    effect: EffectName = "allow"
    inherit: bool = True
    reach: ReachName | None = None
    unset: bool = False


class CapabilityIn(msgspec.Struct, forbid_unknown_fields=True):
    """What a role may do with a kind of group."""

    role: Literal["staff", "manager", "supervisor", "admin", "subadmin", "auditor", "service"]
    kind: Literal["temporary", "standard", "value", "unclassified"]
    action: ActionName
    relations: Annotated[list[Literal["own", "subordinate", "collaborating", "none"]], msgspec.Meta(max_length=4)]
    needs_grant: bool = True


class DraftPatch(msgspec.Struct, forbid_unknown_fields=True):
    """What is left out stays. `rebase`: from now on against the revision in force, with the same cells.

    `drift`: as `drift.toml` says it, its groups by id.
    """

    cells: Annotated[list[CellIn], msgspec.Meta(max_length=2000)] = []
    capabilities: Annotated[list[CapabilityIn], msgspec.Meta(max_length=500)] | None = None
    approvals: dict[str, Any] | None = None
    drift: dict[str, Any] | None = None
    note: Note | None = None
    rebase: bool = False


class DraftIn(msgspec.Struct, forbid_unknown_fields=True):
    """`from_revision`: a draft that would bring an earlier revision back."""

    cells: Annotated[list[CellIn], msgspec.Meta(max_length=2000)] = []
    capabilities: Annotated[list[CapabilityIn], msgspec.Meta(max_length=500)] | None = None
    approvals: dict[str, Any] | None = None
    drift: dict[str, Any] | None = None
    note: Note | None = None
    from_revision: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None


class PublishIn(msgspec.Struct, forbid_unknown_fields=True):
    """`note` left out: the draft's own."""

    note: Note | None = None


class RollbackIn(msgspec.Struct, forbid_unknown_fields=True):
    revision: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    note: Note


class PublishedOut(msgspec.Struct, omit_defaults=True):
    """`revision` is in force from now on; null where what loosens waits under `approval_id`."""

    outcome: Literal["published", "pending_approval"]
    revision: int | None
    approval_id: UUID | None = None


class CellOut(msgspec.Struct):
    """`present` false: the draft takes away what stands there."""

    department: int
    group_id: str
    group: str | None
    action: str
    effect: str
    present: bool
    inherit: bool
    reach: str | None


class DraftOut(msgspec.Struct):
    """`outdated`: another revision is in force than the one it was made on."""

    id: UUID
    base: int
    outdated: bool
    state: str
    note: str
    cells: list[CellOut]
    capabilities: list[dict[str, Any]] | None
    approvals: dict[str, Any] | None
    drift: dict[str, Any] | None
    editors: list[str]
    approval_id: UUID | None
    revision: int | None
    created_at: datetime
    updated_at: datetime


class DraftSummary(msgspec.Struct):
    id: UUID
    base: int
    outdated: bool
    state: str
    note: str
    cells: int
    editors: list[str]
    approval_id: UUID | None
    revision: int | None
    updated_at: datetime


class DraftPage(msgspec.Struct):
    items: list[DraftSummary]
    next_cursor: str | None


class AccessOut(msgspec.Struct):
    """`group`: the tag group itself; else the relations in which it is open."""

    userid: str
    group_id: str
    group: str
    action: str
    before: list[str]
    after: list[str]


class AccessPart(msgspec.Struct):
    """`people` counts everybody something changes for; `sample` holds the first fifty, CSV all."""

    gained: int
    lost: int
    people: int
    sample: list[AccessOut]


class MarksOut(msgspec.Struct):
    owner: str
    group_id: str
    group: str
    marks: int


class MarksPart(msgspec.Struct):
    """Open marks whose owner could put them on today and could not any more. They stay."""

    marks: int
    sample: list[MarksOut]


class ApprovalAffectedOut(msgspec.Struct):
    approval_id: UUID
    kind: str
    reason: str


class ApprovalsPart(msgspec.Struct):
    """Open requests that would go stale, or that nobody could sign any more (`no_signer`)."""

    affected: int
    complete: bool
    sample: list[ApprovalAffectedOut]


class ReversalOut(msgspec.Struct):
    """`step`: where it would be refused."""

    seq: int
    at: str
    userid: str
    group_id: str
    group: str
    before: Literal["allowed", "refused"]
    after: Literal["allowed", "refused"]
    step: str | None


class DecisionsPart(msgspec.Struct):
    """Decisions about tags since then that would come out differently; `complete` false: older ones were not looked at."""

    looked_at: int
    since: str
    complete: bool
    different: int
    sample: list[ReversalOut]


class ImpactOut(msgspec.Struct):
    """`loosens` is not empty where two people have to sign it."""

    base: int
    loosens: list[str]
    access: AccessPart
    marks: MarksPart
    approvals: ApprovalsPart
    decisions: DecisionsPart


def cell_of(one: CellIn) -> Cell:
    """The cell that a body names."""
    place = Place(one.department, str(one.group_id), Action(one.action), Effect(one.effect))
    return Cell(place, not one.unset, one.inherit, Reach(one.reach) if one.reach else None)


def draft_out(picture: Picture, draft: Draft) -> DraftOut:
    """A draft with the names of its groups."""
    return DraftOut(
        draft.id,
        draft.base,
        draft.base != picture.revision,
        draft.state.value,
        draft.note,
        [_cell_out(picture, cell) for cell in draft.cells],
        draft.capabilities,
        draft.approvals,
        draft.drift,
        list(draft.editors),
        draft.approval_id,
        draft.revision,
        draft.created_at,
        draft.updated_at,
    )


def _cell_out(picture: Picture, cell: Cell) -> CellOut:
    place, group = cell.place, picture.groups.get(cell.place.group)
    return CellOut(
        place.department,
        place.group,
        group.name if group else None,
        place.action.value,
        place.effect.value,
        cell.present,
        cell.inherit,
        cell.reach.value if cell.reach else None,
    )


def summary(picture: Picture, draft: Draft) -> DraftSummary:
    """A draft in a list."""
    return DraftSummary(
        draft.id,
        draft.base,
        draft.base != picture.revision,
        draft.state.value,
        draft.note,
        len(draft.cells),
        list(draft.editors),
        draft.approval_id,
        draft.revision,
        draft.updated_at,
    )


def impact_out(picture: Picture, found: Impact) -> ImpactOut:
    """Numbers and the first of each kind."""
    names = {id_: group.name for id_, group in picture.groups.items()}
    access = [
        AccessOut(one.userid, one.group_id, names[one.group_id], one.action.value, list(one.before), list(one.after))
        for one in found.access[:SAMPLE]
    ]
    past = [
        ReversalOut(one.seq, one.at, one.actor, one.group_id, names[one.group_id], *_words(one.allowed_before), one.step)
        for one in found.past.reversals[:SAMPLE]
    ]
    return ImpactOut(
        found.base,
        found.loosens,
        AccessPart(
            sum(bool(one.gained) for one in found.access),
            sum(bool(one.lost) for one in found.access),
            len({one.userid for one in found.access}),
            access,
        ),
        MarksPart(
            sum(one.marks for one in found.marks),
            [MarksOut(one.owner, one.group_id, names[one.group_id], one.marks) for one in found.marks[:SAMPLE]],
        ),
        ApprovalsPart(
            len(found.approvals),
            found.approvals_complete,
            [ApprovalAffectedOut(one.approval_id, one.kind, one.reason) for one in found.approvals[:SAMPLE]],
        ),
        DecisionsPart(found.past.looked_at, found.past.since, found.past.complete, len(found.past.reversals), past),
    )


def _words(allowed_before: bool) -> tuple[Literal["allowed", "refused"], Literal["allowed", "refused"]]:
    return ("allowed", "refused") if allowed_before else ("refused", "allowed")
