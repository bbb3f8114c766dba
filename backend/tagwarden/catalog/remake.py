"""A tag that somebody deleted inside WeCom, made there anew: the tag stays the one it is here, and gets another id there.

Of a value group that is a protected change: whoever carries it is marked with it again. (A tag that WeCom renamed is
accepted by renaming it here, which waits for two signatures where the group is a value group.)
"""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from tagwarden.approvals import service as approvals
from tagwarden.approvals.applier import ProtectedApplier
from tagwarden.approvals.model import Approval, Ask, NotStanding
from tagwarden.catalog import repository
from tagwarden.catalog.appliers import decided_by, digest, may_manage
from tagwarden.catalog.events import TagLibraryChanged
from tagwarden.catalog.model import Tag, TagUnknown, require_etag
from tagwarden.catalog.service import Changed, managed
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.model import CorpState, Work
from tagwarden.kernel.errors import Conflict
from tagwarden.kernel.events import publish
from tagwarden.policy import service as policy
from tagwarden.policy.model import Kind
from tagwarden.policy.service import Picture

TAG_REMAKE = "tag_remake"


class TagNotMissing(Conflict):
    code = "tag_not_missing"
    zh = "该标签在企业微信中仍然存在，无需重建"
    en = "WeCom has not lost this tag: there is nothing to make anew"


@command(Epoch.SHARED)
async def remake_tag(work: Work, tag_id: UUID, reason: str, if_match: str | None) -> Changed:
    """Makes a tag anew that WeCom lost; of a value group after two signatures."""
    tag = await repository.tag(work.corp_id, tag_id, lock=True)
    if tag is None:
        raise TagUnknown()
    group, decision = await managed(work, tag.group_id)
    require_etag(if_match, tag.etag)
    if not await _is_missing(work.corp_id, tag_id):
        raise TagNotMissing()
    if group.kind is Kind.VALUE and work.corp.state is CorpState.LIVE:
        payload = {"tag_id": str(tag_id), "wecom_id": tag.wecom_id}
        picture = await policy.in_force(work)
        ask = Ask(TAG_REMAKE, payload, TagRemakeApplier().effects(payload), work.caller.userid, None, reason)
        return Changed(tag_id, (await approvals.ask(work, picture, ask)).id)
    await _unbind(work, tag, decision)
    return Changed(tag_id)


async def _is_missing(corp_id: str, tag_id: UUID) -> bool:
    return (await repository.held_back(corp_id)).get(tag_id, (None, None))[1] is not None


async def _unbind(work: Work, tag: Tag, decision: dict[str, Any] | None) -> None:
    await repository.unbind(work.corp_id, tag.id, tag.group_id)
    work.record("tag.remade", f"tag:{tag.id}", decision, wecom_id=tag.wecom_id)
    await publish(TagLibraryChanged(work.corp_id, tag.id))


class TagRemakeApplier(ProtectedApplier):
    """A value tag that WeCom lost."""

    kind: ClassVar[str] = TAG_REMAKE
    epoch_lock: ClassVar[Epoch] = Epoch.SHARED

    def effects(self, payload: dict[str, Any]) -> tuple[str, ...]:
        """The key under which the database lets a value tag lose its id in WeCom."""
        return (f"tag:{payload['tag_id']}:rebind:",)

    async def fingerprint(self, corp_id: str, payload: dict[str, Any]) -> str:
        """The tag's group, its name and the id that WeCom lost."""
        tag = await repository.tag(corp_id, UUID(payload["tag_id"]))
        return digest([str(tag.group_id), tag.name, tag.wecom_id] if tag else None)

    async def lock(self, corp_id: str, payload: dict[str, Any]) -> None:
        """The tag, until the transaction ends."""
        await repository.tag(corp_id, UUID(payload["tag_id"]), lock=True)

    async def check(self, work: Work, picture: Picture, approval: Approval) -> str | None:
        """Still lost, and the requester still manages its group."""
        tag = await repository.tag(work.corp_id, UUID(approval.payload["tag_id"]))
        group = await repository.group(work.corp_id, tag.group_id) if tag else None
        if tag is None or group is None:
            return "tag_unknown"
        if not may_manage(picture, approval.requester, group):
            return "requester_lost_right"
        return None if await _is_missing(work.corp_id, tag.id) else TagNotMissing.code

    async def describe(self, corp_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The tag that comes back."""
        tag = await repository.tag(corp_id, UUID(payload["tag_id"]))
        return {"tag": tag.name if tag else None, "before": {"wecom_id": payload["wecom_id"]}, "after": {"wecom_id": None}}

    async def apply(self, work: Work, picture: Picture, approval: Approval) -> None:
        """Lets go of the lost id; the library makes the tag anew and marks follow."""
        tag = await repository.tag(work.corp_id, UUID(approval.payload["tag_id"]), lock=True)
        if tag is None:
            raise NotStanding(why="tag_unknown")
        await _unbind(work, tag, decided_by(picture, approval))
