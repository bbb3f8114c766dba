"""What a caller may see of customers and their tags. Each list returns exactly what single checks would allow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tagwarden.assignments import queries
from tagwarden.assignments.model import CustomerHidden
from tagwarden.catalog import repository as catalog
from tagwarden.customers import repository as customers
from tagwarden.customers.model import CustomerUnknown, Follow
from tagwarden.identity.model import RoleName
from tagwarden.kernel.errors import Invalid
from tagwarden.policy.model import Action, Relation
from tagwarden.policy.service import Picture

LONGEST_HISTORY = 5_000


class MomentWithoutZone(Invalid):
    code = "moment_without_zone"
    zh = "时间须带时区，例如 2026-01-01T00:00:00Z"
    en = "A moment names its zone, for example 2026-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class CustomerFilter:
    owner: str | None = None
    department: int | None = None
    tags: tuple[UUID, ...] = ()
    not_tags: tuple[UUID, ...] = ()
    text: str | None = None


async def relations_seen(picture: Picture, actor: str) -> frozenset[Relation]:
    """To whose customers the actor's view reaches at all: by any group, his own always, subordinates' as a leader."""
    employee = picture.directory.employee(actor)
    seen = {Relation.OWN}
    if employee.holds(RoleName.MANAGER, RoleName.SUPERVISOR):
        seen.add(Relation.SUBORDINATE)
    groups = await catalog.groups(picture.corp_id)
    for relation in Relation:
        if any(picture.may(actor, str(group.id), group.kind, Action.VIEW, relation) for group in groups):
            seen.add(relation)
    return frozenset(seen)


async def visible_owners(picture: Picture, actor: str) -> list[str] | None:
    """Owners whose customers the actor sees; None means everybody's."""
    seen = await relations_seen(picture, actor)
    if Relation.NONE in seen:
        return None
    return [owner for owner in picture.directory.employees if picture.relation(actor, owner) in seen]


async def list_customers(
    picture: Picture, actor: str, wanted: CustomerFilter, after: str | None, limit: int
) -> list[dict[str, Any]]:
    """A page of customers the actor sees; filters by tags of groups he may not view find nothing."""
    owners = await visible_owners(picture, actor)
    if wanted.owner is not None:
        owners = [wanted.owner] if owners is None or wanted.owner in owners else []
    if wanted.department is not None:
        inside = [
            one.userid
            for one in picture.directory.employees.values()
            if any(wanted.department in picture.directory.line(home) for home in one.departments)
        ]
        owners = inside if owners is None else [owner for owner in owners if owner in set(inside)]
    owners = await _owners_by_tag_view(picture, actor, owners, (*wanted.tags, *wanted.not_tags))
    return await queries.customers_page(
        picture.corp_id,
        owners=owners,
        with_tags=wanted.tags,
        without_tags=wanted.not_tags,
        text=wanted.text,
        after=after,
        limit=limit,
    )


async def _owners_by_tag_view(
    picture: Picture, actor: str, owners: list[str] | None, tag_ids: tuple[UUID, ...]
) -> list[str] | None:
    """Narrows owners to those on whose follows every filtered tag's group may be viewed: a filter must not leak."""
    if not tag_ids:
        return owners
    tags = await catalog.tags_by_id(picture.corp_id, list(tag_ids))
    groups = await catalog.groups_by_id(picture.corp_id, list({tag.group_id for tag in tags.values()}))
    if len(tags) < len(set(tag_ids)):
        return []
    allowed = {
        relation
        for relation in Relation
        if all(picture.may(actor, str(group.id), group.kind, Action.VIEW, relation) for group in groups.values())
    }
    if Relation.NONE in allowed and owners is None:
        return None
    everybody = list(picture.directory.employees) if owners is None else owners
    return [owner for owner in everybody if picture.relation(actor, owner) in allowed]


async def visible_follows(picture: Picture, actor: str, external_userid: str) -> list[Follow]:
    """Open follows of a customer that the actor sees; CustomerUnknown or CustomerHidden when there are none."""
    follows = await customers.open_follows(picture.corp_id, external_userid)
    if not follows:
        raise CustomerUnknown()
    seen = await relations_seen(picture, actor)
    visible = [follow for follow in follows if Relation.NONE in seen or picture.relation(actor, follow.userid) in seen]
    if not visible:
        raise CustomerHidden()
    return visible


async def customer_tags(picture: Picture, actor: str, external_userid: str) -> list[dict[str, Any]]:
    """Per visible follow: the tags of the groups the actor may view on it."""
    follows = await visible_follows(picture, actor, external_userid)
    rows = await queries.tags_of_follows(picture.corp_id, [follow.id for follow in follows])
    answer = []
    for follow in follows:
        relation = picture.relation(actor, follow.userid)
        tags = [
            row
            for row in rows
            if row["follow_id"] == follow.id and picture.may(actor, str(row["group_id"]), row["kind"], Action.VIEW, relation)
        ]
        answer.append({"follow_userid": follow.userid, "since": follow.since, "tags": tags})
    return answer


async def customer_history(
    picture: Picture, actor: str, external_userid: str, as_of: datetime | None, limit: int
) -> list[dict[str, Any]]:
    """Assignments then and now, of the groups and follows the actor may view."""
    if as_of is not None and as_of.tzinfo is None:
        raise MomentWithoutZone()
    await visible_follows(picture, actor, external_userid)
    rows = await queries.history(picture.corp_id, external_userid, as_of, LONGEST_HISTORY)
    seen = [
        row
        for row in rows
        if picture.may(actor, str(row["group_id"]), row["kind"], Action.VIEW, picture.relation(actor, row["userid"]))
    ]
    return seen[:limit]
