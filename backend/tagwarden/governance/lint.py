"""What an admin should look at twice in a bundle. Nothing here refuses anything, and nothing is decided.

Every warning has a stable code, a place and both languages. With an organisation (a corp's, or `organisation.toml`) more
can be said than of the files alone; what cannot be known is not guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tagwarden.approvals.chain import level2_signers
from tagwarden.governance import drift_file, mistakes
from tagwarden.governance.bundle import Bundle, GrantLine
from tagwarden.governance.differing import by_accounts
from tagwarden.governance.lint_rows import Dead, Rows, as_grant, roles_at, roles_in
from tagwarden.governance.mistakes import Mistake
from tagwarden.governance.organisation import with_roles
from tagwarden.identity.model import ROOT_DEPARTMENT, Directory, RoleName
from tagwarden.policy.chains import ChainRules, read_rules
from tagwarden.policy.drift import DriftRule, fits
from tagwarden.policy.enforcer import PolicyEngine
from tagwarden.policy.matrix import Matrix
from tagwarden.policy.model import Action, Capability, Effect, Kind, Question, Step, Subject

CODES = (
    "root_inherits",
    "department_unknown",
    "group_unknown",
    "group_unclassified",
    "group_unused",
    "unclassified_granted",
    "contradicting_rows",
    "allow_never_wins",
    "row_shadowed",
    "grant_without_role",
    "grant_reaches_nobody",
    "capability_unreachable",
    "department_without_group",
    "person_unknown",
    "person_unlisted",
    "subadmin_without_modules",
    "modules_without_subadmin",
    "level2_without_supervisor",
    "drift_rule_unfit",
)
"""Every warning there is."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beside the bundle. `directory` None: no organisation; `kinds` None: not which groups there are."""

    model: str
    defaults: frozenset[Capability]
    directory: Directory | None = None
    kinds: Mapping[str, Kind] | None = None


def lint(bundle: Bundle, known: Known) -> list[Mistake]:
    """Every warning, by file and place; BundleInvalid where a name might be two people's."""
    if known.directory is not None:
        bundle = by_accounts(bundle, known.directory)
    directory = with_roles(known.directory, bundle.people) if known.directory is not None else None
    rows = Rows(bundle.grants, directory or Directory({}, {}), known.model)
    kinds = {**(known.kinds or {}), **{line.name: line.kind for line in bundle.groups}}
    dead = list(rows.dead())
    found = [*_roots(bundle, directory), *_names(bundle, known, directory), *_dead(dead)]
    useless = {one.row.id for one in dead if one.by is not None}
    if directory is not None:
        silent = list(_without_people(bundle, kinds, directory, known.model))
        useless |= {row_id for row_id, _ in silent}
        found += [warning for _, warning in silent]
        found += [*_bare_departments(bundle, directory), *_people_unlisted(bundle, known), *_level2(bundle, directory)]
    found += [*_unused(bundle, kinds, useless), *_unclassified(bundle, kinds, known), *_subadmins(bundle), *_drift(bundle, kinds)]
    if frozenset(bundle.capabilities) != known.defaults:
        found += _unreachable(bundle, kinds, rows)
    return sorted(found, key=lambda one: (one.where, one.code))


def _at(row: GrantLine) -> str:
    return f"grants.toml {row.id}"


def _roots(bundle: Bundle, directory: Directory | None) -> Iterator[Mistake]:
    for row in bundle.grants:
        department = directory.departments.get(row.department) if directory else None
        top = department is not None and directory is not None and department.parent_id not in directory.departments
        if (top or row.department == ROOT_DEPARTMENT) and row.inherit and row.effect is Effect.ALLOW:
            yield Mistake(
                "root_inherits",
                _at(row),
                "最上级部门的授权会传给全公司；若只给总部本身，写 inherit = false",
                "a grant at the root passes to the whole company; for the head office alone write inherit = false",
            )


def _names(bundle: Bundle, known: Known, directory: Directory | None) -> Iterator[Mistake]:
    for row in bundle.grants:
        if directory is not None and row.department not in directory.departments:
            yield Mistake(
                "department_unknown",
                _at(row),
                f"部门 {row.department} 不存在或已撤销；删去这一条或换成现有部门",
                f"there is no department {row.department} (any more); remove the row or name another one",
            )
    groups = set(known.kinds) if known.kinds is not None else {line.name for line in bundle.groups}
    named = [(f"groups.toml {line.name}", line.name) for line in bundle.groups]
    named += [(_at(row), row.group) for row in bundle.grants]
    named += [(f"{drift_file.FILE} {name}", name) for name in bundle.drift["groups"]]
    for where, name in named if groups else ():
        if name not in groups and known.kinds is None:
            zh, en = mistakes.nearest(name, groups)
            yield Mistake(
                "group_unknown", where, f"groups.toml 里没有“{name}”{zh}", f"“{name}” does not stand in groups.toml{en}"
            )
        elif name not in groups:
            yield mistakes.group_unknown(where, name, groups)
    for line in bundle.people:
        if directory is not None and directory.known(line.userid) is None:
            yield Mistake(
                "person_unknown",
                f"people.toml {line.userid}",
                "组织架构里没有这个人；离职的请删去",
                "nobody of that userid stands in the organisation; remove who left",
            )


def _dead(dead: Iterable[Dead]) -> Iterator[Mistake]:
    for one in dead:
        row, by = one.row, one.by
        if by is None:
            yield Mistake(
                "row_shadowed",
                _at(row),
                "别的条目已经说了同样的话，删去它什么也不会变",
                "other rows say the same already; without it nothing would change",
            )
        elif (by.department, by.action) == (row.department, row.action):
            yield Mistake(
                "contradicting_rows",
                _at(row),
                f"同一格既允许又禁止（{by.id}），禁止优先；请留下一条",
                f"the same cell is allowed and denied ({by.id}); the deny wins, keep one of them",
            )
        else:
            yield Mistake(
                "allow_never_wins",
                _at(row),
                f"总被 {by.id} 禁止，这条允许不起作用",
                f"always denied by {by.id}, so this allow does nothing",
            )


def _without_people(bundle: Bundle, kinds: Mapping[str, Kind], directory: Directory, model: str) -> Iterator[tuple[str, Mistake]]:
    """Allows that no role in their department can make use of, and those of departments where nobody is."""
    engine = PolicyEngine(bundle.capabilities, (), model)
    here, below = roles_in(directory), roles_at(directory)
    for row in bundle.grants:
        kind = kinds.get(row.group)
        if row.effect is Effect.DENY or row.department not in directory.departments or kind in (None, Kind.UNCLASSIFIED):
            continue
        held = (below if row.inherit else here).get(row.department, set())
        if not held:
            zh = "这个部门（及下级）没有在职员工，没有人用得上"
            yield row.id, Mistake("grant_reaches_nobody", _at(row), zh, "nobody is in this department, so nobody gets it")
        elif not any(_has_capability(engine, roles, row, Kind(kind)) for roles in held):
            shown = "、".join(sorted({str(role) for roles in held for role in roles})) or "-"
            zh = f"这个部门的角色（{shown}）都不能 {row.action.value} {kind} 类的组"
            en = f"no role held there ({shown}) may {row.action.value} groups of kind {kind}"
            yield row.id, Mistake("grant_without_role", _at(row), zh, en)


def _has_capability(engine: PolicyEngine, roles: frozenset[RoleName], row: GrantLine, kind: Kind) -> bool:
    """Asked without any grant: a refusal then comes at the first step that is not the grant's."""
    subject = Subject("probe", roles, frozenset(), frozenset())
    return engine.decide(Question(subject, "", kind, row.action, None)).step not in (Step.IDENTITY, Step.CAPABILITY)


def _bare_departments(bundle: Bundle, directory: Directory) -> Iterator[Mistake]:
    matrix = Matrix(as_grant(row, row.group) for row in bundle.grants)
    for home in sorted(roles_in(directory).keys() & directory.departments.keys()):
        if not matrix.groups_opened_to([home], directory.line(home)[1:]):
            name = directory.departments[home].name
            zh = f"部门“{name}”（{home}）有员工，但没有任何标签组"
            yield Mistake(
                "department_without_group", "grants.toml", zh, f"department “{name}” ({home}) has people and no tag group"
            )


def _people_unlisted(bundle: Bundle, known: Known) -> Iterator[Mistake]:
    named = {line.userid for line in bundle.people}
    if known.kinds is None or known.directory is None:  # an organisation.toml tells of no roles
        return
    for one in known.directory.employees.values():
        if one.active and one.roles and one.userid not in named:
            roles = ", ".join(sorted(one.roles))
            zh = f"{one.userid} 有角色（{roles}）但没有写在文件里，应用后保持不变"
            yield Mistake(
                "person_unlisted", "people.toml", zh, f"{one.userid} holds {roles} and does not stand here; it stays as it is"
            )


def _level2(bundle: Bundle, directory: Directory) -> Iterator[Mistake]:
    rules = read_rules(bundle.approvals)
    named: list[tuple[str, ChainRules]] = [("", rules.default), ("[protected] ", rules.protected)]
    named += [(f"[kinds.{kind}] ", rules.of(kind)) for kind in sorted(rules.kinds)]
    for section, one in named:
        if one.level2_departments and not level2_signers(directory, one):
            listed = ", ".join(str(home) for home in sorted(one.level2_departments))
            yield Mistake(
                "level2_without_supervisor",
                "approvals.toml",
                f"{section}level2_departments（{listed}）里没有 supervisor，二级审批没有人能签",
                f"{section}no supervisor stands in level2_departments ({listed}): nobody could sign level 2",
            )


def _unused(bundle: Bundle, kinds: Mapping[str, Kind], useless: set[str]) -> Iterator[Mistake]:
    used = {
        row.group for row in bundle.grants if row.effect is Effect.ALLOW and row.action is Action.USE and row.id not in useless
    }
    for name in sorted(kinds.keys() - used):
        if kinds[name] is not Kind.UNCLASSIFIED:
            zh = f"没有任何部门可以使用标签组“{name}”"
            yield Mistake("group_unused", f"groups.toml {name}", zh, f"no department may use the tag group “{name}”")


def _unclassified(bundle: Bundle, kinds: Mapping[str, Kind], known: Known) -> Iterator[Mistake]:
    for row in bundle.grants:
        if kinds.get(row.group) is Kind.UNCLASSIFIED and row.effect is Effect.ALLOW:
            zh = f"“{row.group}”还没有归类，授权不起作用；请写进 groups.toml"
            yield Mistake("unclassified_granted", _at(row), zh, f"“{row.group}” has no kind yet, so the grant does nothing")
    for name in sorted(known.kinds or ()):
        if kinds[name] is Kind.UNCLASSIFIED:
            zh = f"标签组“{name}”没有归类，谁也不能用；请加一条 [[group]]"
            yield Mistake("group_unclassified", "groups.toml", zh, f"the tag group “{name}” has no kind; add a [[group]]")


def _subadmins(bundle: Bundle) -> Iterator[Mistake]:
    for line in bundle.people:
        where = f"people.toml {line.userid}"
        if RoleName.SUBADMIN in line.roles and not line.modules:
            zh = "子管理员没有任何模块（modules），什么都不能配置"
            yield Mistake("subadmin_without_modules", where, zh, "a sub-admin without modules configures nothing")
        elif line.modules and RoleName.SUBADMIN not in line.roles:
            zh = "modules 只对 subadmin 有意义，这里不起作用"
            yield Mistake("modules_without_subadmin", where, zh, "modules mean something for a subadmin only")


def _drift(bundle: Bundle, kinds: Mapping[str, Kind]) -> Iterator[Mistake]:
    for name, rule in sorted(bundle.drift["groups"].items()):
        kind = kinds.get(name)
        if kind is not None and not fits(DriftRule(rule), kind):
            zh = f"“{name}”是 {kind.value} 类标签组，{rule} 对它不起作用"
            en = f"“{name}” is of kind {kind.value}, for which {rule} says nothing"
            yield Mistake("drift_rule_unfit", f"{drift_file.FILE} {name}", zh, en)


def _unreachable(bundle: Bundle, kinds: Mapping[str, Kind], rows: Rows) -> Iterator[Mistake]:
    """Capabilities of one's own roles.toml that no row of the matrix lets anybody use."""
    reached: set[tuple[Kind, Action]] = set()
    for row in bundle.grants:
        kind = kinds.get(row.group)
        if kind is not None and row.effect is Effect.ALLOW:
            reached |= {(kind, action) for action in rows.opens(row)}
    there = set(kinds.values())
    open_ = {(one.role, one.action, one.kind) for one in bundle.capabilities if one.needs_grant and one.kind in there}
    for role, action, kind in sorted(open_):
        if (kind, action) not in reached:
            zh = f"{role.value} 可以 {action.value} {kind.value} 类的组，但没有任何授权给出这样的组"
            en = f"{role.value} may {action.value} groups of kind {kind.value}, and no grant gives any"
            yield Mistake("capability_unreachable", "roles.toml", zh, en)
