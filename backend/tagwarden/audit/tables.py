"""The audit chain: written by `close_command()` alone.

Columns as the migrations make them; keys, guards and indexes stand there alone.
"""

from __future__ import annotations

from piccolo.columns import BigInt, Bytea, Text
from piccolo.table import Table

from tagwarden.kernel.db import DB


class AuditLine(Table, tablename="audit_line", db=DB):
    corp_id = Text()
    seq = BigInt(primary_key=True)
    body = Bytea()
    hash = Bytea()


class AuditHead(Table, tablename="audit_head", db=DB):
    corp_id = Text(primary_key=True)
    seq = BigInt()
    hash = Bytea()
