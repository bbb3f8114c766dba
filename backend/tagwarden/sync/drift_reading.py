"""What a person sees of drift: every case, its follow named only where he may view the group on it. Reads only."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tagwarden.assignments.sight import Sight
from tagwarden.catalog import repository as catalog
from tagwarden.kernel import clock, db
from tagwarden.policy.model import Kind
from tagwarden.policy.service import Picture
from tagwarden.sync import drift_rows, passes, refresh
from tagwarden.sync.drift_model import OFTEN, OFTEN_IN_DAYS


async def cases(picture: Picture, actor: str, state: str | None, before: UUID | None, limit: int) -> list[dict[str, Any]]:
    """A page of cases, newest first."""
    rows = await drift_rows.page(picture.corp_id, state=state, before=before, limit=limit)
    sight = Sight(picture, actor, clock.now())
    hidden: dict[str, Any] = {"userid": None, "external_userid": None}
    return [
        row if sight.views(row["userid"], str(row["group_id"]), Kind(row["group_kind"])) else {**row, **hidden} for row in rows
    ]


async def standing(corp_id: str) -> tuple[dict[str, Any], dict[str, int], list[dict[str, Any]]]:
    """The brake, how many cases there are by what became of them, and the tags that are held back."""
    brake = await drift_rows.read_guard(corp_id)
    guard = {name: brake[name] for name in ("stopped_at", "reason", "waiting", "released_by", "released_until")}
    held = await catalog.held_back(corp_id)
    tags = await catalog.tags_by_id(corp_id, list(held))
    rows = [
        {"tag_id": tag.id, "tag": tag.name, "wecom_name": held[tag.id][0], "missing_since": held[tag.id][1]}
        for tag in sorted(tags.values(), key=lambda one: one.name)
    ]
    return {**guard, "stopped": guard["stopped_at"] is not None}, await drift_rows.counts(corp_id), rows


async def offenders(corp_id: str) -> list[db.Row]:
    """Owners whose edits were put back often."""
    return await drift_rows.offenders(corp_id, OFTEN, OFTEN_IN_DAYS)


async def reconciliation(corp_id: str, calls_a_night: int) -> dict[str, Any]:
    """Where the nightly reading stands, and about how many nights a whole pass takes."""
    found = await passes.standing(corp_id) or {}
    return {
        "calls_a_night": calls_a_night,
        "nights_a_pass": await passes.nights(corp_id, calls_a_night) if calls_a_night else None,
        "pass_began_at": found.get("began_at"),
        "last_pass_finished_at": found.get("finished_at"),
        "last_pass_nights": found.get("last_nights"),
        "last_pass_calls": found.get("last_calls"),
        "through": found.get("after_userid") or None,
    }


async def inbound(corp_id: str) -> dict[str, Any]:
    """What was reported and is not worked on yet."""
    return dict(await refresh.counts(corp_id))
