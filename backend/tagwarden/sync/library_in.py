"""Taking in WeCom's tag library: groups, tags and names as they are there, marked where they break our rules.

Nothing here goes out to WeCom, and nothing of ours is overwritten that is protected or that a twin's name belongs to:
such cases are told as conflicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from tagwarden.catalog import library_rows, naming
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.model import Tag, TagGroup
from tagwarden.catalog.service import naming_rules
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import CorpState, Work
from tagwarden.customers import repository as customers
from tagwarden.kernel.ids import new_id
from tagwarden.policy.model import Kind
from tagwarden.sync import library_held, library_places, outbox, refresh, repository
from tagwarden.sync.refresh import Refresh

Seen = dict[str, Any]


@dataclass(slots=True)
class CatalogResult:
    groups_new: int = 0
    tags_new: int = 0
    renamed: int = 0
    marked: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    held_back: list[str] = field(default_factory=list)
    found_ours: int = 0
    groups_renamed: int = 0
    places_taken: int = 0
    places_put_back: int = 0


@command(Epoch.EXCLUSIVE)
async def mirror_catalog(
    work: Work, library: Sequence[Seen], read_at: datetime | None = None, claimed: Refresh | None = None
) -> CatalogResult:
    """Takes in WeCom's groups and tags as read after `read_at`; names that break our rules come in as they are, marked.

    `claimed`: the wish to read, which goes with what was read.
    """
    result = CatalogResult()
    ours = await catalog.all_tags(work.corp_id)
    ours_to_name = await outbox.named_by_us(work.corp_id, read_at)
    result.found_ours = len(await library_places.find_ours(work, library))
    result.groups_renamed = await library_places.rename_groups(work, library, ours_to_name, result.conflicts)
    groups = await catalog.groups(work.corp_id)
    for seen in library:
        group = await _group(work, seen, groups, result)
        if group is not None:
            await _tags(work, group, seen, ours, ours_to_name, result)
    seen_ids = {one["id"] for seen in library for one in seen.get("tag", ())}
    result.missing = [tag.name for tag in ours if tag.wecom_id and tag.wecom_id not in seen_ids]
    held = {tag.wecom_id for tag in await catalog.all_tags(work.corp_id)}
    await library_rows.note_kept_out(work.corp_id, sorted(seen_ids - held))
    await customers.drop_labels_of(work.corp_id, sorted(seen_ids))
    if work.corp.state is CorpState.LIVE and seen_ids:
        await library_held.hold_back(work, library, ours_to_name, read_at, result.held_back)
    notes = claimed.notes if claimed is not None else ()
    result.places_taken, result.places_put_back = await library_places.settle(work, library, read_at, notes)
    if claimed is not None:
        await refresh.settle(work.corp_id, claimed)
    counted: dict[str, Any] = {name: value if isinstance(value, int) else len(value) for name, value in asdict(result).items()}
    work.record("catalog.mirrored", f"corp:{work.corp_id}", **counted)
    return result


async def _group(work: Work, seen: Seen, groups: Sequence[TagGroup], result: CatalogResult) -> TagGroup | None:
    """Our group for WeCom's: known by its id, by its name where ours is not in WeCom yet, or new."""
    name = str(seen["group_name"])
    known = next((group for group in groups if group.wecom_id == seen["group_id"]), None)
    twin = next((group for group in groups if group.name == name), None)
    if known is not None or (twin is not None and twin.wecom_id is None):
        return known or twin
    if twin is not None:
        result.conflicts.append(name)
        return None
    row = _row(seen, name, seen["group_id"], result)
    await catalog.insert_group(work.corp_id, row)
    result.groups_new += 1
    return await catalog.group(work.corp_id, row["id"])


async def _tags(
    work: Work, group: TagGroup, seen: Seen, ours: Sequence[Tag], ours_to_name: set[UUID], result: CatalogResult
) -> None:
    """Renames first, so that a name that became free can be taken by a new tag; a name of ours on its way out stays."""
    known = {tag.wecom_id: tag for tag in ours if tag.wecom_id}
    theirs = {str(one["id"]): str(one["name"]) for one in seen.get("tag", ())}
    renames = [(known[wecom_id], name) for wecom_id, name in theirs.items() if wecom_id in known]
    inside = [tag for tag in ours if tag.group_id == group.id]
    renames = [(tag, name) for tag, name in renames if tag.name != name and tag.id not in ours_to_name]
    await _rename(work, group, renames, inside, result)
    by_name = {tag.name: tag for tag in await catalog.tags_of_group(work.corp_id, group.id)}
    for one in seen.get("tag", ()):
        if one["id"] not in known:
            await _new_tag(work, group, seen, one, by_name.get(str(one["name"])), result)


async def _new_tag(work: Work, group: TagGroup, seen: Seen, one: Seen, twin: Tag | None, result: CatalogResult) -> None:
    """A tag whose id we do not know: new, or ours whose id has not come back to us, or a twin that we keep out."""
    name = str(one["name"])
    if twin is None:
        row = _row(one, name, one["id"], result)
        await catalog.insert_tag(work.corp_id, {**row, "group_id": group.id})
        result.tags_new += 1
    elif twin.wecom_id is None:
        ours = one.get("create_time") is not None and one.get("create_time") == seen.get("create_time")
        await catalog.set_wecom_ids(work.corp_id, twin.id, one["id"], group.id, seen["group_id"], group_ours=ours)
        await repository.wake_carriers(work.corp_id, twin.id)
    else:
        result.conflicts.append(f"{group.name}/{name}")


async def _rename(
    work: Work, group: TagGroup, renames: Sequence[tuple[Tag, str]], inside: Sequence[Tag], result: CatalogResult
) -> None:
    """Takes over names given inside WeCom, but neither a value tag's once live nor one that another tag of ours has.

    What becomes of a value tag's new name is for `library_held.py`.
    """
    protected = group.kind is Kind.VALUE and work.corp.state is CorpState.LIVE
    staying = {tag.name for tag in inside} - (set() if protected else {tag.name for tag, _ in renames})
    taken = [(tag, name) for tag, name in renames if not protected and name not in staying]
    result.conflicts += [f"{tag.name} → {name}" for tag, name in renames if (tag, name) not in taken]
    for tag, _ in taken:  # two tags may have changed names with each other
        await catalog.rename_as_wecom(work.corp_id, tag.id, str(tag.wecom_id))
    for tag, name in taken:
        await catalog.rename_as_wecom(work.corp_id, tag.id, name, marked=naming.breaks_rules(name, naming_rules()))
    result.renamed += len(taken)


def _row(seen: Seen, name: str, wecom_id: str, result: CatalogResult) -> dict[str, Any]:
    marked = naming.breaks_rules(name, naming_rules())
    if marked:
        result.marked.append(name)
    return {"id": new_id(), "name": name, "sort": seen.get("order", 0), "wecom_id": wecom_id, "name_marked": marked}
