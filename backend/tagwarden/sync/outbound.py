"""Makes WeCom equal to what was decided: dirty follows and the tag library, through the budgeted client only.

Reads what is wanted at the moment of sending and sends the difference to what WeCom was last known to hold, as one
`mark_tag` with both lists. A leased follow is in nobody else's hands; a worker killed in the middle repeats at most that
call, after its lease. Never inside a transaction.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import structlog

from tagwarden.approvals.service import SYSTEM
from tagwarden.assignments import queries
from tagwarden.catalog import repository as catalog
from tagwarden.catalog.model import Tag, TagGroup
from tagwarden.corps.model import Caller
from tagwarden.kernel.errors import TagwardenError
from tagwarden.sync import repository, service
from tagwarden.sync.model import Difference, backoff, difference
from tagwarden.sync.repository import DirtyFollow
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.client import WecomClient
from tagwarden.wecom.model import CallClass, CorpStopped, NoAnswer, VerdictKind, WecomRefused

log = structlog.get_logger(__name__)
LONGEST_CALL = 60.0
NO_ANSWER_TRIES = 8
STOPPED_PAUSE = timedelta(seconds=60)


class Outbound:
    """Sends what is due for one corp; safe to run in any number of processes."""

    def __init__(self, client: WecomClient, budget: Budget) -> None:
        self._client = client
        self._budget = budget

    async def send_due(self, corp_id: str) -> int:
        """Sends everything that is due now; returns how many calls were tried."""
        sent = 0
        while await self._send_tag(corp_id) or await self._send_follow(corp_id):
            sent += 1
        return sent

    async def _send_follow(self, corp_id: str) -> bool:
        if await self._budget.estimate(corp_id, 1) > 2.0:
            return False  # no slot is near: a follow is not leased only to wait
        claimed = await repository.claim_follow(corp_id)
        if claimed is None:
            return False
        desired = await queries.desired_wecom_ids(corp_id, claimed.follow_id)
        missing = [row["tag_id"] for row in desired if row["wecom_id"] is None]
        if missing:
            for tag_id in missing:
                await repository.mark_library_dirty(corp_id, tag_id)
            await repository.postpone(corp_id, claimed, timedelta(seconds=1), counted=False)
            return True
        wanted = difference([row["wecom_id"] for row in desired], claimed.observed, claimed.uncertain)
        if wanted.empty:
            await repository.settle(corp_id, claimed, None)
            return True
        await self._mark(corp_id, claimed, wanted)
        return True

    async def _mark(self, corp_id: str, claimed: DirtyFollow, wanted: Difference) -> None:
        await repository.begin_call(corp_id, claimed, [*wanted.add, *wanted.remove])
        try:
            async with asyncio.timeout(LONGEST_CALL):
                await self._client.mark_tag(
                    corp_id,
                    follow_id=claimed.follow_id,
                    userid=claimed.userid,
                    external_userid=claimed.external_userid,
                    add=wanted.add,
                    remove=wanted.remove,
                    attempt=claimed.attempts + 1,
                    call_class=CallClass.BULK if claimed.bulk else CallClass.INTERACTIVE,
                )
        except WecomRefused as refused:
            await self._refused(corp_id, claimed, refused)
        except (NoAnswer, TimeoutError):
            await self._unanswered(corp_id, claimed)
        except (CorpStopped, TagwardenError) as error:
            log.warning("outbound.stopped", corp_id=corp_id, code=error.code)
            await repository.postpone(corp_id, claimed, STOPPED_PAUSE, counted=False)
        else:
            held = (set(claimed.observed) | set(wanted.add)) - set(wanted.remove)
            await repository.settle(corp_id, claimed, sorted(held))

    async def _refused(self, corp_id: str, claimed: DirtyFollow, refused: WecomRefused) -> None:
        verdict = refused.verdict
        final = verdict.kind is VerdictKind.DROP or claimed.attempts + 1 >= max(verdict.tries, 1)
        log.warning("outbound.refused", corp_id=corp_id, follow=str(claimed.follow_id), wecom_code=refused.wecom_code)
        if final and verdict.kind is not VerdictKind.SLOW_DOWN:
            await repository.give_up(corp_id, claimed, f"{refused.wecom_code} {verdict.words_zh}")
            return
        await repository.postpone(corp_id, claimed, backoff(claimed.attempts, verdict.seconds))

    async def _unanswered(self, corp_id: str, claimed: DirtyFollow) -> None:
        if claimed.attempts + 1 >= NO_ANSWER_TRIES:
            await repository.give_up(corp_id, claimed, "企业微信多次没有应答")
            return
        await repository.postpone(corp_id, claimed, backoff(claimed.attempts))

    # -- the tag library ------------------------------------------------------------------------------------------------

    async def _send_tag(self, corp_id: str) -> bool:
        claimed = await repository.claim_tag(corp_id)
        if claimed is None:
            return False
        tag_id: UUID = claimed["tag_id"]
        try:
            async with asyncio.timeout(LONGEST_CALL):
                await self._put_into_library(corp_id, tag_id)
        except WecomRefused as refused:
            final = refused.verdict.kind is VerdictKind.DROP or claimed["attempts"] + 1 >= max(refused.verdict.tries, 1)
            reason = f"{refused.wecom_code} {refused.verdict.words_zh}" if final else None
            await repository.postpone_tag(corp_id, tag_id, backoff(claimed["attempts"], refused.verdict.seconds), reason)
        except (TagwardenError, TimeoutError):
            await repository.postpone_tag(corp_id, tag_id, backoff(claimed["attempts"]), None)
        else:
            await repository.settle_tag(corp_id, tag_id, claimed["version"])
        return True

    async def _put_into_library(self, corp_id: str, tag_id: UUID) -> None:
        tag = await catalog.tag(corp_id, tag_id)
        if tag is None:
            return
        group = (await catalog.groups_by_id(corp_id, [tag.group_id]))[tag.group_id]
        if tag.wecom_id is not None:
            if tag.made_by_us:
                await self._client.edit_tag(corp_id, tag.wecom_id, tag.name)
            return
        made = await self._found(corp_id, group, tag) or await self._made(corp_id, group, tag)
        await service.keep_wecom_ids(Caller(corp_id, "", SYSTEM), tag.id, made[0], group.id, made[1])

    async def _found(self, corp_id: str, group: TagGroup, tag: Tag) -> tuple[str, str] | None:
        """The tag where an answer we never got had made it already (40071 would follow)."""
        if group.wecom_id is None or (await self._attempts(corp_id, tag.id)) == 0:
            return None
        library = await self._client.tag_library(corp_id, group_ids=[group.wecom_id], call_class=CallClass.INTERACTIVE)
        return next(
            ((str(seen["id"]), str(found["group_id"])) for found in library for seen in found["tag"] if seen["name"] == tag.name),
            None,
        )

    async def _attempts(self, corp_id: str, tag_id: UUID) -> int:
        rows = await repository.library_waiting(corp_id)
        return next((row["attempts"] for row in rows if row["tag_id"] == tag_id), 0)

    async def _made(self, corp_id: str, group: TagGroup, tag: Tag) -> tuple[str, str]:
        answer = await self._client.add_tags(
            corp_id, [tag.name], group_id=group.wecom_id, group_name=None if group.wecom_id else group.name
        )
        ids = [str(seen["id"]) for seen in answer["tag"] if seen["name"] == tag.name]
        return ids[0], str(answer["group_id"])
