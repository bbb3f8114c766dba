"""What a moved or merged tag takes along: every mark of the old tag becomes one of the new, in one transaction.

Used by the use cases of `library.py` and, where two people had to sign, by its applier; what is touched is locked by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tagwarden.assignments import repository
from tagwarden.assignments.events import TagsChanged
from tagwarden.assignments.model import Held, end_of_month
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.model import Choice, Tag, TagGroup
from tagwarden.catalog.service import write_new_tag
from tagwarden.corps.model import Work
from tagwarden.customers import repository as customers
from tagwarden.kernel import clock
from tagwarden.kernel.events import publish
from tagwarden.policy.model import Kind

CHUNK = 500


@dataclass(frozen=True, slots=True)
class Migration:
    """What becomes of the marks of one tag. `target` is an existing tag, or the new one in `group`."""

    source: Tag
    source_group: TagGroup
    target_id: UUID
    target_group: TagGroup
    name: str | None
    """The new tag's name; None when the target exists."""


def migration_payload(migration: Migration, marks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What an approval of a migration holds: ids, and the new tag's name."""
    return {
        "tag_id": str(migration.source.id),
        "target_id": str(migration.target_id),
        "group_id": str(migration.target_group.id),
        "name": migration.name,
        "marks": sorted(str(mark["id"]) for mark in marks),
        "follows": sorted(str(mark["follow_id"]) for mark in marks),
    }


@dataclass(frozen=True, slots=True)
class Swap:
    """What one follow loses and whether it gains the target."""

    follow_id: UUID
    removes: tuple[UUID, ...]
    adds: bool


async def _swaps(corp_id: str, migration: Migration, follow_ids: Sequence[UUID]) -> list[Swap]:
    held = await repository.held_by_follows(corp_id, follow_ids)
    return [swap_of(migration, follow_id, held[follow_id]) for follow_id in follow_ids]


def swap_of(migration: Migration, follow_id: UUID, held: Sequence[Held]) -> Swap:
    """What a follow loses: the old tag and, in a single-choice group, whatever else it carried there. Pure."""
    removes = [migration.source.id]
    if migration.target_group.choice is Choice.SINGLE:
        gone = (migration.source.id, migration.target_id)
        removes += [one.tag_id for one in held if one.group_id == migration.target_group.id and one.tag_id not in gone]
    return Swap(follow_id, tuple(removes), all(one.tag_id != migration.target_id for one in held))


async def migration_effects(corp_id: str, migration: Migration, follow_ids: Sequence[UUID]) -> tuple[str, ...]:
    """The effect keys of a migration, as the database forms them: marks of value groups, and the retirement."""
    keys = []
    from_value, to_value = (group.kind is Kind.VALUE for group in (migration.source_group, migration.target_group))
    for swap in await _swaps(corp_id, migration, follow_ids):
        if from_value:
            keys.append(f"assign:{swap.follow_id}:{migration.source.id}:remove")
        if to_value:
            keys += [f"assign:{swap.follow_id}:{tag_id}:remove" for tag_id in swap.removes if tag_id != migration.source.id]
            keys += [f"assign:{swap.follow_id}:{migration.target_id}:add"] if swap.adds else []
    if from_value and not migration.source.retired:
        keys.append(f"tag:{migration.source.id}:retire")
    return tuple(dict.fromkeys(keys))


async def migrate(work: Work, migration: Migration, follow_ids: Sequence[UUID], *, approval_id: UUID | None) -> int:
    """Carries every mark over and retires the old tag, inside the caller's command; returns how many follows."""
    if migration.name is not None:
        row = {"id": migration.target_id, "group_id": migration.target_group.id, "name": migration.name}
        kept = {name: getattr(migration.source, name) for name in ("meaning", "service_process", "ends_on", "sort")}
        await write_new_tag(work, {**row, **kept})
    for start in range(0, len(follow_ids), CHUNK):
        await _migrate_chunk(work, migration, follow_ids[start : start + CHUNK], approval_id)
    await _retire(work, migration.source)
    return len(follow_ids)


async def _migrate_chunk(work: Work, migration: Migration, follow_ids: Sequence[UUID], approval_id: UUID | None) -> None:
    await customers.lock_follows(work.corp_id, list(follow_ids))
    work.now = clock.now()
    swaps = await _swaps(work.corp_id, migration, follow_ids)
    lost = [(swap.follow_id, tag_id) for swap in swaps for tag_id in swap.removes]
    from_value, to_value = (group.kind is Kind.VALUE for group in (migration.source_group, migration.target_group))
    source = "approval" if approval_id else "manual"
    actor = work.caller.userid
    await repository.end_marks(work.corp_id, lost, source=source, actor=actor, at=work.now, approval_id=approval_id)
    until = end_of_month(work.now, work.corp.time_zone) if migration.target_group.kind is Kind.TEMPORARY else None
    gained = [(swap.follow_id, migration.target_id, until) for swap in swaps if swap.adds]
    backing = approval_id if to_value or from_value else None
    await repository.start(work.corp_id, gained, source=source, actor=work.caller.userid, since=work.now, approval_id=backing)
    for follow_id in follow_ids:
        await publish(TagsChanged(work.corp_id, follow_id, bulk=True))
    work.record(
        "marks.moved",
        f"tag:{migration.source.id}",
        {"row": f"approval:{approval_id}" if approval_id else None, "epoch": work.epoch},
        target=str(migration.target_id),
        follows=sorted(str(follow_id) for follow_id in follow_ids),
    )


async def _retire(work: Work, tag: Tag) -> None:
    if tag.retired:
        return
    await catalog.retire(work.corp_id, tag.id)
    work.record("tag.changed", f"tag:{tag.id}", None, renamed=False, retired=True, version=tag.version + 1)
