"""Closing a command over its audit lines, walking the chain, reading it.

Lines are written only by `close`, as a command's last statement; the application's role can neither change nor remove
them. Bytes are canonical JSON (RFC 8785), stored, and verified as stored.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import rfc8785

from tagwarden.audit.model import Entry, Verification, Walker
from tagwarden.audit.tables import AuditLine
from tagwarden.kernel import db
from tagwarden.kernel.clock import iso

PAGE = 2_000
LARGEST_SEQ = 2**63 - 1


def canonical(corp_id: str, actor: dict[str, Any], request_id: str, at: datetime, entry: Entry) -> bytes:
    """The bytes of one line."""
    line: dict[str, Any] = {
        "v": 1,
        "corp_id": corp_id,
        "at": iso(at),
        "actor": actor,
        "action": entry.action,
        "object": entry.object,
        "request_id": request_id,
        "detail": entry.detail,
    }
    if entry.decision is not None:
        line["decision"] = entry.decision
    return rfc8785.dumps(line)


async def close(corp_id: str, lines: Sequence[bytes], *, bumped: bool) -> int:
    """Appends lines and lets the database check that governed rows have theirs; returns the last sequence number."""
    return int(await db.fetch_value("select close_command($1, $2::bytea[], $3) as seq", corp_id, list(lines), bumped))


async def lines_after(corp_id: str, after: int, limit: int = PAGE) -> list[db.Row]:
    """Raw lines (seq, body, hash) after a sequence number, oldest first."""
    return await (
        AuditLine.select(AuditLine.seq, AuditLine.body, AuditLine.hash)
        .where((AuditLine.corp_id == corp_id) & (AuditLine.seq > after))
        .order_by(AuditLine.seq)
        .limit(limit)
    )


async def stream(corp_id: str) -> AsyncIterator[db.Row]:
    """Every line that stands there now, page by page, so that a long chain never stands in memory.

    A page is a range of numbers, not "the next so many": its cost is the same before the database has counted its rows.
    It begins at the next number there is, so that a chain with a gap of any size ends in time.
    """
    following = "select min(seq) from audit_line where corp_id = $1 and ($2::bigint is null or seq > $2)"
    last: int | None = None
    while (first := await db.fetch_value(following, corp_id, last)) is not None:
        last = min(first + PAGE - 1, LARGEST_SEQ)
        rows = await db.fetch(
            "select seq, body, hash from audit_line where corp_id = $1 and seq between $2 and $3 order by seq",
            corp_id,
            first,
            last,
        )
        for row in rows:
            yield row


async def head(corp_id: str) -> tuple[int, bytes] | None:
    """The last sequence number and hash; None for an unknown corp."""
    row = await db.fetch_one("select seq, hash from audit_head where corp_id = $1", corp_id)
    return (row["seq"], row["hash"]) if row else None


async def verify(corp_id: str, witnessed: Mapping[int, str] | None = None) -> Verification:
    """Walks every link up to the head as it stood when the walk began, against heads that left the database before.

    The first bad line is named with why: `stray`, `missing`, `altered`, `head`; by witnesses also `rewritten` and `cut`.
    """
    head = await db.fetch_one(
        "select h.seq, h.hash, (select max(l.seq) from audit_line l where l.corp_id = h.corp_id) as last"
        " from audit_head h where h.corp_id = $1",
        corp_id,
    )
    if head is None:
        return Verification(0, 0, "head")
    walker = Walker(witnessed)
    async for row in stream(corp_id):
        if row["seq"] > head["seq"] or not walker.feed(row["seq"], row["body"], row["hash"]):
            break
    verdict = walker.verdict(head["seq"], head["hash"])
    if verdict.sound and (head["last"] or 0) > head["seq"]:
        return Verification(walker.seq, head["seq"] + 1, "head")
    return verdict


async def latest(corp_id: str, *, before: int | None, limit: int) -> list[dict[str, Any]]:
    """Decoded lines, newest first, each with its `seq` and hex `hash`."""
    rows = await db.fetch(
        "select seq, body, hash from audit_line where corp_id = $1 and ($2::bigint is null or seq < $2)"
        " order by seq desc limit $3",
        corp_id,
        before,
        limit,
    )
    return [decoded(row) for row in rows]


def decoded(row: db.Row) -> dict[str, Any]:
    """One stored line as a dictionary."""
    return {"seq": row["seq"], "hash": row["hash"].hex(), **msgspec.json.decode(row["body"])}
