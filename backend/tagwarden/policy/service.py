"""The policy in force, as one picture per epoch: the organisation, the groups, the matrix, and the engine that decides.

A picture is read in one moment, built aside and swapped whole; a revision never changes, so the next epoch of the same
revision takes over its matrix and engine. Inside a command the picture must be that of the locked
epoch; otherwise the command rolls back, loads and begins again. Nothing here decides: `enforcer.py` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec

from tagwarden.corps.epoch import EpochMoved, barrier, note
from tagwarden.corps.model import CorpUnknown, Work
from tagwarden.identity.model import Directory, IdentityRefused, RoleName
from tagwarden.identity.repository import load_directory
from tagwarden.kernel import db, memory
from tagwarden.kernel.errors import Unavailable
from tagwarden.kernel.resources import folder
from tagwarden.policy import agreement_rows, repository
from tagwarden.policy.agreements import Agreement, Agreements
from tagwarden.policy.chains import ApprovalRules, read_rules
from tagwarden.policy.drift import DriftRules, read_drift
from tagwarden.policy.enforcer import Place, PolicyEngine
from tagwarden.policy.matrix import Matrix
from tagwarden.policy.model import Action, Capability, Decision, Grant, Group, InvalidPolicy, Kind, Relation, Subject


class PolicyBroken(Unavailable):
    code = "policy_broken"
    zh = "已发布的策略无法加载，全部拒绝：{why}"
    en = "The published policy does not load; everything is refused: {why}"


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything a decision stands on, at one epoch of one corp."""

    corp_id: str
    epoch: int
    revision: int
    directory: Directory
    engine: PolicyEngine
    approvals: ApprovalRules
    matrix: Matrix
    groups: Mapping[str, Group] = field(default_factory=dict)
    agreements: Agreements = field(default_factory=Agreements)
    drift: DriftRules = field(default_factory=DriftRules)
    explained: dict[object, Any] = field(default_factory=dict, repr=False)
    """What `explain.py` keeps for as long as this picture holds."""
    _subjects: dict[str, Subject] = field(default_factory=dict, repr=False)
    _places: dict[str, Place] = field(default_factory=dict, repr=False)

    @property
    def grants(self) -> tuple[Grant, ...]:
        """Every row of the matrix, sorted by id."""
        return tuple(self.matrix)

    @property
    def unclassified(self) -> int:
        """How many tag groups wait for an admin to give them a kind."""
        return sum(group.kind is Kind.UNCLASSIFIED for group in self.groups.values())

    def subject(self, userid: str) -> Subject:
        """The active employee as a decision sees him; IdentityRefused when there is none."""
        known = self._subjects.get(userid)
        if known is None:
            employee = self.directory.employee(userid)
            known = Subject(userid, employee.roles, employee.departments, self.directory.above(employee))
            self._subjects[userid] = known
        return known

    def relation(self, actor: str, owner: str, group_id: str, at: datetime) -> Relation:
        """How `actor` stands to the follows of `owner` at a moment, as far as this group goes: the nearest that holds."""
        if actor == owner:
            return Relation.OWN
        acting, owning = self.directory.known(actor), self.directory.known(owner)
        if acting is None or owning is None:
            return Relation.NONE
        if self.directory.leads(acting, owning):
            return Relation.SUBORDINATE
        # Most corps and groups have no agreement: they pay for this look alone.
        if self.agreements.about(group_id) and self.agreement(actor, owner, group_id, at):
            return Relation.COLLABORATING
        return Relation.NONE

    def agreement(self, actor: str, owner: str, group_id: str, at: datetime) -> Agreement | None:
        """An agreement in force that joins `actor` to the customers of `owner`; the one that says so first."""
        acting, owning = self.directory.known(actor), self.directory.known(owner)
        if acting is None or owning is None:
            return None
        his = self.directory.around(owning)
        found = [row for row in self.agreements.given(group_id, self.directory.around(acting), at) if row.partner in his]
        return min(found, key=lambda row: row.id, default=None)

    def decide(self, actor: str, group_id: str, kind: str, action: Action, relation: Relation | None) -> Decision:
        """One decision; raises IdentityRefused before it when the actor is nobody here."""
        place = self._places.get(actor)
        if place is None:
            place = self._places[actor] = self.engine.place(self.subject(actor).standing)
        return self.engine.answer(place, group_id, kind, action, relation)

    def may(self, actor: str, group_id: str, kind: str, action: Action, relation: Relation | None) -> bool:
        """The decision's bare answer."""
        return self.decide(actor, group_id, kind, action, relation).allowed


_pictures: dict[str, Picture] = {}
_loading: dict[str, asyncio.Task[Picture]] = {}


async def current(corp_id: str) -> Picture:
    """The picture of an epoch read after this call began (the barrier): for requests that only read."""
    picture = await at_least(corp_id, await barrier.current(corp_id))
    note(picture.epoch)
    return picture


async def at_least(corp_id: str, epoch: int) -> Picture:
    """The picture of this epoch or a later one."""
    picture = _pictures.get(corp_id)
    while picture is None or picture.epoch < epoch:
        picture = await _load_once(corp_id)
    return picture


async def in_force(work: Work) -> Picture:
    """The picture of exactly the locked epoch, the caller established in it; raises EpochMoved when another one is loaded."""
    picture = await known(work)
    if work.caller.act is not None:
        _require_machine(picture, work.caller.act)
    picture.subject(work.caller.userid)
    return picture


async def known(work: Work) -> Picture:
    """The same for the worker's own use cases, which no person calls."""
    picture = _pictures.get(work.corp_id)
    if picture is None or picture.epoch != work.epoch:
        corp_id, epoch = work.corp_id, work.epoch
        raise EpochMoved(lambda: at_least(corp_id, epoch))
    return picture


def _require_machine(picture: Picture, act: str) -> None:
    machine = picture.directory.known(act)
    if machine is None or not machine.active or not machine.holds(RoleName.SERVICE):
        raise IdentityRefused(userid=act, audit={"step": "identity"})


async def _load_once(corp_id: str) -> Picture:
    task = _loading.get(corp_id)
    if task is None:
        # A task of its own: many requests wait for one load, and the first one's cancellation must not stop it.
        task = asyncio.create_task(_load(corp_id))
        _loading[corp_id] = task
        task.add_done_callback(lambda _: _loading.pop(corp_id, None))
    return await asyncio.shield(task)


async def _load(corp_id: str) -> Picture:
    async with db.transaction("repeatable read"):
        epoch = await db.fetch_value("select epoch from corp_epoch where corp_id = $1", corp_id)
        if epoch is None:
            raise CorpUnknown()
        directory = await load_directory(corp_id)
        groups = await repository.groups(corp_id)
        agreements = Agreements(await agreement_rows.standing(corp_id))
        published = await _published(corp_id)
    moved = {"epoch": epoch, "directory": directory, "groups": groups, "agreements": agreements}
    picture = replace(published, **moved, explained={}, _subjects={}, _places={})
    known = _pictures.get(corp_id)
    if known is None or known.epoch <= epoch:
        _pictures[corp_id] = picture
    return picture


async def _published(corp_id: str) -> Picture:
    """A picture of the published revision, of whatever epoch."""
    row = await repository.current(corp_id)
    revision = row["revision"] if row else 0
    known = _pictures.get(corp_id)
    if known is not None and known.revision == revision:
        return known
    content: dict[str, Any] = msgspec.json.decode(row["content"]) if row else {}
    try:
        with memory.long_lived():
            matrix = await repository.matrix(corp_id, revision)
            engine = PolicyEngine(repository.capabilities_in(content.get("capabilities", [])), matrix, model_text())
    except (InvalidPolicy, ValueError, KeyError) as error:
        raise PolicyBroken(why=str(error)) from error
    chains, drift = read_rules(content.get("approvals", {})), read_drift(content.get("drift", {}))
    return Picture(corp_id, 0, revision, Directory({}, {}), engine, chains, matrix, drift=drift)


def model_text() -> str:
    """The shipped Casbin model."""
    return (folder("policies") / "model.conf").read_text(encoding="utf-8")


def forget() -> None:
    """Drops every picture; the next question loads anew."""
    _pictures.clear()


def decision_record(picture: Picture, decision: Decision) -> dict[str, Any]:
    """How an audit line names what decided: the row, the policy revision and the epoch."""
    row = decision.row
    if isinstance(row, Grant):
        named: str | None = f"grant:{row.id}"
    elif isinstance(row, Capability):
        named = f"capability:{row.role.value}:{row.kind.value}:{row.action.value}"
    else:
        named = None
    return {"row": named, "revision": picture.revision, "epoch": picture.epoch}
