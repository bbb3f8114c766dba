"""The demo's story on an installation as it is in production: PostgreSQL, Redis, two serving processes, three workers.

Its people speak to the serving processes in turn, so what holds in one process only comes out otherwise than expected.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import asyncpg
import pytest
from rich.console import Console

from support.servers import as_operator, command, own_postgres, tried
from support.service import Process, serving, simulating, token_for, working
from tagwarden.app.demo import sample
from tagwarden.app.demo.people import Answer, People, Wecom, callback_keys
from tagwarden.app.demo.story import CHAPTERS, tell
from tagwarden.kernel import resources
from tagwarden.kernel.embedded import EmbeddedUrls

CALLS_A_MINUTE = "900"
SERVERS, WORKERS = 2, 3
UPGRADES = 3
OURS = (
    "select f.userid, f.external_userid, array_remove(array_agg(g.name || '/' || t.name), null) as tags from follow f"
    " left join assignment a on a.follow_id = f.id and a.ended_at is null"
    " left join tag t on t.id = a.tag_id left join tag_group g on g.id = t.group_id"
    " where f.corp_id = $1 and f.ended_at is null group by 1, 2"
)


@pytest.fixture(scope="module")
def urls() -> Iterator[EmbeddedUrls]:
    """An empty database."""
    with own_postgres() as found:
        yield found


@pytest.fixture(scope="module")
async def upgrades(urls: EmbeddedUrls) -> list[tuple[int, str]]:
    """How several upgrades ended that were started at once, as by a deployment of several machines."""
    env = as_operator(urls)
    return await asyncio.gather(*(tried(env, "db", "upgrade") for _ in range(UPGRADES)))


async def test_upgrades_at_once_leave_one_history(urls: EmbeddedUrls, upgrades: list[tuple[int, str]]) -> None:
    assert [code for code, _ in upgrades] == [0] * UPGRADES, upgrades
    did, *waited = sorted((said.strip() for _, said in upgrades), key=lambda said: said == "已是最新")
    assert did.startswith("已升级："), "one of them did it"
    assert waited == ["已是最新"] * (UPGRADES - 1), "the others found it done"
    sql = await asyncpg.connect(urls.owner)
    try:
        history = [row["name"] for row in await sql.fetch("select name from migration order by name")]
    finally:
        await sql.close()
    assert history == did.removeprefix("已升级：").split(", ")
    assert len(history) == len(list(resources.folder("migrations").glob("*.py")))


# -- the story ----------------------------------------------------------------------------------------------------------


@dataclass
class Installation:
    """The processes of one installation, each for itself."""

    urls: EmbeddedUrls
    simulator: Process
    serving: list[Process]
    working: list[Process]

    def processes(self) -> list[Process]:
        return [self.simulator, *self.serving, *self.working]


@contextlib.asynccontextmanager
async def installation(urls: EmbeddedUrls, redis_url: str, state: Path) -> AsyncIterator[Installation]:
    """Two that serve and three that work on one PostgreSQL, one Redis and one simulated WeCom."""
    with contextlib.ExitStack() as stack:
        simulator = stack.enter_context(simulating(state))
        more = {"REDIS_URL": redis_url, "WECOM_API_BASE": simulator.url, "WECOM_CALLS_PER_MINUTE": CALLS_A_MINUTE}
        workers = [stack.enter_context(working(urls.application, simulator.url, **more)) for _ in range(WORKERS)]
        servers = [stack.enter_context(serving(urls.application, **more)) for _ in range(SERVERS)]
        found = Installation(urls, simulator, servers, workers)
        async with asyncio.timeout(90):
            while await heartbeats(urls) != {"serve": SERVERS, "worker": WORKERS}:
                assert all(one.running for one in found.processes()), [one.log for one in found.processes()]
                await asyncio.sleep(0.1)
        yield found


async def asked(urls: EmbeddedUrls, statement: str, *given: Any) -> list[asyncpg.Record]:
    """Rows as the application's role sees them."""
    sql = await asyncpg.connect(urls.application)
    try:
        return list(await sql.fetch(statement, *given))
    finally:
        await sql.close()


async def heartbeats(urls: EmbeddedUrls) -> dict[str, int]:
    """How many processes of each role say that they live."""
    rows = await asked(urls, "select role, count(distinct pid) as processes from process_heartbeat group by role")
    return {row["role"]: row["processes"] for row in rows}


async def set_up(found: Installation, company: sample.Sample, wecom: Wecom, env: dict[str, str]) -> None:
    """What an operator and an admin type."""
    setup = company.corp_setup("the secret of the app in the simulator", "the secret of the contact assistant")
    await wecom.load(found.simulator.url, setup)
    assert wecom.keys is not None
    token, aes_key = wecom.keys
    app = {"app": "crm", "agent_id": 1000002, "secret": setup["apps"][0]["secret"], "token": token, "aes_key": aes_key}
    credentials = json.dumps([app])
    named = ("--corp", company.corp_id, "--name", company.company["name"], "--admin", "admin", "--may-sign")
    await command(env, "corp", "add", *named, "--credentials", "-", stdin=credentials)
    await command(env, "import")
    await command(env, "policy", "apply", str(resources.folder("policies") / "demo"), "--note", "demo")
    await command(env, "corp", "activate")


class Crowd(People):
    """People in whose presence something happens once: before the first call of a path is sent."""

    def __init__(self, *given: Any, path: str, happens: Callable[[], None]) -> None:
        super().__init__(*given)
        self.path = path
        self.happens: Callable[[], None] | None = happens

    async def call(self, userid: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        if path == self.path and self.happens is not None:
            self.happens()
            self.happens = None
        return await super().call(userid, method, path, body, **headers)


def counting(heard: Counter[int | None]) -> aiohttp.TraceConfig:
    """Counts the requests that were answered, by port."""
    trace = aiohttp.TraceConfig()

    async def answered(_: aiohttp.ClientSession, __: SimpleNamespace, request: aiohttp.TraceRequestEndParams) -> None:
        heard[request.url.port] += 1

    trace.on_request_end.append(answered)
    return trace


async def test_the_story_on_several_servers_two_of_which_die(
    urls: EmbeddedUrls, upgrades: object, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    company, heard, told = sample.load(), Counter[int | None](), io.StringIO()
    tokens = {one["userid"]: token_for(company.corp_id, one["userid"]) for one in company.company["employees"]}
    async with (
        installation(urls, redis_url, tmp_path / "wecom.sqlite") as found,
        aiohttp.ClientSession(trace_configs=[counting(heard)]) as session,
    ):
        more = {"REDIS_URL": redis_url, "WECOM_API_BASE": found.simulator.url, "WECOM_CALLS_PER_MINUTE": CALLS_A_MINUTE}
        env = {**as_operator(urls, **more), "TAGWARDEN_TOKEN": tokens["admin"]}
        for name, value in env.items():  # the last chapter types a command too
            monkeypatch.setenv(name, value)
        wecom = Wecom(session, found.simulator.url, company.corp_id, callback_keys())
        await set_up(found, company, wecom, env)
        addresses = [one.url for one in found.serving]
        before: Counter[int | None] = Counter()

        def two_die() -> None:
            before.update(heard)
            addresses.pop(0)  # as a balancer would; no request is on its way there
            found.serving[0].kill()
            found.working[0].kill()

        people = Crowd(session, addresses, tokens, path="/v1/adoptions/", happens=two_die)
        try:
            await tell(people, wecom, company, tmp_path, Console(file=told, width=200))
        except Exception as failed:
            raise AssertionError(f"{told.getvalue()}\n{failed}") from failed
        assert people.happens is None, "nobody died"
        await equal(found, company, wecom)
        assert not [line for one in found.working for line in one.log.splitlines() if "worker.round_failed" in line]
        running = [one.running for one in (*found.serving, *found.working)]
        assert running == [False, True, False, True, True], [one.log[-2000:] for one in found.processes()]
    chapters = re.findall(r"^(\d+)\. ", told.getvalue(), re.MULTILINE)
    assert [int(number) for number in chapters] == list(range(1, len(CHAPTERS) + 2))
    each = [before[int(one.url.rpartition(":")[2])] for one in found.serving]
    assert min(each) > 20, each
    assert max(each) - min(each) <= 1, each


async def equal(found: Installation, company: sample.Sample, wecom: Wecom) -> None:
    """WeCom holds on every follow what was decided, at the latest in a while."""
    async with asyncio.timeout(90):
        while (await asked(found.urls, "select count(*) as n from follow_sync where dirty"))[0]["n"]:
            await asyncio.sleep(0.1)
    ours = {(row["userid"], row["external_userid"]): set(row["tags"]) for row in await asked(found.urls, OURS, company.corp_id)}
    theirs = {pair: await wecom.held(*pair) for pair in ours}
    assert len(ours) == len(company.follows())
    assert {pair: (ours[pair], theirs[pair]) for pair in ours if ours[pair] != theirs[pair]} == {}
