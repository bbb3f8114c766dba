"""The organisation as one immutable picture per epoch, and the questions asked of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tagwarden.kernel.errors import Invalid, Refused, Unauthenticated

ROOT_DEPARTMENT = 1


class RoleName(StrEnum):
    STAFF = "staff"
    MANAGER = "manager"
    SUPERVISOR = "supervisor"
    ADMIN = "admin"
    SUBADMIN = "subadmin"
    AUDITOR = "auditor"
    SERVICE = "service"


class Module(StrEnum):
    CATALOG = "catalog"
    POLICY = "policy"
    MEMBERS = "members"
    SYNC = "sync"
    APPROVALS = "approvals"


class TokenRefused(Unauthenticated):
    code = "unauthenticated"
    zh = "请先登录：令牌缺失、无效或已过期"
    en = "Sign in first: the token is missing, invalid or expired"


class IdentityRefused(Refused):
    """Established by its issuer, unknown or inactive here; fails at the decision's first step."""

    code = "refused_at_identity"
    zh = "您的企业微信账号（{userid}）在本系统中不存在或已停用，请联系管理员"
    en = "Your account ({userid}) is unknown or inactive here; ask an admin"


class UseridAmbiguous(Invalid):
    """WeCom renamed an account and gave its name to somebody else."""

    code = "userid_ambiguous"
    zh = "“{userid}”在企业微信中已改名，这个账号名又分给了另一位成员，无法判断指的是谁；请改用对方现在的企业微信账号"
    en = "“{userid}” was renamed in WeCom and the name given to somebody else; name whom you mean as WeCom does now"


MODULE_WORDS: Mapping[str, str] = {
    Module.CATALOG: "标签库",
    Module.POLICY: "策略",
    Module.MEMBERS: "成员与角色",
    Module.SYNC: "企业微信同步",
    Module.APPROVALS: "审批",
}
ROLE_WORDS = {RoleName.ADMIN: ("管理员", "admins"), RoleName.AUDITOR: ("审计员", "auditors")}


class ModuleMissing(Refused):
    """A sub-admin without this switch, or nobody who configures at all; names the switch and who can give it."""

    code = "module_missing"
    zh = "您没有“{summary_zh}”模块（{module}）的管理权限，可由管理员开通：{ask}"
    en = "You do not hold the module switch “{module}”; an admin can give it: {ask}"

    def __init__(self, module: str, ask: str, **facts: Any) -> None:
        super().__init__(module=module, ask=ask, summary_zh=MODULE_WORDS.get(module, module), **facts)


class RoleMissing(Refused):
    """What no switch opens: it is for the roles named alone."""

    code = "role_missing"
    zh = "只有{summary_zh}可以这样做，请联系管理员：{ask}"
    en = "Only {summary_en} may do this; ask an admin: {ask}"


@dataclass(frozen=True, slots=True)
class Department:
    id: int
    name: str
    parent_id: int


@dataclass(frozen=True, slots=True)
class Employee:
    userid: str
    name: str
    person: str
    active: bool
    departments: frozenset[int]
    leads: frozenset[int]
    roles: frozenset[RoleName]
    modules: frozenset[Module] = frozenset()
    wecom_userid: str | None = None
    """What WeCom calls the account now, where it was renamed there; here it keeps the userid it had first."""
    name_reused: bool = False
    """WeCom gave the first userid to somebody else, who is not let in under it."""

    def holds(self, *roles: RoleName) -> bool:
        """Whether one of the roles is held."""
        return not self.roles.isdisjoint(roles)


@dataclass(frozen=True, slots=True)
class Directory:
    """Everybody and every department of a corp, at one epoch."""

    departments: Mapping[int, Department]
    employees: Mapping[str, Employee]
    signing_issuers: frozenset[str] = frozenset()
    issuers: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Userids given to accounts inside WeCom after they were known here, each with the userid it has here."""
    _lines: dict[int, tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)
    _asked: dict[RoleName, str] = field(default_factory=dict, repr=False, compare=False)
    _keepers: dict[Module, tuple[str, ...]] = field(default_factory=dict, repr=False, compare=False)

    def employee(self, userid: str) -> Employee:
        """The active employee, or IdentityRefused."""
        found = self.employees.get(userid)
        if found is None or not found.active:
            raise IdentityRefused(userid=userid, audit={"step": "identity"})
        return found

    def here(self, wecom_userid: str) -> str:
        """The userid here of whom WeCom calls so now. A userid that WeCom took from an account names nobody:
        IdentityRefused, for it may be given to somebody else."""
        if wecom_userid in self.renamed:
            return self.renamed[wecom_userid]
        found = self.employees.get(wecom_userid)
        if found is not None and found.wecom_userid is not None:
            raise IdentityRefused(userid=wecom_userid, audit={"step": "identity"})
        return wecom_userid

    def named(self, userid: str) -> str:
        """The userid here of whom a request names: by what WeCom calls him now, or by the userid he has here, which our
        answers give. UseridAmbiguous where that might be two people. (A token's subject is WeCom's word alone: `here`.)"""
        now, first = self.renamed.get(userid), self.employees.get(userid)
        if first is None or first.wecom_userid is None:  # of one row with a new name, the other may be its joined twin
            return userid if now is None else now
        if first.name_reused or now not in (None, userid):
            raise UseridAmbiguous(userid=userid)
        return userid

    def known(self, userid: str) -> Employee | None:
        """The employee, active or not."""
        return self.employees.get(userid)

    def line(self, department: int) -> tuple[int, ...]:
        """The department and its ancestors, nearest first; any depth; a cycle in the mirror ends the line."""
        cached = self._lines.get(department)
        if cached is not None:
            return cached
        walked: list[int] = []
        at = self.departments.get(department)
        while at is not None and at.id not in walked:
            walked.append(at.id)
            at = self.departments.get(at.parent_id)
        self._lines[department] = tuple(walked)
        return self._lines[department]

    def above(self, employee: Employee) -> frozenset[int]:
        """Proper ancestors of the employee's departments."""
        return frozenset(up for home in employee.departments for up in self.line(home)[1:])

    def around(self, employee: Employee) -> frozenset[int]:
        """The employee's departments and all above them, as far as the mirror knows them."""
        return frozenset(number for home in employee.departments for number in self.line(home))

    def leads(self, leader: Employee, owner: Employee) -> bool:
        """Whether `leader` leads a department of `owner` or an ancestor of it; nobody leads himself."""
        if leader.userid == owner.userid or not leader.leads:
            return False
        return any(not leader.leads.isdisjoint(self.line(home)) for home in owner.departments)

    def leaders_above(self, owner: Employee) -> Iterator[list[Employee]]:
        """Leaders in line above, nearest distance first; each distance once over all of the owner's departments."""
        lines = [self.line(home) for home in owner.departments]
        for distance in range(max((len(line) for line in lines), default=0)):
            at = {line[distance] for line in lines if distance < len(line)}
            yield [
                other
                for other in self.employees.values()
                if other.active and other.userid != owner.userid and not other.leads.isdisjoint(at)
            ]

    def holders(self, *roles: RoleName) -> list[Employee]:
        """Active employees with one of the roles, by userid."""
        found = [one for one in self.employees.values() if one.active and one.holds(*roles)]
        return sorted(found, key=lambda one: one.userid)

    def admins(self) -> str:
        """Whom to ask, as staff would read it."""
        asked = self._asked.get(RoleName.ADMIN)
        if asked is None:
            asked = "、".join(one.userid for one in self.holders(RoleName.ADMIN)) or "admin"
            self._asked[RoleName.ADMIN] = asked
        return asked

    def keepers(self, module: Module) -> tuple[str, ...]:
        """Who may change what belongs to a module: admins first, then sub-admins with its switch."""
        found = self._keepers.get(module)
        if found is None:
            helpers = [one for one in self.holders(RoleName.SUBADMIN) if module in one.modules]
            found = tuple(dict.fromkeys(one.userid for one in (*self.holders(RoleName.ADMIN), *helpers)))
            self._keepers[module] = found
        return found

    def may_sign(self, issuer: str) -> bool:
        """Whether tokens of this issuer may sign in this corp."""
        return issuer in self.signing_issuers

    def has_module(self, employee: Employee, module: Module) -> bool:
        """Whether the employee is admin or a sub-admin with this switch."""
        return employee.holds(RoleName.ADMIN) or (employee.holds(RoleName.SUBADMIN) and module in employee.modules)

    def require_module(self, employee: Employee, module: Module) -> None:
        """Raises ModuleMissing unless the employee is admin or a sub-admin with this switch."""
        if self.has_module(employee, module):
            return
        raise ModuleMissing(module=module.value, ask=self.admins(), audit={"step": "capability", "module": module.value})

    def require_role(self, employee: Employee, *roles: RoleName) -> None:
        """Raises RoleMissing unless one of the roles is held: for what no module switch opens."""
        if employee.holds(*roles):
            return
        zh, en = ([ROLE_WORDS[role][at] for role in roles] for at in (0, 1))
        names = [role.value for role in roles]
        raise RoleMissing(
            roles=names,
            ask=self.admins(),
            summary_zh="或".join(zh),
            summary_en=" and ".join(en),
            audit={"step": "capability", "roles": names},
        )
