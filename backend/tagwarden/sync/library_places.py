"""Places in the tag library: ours are put back where they were decided, others' are taken over as WeCom shows them.

Whoever made a group or a tag gives it its place and name; WeCom lets nobody else edit it through the API. Nothing is sent
where nothing differs, and a place that WeCom does not keep is not sent for ever (`outbox.put_back`). Which groups are ours
is told by WeCom where it can be: a group as old as one of our tags in it was made with that tag.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from tagwarden.catalog import library_rows, naming
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.model import Tag, TagGroup
from tagwarden.catalog.service import naming_rules
from tagwarden.corps.model import CorpState, Work
from tagwarden.policy.model import Kind
from tagwarden.sync import outbox
from tagwarden.sync.model import order_of
from tagwarden.sync.outbox import Piece

Seen = dict[str, Any]
SHUFFLE = "shuffle"


async def find_ours(work: Work, library: Sequence[Seen]) -> list[UUID]:
    """Groups that count as another's and of which WeCom shows that they were made together with a tag of ours."""
    groups = {group.wecom_id: group for group in await catalog.groups(work.corp_id) if group.foreign}
    ours = {tag.wecom_id for tag in await catalog.all_tags(work.corp_id) if tag.made_by_us}
    not_theirs = await library_rows.disowned_groups(work.corp_id)
    found = [
        groups[seen["group_id"]].id
        for seen in library
        if seen["group_id"] in groups and groups[seen["group_id"]].id not in not_theirs and _made_with(seen, ours)
    ]
    if found:
        await library_rows.made_here(work.corp_id, found)
    for group_id in found:
        work.record("tag_group.found_ours", f"tag_group:{group_id}")
    return found


def _made_with(seen: Seen, ours: set[str | None]) -> bool:
    born = seen.get("create_time")
    return bool(born) and any(one.get("create_time") == born and one["id"] in ours for one in seen.get("tag", ()))


async def rename_groups(work: Work, library: Sequence[Seen], by_us: set[UUID], conflicts: list[str]) -> int:
    """Groups renamed inside WeCom: the new name is taken over unless one here has it; a value group of ours gets its own back."""
    groups = await catalog.groups(work.corp_id)
    names = {seen["group_id"]: str(seen["group_name"]) for seen in library}
    differing = [
        (group, name)
        for group in groups
        if (name := names.get(group.wecom_id)) is not None and name != group.name and group.id not in by_us
    ]
    live = work.corp.state is CorpState.LIVE
    back = [group for group, _ in differing if group.made_by_us and group.kind is Kind.VALUE and live]
    for group in back:
        await outbox.mark_group_dirty(work.corp_id, group.id)
        work.record("tag_group.renamed_back", f"tag_group:{group.id}")
    theirs = [(group, name) for group, name in differing if group not in back]
    staying = {group.name for group in groups} - {group.name for group, _ in theirs}
    conflicts += [f"{group.name} → {name}" for group, name in theirs if name in staying]
    taken = [(group.id, name, naming.breaks_rules(name, naming_rules())) for group, name in theirs if name not in staying]
    if taken:
        await library_rows.rename_groups(work.corp_id, taken)
    for group_id, _, _ in taken:
        work.record("tag_group.renamed_in_wecom", f"tag_group:{group_id}")
    return len(taken)


async def settle(
    work: Work, library: Sequence[Seen], read_at: datetime | None, notes: Sequence[dict[str, Any]]
) -> tuple[int, int]:
    """Brings places into line; how many were taken over, and how many are on their way back."""
    by_us = await outbox.named_by_us(work.corp_id, read_at)
    told = any(note.get("change") == SHUFFLE for note in notes)
    tags = {tag.wecom_id: tag for tag in await catalog.all_tags(work.corp_id) if tag.id not in by_us}
    groups = {group.wecom_id: group for group in await catalog.groups(work.corp_id) if group.id not in by_us}
    shown_tags = [(tags[one["id"]], one) for seen in library for one in seen.get("tag", ()) if one["id"] in tags]
    shown_groups = [(groups[seen["group_id"]], seen) for seen in library if seen["group_id"] in groups]
    of_tags = await _settle(work, Piece.TAG, shown_tags, told)
    of_groups = await _settle(work, Piece.GROUP, shown_groups, told)
    return of_tags[0] + of_groups[0], of_tags[1] + of_groups[1]


async def _settle(
    work: Work, piece: Piece, shown: Sequence[tuple[Tag, Seen] | tuple[TagGroup, Seen]], told: bool
) -> tuple[int, int]:
    placed = [(row, seen["order"]) for row, seen in shown if isinstance(seen.get("order"), int)]
    ours = {row.id: order_of(row.sort) == order for row, order in placed if not row.foreign}
    theirs = [(row.id, order) for row, order in placed if row.foreign and order_of(row.sort) != order]
    if theirs:
        await library_rows.take_places(work.corp_id, "tag" if piece is Piece.TAG else "tag_group", theirs)
    await outbox.in_place(work.corp_id, piece, [id_ for id_, right in ours.items() if right])
    elsewhere = [id_ for id_, right in ours.items() if not right]
    back = await outbox.put_back(work.corp_id, piece, elsewhere, told_anew=told) if elsewhere else []
    return len(theirs), len(back)
