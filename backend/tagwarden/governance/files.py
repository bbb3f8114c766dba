"""Policies as files: use cases of the command line that read a corp into a bundle, compare one with it, and apply one.

Whoever reads or applies is an admin, a sub-admin with the switches, or (reading) an auditor. A rehearsal does everything
an application does, the database's own checks included, and takes it all back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tagwarden.catalog import repository as catalog
from tagwarden.corps.command import Epoch, command, corp_of
from tagwarden.corps.model import Caller, CorpState, PolicySource, Work
from tagwarden.governance import organisation
from tagwarden.governance.bundle import Bundle
from tagwarden.governance.bundle_out import bundle_texts
from tagwarden.governance.corp_settings import require_admin
from tagwarden.governance.differing import Plan, Standing, plan, require_known
from tagwarden.governance.impact import Impact, impact
from tagwarden.governance.publishing import Published, publish_bundle, published_content, revision_of
from tagwarden.governance.source import move_source
from tagwarden.identity.model import Module, ModuleMissing, RoleName
from tagwarden.policy import repository as policies
from tagwarden.policy import service as policy
from tagwarden.policy.service import Picture

APPLYING = (Module.POLICY, Module.CATALOG, Module.MEMBERS)
READING = (Module.POLICY, Module.MEMBERS)


@dataclass(frozen=True, slots=True)
class Applied:
    """What was to change, and what became of it; `done` None where nothing differed."""

    plan: Plan
    done: Published | None
    source: str


async def reading(caller: Caller) -> Picture:
    """The picture for somebody who may read the whole policy, people's roles included; ModuleMissing otherwise."""
    picture = await policy.current(caller.corp_id)
    employee = picture.directory.employee(caller.userid)
    if not employee.holds(RoleName.AUDITOR):
        for module in READING:
            picture.directory.require_module(employee, module)
    return picture


async def export_bundle(caller: Caller) -> dict[str, str]:
    """The published policy, the groups' kinds and people's roles, as the files of a bundle."""
    picture = await reading(caller)
    standing = await standing_of(picture)
    directory = standing.directory
    return bundle_texts(
        standing.groups.values(),
        directory.employees.values(),
        standing.grants,
        standing.capabilities,
        standing.chain,
        standing.drift,
        directory.departments,
    )


async def export_organisation(caller: Caller) -> dict[str, str]:
    """The departments and who stands where, as the file that `lint` and `test` read without a corp."""
    return {organisation.FILE: organisation.organisation_text((await reading(caller)).directory)}


async def diff_bundle(caller: Caller, bundle: Bundle) -> Plan:
    """What applying the bundle would change now."""
    return plan(await standing_of(await reading(caller)), bundle)


async def standing_of(picture: Picture) -> Standing:
    """The corp as a bundle is held against it."""
    corp = await corp_of(picture.corp_id)
    content = await published_content(picture.corp_id)
    groups = {group.name: group for group in await catalog.groups(picture.corp_id)}
    capabilities = policies.capabilities_in(content["capabilities"])
    live = corp.state is CorpState.LIVE
    return Standing(live, picture.directory, groups, picture.grants, capabilities, content["approvals"], content.get("drift", {}))


async def apply_folder(caller: Caller, bundle: Bundle, note: str, *, take_source: bool = False, dry: bool = False) -> Applied:
    """Applies a bundle, or rehearses it; with `take_source` files are the policy's truth from then on.

    Where nothing differs nothing is written: no revision, no line, no epoch.
    """
    picture = await policy.current(caller.corp_id)
    source = (await corp_of(caller.corp_id)).policy_source
    settled = not take_source or source is PolicySource.FILES
    wanted = plan(await standing_of(picture), bundle) if _may_apply(picture, caller) else Plan(())
    if settled and _may_apply(picture, caller) and wanted.empty and picture.revision:
        return Applied(wanted, None, source.value)
    done = await _apply(replace(caller, dry_run=dry), bundle, note, take_source)
    return Applied(wanted, done, PolicySource.FILES.value if take_source else source.value)


def _may_apply(picture: Picture, caller: Caller) -> bool:
    """Only to leave out the command where nothing differs; the command itself asks again and records a refusal."""
    employee = picture.directory.known(caller.userid)
    if caller.act is not None or employee is None or not employee.active:
        return False
    try:
        for module in APPLYING:
            picture.directory.require_module(employee, module)
    except ModuleMissing:
        return False
    return True


@command(Epoch.EXCLUSIVE)
async def _apply(work: Work, bundle: Bundle, note: str, take_source: bool) -> Published:
    if take_source:
        require_admin(work, await policy.in_force(work))
        await move_source(work, PolicySource.FILES)
    return await publish_bundle(work, bundle, note)


async def impact_of_bundle(caller: Caller, bundle: Bundle, days: int) -> Impact:
    """What the bundle's matrix, capabilities and chain would do; its kinds and roles are not part of it. Writes nothing."""
    picture = await policy.current(caller.corp_id)
    picture.directory.require_module(picture.directory.employee(caller.userid), Module.POLICY)
    groups = {group.name: group for group in await catalog.groups(picture.corp_id)}
    bundle = require_known(bundle, groups, picture.directory)
    before = await published_content(caller.corp_id)
    made, wanted = revision_of(bundle, picture, groups, before)
    return await impact(picture, caller, made, before, wanted or before, days)
