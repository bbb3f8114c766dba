"""Every query over agreements between departments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tagwarden.kernel import db
from tagwarden.policy.agreements import Agreement

_COLUMNS = (
    "id, department_id, partner_department, group_id, note, made_by, approval_id, since, until, created_at, ended_at, ended_by"
)


@dataclass(frozen=True, slots=True)
class AgreementRecord:
    """One agreement with who made it and who ended it; `until` is None where it stays until somebody ends it."""

    id: UUID
    department_id: int
    partner_department: int
    group_id: UUID
    note: str
    made_by: str
    approval_id: UUID | None
    since: datetime
    until: datetime | None
    created_at: datetime
    ended_at: datetime | None = None
    ended_by: str | None = None

    def over(self, at: datetime) -> bool:
        """Whether it was ended, or its time is over."""
        return self.ended_at is not None or (self.until is not None and self.until <= at)

    def state(self, at: datetime) -> str:
        """`ended` by somebody, `over` by itself, `planned`, or `in_force`."""
        if self.over(at):
            return "ended" if self.ended_at is not None else "over"
        return "planned" if at < self.since else "in_force"


async def standing(corp_id: str) -> list[Agreement]:
    """Those that are neither ended nor over. What has begun by the database's clock has begun for every process."""
    rows = await db.fetch(
        "select id::text, department_id, partner_department, group_id::text,"
        " case when since > clock_timestamp() then since end as since, until from agreement"
        " where corp_id = $1 and ended_at is null and (until is null or until > clock_timestamp()) order by id",
        corp_id,
    )
    return [
        Agreement(row["id"], row["department_id"], row["partner_department"], row["group_id"], row["since"], row["until"])
        for row in rows
    ]


async def insert(corp_id: str, row: AgreementRecord) -> None:
    """Writes one; the database sees to it that it never begins in the past."""
    await db.execute(
        "insert into agreement (corp_id, id, department_id, partner_department, group_id, note, made_by, approval_id, since,"
        " until) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        corp_id,
        row.id,
        row.department_id,
        row.partner_department,
        row.group_id,
        row.note,
        row.made_by,
        row.approval_id,
        row.since,
        row.until,
    )


async def get(corp_id: str, agreement_id: UUID) -> AgreementRecord | None:
    """One agreement, ended or not."""
    row = await db.fetch_one(f"select {_COLUMNS} from agreement where corp_id = $1 and id = $2", corp_id, agreement_id)
    return AgreementRecord(**row) if row else None


async def of_cell(corp_id: str, department: int, partner: int, group_id: UUID, at: datetime) -> list[AgreementRecord]:
    """What is agreed between these two about the group, in this direction, and is not over."""
    rows = await db.fetch(
        f"select {_COLUMNS} from agreement where corp_id = $1 and department_id = $2 and partner_department = $3"
        " and group_id = $4 and ended_at is null and (until is null or until > $5) order by id",
        corp_id,
        department,
        partner,
        group_id,
        at,
    )
    return [AgreementRecord(**row) for row in rows]


async def page(corp_id: str, *, ended: bool, before: UUID | None, at: datetime, limit: int) -> list[AgreementRecord]:
    """Newest first; with `ended` those that were ended or are over by that moment too."""
    rows = await db.fetch(
        f"select {_COLUMNS} from agreement where corp_id = $1 and ($2 or (ended_at is null and (until is null or until > $3)))"
        " and ($4::uuid is null or id < $4) order by id desc limit $5",
        corp_id,
        ended,
        at,
        before,
        limit,
    )
    return [AgreementRecord(**row) for row in rows]


async def end(corp_id: str, agreement_id: UUID, userid: str, at: datetime) -> None:
    """Ends one for good."""
    await db.execute(
        "update agreement set ended_at = $4, ended_by = $3 where corp_id = $1 and id = $2", corp_id, agreement_id, userid, at
    )
