"""Every query over drafts of the matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from tagwarden.governance.cells import cell_in, cell_out
from tagwarden.governance.model import Draft, DraftState
from tagwarden.kernel import db

_COLUMNS = (
    "id, base, note, cells, capabilities, approvals, drift, editors, state, approval_id, revision, version, created_at,"
    " updated_at"
)


def _draft(row: db.Row) -> Draft:
    return Draft(
        id=row["id"],
        base=row["base"],
        note=row["note"],
        cells=tuple(cell_in(one) for one in msgspec.json.decode(row["cells"])),
        capabilities=_json(row["capabilities"]),
        approvals=_json(row["approvals"]),
        drift=_json(row["drift"]),
        editors=tuple(row["editors"]),
        state=DraftState(row["state"]),
        approval_id=row["approval_id"],
        revision=row["revision"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _json(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)


def _text(content: object) -> str | None:
    return None if content is None else msgspec.json.encode(content).decode()


async def draft(corp_id: str, draft_id: UUID, *, lock: bool = False) -> Draft | None:
    """One draft; locked for the transaction when asked."""
    row = await db.fetch_one(
        f"select {_COLUMNS} from policy_draft where corp_id = $1 and id = $2" + (" for update" if lock else ""), corp_id, draft_id
    )
    return _draft(row) if row else None


async def drafts(corp_id: str, states: Sequence[DraftState], before: UUID | None, limit: int) -> list[Draft]:
    """Drafts in these states, newest first."""
    rows = await db.fetch(
        f"select {_COLUMNS} from policy_draft where corp_id = $1 and state = any($2) and ($3::uuid is null or id < $3)"
        " order by id desc limit $4",
        corp_id,
        [state.value for state in states],
        before,
        limit,
    )
    return [_draft(row) for row in rows]


async def insert(corp_id: str, one: Draft) -> None:
    """Writes a new draft."""
    await db.execute(
        "insert into policy_draft (corp_id, id, base, note, cells, capabilities, approvals, drift, editors)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        corp_id,
        one.id,
        one.base,
        one.note,
        _text([cell_out(cell) for cell in one.cells]),
        _text(one.capabilities),
        _text(one.approvals),
        _text(one.drift),
        list(one.editors),
    )


async def save(corp_id: str, one: Draft) -> None:
    """Writes a draft that was changed, as its next version."""
    await db.execute(
        "update policy_draft set base = $3, note = $4, cells = $5, capabilities = $6, approvals = $7, editors = $8, state = $9,"
        " approval_id = $10, revision = $11, drift = $12, version = version + 1, updated_at = now()"
        " where corp_id = $1 and id = $2",
        corp_id,
        one.id,
        one.base,
        one.note,
        _text([cell_out(cell) for cell in one.cells]),
        _text(one.capabilities),
        _text(one.approvals),
        list(one.editors),
        one.state.value,
        one.approval_id,
        one.revision,
        _text(one.drift),
    )


async def held_draft(corp_id: str, approval_id: UUID) -> Draft | None:
    """The draft that waits for this approval, locked."""
    row = await db.fetch_one(
        f"select {_COLUMNS} from policy_draft where corp_id = $1 and approval_id = $2 and state = 'held' for update",
        corp_id,
        approval_id,
    )
    return _draft(row) if row else None


async def drafts_naming(corp_id: str, group_id: UUID) -> list[Draft]:
    """Drafts not yet ended in which a cell is about this group."""
    rows = await db.fetch(
        f"select {_COLUMNS} from policy_draft where corp_id = $1 and state in ('open', 'held')"
        " and cells @> jsonb_build_array(jsonb_build_object('group_id', $2::text)) order by id",
        corp_id,
        str(group_id),
    )
    return [_draft(row) for row in rows]
