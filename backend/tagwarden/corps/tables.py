"""The tenant, its epoch, credentials, idempotent answers, refusal counts and living processes.

Columns as the migrations make them; keys, guards and indexes stand there alone.
"""

from __future__ import annotations

from piccolo.columns import JSONB, UUID, BigInt, Boolean, Bytea, Integer, Text, Timestamptz
from piccolo.table import Table

from tagwarden.kernel.db import DB


class Corp(Table, tablename="corp", db=DB):
    corp_id = Text(primary_key=True)
    name = Text()
    state = Text()
    writes_suspended = Boolean()
    time_zone = Text()
    org_mirrored_at = Timestamptz(null=True, default=None)
    created_at = Timestamptz()
    activated_at = Timestamptz(null=True, default=None)
    policy_source = Text()


class CorpEpoch(Table, tablename="corp_epoch", db=DB):
    corp_id = Text(primary_key=True)
    epoch = BigInt()


class CorpCredential(Table, tablename="corp_credential", db=DB):
    corp_id = Text()
    app = Text(primary_key=True)
    agent_id = BigInt(null=True, default=None)
    secret_sealed = Bytea()
    token_sealed = Bytea(null=True, default=None)
    aes_key_sealed = Bytea(null=True, default=None)
    stopped_at = Timestamptz(null=True, default=None)
    stopped_reason = Text(null=True, default=None)
    updated_at = Timestamptz()


class CredentialCheck(Table, tablename="credential_check", db=DB):
    corp_id = Text()
    app = Text(primary_key=True)
    checked_at = Timestamptz()
    ok = Boolean()
    code = Integer(null=True, default=None)
    problem_zh = Text(null=True, default=None)
    problem_en = Text(null=True, default=None)


class Idempotency(Table, tablename="idempotency", db=DB):
    corp_id = Text()
    subject = Text()
    route = Text()
    key = Text(primary_key=True)
    body_hash = Text()
    result = JSONB()
    created_at = Timestamptz()


class RefusalTally(Table, tablename="refusal_tally", db=DB):
    corp_id = Text()
    key = Text()
    minute = Timestamptz(primary_key=True)
    repeated = Integer()
    sample = JSONB()


class ProcessHeartbeat(Table, tablename="process_heartbeat", db=DB):
    id = UUID(primary_key=True)
    role = Text()
    host = Text()
    pid = Integer()
    version = Text()
    started_at = Timestamptz()
    seen_at = Timestamptz()


GOVERNED: tuple[type[Table], ...] = (Corp,)
"""Rows of these change with an audit line in the same transaction, or not at all."""
