"""Stored callbacks, opened and turned into wishes to read again or clicks on cards: rows only, each with its effects in one
transaction.

A callback is opened here for the first time since it was proven, so what it names stands nowhere else. Its envelope is
emptied once it has been worked on; one that does not open (the keys were changed meanwhile) is kept for a week, for
whoever looks for the reason. The rows themselves are kept for a day, well beyond the window in which a repeat is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from tagwarden.corps.credentials import CONTACTS_APP, CUSTOMER_APP
from tagwarden.identity import accounts
from tagwarden.kernel import db
from tagwarden.kernel.sealing import SealBroken, Sealer
from tagwarden.sync import card_clicks, refresh
from tagwarden.sync.rereads import Rename, Reread, of_event
from tagwarden.wecom import callback
from tagwarden.wecom.envelope import CallbackKeys
from tagwarden.wecom.events import read_event

log = structlog.get_logger(__name__)
AT_ONCE = 100
KEPT = timedelta(days=1)
UNREADABLE_KEPT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Opened:
    """What one callback comes to: its event's name for the operator, what became of it, and what follows."""

    event: str | None
    outcome: str
    wishes: tuple[Reread, ...] = ()
    rename: Rename | None = None
    click: Mapping[str, str] | None = None


async def open_stored(sealer: Sealer, corp_id: str) -> int:
    """Opens what waits, oldest first; returns how many. A process killed in between has opened none of them."""
    keys = {app: await _keys(sealer, corp_id, app) for app in (CUSTOMER_APP, CONTACTS_APP)}
    async with db.transaction():
        rows = await db.fetch(
            "select id, app, envelope from wecom_callback where corp_id = $1 and processed_at is null order by id"
            " limit $2 for update skip locked",
            corp_id,
            AT_ONCE,
        )
        opened = [(row["id"], opened_one(row["app"], keys.get(row["app"]), bytes(row["envelope"]))) for row in rows]
        for callback_id, one in opened:
            if one.click is not None:
                await card_clicks.note(sealer, corp_id, callback_id, one.click)
            await refresh.want(corp_id, one.wishes)
            if one.rename is not None:
                await accounts.note_rename(corp_id, one.rename.old, one.rename.new, one.rename.sent_at)
        await _close(corp_id, [(callback_id, one.event, one.outcome) for callback_id, one in opened])
    return len(rows)


async def _keys(sealer: Sealer, corp_id: str, app: str) -> CallbackKeys | None:
    try:
        return await callback.keys_of(sealer, corp_id, app)
    except (callback.CallbackRefused, SealBroken):
        return None


def opened_one(app: str, keys: CallbackKeys | None, envelope: bytes) -> Opened:
    """One envelope; never raises: what cannot be read is told as that, and keeps no other from its turn."""
    if keys is None:
        return Opened(None, "unreadable")
    try:
        message = callback.reopen(keys, envelope)
    except callback.CallbackRefused:
        return Opened(None, "unreadable")
    event = read_event(message)
    if event is None:
        return Opened(None, "ignored")
    if event.name == card_clicks.EVENT and app == CUSTOMER_APP:  # cards are that app's alone
        return Opened(event.name, "noted", click=event.fields)
    wishes, rename = of_event(event)
    name = f"{event.name}.{event.change}" if event.change else event.name
    return Opened(name[:100], "noted" if wishes else "ignored", tuple(wishes), rename)


async def _close(corp_id: str, rows: list[tuple[object, str | None, str]]) -> None:
    await db.execute(
        "update wecom_callback w set processed_at = now(), event = s.event, outcome = s.outcome,"
        " envelope = case when s.outcome = 'unreadable' then w.envelope else '' end"
        " from unnest($2::uuid[], $3::text[], $4::text[]) as s (id, event, outcome) where w.corp_id = $1 and w.id = s.id",
        corp_id,
        *db.columns(rows, 3),
    )


async def drop_old(corp_id: str) -> None:
    """Forgets callbacks that were worked on, after their day; those that did not open after their week."""
    await db.execute(
        "delete from wecom_callback where corp_id = $1 and processed_at < now() - case when outcome = 'unreadable'"
        " then $3::interval else $2::interval end",
        corp_id,
        KEPT,
        UNREADABLE_KEPT,
    )
