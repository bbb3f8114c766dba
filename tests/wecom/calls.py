"""The ledger's rows as tests of the client look at them."""

from __future__ import annotations

from uuid import UUID

from tagwarden.kernel import db
from tagwarden.wecom.ledger import in_english
from tagwarden.wecom.model import verdict


async def page(corp_id: str, limit: int, before_id: UUID | None = None) -> list[db.Row]:
    """The newest calls of a corp older than `before_id`, each with its words in both languages."""
    rows = await db.fetch(
        "select * from wecom_call where corp_id = $1 and ($3::uuid is null or id < $3) order by id desc limit $2",
        corp_id,
        limit,
        before_id,
    )
    for row in rows:
        row["words_zh"] = row.pop("message")
        row["words_en"] = verdict(row["code"]).words_en if row["code"] else in_english(row["words_zh"])
    return rows
