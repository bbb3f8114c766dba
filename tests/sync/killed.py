"""A sender that dies by SIGKILL at one step of a call: `python -m sync.killed <database> <simulator> <corp> <step>`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from support.town import a_client
from tagwarden.app import wiring
from tagwarden.kernel import db
from tagwarden.sync import cards_rows, outbox, repository
from tagwarden.sync.cards_out import CardsOut
from tagwarden.sync.outbound import Outbound
from tagwarden.wecom import ledger
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.transport import Transport

Step = tuple[Any, str, bool]
"""Whose function it is, its name, and whether death comes after it (else before it)."""

STEPS: dict[str, Step] = {
    "before_claim": (repository, "claim_follow", False),
    "after_claim": (repository, "claim_follow", True),
    "before_begin": (repository, "begin_call", False),
    "after_begin": (repository, "begin_call", True),
    "after_slot": (Budget, "claim", True),
    "after_record": (ledger, "sent", True),
    "after_send": (Transport, "_exchange", True),
    "before_close": (ledger, "accepted", False),
    "before_settle": (repository, "settle", False),
    "after_settle": (repository, "settle", True),
    "tag_claimed": (outbox, "claim_tag", True),
    "tag_sent": (Transport, "_exchange", True),
    "tag_unsettled": (outbox, "settle", False),
    "card_claimed": (cards_rows, "claim", True),
    "card_begun": (cards_rows, "begin_call", True),
    "card_sent": (cards_rows, "sent", False),
    "card_settled": (cards_rows, "sent", True),
}


def arm(step: str) -> None:
    """From now on that step is this process's last."""
    owner, name, after = STEPS[step]
    whole: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def deadly(*args: Any, **kwargs: Any) -> Any:
        result = await whole(*args, **kwargs) if after else None
        if not after or result is not None or name in ("settle", "sent"):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


async def main(database: str, simulator: str, corp_id: str, step: str) -> None:
    await db.DB.open(database, size=4)
    wiring.wire()
    client, budget = a_client(simulator)
    await client.start()
    await client.tokens.get(corp_id, "crm")
    arm(step)
    outbound = Outbound(client, budget, CardsOut(client))
    for _ in range(200):
        await outbound.send_one(corp_id)
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
