"""Refusals are recorded too, and outlive the rollback they cause.

One user must not flood the chain: the first refusal of a kind in a minute is a line, its repetitions are counted and
become one more line when the minute is over (`flush`). If a refusal cannot be recorded, the caller gets 503.
"""

from __future__ import annotations

import hashlib
from typing import Any

import asyncpg
import msgspec

from tagwarden.audit import service as audit
from tagwarden.audit.model import Entry
from tagwarden.corps.model import Caller
from tagwarden.kernel import clock, db
from tagwarden.kernel.errors import Refused, Unavailable

ATTEMPTS = 8
AGAIN = (asyncpg.exceptions.SerializationError, asyncpg.exceptions.DeadlockDetectedError)
"""What the database ends a transaction with that only got in another's way: it begins again."""


class RefusalUnrecorded(Unavailable):
    code = "refusal_unrecorded"
    zh = "操作被拒绝，但审计记录无法写入，请稍后再试"
    en = "Refused, and the refusal could not be recorded; try again later"


SYSTEM = {"userid": "", "issuer": "tagwarden"}


async def record(caller: Caller, use_case: str, refusal: Refused) -> None:
    """Writes or counts one refusal, in a transaction of its own."""
    code = refusal.code.format_map(refusal.facts) if "{" in refusal.code else refusal.code
    sample: dict[str, Any] = {"use_case": use_case, "code": code, **(refusal.audit or {})}
    actor = caller.as_actor()
    key = hashlib.sha256(msgspec.json.encode([actor, sample], order="sorted")).hexdigest()
    for _ in range(ATTEMPTS):
        try:
            return await _write(caller, actor, key, sample)
        except AGAIN:
            continue
        except (asyncpg.PostgresError, db.DatabaseUnavailable) as error:
            raise RefusalUnrecorded() from error
    raise RefusalUnrecorded()


async def _write(caller: Caller, actor: dict[str, Any], key: str, sample: dict[str, Any]) -> None:
    moment = clock.now()
    use_case = sample["use_case"]
    async with db.transaction():
        first = await db.fetch_value(
            "insert into refusal_tally (corp_id, key, minute, sample) values ($1, $2, date_trunc('minute', $3::timestamptz), $4)"
            " on conflict (corp_id, key, minute) do update set repeated = refusal_tally.repeated + 1"
            " returning repeated = 0",
            caller.corp_id,
            key,
            moment,
            msgspec.json.encode({"actor": actor, "sample": sample}).decode(),
        )
        if first:
            entry = Entry("refused", str(sample.get("object", use_case)), sample)
            line = audit.canonical(caller.corp_id, actor, caller.request_id, moment, entry)
            await audit.close(caller.corp_id, [line], bumped=False)


async def flush(corp_id: str) -> int:
    """Turns the counts of minutes that are over into one line each; returns how many lines."""
    moment = clock.now()
    async with db.transaction():
        rows = await db.fetch(
            "delete from refusal_tally where corp_id = $1 and minute < date_trunc('minute', $2::timestamptz)"
            " returning minute, repeated, sample",
            corp_id,
            moment,
        )
        lines = []
        for row in rows:
            if row["repeated"] == 0:
                continue
            kept = msgspec.json.decode(row["sample"])
            detail = {**kept["sample"], "repeated": row["repeated"], "minute": clock.iso(row["minute"])}
            entry = Entry("refused_again", str(detail.get("object", "")), detail)
            lines.append(audit.canonical(corp_id, kept["actor"], "", moment, entry))
        await audit.close(corp_id, lines, bumped=False)
        return len(lines)
