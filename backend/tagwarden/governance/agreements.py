"""Collaboration put on record: a department may use a tag group on the customers of another, until somebody ends it.

Of a value group it loosens, so once the corp is live it waits for two people above the requester, whoever he is: nobody
gives his own department access alone. Ending is immediate. One agreement is one direction; it never implies another.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from tagwarden.approvals import service as approvals
from tagwarden.approvals.applier import ProtectedApplier
from tagwarden.approvals.model import Approval, Ask
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.appliers import decided_by, digest, holds_module
from tagwarden.catalog.model import GroupUnknown, TagGroup
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import CorpState, Work
from tagwarden.identity import repository as identity
from tagwarden.identity.model import Directory, Module
from tagwarden.kernel.clock import iso
from tagwarden.kernel.errors import Conflict, Invalid, NotFound
from tagwarden.kernel.ids import new_id
from tagwarden.policy import agreement_rows
from tagwarden.policy import service as policy
from tagwarden.policy.agreement_rows import AgreementRecord
from tagwarden.policy.model import Kind
from tagwarden.policy.service import Picture

AGREEMENT_MAKE = "agreement_make"
FARTHEST = timedelta(days=20 * 365)
LATE = timedelta(minutes=1)
"""A beginning that lies so little in the past means now."""


class AgreementUnknown(NotFound):
    code = "agreement_unknown"
    zh = "找不到该协作约定"
    en = "No such agreement"


class AgreementInvalid(Invalid):
    code = "agreement_invalid"
    zh = "协作约定有误：{summary_zh}"
    en = "This agreement is not possible: {summary_en}"


class AgreementExists(Conflict):
    code = "agreement_exists"
    zh = "这两个部门之间已有同样的协作约定（{agreement_id}），无需重复登记"
    en = "The two departments have such an agreement already ({agreement_id})"


class AgreementOver(Conflict):
    code = "agreement_over"
    zh = "该协作约定已经结束"
    en = "This agreement is over already"


WORDS = {
    "department_unknown": ("没有编号为 {department} 的部门", "there is no department {department}"),
    "group_unclassified": ("标签组尚未分类，请先分类", "the tag group is unclassified; classify it first"),
    "since_in_the_past": ("开始时间不能早于现在", "it cannot begin in the past"),
    "too_far_ahead": ("时间不能在 20 年之后", "no moment of it lies more than 20 years ahead"),
    "until_before_it_begins": ("结束时间须晚于现在和开始时间", "it has to end after now and after it begins"),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """People of `department` may use the group on customers of people in `partner`. No `since`: at once."""

    department: int
    partner: int
    group_id: UUID
    since: datetime | None = None
    until: datetime | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """The agreement's id, or the approval under which it waits."""

    id: UUID | None
    approval_id: UUID | None = None


@command(Epoch.EXCLUSIVE)
async def make_agreement(work: Work, wanted: Wanted) -> Made:
    """Puts an agreement on record, or asks for it where it loosens the protection of value tags."""
    picture = await policy.in_force(work)
    caller = picture.directory.employee(work.caller.userid)
    if wanted.since is not None and wanted.since < work.now - LATE:
        raise _invalid("since_in_the_past")
    if (why := against_its_times(wanted, work.now)) is not None:
        raise _invalid(why)  # such a time is like no time at all: it is said before who may ask
    picture.directory.require_module(caller, Module.POLICY)
    group = await catalog.group(work.corp_id, wanted.group_id)
    if group is None:
        raise GroupUnknown()
    if (why := why_not(picture.directory, group, wanted)) is not None:
        raise _invalid(why, wanted, picture.directory)
    if (there := await _covering(work, wanted)) is not None:
        raise AgreementExists(agreement_id=str(there.id))
    if group.kind is Kind.VALUE and work.corp.state is CorpState.LIVE:
        return Made(None, await _hold(work, picture, wanted))
    return Made(await _write(work, wanted, work.caller.userid))


def against_its_times(wanted: Wanted, now: datetime) -> str | None:
    """What speaks against its beginning or end, a key of `WORDS`; None when nothing does. Pure."""
    if max(wanted.since or now, wanted.until or now) > now + FARTHEST:
        return "too_far_ahead"
    if wanted.until is not None and wanted.until <= max(wanted.since or now, now):
        return "until_before_it_begins"
    return None


def why_not(directory: Directory, group: TagGroup, wanted: Wanted) -> str | None:
    """Why departments and group cannot be joined, a key of `WORDS`; None when they can. Pure."""
    if not {wanted.department, wanted.partner} <= directory.departments.keys():
        return "department_unknown"
    if group.kind is Kind.UNCLASSIFIED:
        return "group_unclassified"
    return None


def _invalid(why: str, wanted: Wanted | None = None, directory: Directory | None = None) -> AgreementInvalid:
    zh, en = WORDS[why]
    named = (wanted.department, wanted.partner) if wanted else ()
    facts = {"department": next((one for one in named if directory and one not in directory.departments), None)}
    return AgreementInvalid(why=why, summary_zh=zh.format(**facts), summary_en=en.format(**facts))


async def _covering(work: Work, wanted: Wanted) -> AgreementRecord | None:
    """One that says the same already, for at least as long."""
    since = max(wanted.since or work.now, work.now)
    rows = await agreement_rows.of_cell(work.corp_id, wanted.department, wanted.partner, wanted.group_id, work.now)

    def covers(row: AgreementRecord) -> bool:
        return row.since <= since and (row.until is None or (wanted.until is not None and wanted.until <= row.until))

    return next((row for row in rows if covers(row)), None)


async def _hold(work: Work, picture: Picture, wanted: Wanted) -> UUID:
    payload = {
        "department": wanted.department,
        "partner": wanted.partner,
        "group_id": str(wanted.group_id),
        "since": iso(wanted.since) if wanted.since else None,
        "until": iso(wanted.until) if wanted.until else None,
    }
    asked = Ask(AGREEMENT_MAKE, payload, AgreementApplier().effects(payload), work.caller.userid, None, wanted.note)
    return (await approvals.ask(work, picture, asked)).id


def _read(payload: dict[str, Any], note: str = "") -> Wanted:
    since, until = (msgspec.convert(payload[name], datetime | None) for name in ("since", "until"))
    return Wanted(payload["department"], payload["partner"], UUID(payload["group_id"]), since, until, note)


async def _write(
    work: Work, wanted: Wanted, made_by: str, approval_id: UUID | None = None, decision: dict[str, Any] | None = None
) -> UUID:
    since = max(wanted.since or work.now, work.now)
    row = AgreementRecord(
        id=new_id(),
        department_id=wanted.department,
        partner_department=wanted.partner,
        group_id=wanted.group_id,
        note=wanted.note,
        made_by=made_by,
        approval_id=approval_id,
        since=since,
        until=wanted.until,
        created_at=work.now,
    )
    await agreement_rows.insert(work.corp_id, row)
    work.record(
        "agreement.made",
        f"agreement:{row.id}",
        decision,
        department=wanted.department,
        partner=wanted.partner,
        group=str(wanted.group_id),
        since=iso(since),
        until=iso(wanted.until) if wanted.until else None,
        made_by=made_by,
    )
    return row.id


@command(Epoch.EXCLUSIVE)
async def end_agreement(work: Work, agreement_id: UUID) -> UUID:
    """Ends one for every request that begins after the answer; what was asked for by it is stale when it is signed."""
    picture = await policy.in_force(work)
    picture.directory.require_module(picture.directory.employee(work.caller.userid), Module.POLICY)
    row = await agreement_rows.get(work.corp_id, agreement_id)
    if row is None:
        raise AgreementUnknown()
    if row.over(work.now):
        raise AgreementOver()
    await agreement_rows.end(work.corp_id, agreement_id, work.caller.userid, work.now)
    work.record("agreement.ended", f"agreement:{agreement_id}", made_by=row.made_by)
    return agreement_id


class AgreementApplier(ProtectedApplier):
    """An agreement about a value group: two people above the requester sign it; he never does."""

    kind: ClassVar[str] = AGREEMENT_MAKE

    def effects(self, payload: dict[str, Any]) -> tuple[str, ...]:
        """One key for the direction and the group. (What loosens is judged by the service alone.)"""
        return (f"agreement:{payload['department']}:{payload['partner']}:{payload['group_id']}:make",)

    async def fingerprint(self, corp_id: str, payload: dict[str, Any]) -> str:
        """The group's kind, and where both departments stand: who joins or leaves them moves nothing."""
        group = await catalog.group(corp_id, UUID(payload["group_id"]))
        directory = await identity.load_directory(corp_id)
        lines = [list(directory.line(payload[name])) for name in ("department", "partner")]
        return digest([group.kind.value if group else None, lines])

    async def check(self, work: Work, picture: Picture, approval: Approval) -> str | None:
        """The requester still configures the policy, and it is neither over nor on record meanwhile."""
        if not holds_module(picture, approval.requester, Module.POLICY):
            return "requester_lost_right"
        wanted = _read(approval.payload)
        group = await catalog.group(work.corp_id, wanted.group_id)
        if group is None:
            return "tag_group_unknown"
        why = against_its_times(wanted, work.now) or why_not(picture.directory, group, wanted)
        if why is not None:
            return why
        return "nothing_to_change" if await _covering(work, wanted) else None

    async def describe(self, corp_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Whose people, on whose customers, with which group; nothing was there before."""
        departments = (await identity.load_directory(corp_id)).departments
        group = (await catalog.groups_by_id(corp_id, [UUID(payload["group_id"])])).get(UUID(payload["group_id"]))
        named = {
            name: departments[payload[name]].name if payload[name] in departments else None for name in ("department", "partner")
        }
        after = {**payload, "department_name": named["department"], "partner_name": named["partner"]}
        return {"before": None, "after": {**after, "tag_group": group.name if group else None}}

    async def apply(self, work: Work, picture: Picture, approval: Approval) -> None:
        """Puts it on record, from now on at the earliest."""
        wanted = _read(approval.payload, approval.reason)
        await _write(work, wanted, approval.requester, approval.id, decided_by(picture, approval))
