"""A process that works on jobs until it is killed: says "begun" on standard output and then takes its time."""

from __future__ import annotations

import asyncio
import sys

from tagwarden.kernel import db, jobs


async def main() -> None:
    database, name, seconds = sys.argv[1:]
    await db.DB.open(database, size=4)

    async def work(payload: jobs.Payload) -> None:
        print(f"begun {payload['n']}", flush=True)
        await asyncio.sleep(float(seconds))
        print(f"done {payload['n']}", flush=True)

    await jobs.run({name: work}, [], asyncio.Event())


asyncio.run(main())
