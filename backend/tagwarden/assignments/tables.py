"""Who carries which tag: ended, never deleted.

Columns as the migrations make them; keys, guards and indexes stand there alone.
"""

from __future__ import annotations

from piccolo.columns import UUID, Text, Timestamptz
from piccolo.table import Table

from tagwarden.kernel.db import DB


class Assignment(Table, tablename="assignment", db=DB):
    corp_id = Text()
    id = UUID(primary_key=True)
    follow_id = UUID()
    tag_id = UUID()
    source = Text()
    actor = Text()
    approval_id = UUID(null=True, default=None)
    carried_from = UUID(null=True, default=None)
    since = Timestamptz()
    until = Timestamptz(null=True, default=None)
    ended_at = Timestamptz(null=True, default=None)
    ended_by = Text(null=True, default=None)
    ended_source = Text(null=True, default=None)
    ended_approval_id = UUID(null=True, default=None)


GOVERNED: tuple[type[Table], ...] = (Assignment,)
"""Rows of these change with an audit line in the same transaction, or not at all."""
