"""The words of a policy decision: who asks, what for, which rows there are, and what was answered.

It exists so that every room can ask and explain in one vocabulary. It holds values only: it must not decide anything
(the rules stand in `policies/model.conf`, evaluated by `enforcer.py`), load anything, or import a framework.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, TypeAlias, TypeVar

from tagwarden.identity.model import RoleName
from tagwarden.kernel.errors import Invalid

Word = TypeVar("Word", bound=StrEnum)


class InvalidPolicy(Invalid):
    """The policy cannot be loaded as it stands; `mistake` names the place. Nothing is decided by such a policy."""

    code = "policy_invalid"
    zh = "策略无法加载: {mistake_zh}"
    en = "The policy cannot be loaded: {mistake}"

    def __init__(self, *, mistake: str, mistake_zh: str = "") -> None:
        super().__init__(mistake=mistake, mistake_zh=mistake_zh or mistake)


class Action(StrEnum):
    VIEW = "view"
    USE = "use"
    MANAGE = "manage"


class Relation(StrEnum):
    """How the person who asks stands to the follow."""

    OWN = "own"
    SUBORDINATE = "subordinate"
    COLLABORATING = "collaborating"
    NONE = "none"


class Reach(StrEnum):
    """How far a grant goes: a ladder, each step includes the ones before it."""

    OWN = "own"
    SUBORDINATE = "subordinate"
    COLLABORATING = "collaborating"
    CORP = "corp"


class Effect(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class Kind(StrEnum):
    TEMPORARY = "temporary"
    STANDARD = "standard"
    VALUE = "value"
    UNCLASSIFIED = "unclassified"


Role = RoleName
"""Roles are the organisation's word; decisions speak of the same ones."""


class Step(StrEnum):
    """The steps of a decision, in the order in which they are taken."""

    IDENTITY = "identity"
    CAPABILITY = "capability"
    GRANT = "grant"
    RELATION = "relation"


RELATIONS_WITHIN: Mapping[Reach, frozenset[Relation]] = MappingProxyType(
    {
        Reach.OWN: frozenset({Relation.OWN}),
        Reach.SUBORDINATE: frozenset({Relation.OWN, Relation.SUBORDINATE}),
        Reach.COLLABORATING: frozenset({Relation.OWN, Relation.SUBORDINATE, Relation.COLLABORATING}),
        Reach.CORP: frozenset(Relation),
    }
)


@dataclass(frozen=True, slots=True)
class Capability:
    """What a role may do with a kind of group. Without relations it is about the group itself and nobody's customer.

    Raises InvalidPolicy for using an unclassified group: no role can be given that.
    """

    role: Role
    kind: Kind
    action: Action
    relations: frozenset[Relation]
    needs_grant: bool = True

    def __post_init__(self) -> None:
        if self.kind == Kind.UNCLASSIFIED and self.action == Action.USE:
            raise InvalidPolicy(
                mistake=f"{self.role}: an unclassified group cannot be used by anybody; classify it first",
                mistake_zh=f"{self.role}：未归类（unclassified）的组谁都不能使用，请先归类",
            )


@dataclass(frozen=True, slots=True)
class Grant:
    """A cell of the matrix. `department` is WeCom's id; `inherit` passes it on to every department below.

    `reach` narrows an allow; None does not. The reach of a deny has no meaning: it forbids everywhere.
    """

    id: str
    department: int
    group: str
    action: Action
    effect: Effect
    inherit: bool = True
    reach: Reach | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A tag group as decisions know it: its row is the catalog's, and its name and kind move the epoch."""

    id: str
    name: str
    kind: Kind


DecisionRow: TypeAlias = Capability | Grant


class Standing(NamedTuple):
    """All that a decision may know of a person: two people of one standing get one answer."""

    roles: frozenset[Role]
    home: frozenset[int]
    above: frozenset[int]


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asks. `home` are his departments, `above` all proper ancestors of them.

    Without a userid the person is unknown and stands as one without roles.
    """

    userid: str
    roles: frozenset[Role]
    home: frozenset[int]
    above: frozenset[int]
    standing: Standing = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        roles = self.roles if self.userid else frozenset()
        object.__setattr__(self, "standing", Standing(roles, self.home, self.above))


@dataclass(frozen=True, slots=True)
class Question:
    """May `subject` do `action` with `group`, which is of `kind`, on a follow to which he stands in `relation`?

    `relation` None asks about the group itself: to manage it, or whether the action is open to him at all.
    """

    subject: Subject
    group: str
    kind: Kind
    action: Action
    relation: Relation | None


class Refusal(StrEnum):
    """Of a refusal: a row forbids it, or no row allows it."""

    EXPLICIT = "explicit"
    IMPLICIT = "implicit"


class ChangeKind(StrEnum):
    """What an admin can do so that a refused question is allowed."""

    GIVE_ROLE = "give_role"
    CLASSIFY_GROUP = "classify_group"
    LIFT_DENY = "lift_deny"
    ADD_GRANT = "add_grant"
    WIDEN_GRANT = "widen_grant"
    RECORD_AGREEMENT = "record_agreement"


@dataclass(frozen=True, slots=True)
class Change:
    """One of the changes after which it would be allowed; `grant` is the row that is lifted or widened, or would be new."""

    kind: ChangeKind
    role: Role | None = None
    grant: Grant | None = None


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One step taken, the row that answered it, and what it saw: `role:staff`, `dept:7`, `above:1`, `kind:value`..."""

    step: Step
    passed: bool
    row: DecisionRow | None
    saw: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer. `step` is the first that failed, None when allowed; `row` is what decided, None when none was found.

    The trace holds the steps that were taken, in order; one that does not concern the question is not in it.
    Instances are shared between callers.
    """

    allowed: bool
    step: Step | None
    row: DecisionRow | None
    trace: tuple[TraceStep, ...]

    @property
    def refusal(self) -> Refusal | None:
        """Whether a row forbids it or none allows it; None when allowed."""
        if self.allowed:
            return None
        denied = isinstance(self.row, Grant) and self.row.effect is Effect.DENY
        return Refusal.EXPLICIT if denied else Refusal.IMPLICIT


def read_capabilities(text: str) -> tuple[Capability, ...]:
    """Read the text of a `roles.toml`; its comments describe the form. Raises InvalidPolicy naming role and mistake."""
    try:
        sections = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidPolicy(mistake=f"not TOML: {error}", mistake_zh=f"写法有误，检查引号和方括号：{error}") from error
    found: list[Capability] = []
    for name, entries in sections.items():
        role = _word(Role, name, "role")
        if not isinstance(entries, list):
            raise InvalidPolicy(
                mistake=f"{name}: write [[{name}]], with two brackets", mistake_zh=f"{name}：写成 [[{name}]]，两层方括号"
            )
        for entry in entries:
            found.extend(_capabilities(role, entry))
    return tuple(found)


def _capabilities(role: Role, entry: object) -> Iterator[Capability]:
    if not isinstance(entry, dict):
        raise InvalidPolicy(mistake=f"{role}: expected may, kinds and on", mistake_zh=f"{role}：应写 may、kinds 和 on")
    if missing := {"may", "kinds", "on"} - entry.keys():
        listed = ", ".join(sorted(missing))
        raise InvalidPolicy(mistake=f"{role}: missing {listed}", mistake_zh=f"{role}：缺少 {listed}")
    if unknown := entry.keys() - {"may", "kinds", "on", "grant"}:
        listed = ", ".join(sorted(unknown))
        raise InvalidPolicy(
            mistake=f"{role}: unknown {listed}; there are may, kinds, on and grant",
            mistake_zh=f"{role}：不认识 {listed}；可以写 may、kinds、on、grant",
        )
    grant = entry.get("grant", "needed")
    if grant not in ("needed", "free"):
        raise InvalidPolicy(
            mistake=f'{role}: grant is "needed" or "free", not {grant!r}',
            mistake_zh=f'{role}：grant 只能是 "needed" 或 "free"，不是 {grant!r}',
        )
    relations = frozenset(_words(Relation, entry["on"], role, "on"))
    for action in _words(Action, entry["may"], role, "may"):
        for kind in _words(Kind, entry["kinds"], role, "kinds"):
            yield Capability(role, kind, action, relations, needs_grant=grant == "needed")


def _words(vocabulary: type[Word], values: object, role: Role, key: str) -> list[Word]:
    if not isinstance(values, list):
        raise InvalidPolicy(
            mistake=f"{role}: {key} is a list, in square brackets", mistake_zh=f"{role}：{key} 是一个列表，写在方括号里"
        )
    return [_word(vocabulary, value, f"{role}: {key}") for value in values]


def _word(vocabulary: type[Word], value: object, place: str) -> Word:
    for word in vocabulary:
        if word == value:
            return word
    listed = ", ".join(vocabulary)
    raise InvalidPolicy(mistake=f"{place}: {value!r} is none of {listed}", mistake_zh=f"{place}：{value!r} 不在其中：{listed}")
