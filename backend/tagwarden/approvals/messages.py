"""What people are told about requests: rows, written with the fact they tell. Pages and cards draw from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from uuid import UUID

from tagwarden.approvals.model import Approval
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import Work
from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id


class Told(StrEnum):
    """What somebody is told."""

    TO_SIGN = "to_sign"
    REMINDED = "reminded"
    ESCALATED = "escalated"
    EDITED = "edited"
    SIGNED = "signed"
    APPLIED = "applied"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    STALE = "stale"
    DRIFT_STOPPED = "drift_stopped"
    DRIFT_REPEATED = "drift_repeated"
    TAG_HELD_BACK = "tag_held_back"
    CREDENTIALS_CHECKED = "credentials_checked"
    CREDENTIALS_REFUSED = "credentials_refused"


async def tell(work: Work, approval: Approval, event: Told, userids: Iterable[str], reason: str | None = None) -> None:
    """Tells each person once, inside the caller's transaction."""
    rows = [(new_id(), userid) for userid in sorted(set(userids))]
    if not rows:
        return
    await db.execute(
        "insert into notification (corp_id, id, userid, event, approval_id, reason, created_at)"
        " select $1, i, u, $4, $5, $6, $7 from unnest($2::uuid[], $3::text[]) as t (i, u)",
        work.corp_id,
        *db.columns(rows, 2),
        event.value,
        approval.id,
        reason,
        work.now,
    )


async def tell_of(work: Work, event: Told, userids: Iterable[str], subject: str, reason: str | None = None) -> None:
    """Tells each person once of something that is no request, inside the caller's transaction."""
    rows = [(new_id(), userid) for userid in sorted(set(userids))]
    await db.execute(
        "insert into notification (corp_id, id, userid, event, subject, reason, created_at)"
        " select $1, i, u, $4, $5, $6, $7 from unnest($2::uuid[], $3::text[]) as t (i, u)",
        work.corp_id,
        *db.columns(rows, 2),
        event.value,
        subject,
        reason,
        work.now,
    )


async def page(corp_id: str, userid: str, *, unread: bool, before: UUID | None, limit: int) -> list[db.Row]:
    """What one person was told, newest first."""
    return await db.fetch(
        "select n.id, n.event, n.approval_id, a.kind, a.state, a.about_userid, a.about_customer, n.subject, n.reason,"
        " n.created_at, n.read_at"
        " from notification n left join approval a on a.corp_id = n.corp_id and a.id = n.approval_id"
        " where n.corp_id = $1 and n.userid = $2 and (not $3 or n.read_at is null) and ($4::uuid is null or n.id < $4)"
        " order by n.id desc limit $5",
        corp_id,
        userid,
        unread,
        before,
        limit,
    )


@command(Epoch.SHARED)
async def mark_read(work: Work, ids: Sequence[UUID]) -> int:
    """Marks the caller's own notifications as read; returns how many were new."""
    rows = await db.fetch(
        "update notification set read_at = $4 where corp_id = $1 and userid = $2 and id = any($3::uuid[]) and read_at is null"
        " returning id",
        work.corp_id,
        work.caller.userid,
        list(ids),
        work.now,
    )
    return len(rows)
