"""Recorded decisions of the last days, asked again: which would have come out differently?

It reads the audit chain from its end backwards. A line says who, on which follow, and which tags; how he stands to the
follow is looked at as the organisation is today. What a line does not say (the note of a screen, a question without
doing) is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tagwarden.audit import service as audit
from tagwarden.catalog import repository as catalog
from tagwarden.customers import repository as customers
from tagwarden.kernel import clock
from tagwarden.policy.model import Action
from tagwarden.policy.service import Picture

LINES_AT_MOST = 20_000
PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Recorded:
    """One decision as a line keeps it: allowed, or refused; of a change of tags on a follow."""

    seq: int
    at: str
    actor: str
    follow_id: str
    tag_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reversal:
    """A decision that would come out differently; `step` where it would be refused."""

    seq: int
    at: str
    actor: str
    group_id: str
    allowed_before: bool
    step: str | None


@dataclass(frozen=True, slots=True)
class Past:
    """`complete` false: more lines than were looked at; `since` then is the oldest that was."""

    looked_at: int
    since: str
    complete: bool
    reversals: tuple[Reversal, ...]


async def reversals(before: Picture, after: Picture, since: datetime) -> Past:
    """Every recorded decision since then that the two pictures answer differently, newest first."""
    lines, complete = await _lines(before.corp_id, since)
    recorded = [one for line in lines if (one := recorded_in(line)) is not None]
    owners = await customers.owners_of_follows(before.corp_id, [UUID(each.follow_id) for each in recorded])
    groups = await _groups_of(before.corp_id, recorded)
    reversed_ = [change for each in recorded for change in _compared(before, after, each, owners, groups)]
    oldest = lines[-1]["at"] if lines and not complete else since.isoformat()
    return Past(len(recorded), oldest, complete, tuple(reversed_))


async def _lines(corp_id: str, since: datetime) -> tuple[list[dict[str, Any]], bool]:
    found: list[dict[str, Any]] = []
    before: int | None = None
    while len(found) < LINES_AT_MOST:
        page = await audit.latest(corp_id, before=before, limit=PAGE)
        inside = [line for line in page if datetime.fromisoformat(line["at"]) >= since]
        found += inside
        if len(inside) < len(page) or len(page) < PAGE:
            return found, True
        before = page[-1]["seq"]
    return found, False


def recorded_in(line: Mapping[str, Any]) -> Recorded | None:
    """The decision about tags that a line keeps, or None. Pure."""
    kind, _, follow_id = line["object"].partition(":")
    if kind != "follow":
        return None
    detail = line["detail"]
    if line["action"] == "tags.changed":
        tags = (*detail["add"], *detail["remove"])
    elif line["action"] == "refused" and detail.get("use_case") == "change_tags":
        tags = tuple(detail.get("tags", ()))
    else:
        return None
    return Recorded(line["seq"], line["at"], line["actor"]["userid"], follow_id, tags)


async def _groups_of(corp_id: str, recorded: Sequence[Recorded]) -> dict[str, str]:
    named = {UUID(tag_id) for one in recorded for tag_id in one.tag_ids}
    return {str(tag.id): str(tag.group_id) for tag in (await catalog.tags_by_id(corp_id, list(named))).values()}


def _compared(
    before: Picture, after: Picture, one: Recorded, owners: Mapping[UUID, str], groups: Mapping[str, str]
) -> list[Reversal]:
    owner, actor = owners.get(UUID(one.follow_id)), before.directory.known(one.actor)
    if owner is None or actor is None or not actor.active:
        return []
    found, now = [], clock.now()
    for group_id in dict.fromkeys(groups[tag_id] for tag_id in one.tag_ids if tag_id in groups):
        group = before.groups.get(group_id)
        if group is None:
            continue
        relation = before.relation(one.actor, owner, group_id, now)
        was = before.decide(one.actor, group_id, group.kind, Action.USE, relation)
        will_be = after.decide(one.actor, group_id, group.kind, Action.USE, relation)
        if was.allowed != will_be.allowed:
            step = will_be.step.value if will_be.step else None
            found.append(Reversal(one.seq, one.at, one.actor, group_id, was.allowed, step))
    return found
