"""Every query over clicks on cards: kept when their callback is opened, looked at once."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from tagwarden.kernel import db, notices
from tagwarden.sync.model import DIRTY


@dataclass(frozen=True, slots=True)
class Click:
    """What WeCom says of a click (path/90240), as far as any of it is used; `id` is its callback's."""

    id: UUID
    userid: str
    task_id: str
    key: str
    agent_id: str
    response_code: bytes | None


async def note_click(corp_id: str, click: Click) -> None:
    """Keeps a click, in the transaction that opened its callback."""
    await db.execute(
        "insert into card_click (corp_id, id, userid, task_id, key, agent_id, response_code) values ($1, $2, $3, $4, $5, $6, $7)"
        " on conflict (id) do nothing",
        corp_id,
        click.id,
        click.userid,
        click.task_id,
        click.key,
        click.agent_id,
        click.response_code,
    )
    await notices.tell(DIRTY, corp_id)


async def claim_click(corp_id: str) -> Click | None:
    """Leases the oldest click nobody has looked at; a worker killed over it leaves it to the next."""
    row = await db.fetch_one(
        "with picked as (select id from card_click where corp_id = $1 and handled_at is null"
        " and coalesce(leased_until, '-infinity') < now() order by id limit 1 for update skip locked)"
        " update card_click c set leased_until = now() + interval '30 seconds' from picked"
        " where c.corp_id = $1 and c.id = picked.id returning c.id, c.userid, c.task_id, c.key, c.agent_id, c.response_code",
        corp_id,
    )
    return Click(**row) if row else None


async def settle_click(corp_id: str, click_id: UUID, outcome: str) -> None:
    """The click was looked at; its response code is the card's now, or nobody's."""
    await db.execute(
        "update card_click set handled_at = now(), outcome = $3, response_code = null where corp_id = $1 and id = $2",
        corp_id,
        click_id,
        outcome,
    )
