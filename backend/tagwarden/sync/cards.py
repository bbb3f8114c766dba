"""Which cards a request needs: one for each person who may sign the step that is due, none for anybody else.

Drawn like everything else that leaves: from what is true now, after the commit that moved it. Writes rows only.
"""

from __future__ import annotations

from uuid import UUID

from tagwarden.approvals import repository as approvals
from tagwarden.approvals.model import Approval, Signature, State
from tagwarden.approvals.standing import chain_of, due_people
from tagwarden.corps.command import Epoch, command
from tagwarden.corps.credentials import CUSTOMER_APP
from tagwarden.corps.model import Work
from tagwarden.policy import service as policy
from tagwarden.sync import cards_rows
from tagwarden.sync.cards_rows import Card
from tagwarden.sync.model import CardState, Step

OPEN = (CardState.WAITING, CardState.SENT)


@command(Epoch.SHARED)
async def draw(work: Work, approval_id: UUID) -> bool:
    """Makes the cards of a request those of the people who may sign it now; False when somebody else did."""
    if await cards_rows.begin_draw(work.corp_id, approval_id) is None:
        return False
    picture = await policy.known(work)
    approval = await approvals.get(work.corp_id, approval_id)
    if approval is None:
        return False
    due: set[str] = set()
    if approval.pending and await cards_rows.can_send(work.corp_id, CUSTOMER_APP):
        due = await due_people(work, picture, approval, chain_of(picture, approval))
    signatures = await approvals.signatures(work.corp_id, approval.id, approval.round)
    step = Step(approval.round, approval.level)
    there = set()
    for card in await cards_rows.of_request(work.corp_id, approval_id):
        if card.step == step:
            there.add(card.userid)
        if card.state in OPEN:
            await _keep_or_close(work.corp_id, approval, card, card.step == step and card.userid in due, signatures)
    if new := due - there:
        await cards_rows.insert(work.corp_id, approval.id, step, approval.content_hash, approval.version, new)
    await cards_rows.drawn(work.corp_id, approval_id, work.epoch)
    return True


async def _keep_or_close(corp_id: str, approval: Approval, card: Card, due: bool, signatures: list[Signature]) -> None:
    if not due or card.content_hash != approval.content_hash:
        await cards_rows.close(corp_id, card, outcome_for(approval, card, signatures))
    elif card.version != approval.version:
        await cards_rows.show_version(corp_id, card.id, approval.version)


def outcome_for(approval: Approval, card: Card, signatures: list[Signature]) -> str:
    """What a card says when it is closed: what its person did, else what became of the request or of its step."""
    if card.round == approval.round and any((one.level, one.signer) == (card.level, card.userid) for one in signatures):
        return "rejected" if approval.state is State.REJECTED else "signed"
    if not approval.pending:
        return approval.state.value
    if card.round != approval.round:
        return "edited"
    return "passed" if card.level < approval.level else "not_due"
