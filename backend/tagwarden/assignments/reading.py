"""What a caller may see of customers and their tags. Each list returns exactly what single checks would allow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tagwarden.assignments import queries
from tagwarden.assignments.model import CustomerHidden
from tagwarden.assignments.sight import Sight
from tagwarden.catalog import repository as catalog
from tagwarden.customers import repository as customers
from tagwarden.customers.model import CustomerUnknown, Follow
from tagwarden.kernel import clock
from tagwarden.kernel.errors import Invalid
from tagwarden.policy.service import Picture

HISTORY_PAGE = 500


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


async def list_customers(
    picture: Picture, actor: str, wanted: CustomerFilter, after: str | None, limit: int
) -> list[dict[str, Any]]:
    """A page of customers the actor sees; filters by tags of groups he may not view find nothing."""
    sight = Sight(picture, actor, clock.now())
    owners = sight.owners()
    if wanted.owner is not None:
        owner = picture.directory.named(wanted.owner)
        owners = [owner] if owners is None or owner in owners else []
    if wanted.department is not None:
        inside = [
            one.userid
            for one in picture.directory.employees.values()
            if any(wanted.department in picture.directory.line(home) for home in one.departments)
        ]
        owners = inside if owners is None else [owner for owner in owners if owner in set(inside)]
    owners = await _owners_by_tag_view(picture, sight, owners, (*wanted.tags, *wanted.not_tags))
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
    picture: Picture, sight: Sight, owners: list[str] | None, tag_ids: tuple[UUID, ...]
) -> list[str] | None:
    """Narrows owners to those on whose follows every filtered tag's group may be viewed: a filter must not leak."""
    if not tag_ids:
        return owners
    tags = await catalog.tags_by_id(picture.corp_id, list(tag_ids))
    if len(tags) < len(set(tag_ids)):
        return []
    found = await catalog.groups_by_id(picture.corp_id, list({tag.group_id for tag in tags.values()}))
    groups = [(str(group.id), group.kind) for group in found.values()]
    if owners is None and all(sight.views_everywhere(*group) for group in groups):
        return None
    everybody = list(picture.directory.employees) if owners is None else owners
    return [owner for owner in everybody if all(sight.views(owner, *group) for group in groups)]


async def visible_follows(picture: Picture, sight: Sight, external_userid: str) -> list[Follow]:
    """Open follows of a customer that are seen; CustomerUnknown or CustomerHidden when there are none."""
    follows = await customers.open_follows(picture.corp_id, external_userid)
    if not follows:
        raise CustomerUnknown()
    visible = [follow for follow in follows if sight.sees(follow.userid)]
    if not visible:
        raise CustomerHidden()
    return visible


async def customer_tags(picture: Picture, actor: str, external_userid: str) -> list[dict[str, Any]]:
    """Per visible follow: the tags of the groups the actor may view on it, and WeCom's own labels."""
    sight = Sight(picture, actor, clock.now())
    follows = await visible_follows(picture, sight, external_userid)
    follow_ids = [follow.id for follow in follows]
    rows = await queries.tags_of_follows(picture.corp_id, follow_ids)
    labels = await queries.labels_of_follows(picture.corp_id, follow_ids)
    answer = []
    for follow in follows:
        tags = [
            row for row in rows if row["follow_id"] == follow.id and sight.views(follow.userid, str(row["group_id"]), row["kind"])
        ]
        answer.append(
            {
                "follow_userid": follow.userid,
                "since": follow.since,
                "tags": tags,
                "labels": [row for row in labels if row["follow_id"] == follow.id],
                "customer_left_at": follow.customer_left_at,
            }
        )
    return answer


async def customer_history(
    picture: Picture,
    actor: str,
    external_userid: str,
    as_of: datetime | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Assignments then and now, of the groups and follows the actor may view: so many after the last one seen."""
    if as_of is not None and as_of.tzinfo is None:
        raise MomentWithoutZone()
    sight = Sight(picture, actor, clock.now())
    await visible_follows(picture, sight, external_userid)
    seen: list[dict[str, Any]] = []
    while len(seen) < limit:
        rows = await queries.history(picture.corp_id, external_userid, as_of, after, HISTORY_PAGE)
        seen += [row for row in rows if sight.views(row["userid"], str(row["group_id"]), row["kind"])]
        if len(rows) < HISTORY_PAGE:
            break
        after = (rows[-1]["since"], rows[-1]["id"])
    return seen[:limit]


async def unconfirmed_by_owner(picture: Picture, actor: str) -> dict[str, int]:
    """Marks that nobody approved, by owner: those whose group the actor may view on that owner's follows."""
    sight = Sight(picture, actor, clock.now())
    counted: dict[str, int] = {}
    for row in await queries.count_unconfirmed(picture.corp_id):
        if sight.views(row["userid"], row["group_id"], row["kind"]):
            counted[row["userid"]] = counted.get(row["userid"], 0) + row["marks"]
    return counted
