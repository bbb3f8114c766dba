"""Dirty rows, the library outbox and runs.

Columns as the migrations make them; keys, guards and indexes stand there alone.
"""

from __future__ import annotations

from piccolo.columns import JSONB, UUID, Array, BigInt, Boolean, Integer, Text, Timestamptz
from piccolo.table import Table

from tagwarden.kernel.db import DB


class FollowSync(Table, tablename="follow_sync", db=DB):
    corp_id = Text()
    follow_id = UUID(primary_key=True)
    observed = Array(base_column=Text())
    uncertain = Array(base_column=Text())
    dirty = Boolean()
    call_class = Text(db_column_name="class")
    version = BigInt()
    first_dirty_at = Timestamptz(null=True, default=None)
    settle_at = Timestamptz(null=True, default=None)
    leased_until = Timestamptz(null=True, default=None)
    attempts = Integer()
    next_try_at = Timestamptz(null=True, default=None)
    given_up = Text(null=True, default=None)


class LibrarySync(Table, tablename="library_sync", db=DB):
    corp_id = Text()
    tag_id = UUID(primary_key=True)
    dirty = Boolean()
    version = BigInt()
    leased_until = Timestamptz(null=True, default=None)
    attempts = Integer()
    next_try_at = Timestamptz(null=True, default=None)
    given_up = Text(null=True, default=None)


class SyncRun(Table, tablename="sync_run", db=DB):
    corp_id = Text()
    id = UUID(primary_key=True)
    kind = Text()
    state = Text()
    cursor = JSONB()
    done = BigInt()
    total = BigInt(null=True, default=None)
    result = JSONB()
    problem = Text(null=True, default=None)
    started_by = Text()
    created_at = Timestamptz()
    started_at = Timestamptz(null=True, default=None)
    finished_at = Timestamptz(null=True, default=None)
    heartbeat_at = Timestamptz(null=True, default=None)
