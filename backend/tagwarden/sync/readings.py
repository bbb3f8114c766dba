"""Every query over what a complete reading of some owners has shown, page by page, and what it has not.

A page is one row, so that a reading of a million follows writes to none that is as it was. The pages of a batch of owners
are gone when it is left behind; those of a run that was given up, when the next one ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id

# Set against set, for a join planned while there were few rows would compare each with each. What was read by itself
# meanwhile (an event, a change of ours) is asked of the few that are left.
_NOT_SHOWN = (
    "with left_out as materialized (select id from follow where corp_id = $1 and userid = any($2::text[]) and ended_at is null"
    " and since < $3 except select unnest(follow_ids) from reading_page where corp_id = $1 and run_id = $4)"
    " select o.id from left_out o left join follow_sync s on s.corp_id = $1 and s.follow_id = o.id"
    " where coalesce(s.seen_at, '-infinity') < $3 order by o.id"
)


async def note_page(corp_id: str, run_id: UUID, follow_ids: Sequence[UUID]) -> None:
    """Keeps which follows a page showed, in the page's transaction."""
    await db.execute(
        "insert into reading_page (corp_id, run_id, id, follow_ids) values ($1, $2, $3, $4)",
        corp_id,
        run_id,
        new_id(),
        list(follow_ids),
    )


async def not_shown(corp_id: str, run_id: UUID, userids: Sequence[str], since: datetime, limit: int | None = None) -> list[UUID]:
    """Open follows of these employees that the run has not shown, nor any other reading since then. New ones are left out."""
    rows = await db.fetch(f"{_NOT_SHOWN} limit $5", corp_id, list(userids), since, run_id, limit)
    return [row["id"] for row in rows]


async def count_not_shown(corp_id: str, run_id: UUID, userids: Sequence[str], since: datetime) -> tuple[int, int]:
    """How many these are, and of how many open follows of these employees."""
    missing = await db.fetch_value(f"select count(*) from ({_NOT_SHOWN}) m", corp_id, list(userids), since, run_id)
    of_all = await db.fetch_value(
        "select count(*) from follow where corp_id = $1 and userid = any($2::text[]) and ended_at is null and since < $3",
        corp_id,
        list(userids),
        since,
    )
    return int(missing), int(of_all)


async def forget_pages(corp_id: str, run_id: UUID) -> None:
    """Forgets the pages of a run, in the transaction in which their owners are left behind."""
    await db.execute("delete from reading_page where corp_id = $1 and run_id = $2", corp_id, run_id)


async def forget_ended(corp_id: str) -> None:
    """Forgets the pages of runs that nobody will go on with."""
    await db.execute(
        "delete from reading_page p using sync_run r where p.corp_id = $1 and r.corp_id = p.corp_id and r.id = p.run_id"
        " and r.state in ('done', 'failed')",
        corp_id,
    )
