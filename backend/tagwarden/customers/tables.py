"""Customers and who follows them.

Columns as the migrations make them; keys, guards and indexes stand there alone.
"""

from __future__ import annotations

from piccolo.columns import UUID, SmallInt, Text, Timestamptz
from piccolo.table import Table

from tagwarden.kernel.db import DB


class Customer(Table, tablename="customer", db=DB):
    corp_id = Text()
    external_userid = Text(primary_key=True)
    name = Text()
    type = SmallInt()
    corp_name = Text(null=True, default=None)
    updated_at = Timestamptz()


class Follow(Table, tablename="follow", db=DB):
    corp_id = Text()
    id = UUID(primary_key=True)
    userid = Text()
    external_userid = Text()
    since = Timestamptz()
    ended_at = Timestamptz(null=True, default=None)
    ended_reason = Text(null=True, default=None)
    customer_left_at = Timestamptz(null=True, default=None)


class FollowLabel(Table, tablename="follow_label", db=DB):
    corp_id = Text()
    follow_id = UUID(primary_key=True)
    kind = Text()
    wecom_id = Text()
    group_name = Text()
    name = Text()
    seen_at = Timestamptz()


GOVERNED: tuple[type[Table], ...] = (Follow,)
"""Rows of these change with an audit line in the same transaction, or not at all."""
