"""Dirty rows, the library outbox, cards and runs.

Columns as the migrations make them; keys, guards and indexes stand there alone.
"""

from __future__ import annotations

from piccolo.columns import JSONB, UUID, Array, BigInt, Boolean, Bytea, Date, Integer, SmallInt, Text, Timestamptz
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
    seen_at = Timestamptz(null=True, default=None)
    lane = Text()
    given_up_code = Integer(null=True, default=None)


class SyncLane(Table, tablename="sync_lane", db=DB):
    corp_id = Text()
    call_class = Text(db_column_name="class")
    lane = Text(primary_key=True)
    served_at = Timestamptz()


class LibrarySync(Table, tablename="library_sync", db=DB):
    corp_id = Text()
    tag_id = UUID(primary_key=True)
    dirty = Boolean()
    version = BigInt()
    leased_until = Timestamptz(null=True, default=None)
    attempts = Integer()
    next_try_at = Timestamptz(null=True, default=None)
    given_up = Text(null=True, default=None)
    given_up_code = Integer(null=True, default=None)
    dirty_at = Timestamptz(null=True, default=None)
    bulk = Boolean()
    put_back = SmallInt()
    claimed = Boolean()


class LibraryGroupSync(Table, tablename="library_group_sync", db=DB):
    corp_id = Text()
    group_id = UUID(primary_key=True)
    dirty = Boolean()
    version = BigInt()
    dirty_at = Timestamptz(null=True, default=None)
    leased_until = Timestamptz(null=True, default=None)
    attempts = Integer()
    next_try_at = Timestamptz(null=True, default=None)
    given_up = Text(null=True, default=None)
    given_up_code = Integer(null=True, default=None)
    bulk = Boolean()
    put_back = SmallInt()
    claimed = Boolean()


class CardDraw(Table, tablename="card_draw", db=DB):
    corp_id = Text()
    approval_id = UUID(primary_key=True)
    dirty = Boolean()
    version = BigInt()
    epoch = BigInt()


class ApprovalCard(Table, tablename="approval_card", db=DB):
    corp_id = Text()
    id = UUID(primary_key=True)
    approval_id = UUID()
    round = Integer()
    level = SmallInt()
    userid = Text()
    content_hash = Text()
    version = BigInt()
    task_id = Text()
    earlier_tasks = Array(base_column=Text())
    begun = Boolean()
    state = Text()
    outcome = Text(null=True, default=None)
    response_code = Bytea(null=True, default=None)
    code_until = Timestamptz(null=True, default=None)
    leased_until = Timestamptz(null=True, default=None)
    attempts = Integer()
    next_try_at = Timestamptz(null=True, default=None)
    given_up = Text(null=True, default=None)
    given_up_code = Integer(null=True, default=None)
    created_at = Timestamptz()
    sent_at = Timestamptz(null=True, default=None)
    closed_at = Timestamptz(null=True, default=None)


class CardClick(Table, tablename="card_click", db=DB):
    corp_id = Text()
    id = UUID(primary_key=True)
    userid = Text()
    task_id = Text()
    key = Text()
    agent_id = Text()
    response_code = Bytea(null=True, default=None)
    clicked_at = Timestamptz()
    leased_until = Timestamptz(null=True, default=None)
    handled_at = Timestamptz(null=True, default=None)
    outcome = Text(null=True, default=None)


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


class WecomRefresh(Table, tablename="wecom_refresh", db=DB):
    corp_id = Text()
    kind = Text()
    key = Text(primary_key=True)
    version = BigInt()
    events = JSONB()
    first_at = Timestamptz()
    due_at = Timestamptz()
    leased_until = Timestamptz(null=True, default=None)
    attempts = Integer()
    given_up = Text(null=True, default=None)


class DriftCase(Table, tablename="drift_case", db=DB):
    corp_id = Text()
    id = UUID(primary_key=True)
    follow_id = UUID()
    tag_id = UUID()
    kind = Text()
    state = Text()
    reason = Text(null=True, default=None)
    run_id = UUID(null=True, default=None)
    approval_id = UUID(null=True, default=None)
    first_seen_at = Timestamptz()
    last_seen_at = Timestamptz()
    done_at = Timestamptz(null=True, default=None)


class DriftGuard(Table, tablename="drift_guard", db=DB):
    corp_id = Text(primary_key=True)
    stopped_at = Timestamptz(null=True, default=None)
    reason = Text(null=True, default=None)
    waiting = Integer()
    released_at = Timestamptz(null=True, default=None)
    released_by = Text(null=True, default=None)
    released_until = Timestamptz(null=True, default=None)
    allowance = Integer()


class ReconcilePass(Table, tablename="reconcile_pass", db=DB):
    corp_id = Text(primary_key=True)
    after_userid = Text()
    began_at = Timestamptz(null=True, default=None)
    finished_at = Timestamptz(null=True, default=None)
    slice_on = Date(null=True, default=None)
    slice_calls = Integer()
    pass_calls = Integer()
    pass_nights = Integer()
    last_calls = Integer(null=True, default=None)
    last_nights = Integer(null=True, default=None)


class ReadingPage(Table, tablename="reading_page", db=DB):
    corp_id = Text()
    run_id = UUID()
    id = UUID(primary_key=True)
    follow_ids = Array(base_column=UUID())


GOVERNED: tuple[type[Table], ...] = (DriftGuard,)
"""Rows of these change with an audit line in the same transaction, or not at all; of the brake only its release counts."""
