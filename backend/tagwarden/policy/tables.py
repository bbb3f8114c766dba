"""Published revisions and their matrix: insert-only. Agreements of departments: ended, never deleted.

Columns as the migrations make them; keys, guards and indexes stand there alone.
"""

from __future__ import annotations

from piccolo.columns import JSONB, UUID, BigInt, Boolean, Integer, Text, Timestamptz
from piccolo.table import Table

from tagwarden.kernel.db import DB


class PolicyRevision(Table, tablename="policy_revision", db=DB):
    corp_id = Text()
    revision = Integer(primary_key=True)
    content = JSONB()
    content_hash = Text()
    note = Text()
    published_by = Text()
    published_at = Timestamptz()


class PolicyGrant(Table, tablename="policy_grant", db=DB):
    corp_id = Text()
    revision = Integer()
    id = Text(primary_key=True)
    department_id = BigInt()
    group_id = UUID()
    action = Text()
    effect = Text()
    inherit = Boolean()
    reach = Text(null=True, default=None)


class AgreementRow(Table, tablename="agreement", db=DB):
    corp_id = Text()
    id = UUID(primary_key=True)
    department_id = BigInt()
    partner_department = BigInt()
    group_id = UUID()
    note = Text()
    made_by = Text()
    approval_id = UUID(null=True, default=None)
    since = Timestamptz()
    until = Timestamptz(null=True, default=None)
    created_at = Timestamptz()
    ended_at = Timestamptz(null=True, default=None)
    ended_by = Text(null=True, default=None)


GOVERNED: tuple[type[Table], ...] = (PolicyRevision, AgreementRow)
"""Rows of these change with an audit line in the same transaction, or not at all."""
