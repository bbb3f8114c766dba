"""The tag library's way to WeCom: a tag is made there before its first mark, and renamed where it is ours.

What WeCom did with a call that was never answered is found out by asking again: a name that exists already is looked up
and taken for the tag it is. Never inside a transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from tagwarden.approvals.service import SYSTEM
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.model import Tag, TagGroup
from tagwarden.corps.credentials import CredentialMissing
from tagwarden.corps.model import Caller
from tagwarden.sync import outbox, service
from tagwarden.sync.model import LONGEST_CALL, backoff, is_final, pause_after
from tagwarden.sync.outbox import LibraryTag
from tagwarden.wecom.client import WecomClient
from tagwarden.wecom.model import CallClass, CorpStopped, NoAnswer, TokenBrake, VerdictKind, WecomRefused

log = structlog.get_logger(__name__)
NOBODY_MAY_CALL = (CorpStopped, CredentialMissing, TokenBrake)
"""Errors that are about the corp's credential, not about what was sent."""

LET_GO_TRIES = 5

Ids = tuple[str, str]
"""WeCom's ids of a tag and of its group."""


class _NotYetFree(Exception):
    """In WeCom the name still belongs to a tag of ours that has got another one here."""


async def let_go(give_back: Callable[[], Awaitable[None]]) -> None:
    """Gives a lease back after an error, mostly a lost database: it tries for some seconds, then leaves it to its end."""
    for _ in range(LET_GO_TRIES):
        try:
            await give_back()
            return
        except Exception as error:
            log.warning("outbound.lease_kept", error=type(error).__name__)
            await asyncio.sleep(1)


class LibraryOut:
    """Sends tags of the outbox; a corp's are sent one after the other."""

    def __init__(self, client: WecomClient) -> None:
        self._client = client

    async def send_one(self, corp_id: str) -> bool:
        """Sends one tag; False when none is due. Raises NOBODY_MAY_CALL."""
        until = asyncio.get_running_loop().time() + LONGEST_CALL
        claimed = await outbox.claim_tag(corp_id)
        if claimed is None:
            return False
        try:
            async with asyncio.timeout_at(until):
                await self._put(corp_id, claimed)
        except WecomRefused as refused:
            await self._refused(corp_id, claimed, refused)
        except (NoAnswer, TimeoutError, _NotYetFree):
            await outbox.postpone_tag(corp_id, claimed, backoff(claimed.attempts))
        except NOBODY_MAY_CALL:
            await outbox.postpone_tag(corp_id, claimed, timedelta(0), counted=False)
            raise
        except Exception:
            await let_go(lambda: outbox.postpone_tag(corp_id, claimed, timedelta(0), counted=False))
            raise
        else:
            await outbox.settle_tag(corp_id, claimed)
        return True

    async def _refused(self, corp_id: str, claimed: LibraryTag, refused: WecomRefused) -> None:
        verdict = refused.verdict
        log.warning("outbound.refused", corp_id=corp_id, tag=str(claimed.tag_id), wecom_code=refused.wecom_code)
        reason = f"{refused.wecom_code} {verdict.words_zh}" if is_final(verdict, claimed.attempts) else None
        await outbox.postpone_tag(corp_id, claimed, pause_after(verdict, claimed.attempts), reason)

    async def _put(self, corp_id: str, claimed: LibraryTag) -> None:
        tag = await catalog.tag(corp_id, claimed.tag_id)
        if tag is None:
            return
        if tag.wecom_id is not None:
            if tag.made_by_us:
                await self._client.edit_tag(corp_id, tag.wecom_id, tag.name)
            return
        group = (await catalog.groups_by_id(corp_id, [tag.group_id]))[tag.group_id]
        wecom_id, group_wecom_id = await self._made(corp_id, group, tag)
        await service.keep_wecom_ids(Caller(corp_id, "", SYSTEM), tag.id, wecom_id, group.id, group_wecom_id)

    async def _made(self, corp_id: str, group: TagGroup, tag: Tag) -> Ids:
        try:
            answer = await self._client.add_tags(
                corp_id, [tag.name], group_id=group.wecom_id, group_name=None if group.wecom_id else group.name
            )
        except WecomRefused as refused:
            found = await self._found(corp_id, group, tag) if refused.verdict.kind is VerdictKind.DROP else None
            if found is None or not await self._is_free(corp_id, found[0]):
                raise
            return found
        made = [str(one["id"]) for one in answer.get("tag", ()) if one.get("name") == tag.name and one.get("id")]
        if not made or not answer.get("group_id"):
            raise NoAnswer("not_wecom")
        return made[0], str(answer["group_id"])

    async def _is_free(self, corp_id: str, wecom_id: str) -> bool:
        """Whether no other tag of ours is this one; _NotYetFree when that one's new name is on its way."""
        other = next((tag for tag in await catalog.all_tags(corp_id) if tag.wecom_id == wecom_id), None)
        waiting = {row["tag_id"] for row in await outbox.library_waiting(corp_id) if row["given_up"] is None}
        if other is not None and other.made_by_us and other.id in waiting:
            raise _NotYetFree
        return other is None

    async def _found(self, corp_id: str, group: TagGroup, tag: Tag) -> Ids | None:
        """The living tag of this name, where a call we got no answer to had made it."""
        filters = [group.wecom_id] if group.wecom_id else []
        for seen in await self._client.tag_library(corp_id, group_ids=filters, call_class=CallClass.INTERACTIVE):
            if group.wecom_id is None and seen.get("group_name") != group.name:
                continue
            for one in seen.get("tag", ()):
                if one.get("name") == tag.name and not one.get("deleted"):
                    return str(one["id"]), str(seen["group_id"])
        return None
