"""Reads of the access review: since when and why somebody holds a role, stands in for others, or a grant is in force."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tagwarden.kernel import db


@dataclass(frozen=True, slots=True)
class RoleHeld:
    """`approval_id` and `reason` where two people signed it; `given_by` is who asked, gave or (operator) recovered."""

    userid: str
    role: str
    since: datetime
    given_by: str
    approval_id: UUID | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class StandsFor:
    """A delegation somebody holds, in force now or later."""

    delegate: str
    id: UUID
    userid: str
    starts_at: datetime
    ends_at: datetime
    reason: str
    approval_id: UUID | None


@dataclass(frozen=True, slots=True)
class InForce:
    """Since which revision a grant stands as it is, and who published that with which note."""

    id: str
    revision: int
    since: datetime
    published_by: str
    note: str


async def roles_of(corp_id: str, userids: Sequence[str]) -> list[RoleHeld]:
    """Roles of some people. An effect is consumed in the transaction that gives the role, so both carry its one time."""
    rows = await db.fetch(
        "select r.userid, r.role, r.since, r.given_by, e.approval_id, a.reason from employee_role r"
        " left join approval_effect e on e.corp_id = r.corp_id and e.key = 'role:' || r.userid || ':' || r.role || ':give'"
        " and e.key like 'role:%' and e.consumed_at is not null and e.consumed_at = r.since"
        " left join approval a on a.corp_id = r.corp_id and a.id = e.approval_id"
        " where r.corp_id = $1 and r.userid = any($2::text[]) order by r.userid, r.role",
        corp_id,
        list(userids),
    )
    return [RoleHeld(**row) for row in rows]


async def standing_in(corp_id: str, userids: Sequence[str], moment: datetime) -> list[StandsFor]:
    """For whom some people sign, or will."""
    rows = await db.fetch(
        "select delegate, id, userid, starts_at, ends_at, reason, approval_id from delegation where corp_id = $1"
        " and delegate = any($2::text[]) and ended_at is null and ends_at > $3 order by delegate, starts_at, id",
        corp_id,
        list(userids),
        moment,
    )
    return [StandsFor(**row) for row in rows]


async def in_force(corp_id: str, revision: int, ids: Iterable[str]) -> dict[str, InForce]:
    """By grant: the revision from which on it stands in every one exactly as it does in this one."""
    rows = await db.fetch(
        "with here as (select * from policy_grant where corp_id = $1 and revision = $2 and id = any($3::text[])),"
        " same as (select g.id, g.revision, g.revision - row_number() over (partition by g.id order by g.revision) as island"
        " from policy_revision r join policy_grant g on g.corp_id = r.corp_id and g.revision = r.revision join here h"
        " on h.id = g.id and h.department_id = g.department_id and h.group_id = g.group_id and h.action = g.action"
        " and h.effect = g.effect and h.inherit = g.inherit and h.reach is not distinct from g.reach"
        " where r.corp_id = $1 and r.revision <= $2),"
        " began as (select id, min(revision) as revision from same group by id, island having max(revision) = $2)"
        " select b.id, b.revision, r.published_at as since, r.published_by, r.note from began b"
        " join policy_revision r on r.corp_id = $1 and r.revision = b.revision",
        corp_id,
        revision,
        list(ids),
    )
    return {row["id"]: InForce(**row) for row in rows}
