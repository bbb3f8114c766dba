"""Makes WeCom equal to what was decided, through the budgeted client only: dirty follows here, the tag library beside it.

Reads what is wanted at the moment of sending and sends the difference to what WeCom was last known to hold, as one
`mark_tag` with both lists. A leased follow is in nobody else's hands; a worker killed in the middle repeats at most that
call, after its lease. Never inside a transaction.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from uuid import UUID

import structlog

from tagwarden.assignments import queries
from tagwarden.sync import outbox, refresh, repository
from tagwarden.sync.cards_out import CardsOut
from tagwarden.sync.library_out import NOBODY_MAY_CALL, LibraryOut, let_go
from tagwarden.sync.model import LONGEST_CALL, Difference, backoff, difference, is_final, pause_after
from tagwarden.sync.repository import DirtyFollow
from tagwarden.sync.rereads import Kind, Reread
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.client import WecomClient
from tagwarden.wecom.model import NO_RELATION, UNKNOWN_TAG, CallClass, NoAnswer, SendingPaused, TokenBrake, WecomRefused

log = structlog.get_logger(__name__)
NEAR = 2.0
"""A follow is leased only when a slot is free within so many seconds and one spacing, not to wait in our hands."""

REST = 5.0
"""Seconds for which a corp that may not call at all is left alone; a new credential is noticed after at most as long."""

REST_BRAKED = 60.0
"""The same where an hour's tokens are used up: every try would cost a call and change nothing until the hour moves on."""

FOR_THE_LIBRARY = timedelta(seconds=30)


class Outbound:
    """Sends what is due, one thing at a time; safe to run in any number of tasks and processes."""

    def __init__(self, client: WecomClient, budget: Budget, cards: CardsOut | None = None) -> None:
        self._client = client
        self._budget = budget
        self._library = LibraryOut(client)
        self._cards = cards
        self._cards_first: dict[str, bool] = {}
        self._resting: dict[str, float] = {}

    def rests(self, corp_id: str) -> bool:
        """Whether the corp may not call for the moment, so that nobody need look for what it could send."""
        return self._resting.get(corp_id, 0.0) > time.monotonic()

    async def send_one(self, corp_id: str, *, bulk_too: bool = True) -> bool:
        """Sends one card, one piece of the library or one follow of a corp; False when nothing is due or the corp must rest.

        Cards take turns with what changes tags: neither waits for the other's backlog.
        """
        if self.rests(corp_id):
            return False
        cards_first = self._cards_first.get(corp_id, True)
        self._cards_first[corp_id] = not cards_first
        try:
            if cards_first:
                return await self._send_card(corp_id) or await self._send_tags(corp_id, bulk_too)
            return await self._send_tags(corp_id, bulk_too) or await self._send_card(corp_id)
        except NOBODY_MAY_CALL as error:
            log.warning("outbound.stopped", corp_id=corp_id, code=error.code)
            self._resting[corp_id] = time.monotonic() + (REST_BRAKED if isinstance(error, TokenBrake) else REST)
            return False

    async def _send_card(self, corp_id: str) -> bool:
        return self._cards is not None and await self._cards.send_one(corp_id)

    async def _send_tags(self, corp_id: str, bulk_too: bool) -> bool:
        if await self._library.send_one(corp_id) or await self._send_follow(corp_id, bulk_too):
            return True
        if not bulk_too or not await self._is_near(corp_id, CallClass.BULK):
            return False
        return await self._library.send_one(corp_id, bulk=True)

    async def _send_follow(self, corp_id: str, bulk_too: bool) -> bool:
        if not await self._is_near(corp_id, CallClass.INTERACTIVE):
            return False
        bulk_too = bulk_too and await self._is_near(corp_id, CallClass.BULK)
        until = asyncio.get_running_loop().time() + LONGEST_CALL  # before the claim, so that the lease outlasts the call
        claimed = await repository.claim_follow(corp_id, bulk_too=bulk_too)
        if claimed is None:
            return False
        try:
            await self._send_claimed(corp_id, claimed, until)
        except NOBODY_MAY_CALL:
            raise
        except Exception:
            await let_go(lambda: repository.postpone(corp_id, claimed, timedelta(0), counted=False))
            raise
        return True

    async def _is_near(self, corp_id: str, call_class: CallClass) -> bool:
        return await self._budget.estimate(corp_id, 1, call_class) <= NEAR + self._budget.spacing

    async def _send_claimed(self, corp_id: str, claimed: DirtyFollow, until: float) -> None:
        if claimed.ended:
            await repository.settle(corp_id, claimed, None)  # nobody's follow any more: its marks stay as they are
            return
        desired = await queries.desired_wecom_ids(corp_id, claimed.follow_id)
        missing = [row["tag_id"] for row in desired if row["wecom_id"] is None]
        problems = await outbox.need_in_library(corp_id, missing) if missing else {}
        if None in problems.values():
            await repository.postpone(corp_id, claimed, FOR_THE_LIBRARY, counted=False)  # woken when the tag has its id
            return
        wanted = difference([row["wecom_id"] for row in desired if row["wecom_id"]], claimed.observed, claimed.uncertain)
        held = await self._mark(corp_id, claimed, wanted, until)
        if held is not None:
            await self._close(corp_id, claimed, held, problems)

    async def _close(self, corp_id: str, claimed: DirtyFollow, held: list[str], problems: dict[UUID, str | None]) -> None:
        if problems:
            await repository.give_up(corp_id, claimed, "; ".join(filter(None, problems.values())), held)
        else:
            await repository.settle(corp_id, claimed, held)

    async def _mark(self, corp_id: str, claimed: DirtyFollow, wanted: Difference, until: float) -> list[str] | None:
        """What WeCom holds after the call, or None where the follow was postponed or given up."""
        held = sorted((set(claimed.observed) | set(wanted.add)) - set(wanted.remove))
        if wanted.empty:
            return held
        if not await repository.begin_call(corp_id, claimed, [*wanted.add, *wanted.remove]):
            return None
        try:
            async with asyncio.timeout_at(until):
                await self._call(corp_id, claimed, wanted)
        except WecomRefused as refused:
            await self._refused(corp_id, claimed, refused)
        except (NoAnswer, TimeoutError):
            await repository.postpone(corp_id, claimed, backoff(claimed.attempts))
        except SendingPaused:
            await repository.postpone(corp_id, claimed, timedelta(0), counted=False)
        except NOBODY_MAY_CALL:
            await repository.postpone(corp_id, claimed, timedelta(seconds=REST), counted=False)
            raise
        else:
            return held
        return None

    async def _call(self, corp_id: str, claimed: DirtyFollow, wanted: Difference) -> None:
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

    async def _refused(self, corp_id: str, claimed: DirtyFollow, refused: WecomRefused) -> None:
        verdict = refused.verdict
        log.warning("outbound.refused", corp_id=corp_id, follow=str(claimed.follow_id), wecom_code=refused.wecom_code)
        if is_final(verdict, claimed.attempts):
            await repository.give_up(corp_id, claimed, f"{refused.wecom_code} {verdict.words_zh}")
            await refresh.want(corp_id, _what_nobody_told(claimed, refused.wecom_code))
            return
        await repository.postpone(corp_id, claimed, pause_after(verdict, claimed.attempts))


def _what_nobody_told(claimed: DirtyFollow, wecom_code: int) -> list[Reread]:
    """What a refusal shows to have changed inside WeCom without our hearing of it."""
    if wecom_code == UNKNOWN_TAG:
        return [Reread(Kind.LIBRARY, note={"change": "unknown_tag"})]
    if wecom_code in NO_RELATION:
        return [Reread(Kind.CONTACT, claimed.external_userid, {"change": "no_relation", "userid": claimed.userid})]
    return []
