"""A simulated WeCom in a process of its own, and its control API: for figures in which WeCom plays a part."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.ground import APP_SECRET, Corp, Ground, Shape
from bench.processes import Process, free_port, plain_environment
from bench.team import GROUP, TAGS
from tagwarden.sync import repository as sync_rows
from tagwarden.sync import service as sync
from tagwarden.sync.model import RunKind


@dataclass(frozen=True, slots=True)
class Wecom:
    """The simulator's control API, for one corp."""

    url: str
    corp_id: str
    pid: int

    def ask(self, path: str, body: object = None) -> Any:
        """GET, or POST with a body."""
        data = json.dumps(body).encode() if body is not None else None
        address = f"{self.url}/control{path}"
        request = urllib.request.Request(address, data, {"Content-Type": "application/json"})  # noqa: S310  our own child
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=600) as answer:
            return json.load(answer)

    def of_corp(self, path: str) -> Any:
        """GET below the corp."""
        return self.ask(f"/corps/{self.corp_id}{path}")

    def marks(self) -> list[dict[str, Any]]:
        """Every `mark_tag` that arrived, oldest first; `at` and `answered` are nanoseconds of the monotonic clock."""
        found: list[dict[str, Any]] = self.of_corp("/calls?api=mark_tag")["calls"]
        return found


@contextlib.contextmanager
def simulator(ground: Ground, corp_id: str, team: Shape | dict[str, Any], *, tags_each: int = 0) -> Iterator[Wecom]:
    """A simulated WeCom that holds the team, with `tags_each` of its tags on every follow; or a corp given whole."""
    port = free_port()
    words = ["simulator", "--port", str(port), "--state", str(ground.folder / f"{corp_id}.sqlite")]
    process = Process(words, plain_environment())
    try:
        process.wait_for(f"http://127.0.0.1:{port}/control/health")
        wecom = Wecom(process.url, corp_id, process.child.pid)
        wecom.ask("/corps", team if isinstance(team, dict) else _setup(corp_id, team, tags_each))
        yield wecom
    finally:
        process.stop()


def _setup(corp_id: str, team: Shape, tags_each: int) -> dict[str, Any]:
    tags = [f"{GROUP}/t{number}" for number in range(tags_each)]
    return {
        "corp_id": corp_id,
        "apps": [{"name": "crm", "secret": APP_SECRET, "agent_id": 1000002}],
        "departments": [{"id": number, "name": f"d{number}", "parentid": parent} for number, parent in team.parents.items()],
        "employees": [{"userid": one.userid, "name": one.userid, "department": [one.department]} for one in team.people],
        "tag_groups": [{"name": GROUP, "tags": [f"t{number}" for number in range(TAGS)]}],
        "follows": [{"userid": owner, "external_userid": customer, "tags": tags} for owner, customer in team.follows],
    }


async def run_to_its_end(corp: Corp, kind: RunKind, patience: float) -> tuple[float, dict[str, Any] | None]:
    """Seconds from the request of a run until it is over, and its row as it stands then."""
    since = time.monotonic()
    run_id = await sync.request_run(corp.as_("admin"), kind)
    run = await sync_rows.run(corp.corp_id, run_id)
    while (run is None or run["finished_at"] is None) and time.monotonic() - since < patience:
        await asyncio.sleep(0.05)
        run = await sync_rows.run(corp.corp_id, run_id)
    return time.monotonic() - since, run
