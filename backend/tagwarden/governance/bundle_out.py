"""Writes what a corp has as the files of a bundle: sorted, and the same bytes for the same policy. Pure.

Nothing of the moment stands in them (no revision, no time, no corp), so that two exports can be compared. What people
named (groups, departments) is written as text or comment and can never become another entry.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tagwarden.catalog.model import TagGroup
from tagwarden.governance import drift_file
from tagwarden.governance.differing import fields_of
from tagwarden.identity.model import Department, Employee, RoleName
from tagwarden.kernel.errors import Conflict
from tagwarden.policy.chains import ChainRules, read_rules
from tagwarden.policy.model import Capability, Effect, Grant, Kind, Relation, Role

MARK = "# 由 tagwarden policy export 写出 / Written by tagwarden policy export"
"""The first line of every exported file: such a file may be written over."""

_ABOUT = {
    "groups.toml": """\
# 每个标签组是什么、能选几个。未归类的组不写在这里，归类时加一条。
# What each tag group is. A group that is not here has no kind yet and nobody can use it.
#
# kind    temporary 当月有效 | standard 普通 | value 长期价值（改动需要两级审批）
# choice  single 单选 | multiple 多选
""",
    "people.toml": """\
# 谁是什么角色。没有写在这里的人保持原样；modules 只对 subadmin 有意义。
# Who holds which roles. Whoever is not here stays as he is; modules are a sub-admin's switches.
""",
    "grants.toml": """\
# 哪个部门可以对哪个标签组做什么。没有写在这里的，一律不可以。
# Which department may do what with which tag group. What does not stand here is refused.
#
# action   view 查看 | use 打标签（包含查看） | manage 管理组内标签（不含前两项）
# effect   allow 允许（不写即允许） | deny 明确禁止（优先于一切允许）
# inherit  是否传给下级部门，不写即 true
# reach    管到谁的客户：own | subordinate | collaborating | corp；只有 view 能扩大到全公司
""",
    "roles.toml": """\
# 每个角色能做什么。没有写在这里的不可以；grant = "free" 之外，还需要部门有授权。
# What each role may do. What does not stand here is refused; but for grant = "free" it also needs a grant.
#
# on  谁的客户：own 自己的 | subordinate 下属的 | collaborating 协作的 | none 任何人的；[] 只是标签组本身
""",
    "approvals.toml": """\
# 谁签批、多久过期。[protected] 和 [kinds.…] 只写与上面不同的。
# Who signs and how long it may take. [protected] and [kinds.…] say only what differs.
""",
    drift_file.FILE: """\
# 有人直接在企业微信里改了标签，以谁为准。[groups] 只写与上面不同的标签组。
# What becomes of tags changed inside WeCom. [groups] says only what differs.
#
# value   长期价值标签：put_back 改回原样 | ask 改回原样并代负责人提交审批
# others  其他标签：wecom 以企业微信为准（仍须本人有权） | tagwarden 以这里为准
# stop_above_percent  一次要改回的客户超过这个百分比就停下来问
""",
}


class NotWritable(Conflict):
    code = "policy_not_writable"
    zh = "授权 {row} 与另一条同部门、同标签组、同动作，无法写成文件；请先在策略中合并"
    en = "Grant {row} has a twin of the same department, group and action and cannot be written to a file; merge them first"


def bundle_texts(
    groups: Iterable[TagGroup],
    people: Iterable[Employee],
    grants: Iterable[Grant],
    capabilities: Iterable[Capability],
    chain: Mapping[str, Any],
    drift: Mapping[str, Any],
    departments: Mapping[int, Department],
) -> dict[str, str]:
    """The six files by name; NotWritable where two rows have one place."""
    groups = list(groups)
    names = {str(group.id): group.name for group in groups}
    bodies = {
        "groups.toml": _groups(groups),
        "people.toml": _people(people),
        "grants.toml": _grants(grants, names, departments),
        "roles.toml": _roles(capabilities),
        "approvals.toml": _approvals(chain),
        drift_file.FILE: _drift(drift_file.by_name(drift, names)),
    }
    return {name: headed(_ABOUT[name], body) for name, body in bodies.items()}


def headed(about: str, entries: Iterable[str]) -> str:
    """A file of these entries below the mark and what it is about."""
    return "\n".join([f"{MARK}\n{about}", *entries])


def entry(key: str, fields: Mapping[str, Any], comment: str = "") -> str:
    """One `[[key]]` with its fields; a comment never leaves its line."""
    said = f"  # {printable(comment)}" if comment else ""
    return "".join([f"[[{key}]]{said}\n", *(f"{name} = {value(given)}\n" for name, given in fields.items())])


def value(given: Any) -> str:
    """A value of TOML."""
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, (int, float)):
        return str(given)
    if isinstance(given, str):
        # JSON's escapes are TOML's, but for DEL, which TOML wants escaped too.
        return json.dumps(str(given), ensure_ascii=False).replace("\x7f", "\\u007f")
    return "[" + ", ".join(value(one) for one in given) + "]"


def printable(text: str) -> str:
    """A name as it may stand in a comment: nothing in it ends the line or hides what follows."""
    return "".join(" " if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp", "Cs") else letter for letter in text)


def _groups(groups: Iterable[TagGroup]) -> list[str]:
    return [
        entry("group", {"name": group.name, "kind": group.kind.value, "choice": group.choice.value})
        for group in sorted(groups, key=lambda group: group.name)
        if group.kind is not Kind.UNCLASSIFIED
    ]


def _people(people: Iterable[Employee]) -> list[str]:
    lines = []
    for one in sorted(people, key=lambda one: one.userid):
        if one.active and one.roles:
            fields: dict[str, Any] = {"userid": one.userid, "roles": sorted(role.value for role in one.roles)}
            if RoleName.SUBADMIN in one.roles:
                fields["modules"] = sorted(module.value for module in one.modules)
            lines.append(entry("person", fields))
    return lines


def _grants(rows: Iterable[Grant], names: Mapping[str, str], departments: Mapping[int, Department]) -> list[str]:
    known = [row for row in rows if row.group in names]
    seen: set[tuple[Any, ...]] = set()
    lines = []
    for row in sorted(known, key=lambda row: (row.department, names[row.group], row.action.value, row.effect.value)):
        place = (row.department, row.group, row.action, row.effect)
        if place in seen:
            raise NotWritable(row=row.id)
        seen.add(place)
        department = departments.get(row.department)
        lines.append(entry("grant", _cell(row, names[row.group]), department.name if department else "部门不存在 / gone"))
    return lines


def _cell(row: Grant, group: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"department": row.department, "group": group, "action": row.action.value}
    if row.effect is Effect.DENY:
        fields["effect"] = row.effect.value
    if not row.inherit:
        fields["inherit"] = False
    if row.reach is not None:
        fields["reach"] = row.reach.value
    return fields


def _roles(capabilities: Iterable[Capability]) -> list[str]:
    """One entry for all actions and kinds that a role has alike."""
    alike: dict[tuple[str, frozenset[Relation], bool, frozenset[Kind]], list[str]] = {}
    for (role, relations, needs_grant, action), kinds in _by_action(capabilities).items():
        alike.setdefault((role, relations, needs_grant, frozenset(kinds)), []).append(action)
    lines = []
    for (role, relations, needs_grant, kinds_alike), actions in alike.items():
        fields: dict[str, Any] = {
            "may": sorted(actions),
            "kinds": [kind.value for kind in Kind if kind in kinds_alike],
            "on": [relation.value for relation in Relation if relation in relations],
        }
        if not needs_grant:
            fields["grant"] = "free"
        lines.append((role, entry(role, fields)))
    have = {role for role, _ in lines}
    empty = [f"{role.value} = []\n" for role in sorted(Role) if role.value not in have]
    return [*empty, *(line for _, line in sorted(lines))]


def _by_action(capabilities: Iterable[Capability]) -> dict[tuple[str, frozenset[Relation], bool, str], set[Kind]]:
    found: dict[tuple[str, frozenset[Relation], bool, str], set[Kind]] = {}
    for one in capabilities:
        found.setdefault((one.role.value, one.relations, one.needs_grant, one.action.value), set()).add(one.kind)
    return found


def _approvals(chain: Mapping[str, Any]) -> list[str]:
    rules = read_rules(chain)
    plain = ChainRules()
    always = ("asking_is_level1", "expires_after_days", "remind_after_hours", "escalate_after_hours")
    top = {name: given for name, given in fields_of(rules.default).items() if name in always or given != getattr(plain, name)}
    below = {**fields_of(rules.default), "asking_is_level1": False}
    protected = {name: given for name, given in fields_of(rules.protected).items() if given != below[name]}
    sections = [_section("", top), _section("[protected]\n", protected)]
    for kind in sorted(rules.kinds):
        given = rules.kinds[kind]
        sections.append(_section(f"[kinds.{value(kind)}]\n", {name: given[name] for name in sorted(given)}))
    return [section for section in sections if section]


def _drift(drift: Mapping[str, Any]) -> list[str]:
    always = {name: drift[name] for name in ("value", "others", "stop_above_percent")}
    groups = {value(name): rule for name, rule in sorted(drift["groups"].items())}
    return [_section("", always), *([_section("[groups]\n", groups)] if groups else [])]


def _section(head: str, fields: Mapping[str, Any]) -> str:
    if head == "[protected]\n" and not fields:
        return ""
    return head + "".join(f"{name} = {value(_listed(given))}\n" for name, given in fields.items())


def _listed(given: Any) -> Any:
    if isinstance(given, (set, frozenset, list, tuple)):
        members: Sequence[Any] = sorted(getattr(one, "value", one) for one in given)
        return members
    return given
