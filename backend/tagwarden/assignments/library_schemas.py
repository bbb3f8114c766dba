"""Shapes of where a tag or a group is used, as HTTP and the command line show them."""

from __future__ import annotations

from uuid import UUID

import msgspec

from tagwarden.assignments.usage import InWecom, Usage, in_wecom

WECOM_WORDS = {
    InWecom.ABSENT: ("不在企业微信中", "Not in WeCom"),
    InWecom.OURS: ("在企业微信中，由本应用创建，可改名和删除", "In WeCom, made by us: we may rename and delete it there"),
    InWecom.FOREIGN: (
        "在企业微信中，由管理后台或其他应用创建：只能给客户打上或取消，改名和删除只在本系统生效",
        "In WeCom, made in the console or by another app: we may put it on and take it off, and rename or delete it here alone",
    ),
}


class UsageMarks(msgspec.Struct):
    """Open marks: `total` of everybody; by owner and department those the caller may see, `hidden` the rest.

    Somebody in two departments counts in both. `unbacked`: marks nobody here approved, which are not confirmed in a value
    group and would not be in one that becomes one.
    """

    total: int
    unbacked: int
    hidden: int
    by_owner: dict[str, int]
    by_department: dict[str, int]


class UsageRequests(msgspec.Struct):
    """Open requests that name it: those the caller may see, and how many more."""

    ids: list[UUID]
    hidden: int


class UsageMention(msgspec.Struct):
    """A policy draft or an agreement that names the group."""

    kind: str
    id: str
    title: str


class UsagePolicy(msgspec.Struct):
    """Grants in force, drafts and agreements that name the group; what they are is shown to whoever configures or audits."""

    grants: int
    grant_ids: list[str]
    others: int
    mentions: list[UsageMention]


class UsageChild(msgspec.Struct):
    id: UUID
    name: str
    retired: bool


class UsageWecom(msgspec.Struct):
    """How many of the tags are not in WeCom, are of our making there, or another's; and what we may do, in words."""

    absent: int
    ours: int
    foreign: int
    text: str


class UsageOut(msgspec.Struct):
    """`blocking`: what stands between it and its deletion (`assignments`, `approvals`, `children`); empty: it can be deleted."""

    id: UUID
    group_id: UUID
    name: str
    kind: str
    retired: bool
    assignments: UsageMarks
    approvals: UsageRequests
    policy: UsagePolicy
    children: list[UsageChild]
    wecom: UsageWecom
    blocking: list[str]


def usage_of_tag(used: Usage, language: str) -> UsageOut:
    """One tag's usage."""
    tag = used.tags[0]
    return _usage(used, tag.id, tag.name, tag.retired, _words(in_wecom(tag), language))


def usage_of_group(used: Usage, language: str) -> UsageOut:
    """A group's usage: its own and its tags'."""
    states = [state for state in InWecom if used.wecom[state]]
    text = "；" if language == "zh" else "; "
    return _usage(
        used, used.group.id, used.group.name, False, text.join(f"{used.wecom[one]} × {_words(one, language)}" for one in states)
    )


def _words(state: InWecom, language: str) -> str:
    zh, en = WECOM_WORDS[state]
    return zh if language == "zh" else en


def _usage(used: Usage, id_: UUID, name: str, retired: bool, wecom: str) -> UsageOut:
    marks, named = used.marks, used.policy
    mentions = [UsageMention(one.kind, one.id, one.title) for one in named.mentions]
    by_department = {str(home): carried for home, carried in marks.by_department.items()}
    return UsageOut(
        id_,
        used.group.id,
        name,
        used.group.kind.value,
        retired,
        UsageMarks(marks.total, marks.unbacked, marks.hidden, marks.by_owner, by_department),
        UsageRequests(list(used.approvals.ids), used.approvals.hidden),
        UsagePolicy(named.grants, list(named.grant_ids), named.others, mentions),
        [UsageChild(child.id, child.name, child.retired) for child in used.children],
        UsageWecom(used.wecom[InWecom.ABSENT], used.wecom[InWecom.OURS], used.wecom[InWecom.FOREIGN], wecom),
        list(used.blocking),
    )
