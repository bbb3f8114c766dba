"""Walking the audit chain: lines per second at 200,000 lines of the form a tag change leaves.

The lines are appended by the product's own `close`, 500 a transaction.
"""

from __future__ import annotations

import time

import asyncpg  # type: ignore[import-untyped,unused-ignore]

from bench.ground import Corp, Ground
from bench.report import Options, Row, Runs
from bench.team import shape
from tagwarden.audit import service as audit
from tagwarden.audit.model import Entry
from tagwarden.kernel import clock, db
from tagwarden.kernel.ids import new_id

COMMAND = "python -m bench audit"
LINES = 200_000
CHUNK = 500


def measure(ground: Ground, options: Options) -> list[Row]:
    """Verified lines per second."""
    return ground.run(lambda: _measure(ground, options))


async def _measure(ground: Ground, options: Options) -> list[Row]:
    corp = await ground.company(shape(1, 1))
    for _ in range(LINES // CHUNK):
        await _append(corp)
    rows = []
    for when in ("before the database has counted its rows", "after its own `analyze`"):
        noise = Runs(options.runs)
        measured = [await _verified(corp) for _ in noise]
        rows.append(Row(f"audit verify, {LINES:,} lines, {when}", "≥ 20,000 lines/s", measured, COMMAND, noise.note))
        await _analyze(ground)
    return rows


async def _verified(corp: Corp) -> str:
    since = time.perf_counter()
    found = await audit.verify(corp.corp_id)
    seconds = time.perf_counter() - since
    if not found.sound or found.lines < LINES:
        raise RuntimeError(f"the chain does not hold: {found}")
    return f"{found.lines / seconds:.0f} lines/s"


async def _analyze(ground: Ground) -> None:
    """What autovacuum does within a minute or so; until then the planner guesses."""
    owner = await asyncpg.connect(ground.urls.owner)
    await owner.execute("analyze audit_line")
    await owner.close()


async def _append(corp: Corp) -> None:
    caller, decision = corp.as_("s0"), {"row": "grant:10:advice:use", "revision": 3, "epoch": 17}
    lines = []
    for _ in range(CHUNK):
        detail = {"customer": f"wm{new_id().hex[:24]}", "add": [str(new_id())], "remove": [str(new_id())]}
        entry = Entry("tags.changed", f"follow:{new_id()}", detail, decision)
        lines.append(audit.canonical(corp.corp_id, caller.as_actor(), caller.request_id, clock.now(), entry))
    async with db.transaction():
        await audit.close(corp.corp_id, lines, bumped=False)
