"""What leaves for WeCom and what arrives from it.

Columns as the migrations make them; keys, guards and indexes stand there alone.
"""

from __future__ import annotations

from piccolo.columns import UUID, Array, BigInt, Boolean, Bytea, Integer, Text, Timestamptz
from piccolo.table import Table

from tagwarden.kernel.db import DB


class WecomToken(Table, tablename="wecom_token", db=DB):
    corp_id = Text()
    app = Text(primary_key=True)
    token_sealed = Bytea()
    generation = BigInt()
    expires_at = Timestamptz()


class BudgetSlot(Table, tablename="budget_slot", db=DB):
    corp_id = Text()
    n = Integer(primary_key=True)
    free_at = Timestamptz()
    claimed_at = Timestamptz(null=True, default=None)
    claimed_by = UUID(null=True, default=None)


class BudgetPace(Table, tablename="budget_pace", db=DB):
    corp_id = Text(primary_key=True)
    next_bulk_at = Timestamptz()


class WecomCall(Table, tablename="wecom_call", db=DB):
    corp_id = Text()
    id = UUID(primary_key=True)
    app = Text()
    api = Text()
    call_class = Text(db_column_name="class")
    follow_id = UUID(null=True, default=None)
    subject = Text(null=True, default=None)
    add_tags = Array(base_column=Text())
    remove_tags = Array(base_column=Text())
    attempt = Integer()
    state = Text()
    code = Integer(null=True, default=None)
    message = Text(null=True, default=None)
    sent_at = Timestamptz()
    answered_at = Timestamptz(null=True, default=None)
    next_try_at = Timestamptz(null=True, default=None)


class WecomPause(Table, tablename="wecom_pause", db=DB):
    corp_id = Text(primary_key=True)
    paused = Boolean()
    reason = Text()
    actor = Text()
    since = Timestamptz()


class WecomCallback(Table, tablename="wecom_callback", db=DB):
    corp_id = Text()
    id = UUID(primary_key=True)
    app = Text()
    signature = Text()
    sent_at = Timestamptz()
    nonce = Text()
    envelope = Bytea()
    received_at = Timestamptz()
    processed_at = Timestamptz(null=True, default=None)
    event = Text(null=True, default=None)
    outcome = Text(null=True, default=None)


GOVERNED: tuple[type[Table], ...] = (WecomPause,)
"""Rows of these change with an audit line in the same transaction, or not at all."""
