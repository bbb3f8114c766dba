"""How reads behave in a run: patient with WeCom, and second to tag writes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tagwarden.sync import repository
from tagwarden.sync.model import backoff, is_final
from tagwarden.wecom.model import NoAnswer, WecomRefused

READ_TRIES = 5
T = TypeVar("T")


async def yield_to_writes(corp_id: str) -> None:
    """Returns when no tag write is ready to go."""
    while await repository.has_settled_writes(corp_id):
        await asyncio.sleep(0.5)


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Asks again after silence or a refusal that passes: a read does no harm, and an import is long."""
    for attempt in range(READ_TRIES):
        try:
            return await ask()
        except WecomRefused as refused:
            if is_final(refused.verdict, attempt) or attempt + 1 == READ_TRIES:
                raise
        except NoAnswer:
            if attempt + 1 == READ_TRIES:
                raise
        await asyncio.sleep(backoff(attempt).total_seconds())
    raise AssertionError
