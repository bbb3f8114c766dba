"""The organisation as one immutable picture per epoch, and the questions asked of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tagwarden.kernel.errors import Refused, Unauthenticated

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


class ModuleMissing(Refused):
    code = "module_missing"
    zh = "您没有“{module}”模块的管理权限，请联系管理员：{ask}"
    en = "You do not hold the module switch “{module}”; ask an admin: {ask}"


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
    _lines: dict[int, tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)

    def employee(self, userid: str) -> Employee:
        """The active employee, or IdentityRefused."""
        found = self.employees.get(userid)
        if found is None or not found.active:
            raise IdentityRefused(userid=userid, audit={"step": "identity"})
        return found

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
        return "、".join(one.userid for one in self.holders(RoleName.ADMIN)) or "admin"

    def may_sign(self, issuer: str) -> bool:
        """Whether tokens of this issuer may sign in this corp."""
        return issuer in self.signing_issuers

    def require_module(self, employee: Employee, module: Module) -> None:
        """Raises ModuleMissing unless the employee is admin or a sub-admin with this switch."""
        if employee.holds(RoleName.ADMIN):
            return
        if employee.holds(RoleName.SUBADMIN) and module in employee.modules:
            return
        raise ModuleMissing(module=module.value, ask=self.admins(), audit={"step": "capability", "module": module.value})
