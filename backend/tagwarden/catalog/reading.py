"""What a caller may see of the library: groups of which anything is open to him. Reads only."""

from __future__ import annotations

from uuid import UUID

from tagwarden.catalog import repository, service
from tagwarden.catalog.model import GroupUnknown, Tag, TagGroup, TagUnknown
from tagwarden.policy.model import Action, Kind
from tagwarden.policy.service import Picture

Shown = tuple[TagGroup, list[Tag], list[str]]
"""A group, its tags, and what is open to the caller on it."""


def open_actions(picture: Picture, userid: str, group_id: UUID, kind: Kind) -> list[str]:
    """What is open to the caller on a group at all."""
    return [action.value for action in Action if picture.may(userid, str(group_id), kind, action, None)]


async def library(picture: Picture, userid: str, kind: Kind | None = None, marked: bool | None = None) -> list[Shown]:
    """Groups that are open to the caller in any way, of one kind, with or without names that break our rules."""
    shown = []
    for group, tags in await service.library(picture.corp_id):
        if kind is not None and group.kind is not kind:
            continue
        if marked is not None and marked is not (group.name_marked or any(tag.name_marked for tag in tags)):
            continue
        if actions := open_actions(picture, userid, group.id, group.kind):
            shown.append((group, tags, actions))
    return shown


async def group(picture: Picture, userid: str, group_id: UUID) -> TagGroup:
    """One group; GroupUnknown where nothing of it is open to the caller."""
    found = await repository.group(picture.corp_id, group_id)
    if found is None or not open_actions(picture, userid, found.id, found.kind):
        raise GroupUnknown()
    return found


async def tag(picture: Picture, userid: str, tag_id: UUID) -> tuple[Tag, TagGroup]:
    """One tag and its group; TagUnknown where nothing of the group is open to the caller."""
    found = await repository.tag(picture.corp_id, tag_id)
    group_of_it = await repository.group(picture.corp_id, found.group_id) if found else None
    if found is None or group_of_it is None or not open_actions(picture, userid, group_of_it.id, group_of_it.kind):
        raise TagUnknown()
    return found, group_of_it
