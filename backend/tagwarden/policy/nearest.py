"""The nearest change that would allow what was refused: found by asking the engine what it would answer then.

It knows which kinds of change there are and tries the smallest first. Whether one is enough, only the engine says: no
rule stands here, and what is named here has been seen to be allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tagwarden.policy.enforcer import Place, PolicyEngine
from tagwarden.policy.model import (
    Action,
    Change,
    ChangeKind,
    Decision,
    Effect,
    Grant,
    Kind,
    Reach,
    Relation,
    Role,
    Standing,
    Step,
)

MOST_CHANGES = 12
"""A person may stand under several prohibitions; beyond so many there is no nearest change to speak of."""
BUSINESS_ROLES = (Role.STAFF, Role.MANAGER, Role.SUPERVISOR, Role.SUBADMIN)
"""The least first. Nobody is made admin or auditor because he was refused a tag."""
NEW = "new"


@dataclass(frozen=True, slots=True)
class _World:
    """What a question is answered in; a change makes another one."""

    engine: PolicyEngine
    standing: Standing
    group: str
    kind: Kind
    action: Action
    relation: Relation | None
    rows: tuple[Grant, ...]

    def decide(self) -> Decision:
        return self.engine.supposing(self.standing, self.group, self.kind, self.action, self.relation, self.rows)

    def with_role(self, role: Role) -> _World:
        return replace(self, standing=self.standing._replace(roles=self.standing.roles | {role}))


_Found = tuple[Change, _World]


def nearest(
    engine: PolicyEngine, place: Place, group: str, kind: Kind, action: Action, relation: Relation | None
) -> tuple[Change, ...]:
    """The changes after all of which it is allowed, mostly one; none where no change of policy or roles would do."""
    cell = (group, kind, action, relation)
    known = place.mended.get(cell)
    if known is None:
        rows = tuple(engine.reaching(group, place.standing))
        world = _World(engine, place.standing, group, kind, action, relation, rows)
        known = place.mended[cell] = tuple(_way(world))
    return known


def _way(world: _World) -> list[Change]:
    changes: list[Change] = []
    while len(changes) < MOST_CHANGES:
        decision = world.decide()
        if decision.allowed:
            return changes
        found = _step(world, decision)
        if found is None:
            return []
        change, world = found
        changes.append(change)
    return []


def _step(world: _World, decision: Decision) -> _Found | None:
    """The change that gets past the step at which it was refused."""
    if decision.step is Step.GRANT:
        return _past_grant(world, decision)
    if decision.step is Step.RELATION:
        return _past_relation(world, decision)
    if world.kind is Kind.UNCLASSIFIED:
        return Change(ChangeKind.CLASSIFY_GROUP), replace(world, kind=Kind.STANDARD)
    return _a_role(world, {Step.IDENTITY, Step.CAPABILITY})


def _past_grant(world: _World, decision: Decision) -> _Found | None:
    if isinstance(decision.row, Grant):
        kept = tuple(row for row in world.rows if row is not decision.row)
        return Change(ChangeKind.LIFT_DENY, grant=decision.row), replace(world, rows=kept)
    if not world.standing.home:
        return None  # who is in no department is reached by no grant
    return _granting(world, world.action, None)


def _granting(world: _World, action: Action, reach: Reach | None) -> _Found:
    row = Grant(NEW, min(world.standing.home), world.group, action, Effect.ALLOW, inherit=False, reach=reach)
    return Change(ChangeKind.ADD_GRANT, grant=row), replace(world, rows=(*world.rows, row))


def _past_relation(world: _World, decision: Decision) -> _Found | None:
    tried = (_widened, _agreed, _shown_to_all) if world.relation is Relation.NONE else (_widened,)
    for attempt in tried:
        found = attempt(world, decision)
        if found is not None:
            return found
    return _a_role(world, {Step.RELATION}) if world.relation is not Relation.NONE else None


def _widened(world: _World, decision: Decision) -> _Found | None:
    """The row that allows it, carried further: only where the role reaches this relation by itself."""
    if not isinstance(decision.row, Grant):
        return None
    wide = replace(decision.row, reach=Reach.CORP)
    rows = tuple(wide if row is decision.row else row for row in world.rows)
    return Change(ChangeKind.WIDEN_GRANT, grant=decision.row), replace(world, rows=rows)


def _agreed(world: _World, decision: Decision) -> _Found | None:
    agreed = replace(world, relation=Relation.COLLABORATING)
    after = agreed.decide()
    return (Change(ChangeKind.RECORD_AGREEMENT), agreed) if after.allowed or isinstance(after.row, Grant) else None


def _shown_to_all(world: _World, decision: Decision) -> _Found | None:
    if world.action is not Action.VIEW or not world.standing.home:
        return None
    change, shown = _granting(world, Action.VIEW, Reach.CORP)
    return (change, shown) if shown.decide().allowed else None


def _a_role(world: _World, past: set[Step]) -> _Found | None:
    """The least role that is enough; else the least that gets past these steps."""
    worlds = [(role, world.with_role(role)) for role in BUSINESS_ROLES if role not in world.standing.roles]
    for role, having in _best_first(worlds, past):
        return Change(ChangeKind.GIVE_ROLE, role=role), having
    return None


def _best_first(worlds: list[tuple[Role, _World]], past: set[Step]) -> Iterator[tuple[Role, _World]]:
    answers = [(role, having, having.decide()) for role, having in worlds]
    yield from ((role, having) for role, having, answer in answers if answer.allowed)
    yield from ((role, having) for role, having, answer in answers if answer.step not in past or _reaches(answer))


def _reaches(answer: Decision) -> bool:
    """Refused by a row that is too narrow, not by what the role may: the next change widens it."""
    return answer.step is Step.RELATION and isinstance(answer.row, Grant)
