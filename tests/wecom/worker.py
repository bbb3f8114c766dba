"""A worker process for the budget tests: marks customers as fast as the shared budget lets it, until it is killed."""

from __future__ import annotations

import asyncio
import itertools
import sys

from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id
from tagwarden.kernel.sealing import Sealer
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.client import WecomClient
from tagwarden.wecom.model import CallClass, NoAnswer, WecomRefused

TASKS = 8


async def main() -> None:
    database, url, secret_key, corp_id, number, call_class, limit, window, timeout = sys.argv[1:]
    await db.DB.open(database, size=4)
    client = WecomClient(url, Sealer(secret_key), Budget(int(limit), float(window), float(timeout)), timeout=float(timeout))
    await client.start()
    await asyncio.gather(*(mark_for_ever(client, corp_id, int(number) * TASKS + n, CallClass(call_class)) for n in range(TASKS)))


async def mark_for_ever(client: WecomClient, corp_id: str, customer: int, call_class: CallClass) -> None:
    tag = None
    for attempt in itertools.count(1):
        try:
            tag = tag or (await client.tag_library(corp_id, call_class=call_class))[0]["tag"][0]["id"]
            await client.mark_tag(
                corp_id,
                follow_id=new_id(),
                userid="li",
                external_userid=f"wmCustomer{customer:03d}",
                add=[tag] if attempt % 2 else [],
                remove=[] if attempt % 2 else [tag],
                attempt=attempt,
                call_class=call_class,
            )
        except (NoAnswer, WecomRefused):
            continue


asyncio.run(main())
