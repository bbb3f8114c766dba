"""Who signs which kind of request and how long it may take, as a revision says it. Pure; decides nothing.

A chain may narrow who signs; it never widens beyond a leader with a signing role (level 1) and a supervisor (level 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tagwarden.identity.model import RoleName

SIGNING_ROLES = frozenset({RoleName.MANAGER, RoleName.SUPERVISOR})


@dataclass(frozen=True, slots=True)
class ChainRules:
    """The rules of one kind. `level2_departments` empty: any supervisor; else those who belong there or below."""

    asking_is_level1: bool = True
    expires_after_days: int = 7
    remind_after_hours: int = 24
    escalate_after_hours: int = 48
    level1_roles: frozenset[RoleName] = SIGNING_ROLES
    level2_departments: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class ApprovalRules:
    """What the revision says about chains: for everything, for protected changes, and for single kinds."""

    default: ChainRules = field(default_factory=ChainRules)
    protected: ChainRules = field(default_factory=ChainRules)
    kinds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What single kinds say otherwise than everything, or than protected changes where they are one."""

    def of(self, kind: str, *, protected: bool = False) -> ChainRules:
        """The rules of a kind of request."""
        return _with(self.protected if protected else self.default, self.kinds.get(kind, {}))


def read_rules(content: Mapping[str, Any]) -> ApprovalRules:
    """From a revision's content: keys at the top for everything, `protected` and `kinds` say what differs there.

    A protected change nobody wrote rules for needs two signatures besides the asking.
    """
    default = _with(ChainRules(), content)
    protected = _with(replace(default, asking_is_level1=False), content.get("protected", {}))
    return ApprovalRules(default, protected, content.get("kinds", {}))


def _with(rules: ChainRules, given: Mapping[str, Any]) -> ChainRules:
    known = {name: given[name] for name in ChainRules.__dataclass_fields__ if name in given}
    if "level1_roles" in known:
        known["level1_roles"] = frozenset(RoleName(name) for name in known["level1_roles"]) & SIGNING_ROLES
    if "level2_departments" in known:
        known["level2_departments"] = frozenset(known["level2_departments"])
    return replace(rules, **known)


def loosens(before: ApprovalRules, after: ApprovalRules) -> bool:
    """Whether any kind would be signed by more people, sooner by higher ones, or by asking where it was not."""
    named = {*before.kinds, *after.kinds}
    pairs = [(before.default, after.default), (before.protected, after.protected)]
    pairs += [(before.of(kind), after.of(kind)) for kind in named]
    pairs += [(before.of(kind, protected=True), after.of(kind, protected=True)) for kind in named]
    return any(_looser(old, new) for old, new in pairs)


def _looser(old: ChainRules, new: ChainRules) -> bool:
    if new.asking_is_level1 and not old.asking_is_level1:
        return True
    if new.escalate_after_hours < old.escalate_after_hours or new.level1_roles - old.level1_roles:
        return True
    return bool(old.level2_departments) and (not new.level2_departments or bool(new.level2_departments - old.level2_departments))
