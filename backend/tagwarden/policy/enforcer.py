"""The one place that asks Casbin: the rules of `policies/model.conf` over the rows of one policy revision.

It exists so that a decision costs the same at any number of rows, and so that Casbin's own traps (each pinned in
`tests/policy/test_casbin_traps.py`) are met once. It must not hold a rule of its own: which rows are put before Casbin,
in which order, and what its answer is called is all it knows. It must not change after it is built: a new revision is a
new engine. Who asks stands in the question, so the epochs of one revision share it. Threads may share one; the only
things written later are caches of answers that cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from threading import Lock
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import casbin

from tagwarden.policy.matrix import Matrix
from tagwarden.policy.model import (
    RELATIONS_WITHIN,
    Action,
    Capability,
    Change,
    Decision,
    DecisionRow,
    Effect,
    Grant,
    InvalidPolicy,
    Kind,
    Question,
    Reach,
    Relation,
    Role,
    Standing,
    Step,
    TraceStep,
)

# About 560 bytes each. When that many different questions have been answered the memo starts anew, so that
# questions about invented groups cannot fill the memory.
MEMO_LIMIT = 250_000

_PARSING = Lock()

# A question about the group itself: every capability says something about the group.
ITSELF = "itself"

_SHAPE: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("r", "r"): "r_roles r_action r_kind r_relation",
        ("r", "r2"): "r2_home r2_above r2_action r2_relation r2_listed",
        ("p", "p"): "p_id p_role p_action p_kind p_relations p_grant",
        ("p", "p2"): "p2_id p2_department p2_inherit p2_action p2_reach p2_within p2_eft",
    }
)

_Context: TypeAlias = Any
_Row: TypeAlias = list[object]
_Departments: TypeAlias = dict[int, list[Grant]]

# Casbin takes the effect from "e" whatever the context says, so all questions share it.
_LISTED: _Context = casbin.core_enforcer.EnforceContext("r", "p", "e", "m")
_NEEDING_GRANT: _Context = casbin.core_enforcer.EnforceContext("r", "p", "e", "m2")
_ANY: _Context = casbin.core_enforcer.EnforceContext("r", "p", "e", "m3")
_GRANTED: _Context = casbin.core_enforcer.EnforceContext("r2", "p2", "e", "m4")
_WITHIN: _Context = casbin.core_enforcer.EnforceContext("r2", "p2", "e", "m5")


@dataclass(frozen=True, slots=True)
class _Clearance:
    """A capability was found and it needs a grant. `listed`: the role names the relation that was asked for."""

    capability: Capability
    listed: bool
    trace: tuple[TraceStep, ...]


class _Cell(NamedTuple):
    """A question without the person who asks."""

    group: str
    kind: Kind
    action: Action
    relation: Relation | None


class Place:
    """A standing with its departments as Casbin reads them, and what was answered there. It serves all who stand there."""

    __slots__ = ("above", "answers", "home", "mended", "saw", "standing")

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self.home = frozenset(f"dept:{number}" for number in standing.home)
        self.above = frozenset(f"dept:{number}" for number in standing.above)
        self.saw = (*_sorted_as("dept", standing.home), *_sorted_as("above", standing.above))
        self.answers: dict[object, Decision] = {}
        self.mended: dict[object, tuple[Change, ...]] = {}


class PolicyEngine:
    """All rules of one corp in one revision.

    `model_text` is the text of `policies/model.conf`. Raises InvalidPolicy when the model lacks a part that is asked
    for here or two grants share an id: a policy that cannot be told apart is not loaded, and nothing is decided.
    """

    def __init__(
        self,
        capabilities: Iterable[Capability],
        grants: Matrix | Iterable[Grant],
        model_text: str,
        *,
        memo_limit: int = MEMO_LIMIT,
    ) -> None:
        self._model = _parse(model_text)
        with _PARSING:
            self._parsed = {each.value: _syntax_tree(each.value) for each in self._model["m"].values()}
        self._capabilities = _by_action_and_kind(capabilities)
        self._grants = grants if isinstance(grants, Matrix) else Matrix(grants)
        self._places: dict[Standing, Place] = {}
        self._departments: dict[str, _Departments] = {}
        self._clearances: dict[object, _Clearance | Decision] = {}
        self._remembered = 0
        self._memo_limit = memo_limit

    def decide(self, question: Question) -> Decision:
        """Answer, with the steps taken and the row that decided. Never raises for what it does not know: it refuses."""
        place = self.place(question.subject.standing)
        return self.answer(place, question.group, question.kind, question.action, question.relation)

    def answer(self, place: Place, group: str, kind: str, action: Action, relation: Relation | None) -> Decision:
        """`decide` for who asks often: his place was looked up before. ValueError for a kind that there is not."""
        cell = (group, kind, action, relation)
        known = place.answers.get(cell)
        if known is not None:
            return known
        decision = self._judge(_Cell(group, Kind(kind), action, relation), place)
        if self._remembered >= self._memo_limit:
            self._forget()
        place.answers[cell] = decision
        self._remembered += 1
        return decision

    def _forget(self) -> None:
        for place in tuple(self._places.values()):
            place.answers.clear()
            place.mended.clear()
        self._remembered = 0

    def place(self, standing: Standing) -> Place:
        """Where people of this standing are answered."""
        place = self._places.get(standing)
        if place is None:
            place = self._places.setdefault(standing, Place(standing))
        return place

    def supposing(
        self, standing: Standing, group: str, kind: Kind, action: Action, relation: Relation | None, grants: Iterable[Grant]
    ) -> Decision:
        """What would be answered if these were all of the group's rows. Nothing of it is remembered."""
        return self._judge(_Cell(group, kind, action, relation), Place(standing), _by_department(grants))

    def reaching(self, group: str, standing: Standing) -> list[Grant]:
        """The group's rows that can reach a person of this standing, what forbids first."""
        return list(self._grants_for(self._departments_of(group), standing).values())

    def _judge(self, question: _Cell, place: Place, departments: _Departments | None = None) -> Decision:
        roles = place.standing.roles
        key = (roles, question.kind, question.action, question.relation)
        clearance = self._clearances.get(key)
        if clearance is None:
            clearance = self._clear(roles, question)
            self._clearances[key] = clearance
        if isinstance(clearance, Decision):
            return clearance
        grants = self._grants_for(self._departments_of(question.group) if departments is None else departments, place.standing)
        return self._judge_grants(clearance, question, place, grants)

    def _clear(self, roles: frozenset[Role], question: _Cell) -> _Clearance | Decision:
        """Identity and capability, which are the same for every group; a role that needs no grant is answered here."""
        identity = TraceStep(Step.IDENTITY, bool(roles), None, _role_names(roles))
        if not roles:
            return _refused(identity)
        held = self._capabilities.get((question.action, question.kind), {})
        request = (frozenset(identity.saw), question.action, question.kind, question.relation or ITSELF)
        rows = [row for row, _ in held.values()]
        saw = (f"kind:{question.kind}", f"action:{question.action}")

        def ask(context: _Context) -> Capability | None:
            _, found = self._ask(context, rows, request)
            return held[found][1] if found is not None else None

        listed = ask(_LISTED)
        capability = listed or ask(_NEEDING_GRANT) or ask(_ANY)
        step = TraceStep(Step.CAPABILITY, capability is not None, capability, saw)
        if capability is None:
            return _refused(identity, step)
        if capability.needs_grant:
            return _Clearance(capability, listed is not None, (identity, step))
        return _answered(capability, question.relation, listed is not None, identity, step)

    def _judge_grants(self, clearance: _Clearance, question: _Cell, place: Place, grants: dict[str, Grant]) -> Decision:
        rows = [_grant_row(grant) for grant in grants.values()]
        listed = "yes" if clearance.listed else "no"
        request = (place.home, place.above, question.action, question.relation or ITSELF, listed)

        granted, found = self._ask(_GRANTED, rows, request)
        grant = grants[found] if found is not None else None
        step = TraceStep(Step.GRANT, granted, grant, place.saw)
        if not granted:
            return _refused(*clearance.trace, step)
        if question.relation is None:
            return Decision(True, None, grant, (*clearance.trace, step))

        within, found = self._ask(_WITHIN, rows, request)
        narrow: DecisionRow | None = grant if clearance.listed else clearance.capability
        row = grants[found] if found is not None else narrow
        return _answered(row, question.relation, within, *clearance.trace, step)

    def _departments_of(self, group: str) -> _Departments:
        """The group's rows by department, sorted once."""
        departments = self._departments.get(group)
        if departments is None:
            rows = self._grants.of_group(group)
            if not rows:
                return {}
            departments = self._departments[group] = _by_department(rows)
        return departments

    @staticmethod
    def _grants_for(departments: _Departments, standing: Standing) -> dict[str, Grant]:
        """Those that can reach the person, in the order in which Casbin reads them: what forbids first."""
        found = [grant for number in standing.home | standing.above for grant in departments.get(number, ())]
        found.sort(key=lambda grant: (grant.effect != Effect.DENY, grant.id))
        return {grant.id: grant for grant in found}

    def _ask(self, context: _Context, rows: list[_Row], request: Sequence[object]) -> tuple[bool, str | None]:
        """Ask Casbin; return its answer and the id of the row that gave it.

        The enforcer is made for these rows and dropped: that costs 11 µs, keeps the number of rows small however
        many a group has, and leaves nothing that two threads could share.
        """
        if not rows:
            return False, None  # over no rows at all Casbin compares with empty strings and may say yes
        enforcer = casbin.Enforcer(self._model_with(context.ptype, rows))
        enforcer._get_expression = self._matcher
        allowed, row = enforcer.enforce_ex(context, *request)
        return bool(allowed), str(row[0]) if row else None

    def _matcher(self, text: str, functions: Any) -> Any:
        """Casbin parses it anew for every question: slow, and CPython 3.11 fails when two threads parse at once."""
        evaluator = casbin.util.SimpleEval("", functions)
        evaluator.ast_parsed_value = self._parsed[text]
        return evaluator

    def _model_with(self, ptype: str, rows: list[_Row]) -> Any:
        """The parsed model with these rows. Handing over lists of fields is linear, and no text is split on commas."""
        model = casbin.model.Model()
        for section in ("r", "e", "m"):
            model[section] = self._model[section]
        definition = copy(self._model["p"][ptype])
        definition.policy = rows
        model["p"] = {ptype: definition}
        return model


def _parse(model_text: str) -> Any:
    try:
        model = casbin.Enforcer.new_model(text=model_text)
    except RuntimeError as error:
        raise InvalidPolicy(mistake=f"model.conf: {error}") from error
    for (section, name), fields in _SHAPE.items():
        definition = (model[section] or {}).get(name)
        if definition is None or " ".join(definition.tokens) != fields:
            raise InvalidPolicy(mistake=f"model.conf: {name} must be defined with the fields {fields}")
    effect = (model["e"] or {}).get("e")
    if effect is None or effect.value != "priority(p_eft) || deny":
        raise InvalidPolicy(mistake="model.conf: e must be priority(p.eft) || deny, or a prohibition would not win")
    if missing := {"m", "m2", "m3", "m4", "m5"} - (model["m"] or {}).keys():
        raise InvalidPolicy(mistake=f"model.conf: missing {', '.join(sorted(missing))}")
    return model


def _syntax_tree(matcher: str) -> Any:
    try:
        return casbin.Enforcer._get_expression(matcher).ast_parsed_value
    except SyntaxError as error:
        raise InvalidPolicy(mistake=f"model.conf: not a matcher: {matcher}") from error


def _by_action_and_kind(
    capabilities: Iterable[Capability],
) -> dict[tuple[Action, Kind], dict[str, tuple[_Row, Capability]]]:
    """Those that need no grant come first: where a person has both, the wider is found."""
    found: dict[tuple[Action, Kind], dict[str, tuple[_Row, Capability]]] = {}
    for capability in sorted(capabilities, key=lambda each: (each.needs_grant, each.role)):
        rows = found.setdefault((capability.action, capability.kind), {})
        name = str(len(rows))
        rows[name] = (_capability_row(name, capability), capability)
    return found


def _by_department(grants: Iterable[Grant]) -> _Departments:
    found: _Departments = {}
    for grant in grants:
        found.setdefault(grant.department, []).append(grant)
    return found


def _capability_row(name: str, capability: Capability) -> _Row:
    relations = frozenset({ITSELF, *(relation.value for relation in capability.relations)})
    role, action, kind = f"role:{capability.role}", capability.action.value, capability.kind.value
    return [name, role, action, kind, relations, "needed" if capability.needs_grant else "free"]


def _grant_row(grant: Grant) -> _Row:
    within = RELATIONS_WITHIN[grant.reach or Reach.CORP]
    inherit, reach = "yes" if grant.inherit else "no", grant.reach or "any"
    return [grant.id, f"dept:{grant.department}", inherit, grant.action, reach, within, grant.effect.value]


def _role_names(roles: frozenset[Role]) -> tuple[str, ...]:
    return tuple(sorted(f"role:{role}" for role in roles))


def _sorted_as(word: str, departments: Iterable[int]) -> Iterable[str]:
    return (f"{word}:{number}" for number in sorted(departments))


def _refused(*trace: TraceStep) -> Decision:
    """The last step taken is the one that failed."""
    return Decision(False, trace[-1].step, trace[-1].row, trace)


def _answered(row: DecisionRow | None, relation: Relation | None, passed: bool, *trace: TraceStep) -> Decision:
    """The relation step ends a decision; a question about the group itself has none and ends before it."""
    if relation is None:
        return Decision(True, None, row, trace)
    step = TraceStep(Step.RELATION, passed, row, (f"relation:{relation}",))
    if not passed:
        return _refused(*trace, step)
    return Decision(True, None, row, (*trace, step))
