"""Publishing a bundle: groups classified, roles given, the matrix as a new revision. All or nothing of what may be at once.

Once live, what would loosen the protection of value tags does not happen here: each part becomes a request with its whole
payload, and its applier makes it with the last signature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from tagwarden.approvals import service as approvals
from tagwarden.approvals.applier import ProtectedApplier
from tagwarden.approvals.model import Approval, Ask, NotStanding
from tagwarden.catalog import protection
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.appliers import decided_by, digest, holds_module
from tagwarden.catalog.model import TagGroup
from tagwarden.catalog.service import GroupChange, changed_group, write_group
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import CorpState, Work
from tagwarden.governance import drift_file, repository
from tagwarden.governance.bundle import Bundle
from tagwarden.governance.cells import Difference, difference_to, rows_with
from tagwarden.governance.differing import aligned_rows, as_written, kinds_counted, require_known, same_content
from tagwarden.governance.loosening import Rules, loosened
from tagwarden.governance.model import DraftState
from tagwarden.governance.roles import require_an_admin, set_roles
from tagwarden.governance.source import PUBLISH_KIND, require_console
from tagwarden.identity.model import Module
from tagwarden.policy import repository as policies
from tagwarden.policy import service as policy
from tagwarden.policy.chains import read_rules
from tagwarden.policy.drift import read_drift
from tagwarden.policy.model import Action, Effect, Grant, Kind, Reach
from tagwarden.policy.service import Picture

POLICY_PUBLISH = PUBLISH_KIND


@dataclass(frozen=True, slots=True)
class Published:
    """The revision in force from now on, None where it waits; and every request that waits for two signatures."""

    revision: int | None
    approvals: list[UUID] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the next revision would differ in. `content`: capabilities, chain and drift rule, None for
    those in force; `barred`: who had a hand in it and never signs it."""

    made: Difference
    content: Mapping[str, Any] | None
    note: str
    barred: tuple[str, ...] = ()


@command(Epoch.EXCLUSIVE)
async def apply_bundle(work: Work, bundle: Bundle, note: str) -> Published:
    """Classifies groups, gives roles and publishes the matrix as a new revision."""
    return await publish_bundle(work, bundle, note)


async def publish_bundle(work: Work, bundle: Bundle, note: str) -> Published:
    """The same inside a caller's command. What stands so already leaves no line, and no revision where nothing differs."""
    picture = await policy.in_force(work)
    caller = picture.directory.employee(work.caller.userid)
    for module in (Module.POLICY, Module.CATALOG, Module.MEMBERS):
        picture.directory.require_module(caller, module)
    groups = {group.name: group for group in await catalog.groups(work.corp_id)}
    bundle = require_known(bundle, groups, picture.directory)
    waiting = await _classify(work, picture, bundle, groups, note)
    waiting += await _give_roles(work, picture, bundle, note)
    made, content = revision_of(bundle, picture, groups, await published_content(work.corp_id))
    wanted = Wanted(made, content, note)
    done = await publish(work, picture, wanted, kinds_counted(bundle, groups))
    return Published(done.revision, [*waiting, *done.approvals])


def revision_of(
    bundle: Bundle, picture: Picture, groups: Mapping[str, TagGroup], before: Mapping[str, Any]
) -> tuple[Difference, dict[str, Any] | None]:
    """What a bundle's revision would differ in from the one in force: its rows, and its content where that says otherwise."""
    made = difference_to(picture.matrix, aligned_rows(bundle.grants, groups, picture.grants))
    names = {str(group.id): name for name, group in groups.items()}
    drift = drift_file.by_name(before.get("drift", {}), names)
    if same_content((policies.capabilities_in(before["capabilities"]), before["approvals"], drift), bundle):
        return made, None
    content = {"capabilities": policies.capabilities_out(bundle.capabilities), "approvals": dict(bundle.approvals)}
    return made, {**content, "drift": drift_file.by_id(bundle.drift, {name: id_ for id_, name in names.items()})}


async def _classify(work: Work, picture: Picture, bundle: Bundle, groups: Mapping[str, TagGroup], note: str) -> list[UUID]:
    waiting = []
    for line in bundle.groups:
        group = groups[line.name]
        if (group.kind, group.choice) == (line.kind, line.choice):
            continue
        change = GroupChange(kind=line.kind, choice=line.choice)
        after = await changed_group(work.corp_id, group, change)
        keys = protection.of_group(group, after) if work.corp.state is CorpState.LIVE else ()
        if keys:
            payload = protection.group_payload(group, change)
            ask = Ask(protection.GROUP_CHANGE, payload, keys, work.caller.userid, None, note)
            waiting.append((await approvals.ask(work, picture, ask)).id)
        else:
            await write_group(work, group, after)
    return waiting


async def _give_roles(work: Work, picture: Picture, bundle: Bundle, note: str) -> list[UUID]:
    waiting = []
    for line in bundle.people:
        employee = picture.directory.employees[line.userid]
        if as_written(employee, line):
            continue
        modules = [module.value for module in line.modules]
        done = await set_roles(work, picture, employee, line.roles, modules, note)
        waiting += [done.approval_id] if done.approval_id else []
    await require_an_admin(work.corp_id)
    return waiting


async def published_content(corp_id: str) -> dict[str, Any]:
    """Capabilities, chain and drift rule of the revision in force, as they stand there."""
    current = await policies.current(corp_id)
    return msgspec.json.decode(current["content"]) if current else {"capabilities": [], "approvals": {}}


async def publish(work: Work, picture: Picture, wanted: Wanted, kinds: Mapping[str, Kind]) -> Published:
    """Makes the next revision, or asks for it where it loosens; the revision in force where nothing differs.

    Inside the caller's command, which holds the epoch exclusively and has established that the caller may.
    """
    current = await policies.current(work.corp_id)
    before = msgspec.json.decode(current["content"]) if current else {"capabilities": [], "approvals": {}}
    content = before if wanted.content is None else wanted.content
    if wanted.made.empty and content == before:
        return Published(picture.revision)
    looser = what_loosens(picture, wanted.made, before, content, kinds) if work.corp.state is CorpState.LIVE else []
    if looser:
        payload = {
            "base": picture.revision,
            "loosens": looser,
            "add": [_row(row) for row in wanted.made.add],
            "remove": list(wanted.made.remove),
            "content": None if content == before else dict(content),
            "note": wanted.note,
        }
        effects = PolicyApplier().effects(payload)
        ask = Ask(POLICY_PUBLISH, payload, effects, work.caller.userid, None, wanted.note, wanted.barred)
        return Published(None, [(await approvals.ask(work, picture, ask)).id])
    return Published(await publish_revision(work, content, wanted.made, wanted.note))


def what_loosens(
    picture: Picture, made: Difference, before: Mapping[str, Any], after: Mapping[str, Any], kinds: Mapping[str, Kind]
) -> list[str]:
    """What of it two people have to sign, as words an admin reads; only groups with a difference are looked at."""
    touched = [row for group in made.places(picture.matrix) for row in picture.matrix.of_group(group)]
    return loosened(_rules(touched, before), _rules(list(rows_with(touched, made)), after), kinds)


def _rules(rows: Sequence[Grant], content: Mapping[str, Any]) -> Rules:
    drift = read_drift(content.get("drift", {}))
    return rows, policies.capabilities_in(content["capabilities"]), read_rules(content["approvals"]), drift


async def publish_revision(
    work: Work, content: Mapping[str, Any], made: Difference, note: str, decision: dict[str, Any] | None = None
) -> int:
    """Writes the next revision; inside the caller's command, which holds the epoch exclusively."""
    current = await policies.current(work.corp_id)
    base = current["revision"] if current else 0
    rows = policies.Rows(base, made.remove, made.add)
    revision = base + 1
    content_hash, grants = await policies.insert_revision(work.corp_id, revision, dict(content), rows, note, work.caller.userid)
    work.record("policy.published", f"policy:{revision}", decision, grants=grants, content_hash=content_hash)
    return revision


def _row(row: Grant) -> dict[str, Any]:
    return {
        "id": row.id,
        "department": row.department,
        "group": row.group,
        "action": row.action.value,
        "effect": row.effect.value,
        "inherit": row.inherit,
        "reach": row.reach.value if row.reach else None,
    }


def _grant(row: Mapping[str, Any]) -> Grant:
    reach = Reach(row["reach"]) if row["reach"] else None
    return Grant(row["id"], row["department"], row["group"], Action(row["action"]), Effect(row["effect"]), row["inherit"], reach)


class PolicyApplier(ProtectedApplier):
    """A revision that loosens: it holds what differs from the revision it was made on."""

    kind: ClassVar[str] = POLICY_PUBLISH

    def effects(self, payload: dict[str, Any]) -> tuple[str, ...]:
        """One key over all that would be published. (What loosens is judged by the service alone.)"""
        return (f"policy:{digest(payload)}:publish",)

    async def fingerprint(self, corp_id: str, payload: dict[str, Any]) -> str:
        """The revision in force, and the kinds of the groups it names."""
        current = await policies.current(corp_id)
        kinds = {str(group.id): group.kind.value for group in await catalog.groups(corp_id)}
        of_drift = (payload["content"] or {}).get("drift", {}).get("groups", {})
        named = sorted({row["group"] for row in payload["add"]} | set(of_drift))
        return digest([current["revision"] if current else 0, [[group, kinds.get(group)] for group in named]])

    async def revise(self, work: Work, approval: Approval, change: dict[str, Any] | None) -> Ask:
        """The same differences on the revision they were made on; on another one nobody has seen what they would do."""
        require_console(work)
        current = await policies.current(work.corp_id)
        if approval.payload["base"] != (current["revision"] if current else 0):
            raise NotStanding(why="base_moved")
        return replace(await super().revise(work, approval, change), barred=approval.barred)

    async def check(self, work: Work, picture: Picture, approval: Approval) -> str | None:
        """The requester still configures the policy."""
        return None if holds_module(picture, approval.requester, Module.POLICY) else "requester_lost_right"

    async def describe(self, corp_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """What loosens, and every row that goes and comes."""
        names = {str(group.id): group.name for group in await catalog.groups(corp_id)}
        added = [{**row, "group": names.get(row["group"], row["group"])} for row in payload["add"]]
        return {
            "before": {"revision": payload["base"], "grants": payload["remove"]},
            "after": {"revision": payload["base"] + 1, "grants": added, "content": payload["content"]},
            "loosens": payload["loosens"],
        }

    async def apply(self, work: Work, picture: Picture, approval: Approval) -> None:
        """Publishes the revision it was made on with its differences."""
        payload = approval.payload
        current = await policies.current(work.corp_id)
        before = msgspec.json.decode(current["content"]) if current else {}
        made = Difference(tuple(_grant(row) for row in payload["add"]), tuple(payload["remove"]))
        decision = decided_by(picture, approval)
        revision = await publish_revision(work, payload["content"] or before, made, payload["note"], decision)
        draft = await repository.held_draft(work.corp_id, approval.id)
        if draft is not None:
            await repository.save(work.corp_id, replace(draft, state=DraftState.PUBLISHED, revision=revision))
