"""Drafts of the matrix.

Columns as the migrations make them; keys, guards and indexes stand there alone.
"""

from __future__ import annotations

from piccolo.columns import JSONB, UUID, Array, Integer, Text, Timestamptz
from piccolo.table import Table

from tagwarden.kernel.db import DB


class PolicyDraft(Table, tablename="policy_draft", db=DB):
    corp_id = Text()
    id = UUID(primary_key=True)
    base = Integer()
    note = Text()
    cells = JSONB()
    capabilities = JSONB(null=True, default=None)
    approvals = JSONB(null=True, default=None)
    drift = JSONB(null=True, default=None)
    editors = Array(base_column=Text())
    state = Text()
    approval_id = UUID(null=True, default=None)
    revision = Integer(null=True, default=None)
    version = Integer()
    created_at = Timestamptz()
    updated_at = Timestamptz()


GOVERNED: tuple[type[Table], ...] = (PolicyDraft,)
"""Rows of these change with an audit line in the same transaction, or not at all."""
