"""Everybody who could do something now, and by which row. Computed where people stand, not one by one: whoever stands
alike is answered once.

Who may read the policy sees everybody. Anybody else asks "whom can I ask": he sees colleagues of his own departments and
the leaders above them, measured by the follows that he sees, and no rows; of groups that are closed to him nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from tagwarden.assignments.reading import visible_follows
from tagwarden.assignments.sight import Sight
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.model import GroupUnknown, Tag, TagUnknown
from tagwarden.customers import repository as customers
from tagwarden.customers.model import CustomerUnknown
from tagwarden.governance.asking import Asking, in_turns, nearest_relation
from tagwarden.identity.model import Employee, RoleName
from tagwarden.policy.model import Action, Decision, Group, Relation


@dataclass(frozen=True, slots=True)
class Able:
    """One who could, by which relation (None: asked about the group itself) and which decision."""

    employee: Employee
    relation: Relation | None
    decision: Decision


async def tag_asked_about(asking: Asking, tag_id: UUID) -> tuple[Tag, Group]:
    """A tag and its group, as far as anything of it is open to the caller; TagUnknown."""
    tag = await catalog.tag(asking.picture.corp_id, tag_id)
    if tag is None:
        raise TagUnknown()
    try:
        return tag, group_asked_about(asking, tag.group_id)
    except GroupUnknown:
        raise TagUnknown() from None


def group_asked_about(asking: Asking, group_id: UUID) -> Group:
    """A group that is open to the caller in any way, or to whose policy he is let in; GroupUnknown."""
    group = asking.picture.groups.get(str(group_id))
    if group is None:
        raise GroupUnknown()
    userid = asking.caller.userid
    if asking.reads_policy or any(asking.picture.may(userid, group.id, group.kind, action, None) for action in Action):
        return group
    raise GroupUnknown()


async def who_can(
    asking: Asking, group: Group, action: Action, external_userid: str | None, after: str | None, limit: int
) -> list[Able]:
    """So many of those who could, by userid; CustomerUnknown or CustomerHidden."""
    owners = None if external_userid is None else await _owners(asking, external_userid)
    found: list[Able] = []
    async for userid in in_turns(sorted(asking.picture.directory.employees)):
        if after is not None and userid <= after:
            continue
        able = _able(asking, userid, group, action, owners)
        if able is not None:
            found.append(able)
        if len(found) == limit:
            break
    return found


async def _owners(asking: Asking, external_userid: str) -> Sequence[str]:
    if not asking.reads_policy:
        follows = await visible_follows(asking.picture, Sight(asking.picture, asking.caller.userid, asking.at), external_userid)
        return [follow.userid for follow in follows]
    owners = await customers.owners_now(asking.picture.corp_id, external_userid)
    if not owners:
        raise CustomerUnknown()
    return owners


def _able(asking: Asking, userid: str, group: Group, action: Action, owners: Sequence[str] | None) -> Able | None:
    picture = asking.picture
    employee = picture.directory.employees[userid]
    if not employee.active or employee.roles <= {RoleName.SERVICE} or not _near(asking, employee):
        return None
    relation = None if owners is None else nearest_relation(asking, userid, owners, group)
    decision = picture.decide(userid, group.id, group.kind, action, relation)
    return Able(employee, relation, decision) if decision.allowed else None


def _near(asking: Asking, employee: Employee) -> bool:
    """Whether the caller may learn of him: a colleague of one of his departments, or a leader above them."""
    if asking.reads_policy:
        return True
    directory = asking.picture.directory
    me = directory.employee(asking.caller.userid)
    return employee.userid == me.userid or not employee.departments.isdisjoint(me.departments) or directory.leads(employee, me)
