"""Where a tag or a group is used: asked before it is deleted, answered as far as the caller may see. Reads only.

What stands between a tag and its deletion is in `blocking`; the rest is shown because it loses its object: grants and
agreements give nothing without their group, a request that names a deleted tag becomes stale.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from tagwarden.approvals.mentions import Mentions, open_mentions
from tagwarden.approvals.reading import reader
from tagwarden.assignments import queries
from tagwarden.assignments.sight import Sight
from tagwarden.catalog import counts, reading
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.model import Tag, TagGroup
from tagwarden.catalog.tree import Tree
from tagwarden.identity.model import Module, RoleName
from tagwarden.kernel import clock
from tagwarden.policy.service import Picture


@dataclass(frozen=True, slots=True)
class Mention:
    """What of a room above names a group: a policy draft, an agreement."""

    kind: str
    id: str
    title: str


Finder = Callable[[str, UUID], Awaitable[Sequence[Mention]]]
"""Asked with corp and group; database only."""

_finders: list[Finder] = []


def bind(finders: Sequence[Finder]) -> None:
    """Replaces all bound finders; called by wiring."""
    _finders[:] = finders


class InWecom(StrEnum):
    """Whether a tag is in WeCom, and whose: of another app's we may only put it on and take it off."""

    ABSENT = "absent"
    OURS = "ours"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Marks:
    """Open marks: `total` of everybody, the rest of those customers the caller may see in this group.

    Somebody in two departments counts in both. `unbacked` nobody approved: in a value group they are not confirmed, and in
    one that became a value group they would not be.
    """

    total: int
    unbacked: int
    hidden: int
    by_owner: dict[str, int]
    by_department: dict[int, int]


@dataclass(frozen=True, slots=True)
class Named:
    """What of the policy names the group: ids for whoever configures or audits, a number for everybody else."""

    grants: int
    grant_ids: tuple[str, ...]
    others: int
    mentions: tuple[Mention, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    group: TagGroup
    tags: tuple[Tag, ...]
    marks: Marks
    approvals: Mentions
    policy: Named
    children: tuple[Tag, ...]
    wecom: dict[InWecom, int]
    blocking: tuple[str, ...]


async def of_tag(picture: Picture, userid: str, tag_id: UUID) -> Usage:
    """Where a tag is used; TagUnknown where its group is not open to the caller."""
    tag, group = await reading.tag(picture, userid, tag_id)
    children = Tree(await catalog.tags_of_group(picture.corp_id, group.id)).children(tag.id)
    return await _usage(picture, userid, group, [tag], [tag.id], children)


async def of_group(picture: Picture, userid: str, group_id: UUID) -> Usage:
    """Where a group and its tags are used; GroupUnknown where it is not open to the caller."""
    group = await reading.group(picture, userid, group_id)
    tags = await catalog.tags_of_group(picture.corp_id, group_id)
    return await _usage(picture, userid, group, tags, [group_id, *(tag.id for tag in tags)], ())


async def _usage(
    picture: Picture, userid: str, group: TagGroup, tags: Sequence[Tag], named: Sequence[UUID], children: Sequence[Tag]
) -> Usage:
    signer = await reader(picture, userid, clock.now())
    carried, requested = await queries.uses(picture.corp_id, [tag.id for tag in tags])
    reasons = (("assignments", carried), ("approvals", requested), ("children", len(children)))
    return Usage(
        group,
        tuple(tags),
        await _marks(picture, userid, group, tags),
        await open_mentions(picture, signer, named),
        await _named(picture, userid, group),
        tuple(children),
        {state: sum(in_wecom(tag) is state for tag in tags) for state in InWecom},
        tuple(reason for reason, found in reasons if found),
    )


async def _marks(picture: Picture, userid: str, group: TagGroup, tags: Sequence[Tag]) -> Marks:
    kept = await counts.by_owner(picture.corp_id, [tag.id for tag in tags])
    total, unbacked = (sum(getattr(one, name) for one in kept.values()) for name in ("carried", "unbacked"))
    sight = Sight(picture, userid, clock.now())
    seen = {owner: one.carried for owner, one in kept.items() if sight.views(owner, str(group.id), group.kind)}
    by_department: dict[int, int] = {}
    for owner, marks in seen.items():
        employee = picture.directory.known(owner)
        for home in employee.departments if employee else ():
            by_department[home] = by_department.get(home, 0) + marks
    return Marks(total, unbacked, total - sum(seen.values()), seen, dict(sorted(by_department.items())))


async def _named(picture: Picture, userid: str, group: TagGroup) -> Named:
    grants = picture.matrix.of_group(str(group.id))
    mentions = [mention for finder in _finders for mention in await finder(picture.corp_id, group.id)]
    employee = picture.directory.employee(userid)
    configures = employee.holds(RoleName.ADMIN, RoleName.AUDITOR) or (
        employee.holds(RoleName.SUBADMIN) and bool(employee.modules & {Module.POLICY, Module.CATALOG})
    )
    if not configures:
        return Named(len(grants), (), len(mentions), ())
    return Named(len(grants), tuple(sorted(grant.id for grant in grants)), len(mentions), tuple(mentions))


def in_wecom(tag: Tag) -> InWecom:
    """Where a tag stands in WeCom."""
    if tag.wecom_id is None:
        return InWecom.ABSENT
    return InWecom.OURS if tag.made_by_us else InWecom.FOREIGN
