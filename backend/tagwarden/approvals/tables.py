"""Held changes, their effects and signatures, who stands in for whom, and what people are told.

Columns as the migrations make them; keys, guards and indexes stand there alone.
"""

from __future__ import annotations

from piccolo.columns import JSONB, UUID, Array, BigInt, Boolean, Integer, SmallInt, Text, Timestamptz
from piccolo.table import Table

from tagwarden.kernel.db import DB


class Approval(Table, tablename="approval", db=DB):
    corp_id = Text()
    id = UUID(primary_key=True)
    kind = Text()
    state = Text()
    round = Integer()
    payload = JSONB()
    fingerprint = Text()
    content_hash = Text()
    requester = Text()
    requester_person = Text()
    act = Text(null=True, default=None)
    reason = Text()
    about_userid = Text()
    about_customer = Text(null=True, default=None)
    level1 = Array(base_column=Text())
    level2 = Array(base_column=Text())
    barred = Array(base_column=Text())
    closed_reason = Text(null=True, default=None)
    version = BigInt()
    created_at = Timestamptz()
    updated_at = Timestamptz()
    expires_at = Timestamptz()
    escalations = Integer()
    level_since = Timestamptz()
    reminded_at = Timestamptz(null=True, default=None)
    resubmitted_from = UUID(null=True, default=None)


class ApprovalEffect(Table, tablename="approval_effect", db=DB):
    corp_id = Text()
    approval_id = UUID()
    round = Integer()
    key = Text(primary_key=True)
    consumed_at = Timestamptz(null=True, default=None)


class ApprovalSignature(Table, tablename="approval_signature", db=DB):
    corp_id = Text()
    id = UUID(primary_key=True)
    approval_id = UUID()
    round = Integer()
    level = SmallInt()
    signer = Text()
    signer_person = Text()
    on_behalf_of = Text(null=True, default=None)
    by_asking = Boolean()
    verdict = Text()
    comment = Text()
    content_hash = Text()
    fingerprint = Text()
    epoch = BigInt()
    signed_at = Timestamptz()


class Delegation(Table, tablename="delegation", db=DB):
    corp_id = Text()
    id = UUID(primary_key=True)
    userid = Text()
    delegate = Text()
    starts_at = Timestamptz()
    ends_at = Timestamptz()
    reason = Text()
    approval_id = UUID(null=True, default=None)
    created_at = Timestamptz()
    ended_at = Timestamptz(null=True, default=None)


class Notification(Table, tablename="notification", db=DB):
    corp_id = Text()
    id = UUID(primary_key=True)
    userid = Text()
    event = Text()
    approval_id = UUID(null=True, default=None)
    subject = Text(null=True, default=None)
    reason = Text(null=True, default=None)
    created_at = Timestamptz()
    read_at = Timestamptz(null=True, default=None)


GOVERNED: tuple[type[Table], ...] = (Approval, Delegation)
"""Rows of these change with an audit line in the same transaction, or not at all."""
