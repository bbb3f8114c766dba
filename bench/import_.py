"""An import of customers: a worker reads them from the simulated WeCom, page by page, with the budget raised.

10,000 customers, each carrying two tags; with `--large` 100,000. On the real budget the calls would be the measure: WeCom
gives 100 customers a call. The worker is the product's own process, and its memory is the most it ever held.
"""

from __future__ import annotations

import asyncio
from typing import Any

from bench.ground import Corp, Ground
from bench.report import Options, Row, Runs, cpu_seconds
from bench.team import shape
from bench.wecom import Wecom, run_to_its_end, simulator
from tagwarden.kernel import db
from tagwarden.sync.model import RunKind

COMMAND = "python -m bench import_"
CUSTOMERS, LARGE = 10_000, 100_000
EACH = 500
TAGS_EACH = 2
CALLS = 6_000
PATIENCE = 1_800.0


def measure(ground: Ground, options: Options) -> list[Row]:
    """Rows per second and the worker's peak memory."""
    customers = LARGE if options.large else CUSTOMERS
    command = f"{COMMAND} --large" if options.large else COMMAND
    team = shape(customers // EACH, EACH)
    noise = Runs(1 if options.large else options.runs)
    measured = []
    for run in noise:
        with simulator(ground, f"wi{run.number}", team, tags_each=TAGS_EACH) as wecom:
            corp = ground.run(lambda wecom=wecom: _company(ground, wecom, customers))  # type: ignore[misc]
            with ground.process("worker", WECOM_API_BASE=wecom.url, WECOM_CALLS_PER_MINUTE=str(CALLS)) as worker:
                before = cpu_seconds(wecom.pid)
                seconds, result = ground.run(lambda corp=corp: _imported(corp, customers))  # type: ignore[misc]
                memory = worker.peak_megabytes()
                cpu = f"CPU: worker {cpu_seconds(worker.child.pid):.0f} s, simulator {cpu_seconds(wecom.pid) - before:.0f} s"
            calls = wecom.of_corp(f"/window?seconds={PATIENCE}")["calls"]
            speed = f"{customers / seconds:.0f}/s ({seconds:.1f} s, {result['marks']:,} marks, {calls} calls)"
            measured.append(f"{speed}; {memory}; {cpu}")
    title = f"import of {customers:,} customers with {TAGS_EACH} tags each; the worker's peak memory"
    return [Row(title, "", measured, command, f"{CALLS:,} calls a minute allowed; {noise.note}")]


async def _company(ground: Ground, wecom: Wecom, customers: int) -> Corp:
    """The company with its people and library, no customer yet. In setup: once live, WeCom's marks are no assignments."""
    library = await asyncio.to_thread(wecom.of_corp, "/tags")
    return await ground.company(shape(customers // EACH, 0), corp_id=wecom.corp_id, library=library["tag_group"], live=False)


async def _imported(corp: Corp, customers: int) -> tuple[float, dict[str, Any]]:
    """Seconds from the request until the run is over, and its result; RuntimeError where it is not what WeCom holds."""
    seconds, run = await run_to_its_end(corp, RunKind.CUSTOMERS, PATIENCE)
    held = await db.fetch_value("select count(*) from assignment where corp_id = $1", corp.corp_id)
    if run is None or run["problem"] or run["done"] != customers or held != TAGS_EACH * customers:
        raise RuntimeError(f"the import is not complete: {run and (run['state'], run['done'], run['problem'])}, {held} marks")
    return seconds, dict(run["result"])
