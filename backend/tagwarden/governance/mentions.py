"""What of this room names a tag group: drafts and agreements, shown before the group is deleted. Bound in `app/wiring.py`."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from tagwarden.assignments.usage import Mention
from tagwarden.governance import repository
from tagwarden.policy import agreement_rows


async def in_drafts(corp_id: str, group_id: UUID) -> Sequence[Mention]:
    """Drafts not yet ended with a cell about the group."""
    found = await repository.drafts_naming(corp_id, group_id)
    return [Mention("policy_draft", str(one.id), one.note) for one in found]


async def in_agreements(corp_id: str, group_id: UUID) -> Sequence[Mention]:
    """Agreements about the group that were not ended."""
    found = [row for row in await agreement_rows.standing(corp_id) if row.group == str(group_id)]
    return [Mention("agreement", row.id, f"{row.department} → {row.partner}") for row in found]
