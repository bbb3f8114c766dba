"""Cards on their way to signers' screens, and closed there: `template_card` messages through the budgeted client.

Never inside a transaction. A card is sent once a step and person as far as that can be known: after a call nobody answered
it goes out again under another task, because a card may come twice and must not be lost. Closing is best effort: a response
code is good once, for 72 hours; what can no longer be closed stays open on its screen, and a click there changes nothing.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import structlog

from tagwarden.approvals import repository as approvals
from tagwarden.approvals.applier import applier_of
from tagwarden.approvals.service import SYSTEM
from tagwarden.corps.model import Caller
from tagwarden.customers import repository as customers
from tagwarden.kernel import clock, db
from tagwarden.kernel.sealing import SealBroken
from tagwarden.kernel.settings import CARD_ISSUER
from tagwarden.policy import service as policy
from tagwarden.sync import card_clicks, card_text, cards, cards_rows
from tagwarden.sync.cards_rows import Card, purpose
from tagwarden.sync.library_out import NOBODY_MAY_CALL, let_go
from tagwarden.sync.model import LONGEST_CALL, CardState, backoff, is_final, pause_after
from tagwarden.wecom.client import WecomClient
from tagwarden.wecom.model import AgentMissing, NoAnswer, WecomRefused

log = structlog.get_logger(__name__)
CODE_GONE = 60140


class CardsOut:
    """Draws and sends a corp's cards, one at a time."""

    def __init__(self, client: WecomClient, public_url: str | None = None) -> None:
        self._client = client
        self._sealer = client.sealer
        self._public_url = public_url.rstrip("/") if public_url else None

    async def send_one(self, corp_id: str) -> bool:
        """Looks at one click, draws one request's cards, or sends or closes one card; False when there is nothing to do.

        Raises NOBODY_MAY_CALL.
        """
        if await card_clicks.handle_one(self._sealer, corp_id):
            return True
        if (approval_id := await cards_rows.next_to_draw(corp_id)) is not None:
            return await cards.draw(Caller(corp_id, "", SYSTEM), approval_id)
        until = asyncio.get_running_loop().time() + LONGEST_CALL
        card = await cards_rows.claim(corp_id)
        if card is None:
            return False
        try:
            async with asyncio.timeout_at(until):
                await (self._send if card.state is CardState.WAITING else self._close)(corp_id, card)
        except WecomRefused as refused:
            await self._refused(corp_id, card, refused)
        except (NoAnswer, TimeoutError):
            await cards_rows.postpone(corp_id, card, backoff(card.attempts), unknown=True)
        except AgentMissing as missing:
            await cards_rows.give_up(corp_id, card, missing.text("zh"))
        except NOBODY_MAY_CALL:
            await cards_rows.postpone(corp_id, card, timedelta(0), counted=False, unknown=card.begun)
            raise
        except Exception:
            await let_go(lambda: cards_rows.postpone(corp_id, card, timedelta(0), counted=False, unknown=True))
            raise
        return True

    async def _send(self, corp_id: str, card: Card) -> None:
        task_id = _next_task(card.task_id) if card.begun else card.task_id
        drawn = await self._drawn(corp_id, card, task_id)
        if drawn is None or not await cards_rows.begin_call(corp_id, card, task_id):
            return
        answer = await self._client.send_card(corp_id, card.outside, drawn)
        if card.outside.lower() in str(answer.get("invaliduser") or "").lower().split("|"):
            await cards_rows.give_up(corp_id, card, "企业微信没有把卡片送达该成员")
            return
        code = str(answer.get("response_code") or "")
        await cards_rows.sent(corp_id, card, self._sealer.seal(code, purpose(corp_id, card)) if code else None)

    async def _close(self, corp_id: str, card: Card) -> None:
        code = self._code(corp_id, card)
        drawn = await self._drawn(corp_id, card, card.task_id, card.outcome or "not_due")
        if code is None or drawn is None:
            await cards_rows.settle(corp_id, card, CardState.LEFT_OPEN)
            return
        if await cards_rows.begin_call(corp_id, card, card.task_id):
            await self._client.update_card(corp_id, card.outside, code, drawn)
            await cards_rows.settle(corp_id, card, CardState.CLOSED)

    def _code(self, corp_id: str, card: Card) -> str | None:
        if card.response_code is None or card.code_until is None or card.code_until <= clock.now():
            return None
        try:
            return self._sealer.open(card.response_code, purpose(corp_id, card))
        except SealBroken:
            return None

    async def _refused(self, corp_id: str, card: Card, refused: WecomRefused) -> None:
        verdict = refused.verdict
        log.warning("cards.refused", corp_id=corp_id, card=str(card.id), wecom_code=refused.wecom_code)
        if not is_final(verdict, card.attempts):
            await cards_rows.postpone(corp_id, card, pause_after(verdict, card.attempts))
        elif card.state is CardState.WAITING:
            await cards_rows.give_up(corp_id, card, f"{refused.wecom_code} {verdict.words_zh}")
        else:
            # A used code after a call nobody answered: that call had closed it.
            closed = refused.wecom_code == CODE_GONE and card.begun
            await cards_rows.settle(corp_id, card, CardState.CLOSED if closed else CardState.LEFT_OPEN)

    async def _drawn(self, corp_id: str, card: Card, task_id: str, outcome: str | None = None) -> dict[str, Any] | None:
        """The card as it is now; None where the request is gone."""
        approval = await approvals.get(corp_id, card.approval_id)
        if approval is None:
            return None
        picture = await policy.current(corp_id)
        async with db.transaction():  # what names people is read in one moment
            change = await applier_of(approval.kind).describe(corp_id, approval.payload)
            found = await customers.customer(corp_id, approval.about_customer) if approval.about_customer else None

        def name(userid: str) -> str:
            known = picture.directory.known(userid)
            return known.name if known else userid

        return card_text.draw(
            card_text.Request(
                kind=approval.kind,
                level=card.level,
                requester=name(approval.requester),
                owner=name(approval.about_userid),
                customer=found["name"] if found and found["name"] else approval.about_customer,
                reason=approval.reason,
                change=change,
                expires_at=approval.expires_at,
                task_id=task_id,
                page=f"{self._public_url}/approvals/{approval.id}" if self._public_url else None,
                clicks_sign=picture.directory.may_sign(CARD_ISSUER),
            ),
            outcome,
        )


def _next_task(task_id: str) -> str:
    head, _, number = task_id.rpartition("-")
    return f"{head}-{int(number) + 1}"
