"""The policy in force, as one picture per epoch: the organisation, the matrix, and the engine that decides.

A picture is read in one moment, built aside and swapped whole. Inside a command the picture must be that of the locked
epoch; otherwise the command rolls back, loads and begins again. Nothing here decides: `enforcer.py` does.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tagwarden.corps.epoch import EpochMoved, barrier
from tagwarden.corps.model import CorpUnknown, Work
from tagwarden.identity.model import Directory, IdentityRefused, RoleName
from tagwarden.identity.repository import load_directory
from tagwarden.kernel import db
from tagwarden.kernel.errors import Unavailable
from tagwarden.kernel.resources import folder
from tagwarden.policy import repository
from tagwarden.policy.enforcer import PolicyEngine
from tagwarden.policy.model import Action, Capability, Decision, Grant, InvalidPolicy, Kind, Question, Relation, Subject


class PolicyBroken(Unavailable):
    code = "policy_broken"
    zh = "已发布的策略无法加载，全部拒绝：{why}"
    en = "The published policy does not load; everything is refused: {why}"


@dataclass(frozen=True, slots=True)
class ApprovalRules:
    """What the revision says about chains."""

    asking_is_level1: bool = True
    expires_after_days: int = 7


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything a decision stands on, at one epoch of one corp."""

    corp_id: str
    epoch: int
    revision: int
    directory: Directory
    engine: PolicyEngine
    approvals: ApprovalRules
    grants: tuple[Grant, ...]
    _subjects: dict[str, Subject] = field(default_factory=dict, repr=False)

    def subject(self, userid: str) -> Subject:
        """The active employee as a decision sees him; IdentityRefused when there is none."""
        known = self._subjects.get(userid)
        if known is None:
            employee = self.directory.employee(userid)
            known = Subject(userid, employee.roles, employee.departments, self.directory.above(employee))
            self._subjects[userid] = known
        return known

    def relation(self, actor: str, owner: str) -> Relation:
        """How `actor` stands to the follows of `owner`."""
        if actor == owner:
            return Relation.OWN
        acting, owning = self.directory.known(actor), self.directory.known(owner)
        if acting is None or owning is None:
            return Relation.NONE
        return Relation.SUBORDINATE if self.directory.leads(acting, owning) else Relation.NONE

    def decide(self, actor: str, group_id: str, kind: str, action: Action, relation: Relation | None) -> Decision:
        """One decision; raises IdentityRefused before it when the actor is nobody here."""
        return self.engine.decide(Question(self.subject(actor), group_id, Kind(kind), action, relation))

    def may(self, actor: str, group_id: str, kind: str, action: Action, relation: Relation | None) -> bool:
        """The decision's bare answer."""
        return self.decide(actor, group_id, kind, action, relation).allowed


_pictures: dict[str, Picture] = {}
_loading: dict[str, asyncio.Task[Picture]] = {}


async def current(corp_id: str) -> Picture:
    """The picture of an epoch read after this call began (the barrier): for requests that only read."""
    return await at_least(corp_id, await barrier.current(corp_id))


async def at_least(corp_id: str, epoch: int) -> Picture:
    """The picture of this epoch or a later one."""
    picture = _pictures.get(corp_id)
    while picture is None or picture.epoch < epoch:
        picture = await _load_once(corp_id)
    return picture


async def in_force(work: Work) -> Picture:
    """The picture of exactly the locked epoch; raises EpochMoved when another one is loaded."""
    picture = _pictures.get(work.corp_id)
    if picture is None or picture.epoch != work.epoch:
        corp_id, epoch = work.corp_id, work.epoch
        raise EpochMoved(lambda: at_least(corp_id, epoch))
    if work.caller.act is not None:
        _require_machine(picture, work.caller.act)
    picture.subject(work.caller.userid)
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
        revision = await repository.current(corp_id)
        grants = await repository.grants(corp_id, revision["revision"]) if revision else []
    content: dict[str, Any] = msgspec.json.decode(revision["content"]) if revision else {}
    try:
        engine = PolicyEngine(repository.capabilities_in(content.get("capabilities", [])), grants, model_text())
    except (InvalidPolicy, ValueError, KeyError) as error:
        raise PolicyBroken(why=str(error)) from error
    picture = Picture(
        corp_id,
        epoch,
        revision["revision"] if revision else 0,
        directory,
        engine,
        ApprovalRules(**content.get("approvals", {})),
        tuple(grants),
    )
    known = _pictures.get(corp_id)
    if known is None or known.epoch <= epoch:
        _pictures[corp_id] = picture
    return picture


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
