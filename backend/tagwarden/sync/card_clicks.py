"""A click on a card: checked like any request, and never more trusted.

That WeCom's callback is signed says who clicked, no more. The click is bound to the person, the step and the content its card
was drawn for; whether he may sign now is asked where everybody's signature is asked for. Tokens of an issuer without the right
to sign have no side door here: WeCom vouches for clicks as the issuer `wecom-card`, bound to the corp like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import structlog

from tagwarden.approvals import repository as approvals
from tagwarden.approvals import service
from tagwarden.approvals.model import Verdict
from tagwarden.corps import credentials
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.credentials import CUSTOMER_APP
from tagwarden.corps.model import Caller, Work
from tagwarden.identity.model import Directory, IdentityRefused
from tagwarden.kernel import db
from tagwarden.kernel.errors import Refused, TagwardenError, Unavailable
from tagwarden.kernel.sealing import Sealer
from tagwarden.kernel.settings import CARD_ISSUER
from tagwarden.policy import service as policy
from tagwarden.sync import card_click_rows, card_text, cards_rows
from tagwarden.sync.card_click_rows import Click
from tagwarden.sync.cards_rows import Card, purpose
from tagwarden.sync.model import CardState

log = structlog.get_logger(__name__)
EVENT = "template_card_event"
CLICKABLE = (CardState.WAITING, CardState.SENT)
LONGEST = 512


class CardRefused(Refused):
    code = "card_refused"
    zh = "卡片上的操作无效（{why}），请到审批页面处理"
    en = "This click counts for nothing ({why}); go to the request's page"


async def note(sealer: Sealer, corp_id: str, callback_id: UUID, fields: Mapping[str, str]) -> None:
    """Keeps a `template_card_event` as it was told, in the transaction that opens its callback; what is missing is empty and
    matches nothing."""
    names = ("FromUserName", "TaskId", "EventKey", "AgentID", "ResponseCode")
    userid, task_id, key, agent_id, code = (str(fields.get(name) or "").strip()[:LONGEST] for name in names)
    sealed = sealer.seal(code, _purpose(corp_id, callback_id)) if code else None
    await card_click_rows.note_click(corp_id, Click(callback_id, userid, task_id, key, agent_id, sealed))


async def handle_one(sealer: Sealer, corp_id: str) -> bool:
    """Looks at one click; False when none waits. Raises Unavailable, and the click is looked at again later."""
    click = await card_click_rows.claim_click(corp_id)
    if click is None:
        return False
    outcome = await on_card_clicked(sealer, corp_id, click)
    await card_click_rows.settle_click(corp_id, click.id, outcome)
    log.info("card.clicked", corp_id=corp_id, callback=str(click.id), outcome=outcome)
    return True


async def on_card_clicked(sealer: Sealer, corp_id: str, click: Click) -> str:
    """Signs, where the click counts; returns what came of it: `signed`, `stale`, `seen`, or a refusal's code.

    A click that is late, repeated or forged changes nothing; its refusal is recorded. Only the person's own card says what
    came of it.
    """
    card = await cards_rows.by_task(corp_id, click.task_id)
    caller = await _caller(corp_id, click, card)
    try:
        outcome = await _decide(sealer, caller, click, card)
    except Unavailable:
        raise
    except TagwardenError as error:
        await _say(sealer, corp_id, click, card, "refused")
        return error.code
    await _say(sealer, corp_id, click, card, outcome)
    return outcome


async def _caller(corp_id: str, click: Click, card: Card | None) -> Caller:
    """Who clicked, by the name we write him under. WeCom tells no difference between large and small letters, and calls a
    renamed account by its new name; the old one is nobody's any more."""
    picture = await policy.current(corp_id)
    userid = card.userid if card is not None and _is(click, card) else _as_wecom(picture.directory, click.userid)
    return Caller(corp_id, userid, CARD_ISSUER, picture.directory.may_sign(CARD_ISSUER), request_id=str(click.id))


def _as_wecom(directory: Directory, userid: str) -> str:
    """Who WeCom says has clicked on another's card; a name that one of ours gave up must not be written as him."""
    try:
        return directory.here(userid)
    except IdentityRefused:
        return f"wecom:{userid}"


def _is(click: Click, card: Card) -> bool:
    return click.userid.casefold() == card.outside.casefold()


async def _decide(sealer: Sealer, caller: Caller, click: Click, card: Card | None) -> str:
    agent_id = (await credentials.load(sealer, caller.corp_id, CUSTOMER_APP)).agent_id
    etag = await check_click(caller, click, agent_id)
    if etag in ("signed", "seen"):
        return etag
    assert card is not None
    await service.decide(caller, card.approval_id, Verdict.APPROVE, "", etag)
    after = await approvals.get(caller.corp_id, card.approval_id)
    return "stale" if after is not None and after.state.value == "stale" else "signed"


@command(Epoch.SHARED)
async def check_click(work: Work, click: Click, agent_id: int | None) -> str:
    """The ETag the click signs, `seen` where it signs nothing, `signed` where it did before; CardRefused otherwise."""
    card = await cards_rows.by_task(work.corp_id, click.task_id)
    if card is None:
        raise _refused("unknown_card", None)
    if not _is(click, card) or click.agent_id != str(agent_id):
        raise _refused("another_person" if not _is(click, card) else "another_app", card)
    approval = await approvals.get(work.corp_id, card.approval_id)
    signatures = await approvals.signatures(work.corp_id, card.approval_id, card.round)
    if any((one.level, one.signer) == (card.level, card.userid) for one in signatures):
        return "signed"  # the same click once more: what it asked for is done
    if card.state not in CLICKABLE or approval is None or not approval.pending:
        raise _refused("closed", card)
    if (card.round, card.level, card.content_hash) != (approval.round, approval.level, approval.content_hash):
        raise _refused("outdated", card)
    if click.key == card_text.SEEN:
        return "seen"
    if click.key != card_text.APPROVE:
        raise _refused("unknown_button", card)
    return f'"{card.version}"'


def _refused(why: str, card: Card | None) -> CardRefused:
    about = {"object": f"approval:{card.approval_id}"} if card else {}
    return CardRefused(why=why, audit={**about, "why": why, "step": "card"})


async def _say(sealer: Sealer, corp_id: str, click: Click, card: Card | None, outcome: str) -> None:
    """Lets the clicker's own card say what came of it, by the click's own response code, which is fresh."""
    if card is None or not _is(click, card):
        return
    code = None
    if click.response_code is not None:
        code = sealer.seal(sealer.open(click.response_code, _purpose(corp_id, click.id)), purpose(corp_id, card))
    async with db.transaction():
        await cards_rows.clicked(corp_id, card.id, code, outcome)


def _purpose(corp_id: str, callback_id: UUID) -> str:
    return f"{corp_id}/click/{callback_id}"
