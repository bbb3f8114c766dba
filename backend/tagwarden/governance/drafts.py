"""From draft to revision: a change of the matrix is written down, looked at, and published or dropped.

A draft decides nothing. It holds what would differ from the revision it was made on, and is published on no other one:
what nobody has looked at is not put in force. Rolling back is publishing what an earlier revision said, as a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import Work
from tagwarden.governance import drift_file, repository
from tagwarden.governance.cells import Cell, difference, merged, towards
from tagwarden.governance.model import (
    CapabilitiesInvalid,
    CellUnknown,
    DenyReaches,
    Draft,
    DraftState,
    DraftUnknown,
    NoteRequired,
    NothingDiffers,
    RevisionUnknown,
    require_etag,
)
from tagwarden.governance.publishing import Published, Wanted, publish
from tagwarden.governance.source import require_console
from tagwarden.identity.model import Module
from tagwarden.kernel.ids import new_id
from tagwarden.policy import repository as policies
from tagwarden.policy import service as policy
from tagwarden.policy.drift import read_drift
from tagwarden.policy.model import Effect, InvalidPolicy
from tagwarden.policy.service import Picture


@dataclass(frozen=True, slots=True)
class DraftEdit:
    """What an edit names; None leaves it as it is. `rebase`: from now on against the revision in force."""

    cells: tuple[Cell, ...] = ()
    capabilities: list[dict[str, Any]] | None = None
    approvals: dict[str, Any] | None = None
    drift: dict[str, Any] | None = None
    note: str | None = None
    rebase: bool = False


async def configuring(work: Work) -> Picture:
    """The policy in force, for a caller who may configure it (policy module), where it is written here and not in files."""
    picture = await policy.in_force(work)
    picture.directory.require_module(picture.directory.employee(work.caller.userid), Module.POLICY)
    require_console(work)
    return picture


@command(Epoch.SHARED)
async def create_draft(work: Work, edit: DraftEdit, from_revision: int | None = None) -> UUID:
    """Begins a draft on the revision in force; `from_revision`: one that would bring an earlier revision back."""
    picture = await configuring(work)
    cells: tuple[Cell, ...] = ()
    if from_revision is not None:
        cells, edit = await _as_in(picture, from_revision, edit)
    made = Draft(
        new_id(), picture.revision, "", cells, None, None, None, (), DraftState.OPEN, None, None, 1, work.now, work.now
    ).edited_by(work.caller.userid)
    made = await _edited(work, picture, made, edit)
    await repository.insert(work.corp_id, made)
    work.record("policy_draft.created", f"policy_draft:{made.id}", base=made.base, cells=len(made.cells))
    return made.id


async def _as_in(picture: Picture, revision: int, edit: DraftEdit) -> tuple[tuple[Cell, ...], DraftEdit]:
    """The cells and the content that bring an earlier revision back."""
    row = await policies.revision(picture.corp_id, revision)
    if row is None:
        raise RevisionUnknown()
    rows = await policies.matrix(picture.corp_id, revision)
    # 110,000 rows take a moment: a thread lets the others go on meanwhile.
    cells, _ = await asyncio.to_thread(towards, picture.matrix, rows, picture.groups)
    content = policies.content_of(row)
    return cells, replace(
        edit,
        capabilities=edit.capabilities or content.get("capabilities", []),
        approvals=edit.approvals or content.get("approvals", {}),
        drift=edit.drift or drift_file.content(content.get("drift", {}), "drift"),
    )


@command(Epoch.SHARED)
async def edit_draft(work: Work, draft_id: UUID, edit: DraftEdit, if_match: str | None) -> UUID:
    """Changes cells, capabilities, chain or note; whoever does has a hand in it and never signs it."""
    picture = await configuring(work)
    draft = await _locked(work, draft_id)
    draft.require_open()
    if not edit.rebase:
        draft.require_base(picture.revision)
    require_etag(if_match, draft.etag)
    edited = await _edited(work, picture, draft.edited_by(work.caller.userid), edit)
    await repository.save(work.corp_id, edited)
    work.record(
        "policy_draft.changed", f"policy_draft:{draft_id}", base=edited.base, cells=len(edited.cells), version=draft.version + 1
    )
    return draft_id


async def _edited(work: Work, picture: Picture, draft: Draft, edit: DraftEdit) -> Draft:
    """The draft with an edit, on the revision in force; what is as that revision has it is no difference."""
    _require_known(picture, edit.cells)
    _require_known_groups(picture, edit)
    current = await policies.current(work.corp_id)
    content = policies.content_of(current) if current else {}
    capabilities = draft.capabilities if edit.capabilities is None else _read_capabilities(edit.capabilities)
    approvals = draft.approvals if edit.approvals is None else edit.approvals
    drift = draft.drift if edit.drift is None else edit.drift
    return replace(
        draft,
        base=picture.revision,
        note=draft.note if edit.note is None else edit.note,
        cells=merged(picture.matrix, draft.cells, edit.cells),
        capabilities=None if capabilities == content.get("capabilities") else capabilities,
        approvals=None if approvals == content.get("approvals") else approvals,
        drift=None if drift is None or read_drift(drift) == picture.drift else drift,
    )


def _require_known(picture: Picture, cells: Iterable[Cell]) -> None:
    for cell in cells:
        place = cell.place
        if cell.present and place.department not in picture.directory.departments:
            raise CellUnknown(what=f"department {place.department}")
        if place.group not in picture.groups:
            raise CellUnknown(what=f"tag group {place.group}")
        if cell.present and place.effect is Effect.DENY and cell.reach is not None:
            raise DenyReaches(what=f"{place.department} × {picture.groups[place.group].name}")


def _require_known_groups(picture: Picture, edit: DraftEdit) -> None:
    for group in (edit.drift or {}).get("groups", {}):
        if group not in picture.groups:
            raise CellUnknown(what=f"tag group {group}")


def _read_capabilities(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows in the one form in which a revision keeps them."""
    try:
        return policies.capabilities_out(policies.capabilities_in(rows))
    except (InvalidPolicy, ValueError, KeyError) as error:
        raise CapabilitiesInvalid(why=str(error)) from error


@command(Epoch.SHARED)
async def discard_draft(work: Work, draft_id: UUID, if_match: str | None) -> UUID:
    """Drops a draft for good."""
    await configuring(work)
    draft = await _locked(work, draft_id)
    draft.require_open()
    require_etag(if_match, draft.etag)
    await repository.save(work.corp_id, replace(draft, state=DraftState.DISCARDED))
    work.record("policy_draft.discarded", f"policy_draft:{draft_id}")
    return draft_id


@command(Epoch.EXCLUSIVE)
async def publish_draft(work: Work, draft_id: UUID, note: str | None, if_match: str | None) -> Published:
    """Puts a draft in force as the next revision; one that loosens waits for two signatures, content and all."""
    picture = await configuring(work)
    draft = await _locked(work, draft_id)
    draft.require_open()
    draft.require_base(picture.revision)
    require_etag(if_match, draft.etag)
    text = (draft.note if note is None else note).strip()
    if not text:
        raise NoteRequired()
    wanted = Wanted(made_of(picture, draft), await _content(work, draft), text, draft.editors)
    done = await publish(work, picture, wanted, {id_: group.kind for id_, group in picture.groups.items()})
    if done.revision == picture.revision:
        raise NothingDiffers()
    held = done.approvals[0] if done.approvals else None
    state = DraftState.HELD if held else DraftState.PUBLISHED
    await repository.save(work.corp_id, replace(draft, note=text, state=state, approval_id=held, revision=done.revision))
    named = {"approval": str(held)} if held else {"revision": done.revision}
    work.record("policy_draft.published" if not held else "policy_draft.held", f"policy_draft:{draft_id}", **named)
    return done


@command(Epoch.EXCLUSIVE)
async def roll_back(work: Work, revision: int, note: str, if_match: str | None) -> Published:
    """Makes what an earlier revision said the next one; where that loosens, it waits for two signatures.

    Cells of groups that are gone stay away. `if_match` names the revision in force.
    """
    picture = await configuring(work)
    require_etag(if_match, policy_etag(picture.revision))
    if not note.strip():
        raise NoteRequired()
    cells, edit = await _as_in(picture, revision, DraftEdit())
    content = {"capabilities": edit.capabilities, "approvals": edit.approvals, "drift": edit.drift}
    names = {id_: group.name for id_, group in picture.groups.items()}
    wanted = Wanted(difference(picture.matrix, cells, names), content, note.strip(), (work.caller.userid,))
    done = await publish(work, picture, wanted, {id_: group.kind for id_, group in picture.groups.items()})
    if done.revision == picture.revision:
        raise NothingDiffers()
    work.record("policy.rolled_back", f"policy:{done.revision or picture.revision}", to=revision)
    return done


def made_of(picture: Picture, draft: Draft) -> Any:
    """What the draft makes of the matrix in force. Cells of a group that is gone meanwhile are left out."""
    names = {id_: group.name for id_, group in picture.groups.items()}
    return difference(picture.matrix, [cell for cell in draft.cells if cell.place.group in names or not cell.present], names)


async def _content(work: Work, draft: Draft) -> dict[str, Any] | None:
    if draft.capabilities is None and draft.approvals is None and draft.drift is None:
        return None
    current = await policies.current(work.corp_id)
    return content_with(policies.content_of(current) if current else {}, draft)


def content_with(content: dict[str, Any], draft: Draft) -> dict[str, Any]:
    """Capabilities, chain and drift rule as the draft would have them."""
    named = {"capabilities": draft.capabilities, "approvals": draft.approvals, "drift": draft.drift}
    return {"capabilities": [], "approvals": {}, **content, **{key: value for key, value in named.items() if value is not None}}


def policy_etag(revision: int) -> str:
    """The ETag of the policy in force."""
    return f'"{revision}"'


async def _locked(work: Work, draft_id: UUID) -> Draft:
    draft = await repository.draft(work.corp_id, draft_id, lock=True)
    if draft is None:
        raise DraftUnknown()
    return draft


async def on_approval_closed(corp_id: str, approval_id: UUID, state: str) -> None:
    """A draft whose request ended without being applied can be changed again; in the closing transaction."""
    draft = await repository.held_draft(corp_id, approval_id)
    if draft is not None and state != "applied":
        await repository.save(corp_id, replace(draft, state=DraftState.OPEN, approval_id=None))
