"""A tag or a group that counts as another app's, and of which an admin says that this app made it. WeCom decides.

It never says who made what; but it takes an edit from the maker alone. So it is asked for an edit that changes nothing
(`sync/library_out.py`), and only its yes makes the thing ours: from then on its name and place are decided here.
"""

from __future__ import annotations

from uuid import UUID

from tagwarden.catalog import repository
from tagwarden.catalog.events import OwnershipClaimed
from tagwarden.catalog.model import GroupUnknown
from tagwarden.catalog.service import managed_tag
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import Work
from tagwarden.identity.model import Module
from tagwarden.kernel.errors import Conflict
from tagwarden.kernel.events import publish
from tagwarden.policy import service as policy


class NothingToClaim(Conflict):
    code = "nothing_to_claim"
    zh = "“{name}”已是本系统创建的，或企业微信中还没有它，无需认领"
    en = "“{name}” is of our making already, or WeCom does not have it: there is nothing to claim"


@command(Epoch.SHARED)
async def claim_group(work: Work, group_id: UUID) -> None:
    """Has WeCom asked whether this app made the group; the admin or a sub-admin with the catalog module."""
    picture = await policy.in_force(work)
    picture.directory.require_module(picture.directory.employee(work.caller.userid), Module.CATALOG)
    group = await repository.group(work.corp_id, group_id, lock=True)
    if group is None:
        raise GroupUnknown()
    if not group.foreign:
        raise NothingToClaim(name=group.name)
    work.record("tag_group.claimed", f"tag_group:{group_id}")
    await publish(OwnershipClaimed(work.corp_id, group_id, None))


@command(Epoch.SHARED)
async def claim_tag(work: Work, tag_id: UUID) -> None:
    """The same of a tag of a group the caller manages."""
    tag, group, decision = await managed_tag(work, tag_id)
    if not tag.foreign:
        raise NothingToClaim(name=tag.name)
    work.record("tag.claimed", f"tag:{tag_id}", decision)
    await publish(OwnershipClaimed(work.corp_id, group.id, tag_id))
