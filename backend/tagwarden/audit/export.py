"""The chain as files: JSON Lines as stored, or a table for a spreadsheet. Streams; a long chain never stands in memory."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable
from enum import StrEnum
from typing import Any

import msgspec

from tagwarden.audit.service import decoded, stream

COLUMNS = (
    "seq",
    "at",
    "action",
    "object",
    "userid",
    "act",
    "issuer",
    "row",
    "revision",
    "epoch",
    "request_id",
    "detail",
    "hash",
)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Also in full width, which a Chinese spreadsheet takes for the same."""
CHUNK = 500


class Format(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"


MEDIA_TYPES = {Format.JSONL: "application/jsonl", Format.CSV: "text/csv"}


async def export(corp_id: str, form: Format) -> AsyncIterator[str]:
    """Every line, oldest first, some hundred at a time; CSV begins with its header (RFC 4180)."""
    if form is Format.CSV:
        yield table_row(COLUMNS)
    write = _as_csv if form is Format.CSV else _as_json
    chunk: list[str] = []
    async for row in stream(corp_id):
        chunk.append(write(decoded(row)))
        if len(chunk) == CHUNK:
            yield "".join(chunk)
            chunk.clear()
    yield "".join(chunk)


def _as_json(line: dict[str, Any]) -> str:
    return msgspec.json.encode(line).decode() + "\n"


def _as_csv(line: dict[str, Any]) -> str:
    actor, decision = line["actor"], line.get("decision") or {}
    row = decision.get("row")
    values = {
        **line,
        "userid": actor.get("userid", ""),
        "act": actor.get("act", ""),
        "issuer": actor.get("issuer", ""),
        "row": " ".join(row) if isinstance(row, list) else row or "",
        "revision": decision.get("revision", ""),
        "epoch": decision.get("epoch", ""),
        "detail": msgspec.json.encode(line["detail"]).decode(),
    }
    return table_row(tuple(values[name] for name in COLUMNS))


def table_row(values: tuple[Any, ...]) -> str:
    """One row; a cell that a spreadsheet would take for a formula begins with an apostrophe."""
    return table_rows((values,))


def table_rows(rows: Iterable[tuple[Any, ...]]) -> str:
    """The same of several rows."""
    out = io.StringIO()
    writer = csv.writer(out)
    for values in rows:
        writer.writerow([f"'{text}" if (text := str(value)).startswith(FORMULA_STARTS) else text for value in values])
    return out.getvalue()
