"""A customer, and the follow: the (employee, customer) relation that tags, values and approvals belong to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tagwarden.kernel.errors import NotFound


class CustomerUnknown(NotFound):
    code = "customer_unknown"
    zh = "找不到该客户"
    en = "No such customer"


class FollowUnknown(NotFound):
    code = "follow_unknown"
    zh = "该员工没有添加此客户"
    en = "That employee does not follow this customer"


@dataclass(frozen=True, slots=True)
class Follow:
    id: UUID
    userid: str
    external_userid: str
    since: datetime
    ended_at: datetime | None = None
    customer_left_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """A tag of WeCom's that is none of ours: `personal` (an employee's own, without an id) or `strategy`."""

    kind: str
    name: str
    group_name: str = ""
    wecom_id: str = ""


@dataclass(frozen=True, slots=True)
class ContactSeen:
    """One row of WeCom's customer list as the mirror needs it (92994)."""

    userid: str
    external_userid: str
    name: str
    type: int
    corp_name: str | None
    since: datetime
    tag_ids: tuple[str, ...]
    labels: tuple[Label, ...] | None = None
    """Personal and strategy tags, where the reading showed them (92114); None where it could not (92994)."""
