"""The tag library.

Columns as the migrations make them; keys, guards and indexes stand there alone.
"""

from __future__ import annotations

from piccolo.columns import UUID, Array, BigInt, Boolean, Date, Integer, Text, Timestamptz
from piccolo.table import Table

from tagwarden.kernel.db import DB


class TagGroup(Table, tablename="tag_group", db=DB):
    corp_id = Text()
    id = UUID(primary_key=True)
    name = Text()
    kind = Text()
    choice = Text()
    description = Text()
    sort = BigInt()
    wecom_id = Text(null=True, default=None)
    made_by_us = Boolean()
    name_marked = Boolean()
    version = BigInt()
    created_at = Timestamptz()
    deleted_at = Timestamptz(null=True, default=None)
    kind_since = Timestamptz()
    disowned_at = Timestamptz(null=True, default=None)


class Tag(Table, tablename="tag", db=DB):
    corp_id = Text()
    id = UUID(primary_key=True)
    group_id = UUID()
    name = Text()
    parent_id = UUID(null=True, default=None)
    meaning = Text()
    service_process = Text()
    ends_on = Date(null=True, default=None)
    sort = BigInt()
    wecom_id = Text(null=True, default=None)
    made_by_us = Boolean()
    name_marked = Boolean()
    version = BigInt()
    created_at = Timestamptz()
    retired_at = Timestamptz(null=True, default=None)
    deleted_at = Timestamptz(null=True, default=None)
    wecom_name = Text(null=True, default=None)
    wecom_missing_at = Timestamptz(null=True, default=None)


class TagLibrary(Table, tablename="tag_library", db=DB):
    corp_id = Text(primary_key=True)
    strategy_tags = Integer()
    kept_out = Integer()
    kept_out_ids = Array(base_column=Text())
    noted_at = Timestamptz(null=True, default=None)


class TagCount(Table, tablename="tag_count", db=DB):
    corp_id = Text()
    tag_id = UUID(primary_key=True)
    carried = BigInt()
    unbacked = BigInt()


class TagOwnerCount(Table, tablename="tag_owner_count", db=DB):
    corp_id = Text()
    tag_id = UUID(primary_key=True)
    userid = Text()
    carried = BigInt()
    unbacked = BigInt()


class TagCountDelta(Table, tablename="tag_count_delta", db=DB):
    corp_id = Text()
    id = BigInt(primary_key=True)
    tag_id = UUID()
    userid = Text()
    carried = Integer()
    unbacked = Integer()


GOVERNED: tuple[type[Table], ...] = (TagGroup, Tag)
"""Rows of these change with an audit line in the same transaction, or not at all."""
