"""Sentences for a decision: plain Chinese for staff, the trace for admins. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tagwarden.identity.model import Module
from tagwarden.policy.model import (
    Action,
    Capability,
    Change,
    ChangeKind,
    Decision,
    Grant,
    Group,
    Reach,
    Refusal,
    Relation,
    Role,
    Step,
)
from tagwarden.policy.nearest import NEW, nearest
from tagwarden.policy.service import Picture

Both = tuple[str, str]
"""One sentence in Chinese and in English."""

KEEPERS = {ChangeKind.GIVE_ROLE: Module.MEMBERS, ChangeKind.CLASSIFY_GROUP: Module.CATALOG}
"""Whose module a change is; every other one is the policy's."""
MOST_NAMED = 20

ROLES: dict[Role, Both] = {
    Role.STAFF: ("员工", "staff"),
    Role.MANAGER: ("经理", "manager"),
    Role.SUPERVISOR: ("总部主管", "supervisor"),
    Role.SUBADMIN: ("子管理员", "sub-admin"),
}
REACHES: dict[Reach, Both] = {
    Reach.OWN: ("本人的", "own customers"),
    Reach.SUBORDINATE: ("本人和下属的", "own and subordinates' customers"),
    Reach.COLLABORATING: ("本人、下属和协作部门的", "own, subordinates' and collaborating departments' customers"),
    Reach.CORP: ("全公司的", "customers of the whole corp"),
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """`refusal`: a row forbids it, or none allows it. `nearest` is what would allow it, in words; `changes` the same for
    programs, none where no change of policy would do. Both are for whom it concerns, and for who may read the policy."""

    step: str
    reason: str
    zh: str
    en: str
    nearest_zh: str | None = None
    nearest_en: str | None = None
    refusal: Refusal | None = None
    changes: tuple[Change, ...] = ()


ALLOWED = Explanation("", "allowed", "允许", "Allowed")
MOST_KEPT = 20_000
"""Explanations that a picture keeps, about 2 kB each; beyond that it begins anew."""


@dataclass(frozen=True, slots=True)
class _Case:
    """What was refused, and whom the sentences speak to: the person himself, or somebody who asks about him."""

    picture: Picture
    decision: Decision
    actor: str
    group: Group
    action: Action
    himself: bool

    @property
    def ask(self) -> str:
        return self.picture.directory.admins()

    @property
    def who(self) -> str:
        return "您" if self.himself else f"员工 {self.actor} "

    @property
    def whose(self) -> str:
        return "your" if self.himself else f"{self.actor}'s"


def explain(
    picture: Picture,
    decision: Decision,
    *,
    actor: str,
    group: Group,
    action: Action,
    relation: Relation | None,
    himself: bool = True,
) -> Explanation:
    """Why a decision came out as it did. Never names another owner."""
    if decision.allowed:
        return ALLOWED
    person = picture.directory.known(actor)
    if person is None or not person.active:
        return _explained(_Case(picture, decision, actor, group, action, himself), ())
    place = picture.engine.place(picture.subject(actor).standing)
    key = (place, group, action, relation, None if himself else actor)
    known: Explanation | None = picture.explained.get(key)
    if known is None:
        changes = nearest(picture.engine, place, group.id, group.kind, action, relation)
        known = _explained(_Case(picture, decision, actor, group, action, himself), changes)
        if len(picture.explained) >= MOST_KEPT:
            picture.explained.clear()
        picture.explained[key] = known
    return known


def _explained(case: _Case, changes: tuple[Change, ...]) -> Explanation:
    decision = case.decision
    reason = reason_of(case.picture, case.actor, decision)
    zh, en = _words(case, reason)
    step = decision.step.value if decision.step else ""
    near = _nearest_words(case, changes)
    return Explanation(step, reason, zh, en, *near, refusal=decision.refusal, changes=changes)


def reason_of(picture: Picture, actor: str, decision: Decision) -> str:
    """The stable code of an answer: `allowed`, or why not."""
    if decision.allowed:
        return "allowed"
    if decision.step is Step.CAPABILITY:
        return "no_capability"
    if decision.step is Step.RELATION:
        return "out_of_reach" if isinstance(decision.row, Grant) else "not_your_customer"
    known = picture.directory.known(actor)
    if known is None or not known.active:
        return "unknown"
    if decision.step is Step.IDENTITY:
        return "no_role"
    if decision.refusal is Refusal.EXPLICIT:
        return "denied"
    subject = picture.subject(actor)
    return "no_grant" if picture.matrix.opens_any_to(subject.home, subject.above) else "no_groups"


def _words(case: _Case, reason: str) -> Both:
    name, who, whose, ask = case.group.name, case.who, case.whose, case.ask
    has, your = ("You hold", "Your") if case.himself else (f"{case.actor} holds", whose)
    words: dict[str, Both] = {
        "unknown": ("账号不存在或已停用", "Unknown or inactive account"),
        "no_role": (f"{who}还没有任何角色，请联系管理员：{ask}", f"{has} no role yet; ask an admin: {ask}"),
        "no_capability": (
            f"{who}的角色不能对“{name}”做此操作，请联系管理员：{ask}",
            f"{your} role has no such capability for “{name}”; ask an admin: {ask}",
        ),
        "denied": (
            f"{who}所在的部门被明确禁止使用标签组“{name}”，如需开通请联系管理员：{ask}",
            f"{your} department is explicitly denied the tag group “{name}”; ask an admin: {ask}",
        ),
        "no_groups": (
            f"{who}所在的部门还没有分配任何标签组，请联系管理员：{ask}",
            f"No tag group is assigned to {whose} department yet; ask an admin: {ask}",
        ),
        "no_grant": (
            f"标签组“{name}”没有分配给{who}的部门，如需使用请联系管理员：{ask}",
            f"The tag group “{name}” is not assigned to {whose} department; ask an admin: {ask}",
        ),
    }
    return words[reason] if reason in words else _too_far(case)


def _too_far(case: _Case) -> Both:
    """The relation step: whose customer it is, or how far the group's row goes."""
    row = case.decision.row
    if isinstance(row, Grant):
        zh, en = REACHES[row.reach or Reach.CORP]
        return (
            f"标签组“{case.group.name}”分配给{case.who}的部门时只限于{zh}客户",
            f"The tag group “{case.group.name}” is assigned to {case.whose} department for {en} only",
        )
    verb_zh, verb_en = ("查看", "see") if case.action is Action.VIEW else ("修改", "change")
    zh = f"该客户不在{case.who}的负责范围内，只能{verb_zh}自己（或下属）客户的标签"
    if case.himself:
        return zh, f"This customer is not yours: you may {verb_en} tags of your own (or your subordinates') customers only"
    return zh, f"This customer is not {case.actor}'s, who may {verb_en} tags of own (or subordinates') customers only"


def _nearest_words(case: _Case, changes: tuple[Change, ...]) -> tuple[str | None, str | None]:
    told = [_change_words(case, change) for change in changes]
    zh, en = "；再由".join(one for one, _ in told), "; then ".join(one for _, one in told)
    if case.decision.step is not Step.RELATION or case.action is Action.MANAGE:
        return zh or None, en or None
    if not told:
        return "由客户的跟进人操作", "the customer's own follower does it"
    return f"由客户的跟进人操作，或由{zh}", f"the customer's own follower does it, or {en}"


def _change_words(case: _Case, change: Change) -> Both:
    name, grant = case.group.name, change.grant
    you = "you" if case.himself else case.actor
    if change.kind is ChangeKind.GIVE_ROLE and change.role is not None:
        zh, en = ROLES[change.role]
        return f"管理员为{case.who}分配“{zh}”角色", f"an admin gives {you} the role “{en}”"
    if change.kind is ChangeKind.CLASSIFY_GROUP:
        return f"管理员为标签组“{name}”设置类型", f"an admin gives the tag group “{name}” a kind"
    if change.kind is ChangeKind.RECORD_AGREEMENT or grant is None:
        return (
            f"管理员登记一项协作约定，允许{case.who}的部门在该客户所属部门使用“{name}”",
            f"an admin records an agreement that {case.whose} department may use “{name}” on that department's customers",
        )
    if change.kind is ChangeKind.LIFT_DENY:
        return (
            f"管理员取消部门 {grant.department} 对“{name}”的禁止",
            f"an admin lifts the deny of “{name}” for department {grant.department}",
        )
    if change.kind is ChangeKind.WIDEN_GRANT:
        return (
            f"管理员放宽部门 {grant.department} 使用“{name}”的客户范围",
            f"an admin widens whose customers department {grant.department} reaches with “{name}”",
        )
    more_zh, more_en = ("（可查看全公司客户）", " for viewing every customer") if grant.reach is Reach.CORP else ("", "")
    return (
        f"管理员为{case.who}的部门分配标签组“{name}”{more_zh}",
        f"an admin assigns the tag group “{name}” to {case.whose} department{more_en}",
    )


def keepers_of(picture: Picture, change: Change) -> tuple[Module, tuple[str, ...]]:
    """Whose module a change is, and who may make it; of many the first few."""
    module = KEEPERS.get(change.kind, Module.POLICY)
    return module, picture.directory.keepers(module)[:MOST_NAMED]


def change_out(picture: Picture, change: Change, *, with_row: bool) -> dict[str, Any]:
    """A change for programs. The id of a row is for who may read the policy."""
    module, who = keepers_of(picture, change)
    told: dict[str, Any] = {"kind": change.kind.value, "module": module.value, "who": list(who)}
    if change.role is not None:
        told["role"] = change.role.value
    grant = change.grant
    if grant is None:
        return told
    told |= {"department": grant.department, "action": grant.action.value}
    if grant.reach is not None:
        told["reach"] = grant.reach.value
    return {**told, "row": f"grant:{grant.id}"} if with_row and grant.id != NEW else told


def groups_of(picture: Picture, userid: str) -> set[str]:
    """Ids of groups of which any allow row reaches the person: whether there is anything at all."""
    subject = picture.subject(userid)
    return picture.matrix.groups_opened_to(subject.home, subject.above)


def row_name(row: Capability | Grant | None) -> str | None:
    """How a row is named to who may read the policy."""
    if isinstance(row, Grant):
        return f"grant:{row.id}"
    return str(row.role.value) if row else None


def trace(decision: Decision) -> list[dict[str, Any]]:
    """Every step with what it saw and the row that decided it."""
    return [
        {"step": step.step.value, "passed": step.passed, "row": row_name(step.row), "saw": list(step.saw)}
        for step in decision.trace
    ]
