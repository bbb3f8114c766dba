"""The tag library's way to WeCom: a tag is made there before its first mark, renamed, placed and deleted where it is ours.

WeCom knows no retirement: a retired tag stays there, on whoever carries it, and is put on nobody any more. What WeCom did
with a call that was never answered is found out by asking again: a name that exists already is looked up and taken for the
tag it is. Never inside a transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog

from tagwarden.approvals.service import SYSTEM
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.model import Tag, TagGroup
from tagwarden.corps.credentials import CredentialMissing
from tagwarden.corps.model import Caller
from tagwarden.sync import outbox, service
from tagwarden.sync.model import LONGEST_CALL, backoff, is_final, order_of, pause_after
from tagwarden.sync.outbox import Claimed, Piece
from tagwarden.wecom.client import Record, WecomClient
from tagwarden.wecom.model import (
    CallClass,
    CorpStopped,
    NoAnswer,
    SendingPaused,
    TokenBrake,
    VerdictKind,
    WecomRefused,
)

log = structlog.get_logger(__name__)
NOBODY_MAY_CALL = (CorpStopped, CredentialMissing, TokenBrake)
"""Errors that are about the corp's credential, not about what was sent."""

LET_GO_TRIES = 5

ANOTHER_APPS = frozenset({81011, 301002})
"""Codes by which WeCom says that somebody else made what we wanted to edit."""


@dataclass(frozen=True, slots=True)
class Made:
    """WeCom's ids of a tag and of its group, and whether the group was made together with the tag."""

    id: str
    group_id: str
    group_ours: bool

    @staticmethod
    def of(group: Record, tag: Record) -> Made:
        # WeCom does not say whether the group was there already; one that was is older than its new tag.
        ours = bool(group.get("create_time")) and group.get("create_time") == tag.get("create_time")
        return Made(str(tag["id"]), str(group["group_id"]), ours)


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
    """Sends what is in the outbox; a corp's pieces are sent one after the other."""

    def __init__(self, client: WecomClient) -> None:
        self._client = client

    async def send_one(self, corp_id: str, *, bulk: bool = False) -> bool:
        """Sends one group or tag; False when none is due. With `bulk`, of those alone whose places are put back.

        Raises NOBODY_MAY_CALL.
        """
        until = asyncio.get_running_loop().time() + LONGEST_CALL
        claimed = await outbox.claim_group(corp_id, bulk=bulk) or await outbox.claim_tag(corp_id, bulk=bulk)
        if claimed is None:
            return False
        try:
            async with asyncio.timeout_at(until):
                await (self._put_group if claimed.piece is Piece.GROUP else self._put)(corp_id, claimed)
        except WecomRefused as refused:
            await self._refused(corp_id, claimed, refused)
        except (NoAnswer, TimeoutError, _NotYetFree):
            await outbox.postpone(corp_id, claimed, backoff(claimed.attempts))
        except SendingPaused:
            await outbox.postpone(corp_id, claimed, timedelta(0), counted=False)
        except NOBODY_MAY_CALL:
            await outbox.postpone(corp_id, claimed, timedelta(0), counted=False)
            raise
        except Exception:
            await let_go(lambda: outbox.postpone(corp_id, claimed, timedelta(0), counted=False))
            raise
        else:
            await outbox.settle(corp_id, claimed)
        return True

    async def _refused(self, corp_id: str, claimed: Claimed, refused: WecomRefused) -> None:
        verdict = refused.verdict
        log.warning("outbound.refused", corp_id=corp_id, **{claimed.piece.value: str(claimed.id)}, wecom_code=refused.wecom_code)
        reason = f"{refused.wecom_code} {verdict.words_zh}" if is_final(verdict, claimed.attempts) else None
        await outbox.postpone(corp_id, claimed, pause_after(verdict, claimed.attempts), reason)

    async def _put_group(self, corp_id: str, claimed: Claimed) -> None:
        """A group's name and place; one that WeCom does not know yet goes there with its first tag."""
        group = await catalog.group(corp_id, claimed.id)
        place = await outbox.places(corp_id, Piece.GROUP, claimed.id)
        if group is None or place is None or group.wecom_id is None:
            return
        if group.foreign:
            if claimed.claimed:
                await self._ask_whose(corp_id, group.wecom_id, None, group.id)
            return
        try:
            await self._client.edit_tag(
                corp_id, group.wecom_id, group.name, order=order_of(place["sort"]), call_class=claimed.call_class
            )
        except WecomRefused as refused:
            if refused.wecom_code in ANOTHER_APPS:
                await service.disown(Caller(corp_id, "", SYSTEM), None, group.id)
            raise

    async def _put(self, corp_id: str, claimed: Claimed) -> None:
        tag = await catalog.tag(corp_id, claimed.id)
        place = await outbox.places(corp_id, Piece.TAG, claimed.id)
        if tag is None or place is None:
            await self._take_out(corp_id, claimed)
            return
        if tag.wecom_id is not None:
            if tag.foreign and claimed.claimed:
                await self._ask_whose(corp_id, tag.wecom_id, tag.id, None)
            elif not tag.foreign:
                await self._edit(corp_id, claimed, tag, tag.wecom_id, order_of(place["sort"]))
            return
        group = (await catalog.groups_by_id(corp_id, [tag.group_id]))[tag.group_id]
        made = await self._made(corp_id, group, tag, place)
        caller = Caller(corp_id, "", SYSTEM)
        await service.keep_wecom_ids(caller, tag.id, made.id, group.id, made.group_id, made.group_ours)

    async def _ask_whose(self, corp_id: str, wecom_id: str, tag_id: UUID | None, group_id: UUID | None) -> None:
        """An edit that changes nothing in WeCom: it takes one from the maker alone, so its yes is the proof."""
        ids = {"group_ids": [wecom_id]} if group_id else {"tag_ids": [wecom_id]}
        found = await self._client.tag_library(corp_id, **ids, call_class=CallClass.INTERACTIVE)
        seen = found if group_id else [one for group in found for one in group.get("tag", ())]
        for one in seen:
            name, id_ = one.get("group_name" if group_id else "name"), one.get("group_id" if group_id else "id")
            if id_ == wecom_id and isinstance(name, str) and not one.get("deleted"):
                await self._edit_as_is(corp_id, wecom_id, name, one.get("order"), tag_id, group_id)

    async def _edit_as_is(
        self, corp_id: str, wecom_id: str, name: str, order: int | None, tag_id: UUID | None, group_id: UUID | None
    ) -> None:
        caller = Caller(corp_id, "", SYSTEM)
        try:
            await self._client.edit_tag(corp_id, wecom_id, name, order=order)
        except WecomRefused as refused:
            if refused.wecom_code in ANOTHER_APPS:
                await service.disown(caller, tag_id, group_id)
            raise
        await service.own(caller, tag_id, group_id)

    async def _edit(self, corp_id: str, claimed: Claimed, tag: Tag, wecom_id: str, order: int) -> None:
        try:
            await self._client.edit_tag(corp_id, wecom_id, tag.name, order=order, call_class=claimed.call_class)
        except WecomRefused as refused:
            if refused.wecom_code in ANOTHER_APPS:
                await service.disown(Caller(corp_id, "", SYSTEM), tag.id, None)
            raise

    async def _take_out(self, corp_id: str, claimed: Claimed) -> None:
        """A tag deleted here goes there too, where it is of our making; WeCom drops a group with its last tag."""
        gone = await catalog.deleted_tag(corp_id, claimed.id)
        if gone is None or gone.wecom_id is None or not gone.made_by_us:
            return
        try:
            await self._client.delete_tags(corp_id, [gone.wecom_id])
        except WecomRefused as refused:
            if refused.verdict.kind is not VerdictKind.DROP:
                raise
            log.info("outbound.gone_already", corp_id=corp_id, tag=str(claimed.id), wecom_code=refused.wecom_code)

    async def _made(self, corp_id: str, group: TagGroup, tag: Tag, place: Record) -> Made:
        try:
            answer = await self._client.add_tags(
                corp_id,
                [tag.name],
                group_id=group.wecom_id,
                group_name=None if group.wecom_id else group.name,
                order=order_of(place["sort"]),
                group_order=None if group.wecom_id else order_of(place["group_sort"]),
            )
        except WecomRefused as refused:
            found = await self._found(corp_id, group, tag) if refused.verdict.kind is VerdictKind.DROP else None
            if found is None or not await self._is_free(corp_id, found.id):
                raise
            return found
        made = [one for one in answer.get("tag", ()) if one.get("name") == tag.name and one.get("id")]
        if not made or not answer.get("group_id"):
            raise NoAnswer("not_wecom")
        return Made.of(answer, made[0])

    async def _is_free(self, corp_id: str, wecom_id: str) -> bool:
        """Whether no other tag of ours is this one; _NotYetFree when that one's new name is on its way."""
        other = next((tag for tag in await catalog.all_tags(corp_id) if tag.wecom_id == wecom_id), None)
        waiting = {row["tag_id"] for row in await outbox.library_waiting(corp_id) if row["given_up"] is None}
        if other is not None and other.made_by_us and other.id in waiting:
            raise _NotYetFree
        return other is None

    async def _found(self, corp_id: str, group: TagGroup, tag: Tag) -> Made | None:
        """The living tag of this name, where a call we got no answer to had made it."""
        filters = [group.wecom_id] if group.wecom_id else []
        for seen in await self._client.tag_library(corp_id, group_ids=filters, call_class=CallClass.INTERACTIVE):
            if group.wecom_id is None and seen.get("group_name") != group.name:
                continue
            for one in seen.get("tag", ()):
                if one.get("name") == tag.name and not one.get("deleted"):
                    return Made.of(seen, one)
        return None
