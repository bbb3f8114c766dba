"""A reader of everybody that dies by SIGKILL: `python -m sync.killed_run <database> <simulator> <corp> <step> <time>`.

`time` says at which of its arrivals there the step is its last.
"""

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
from tagwarden.sync import contacts_in, drift, readings, repository, service
from tagwarden.sync.importer import Importer

Step = tuple[Any, str, bool]
"""Whose function it is, its name, and whether death comes after it (else before it)."""

STEPS: dict[str, Step] = {
    "page_not_written": (service, "mirror_contacts", False),
    "page_half_written": (readings, "note_page", True),
    "page_written": (service, "mirror_contacts", True),
    "owners_not_left": (contacts_in, "leave_owners", False),
    "owners_half_left": (readings, "forget_pages", True),
    "owners_left": (contacts_in, "leave_owners", True),
    "not_acted": (drift, "act_on_all", False),
    "acted": (drift, "act_on_all", True),
    "not_finished": (repository, "finish_run", False),
    "finished": (repository, "finish_run", True),
}


def arm(step: str, times: int) -> None:
    """From now on the `times`-th arrival at that step is this process's last."""
    owner, name, after = STEPS[step]
    whole: Callable[..., Awaitable[Any]] = getattr(owner, name)
    left = times

    async def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        result = await whole(*args, **kwargs) if after or left else None
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


async def main(database: str, simulator: str, corp_id: str, step: str, times: str) -> None:
    await db.DB.open(database, size=4)
    wiring.wire()
    client, _ = a_client(simulator)
    await client.start()
    arm(step, int(times))
    await Importer(client).run_next(corp_id)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
