"""Sentences for a decision: plain Chinese for staff, the trace for admins. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tagwarden.policy.model import Decision, Grant, Relation, Step
from tagwarden.policy.service import Picture


@dataclass(frozen=True, slots=True)
class Explanation:
    """`nearest` is the change that would allow it and who can make it; shown only to whom it concerns."""

    step: str
    reason: str
    zh: str
    en: str
    nearest_zh: str | None = None
    nearest_en: str | None = None


def explain(picture: Picture, decision: Decision, *, actor: str, group_name: str, relation: Relation | None) -> Explanation:
    """Why a decision came out as it did. Never names another owner."""
    ask = picture.directory.admins()
    if decision.allowed:
        return Explanation("", "allowed", "允许", "Allowed")
    if decision.step is Step.CAPABILITY:
        return Explanation(
            "capability",
            "no_capability",
            f"您的角色不能对“{group_name}”做此操作，请联系管理员：{ask}",
            f"Your role has no such capability for “{group_name}”; ask an admin: {ask}",
        )
    if decision.step is Step.GRANT:
        return _grant_missing(picture, decision, actor, group_name, ask)
    if decision.step is Step.RELATION:
        return Explanation(
            "relation",
            "not_your_customer",
            "该客户不在您的负责范围内，只能修改自己（或下属）客户的标签",
            "This customer is not yours: you may change tags of your own (or your subordinates') customers only",
            "由客户的跟进人操作，或请管理员登记协作关系",
            "the customer's own follower does it, or an admin records a collaboration",
        )
    if not picture.subject(actor).roles:
        return Explanation(
            "identity",
            "no_role",
            f"您还没有任何角色，请联系管理员：{ask}",
            f"You hold no role yet; ask an admin: {ask}",
            "管理员为您分配角色",
            "an admin gives you a role",
        )
    return Explanation("identity", "unknown", "账号不存在或已停用", "Unknown or inactive account")


def _grant_missing(picture: Picture, decision: Decision, actor: str, group_name: str, ask: str) -> Explanation:
    if isinstance(decision.row, Grant):
        return Explanation(
            "grant",
            "denied",
            f"您所在的部门被明确禁止使用标签组“{group_name}”，如需开通请联系管理员：{ask}",
            f"Your department is explicitly denied the tag group “{group_name}”; ask an admin: {ask}",
            f"管理员取消部门 {decision.row.department} 对“{group_name}”的禁止",
            f"an admin lifts the deny of “{group_name}” for department {decision.row.department}",
        )
    if not groups_of(picture, actor):
        return Explanation(
            "grant",
            "no_groups",
            f"您所在的部门还没有分配任何标签组，请联系管理员：{ask}",
            f"No tag group is assigned to your department yet; ask an admin: {ask}",
            f"管理员为您的部门分配标签组“{group_name}”",
            f"an admin assigns the tag group “{group_name}” to your department",
        )
    return Explanation(
        "grant",
        "no_grant",
        f"标签组“{group_name}”没有分配给您的部门，如需使用请联系管理员：{ask}",
        f"The tag group “{group_name}” is not assigned to your department; ask an admin: {ask}",
        f"管理员为您的部门分配标签组“{group_name}”",
        f"an admin assigns the tag group “{group_name}” to your department",
    )


def groups_of(picture: Picture, userid: str) -> set[str]:
    """Ids of groups of which any allow row reaches the person: whether there is anything at all."""
    subject = picture.subject(userid)
    return {
        row.group
        for row in picture.grants
        if row.effect.value == "allow" and (row.department in subject.home or (row.inherit and row.department in subject.above))
    }


def trace(decision: Decision) -> list[dict[str, Any]]:
    """Every step with what it saw and the row that decided it."""
    return [
        {
            "step": step.step.value,
            "passed": step.passed,
            "row": f"grant:{step.row.id}" if isinstance(step.row, Grant) else (str(step.row.role.value) if step.row else None),
            "saw": list(step.saw),
        }
        for step in decision.trace
    ]
