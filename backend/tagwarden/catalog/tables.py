"""The tag library.

Columns as the migrations make them; keys, guards and indexes stand there alone.
"""

from __future__ import annotations

from piccolo.columns import UUID, BigInt, Boolean, Date, Text, Timestamptz
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
    name_marked = Boolean()
    version = BigInt()
    created_at = Timestamptz()
    deleted_at = Timestamptz(null=True, default=None)


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


GOVERNED: tuple[type[Table], ...] = (TagGroup, Tag)
"""Rows of these change with an audit line in the same transaction, or not at all."""
