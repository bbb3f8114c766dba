"""Redis is flushed, hangs, dies and comes back under a steady stream of work in several processes: nothing differs.

Sellers write and read through two serving processes in turn, two workers send to WeCom. Nobody meets a server's error,
everybody reads what he wrote, what is taken in one process is gone in the other, limits are kept, and at the end WeCom
holds what was acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.company import PEOPLE, Companies
from support.engine import engine_on
from support.installation import a_server
from support.redis import RedisServer, program
from support.service import Process, Service, Web, client_of, serving, simulating, working
from support.town import Town, a_town
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.kernel.redis import PAUSE, Relay

NO_REDIS = "no redis-server on this machine: this test hangs and kills one of its own"
SELLERS = tuple(f"seller{number}" for number in range(8))
GREEDY = tuple(f"greedy{number}" for number in range(5))
LIMIT = 200
TURN_SECONDS = 0.6
"""Between a seller's turns, so that he stays below the limit."""
TAGS = ("advice/asked", "advice/cheap", "advice/keen")


@dataclass
class Stream:
    """Sellers at work, each on a customer of his own, and what was acknowledged to them."""

    town: Town
    webs: tuple[Web, Web]
    acknowledged: dict[str, set[str]] = field(default_factory=dict)
    answers: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def sell(self, seller: str) -> None:
        """Adds and removes tags, and reads after each write through the other process."""
        carried = self.acknowledged.setdefault(seller, set())
        for turn in itertools.count():
            if self.stop.is_set():
                return
            here, there = self.webs if turn % 2 else self.webs[::-1]
            tag = TAGS[turn % len(TAGS)]
            await change(self.town, here, seller, customer_of(seller), tag, tag not in carried)
            carried ^= {tag}
            shown = await there.get(seller, f"/v1/customers/{customer_of(seller)}/tags")
            assert shown.status_code == 200, shown.text
            assert {f"{one['group_name']}/{one['tag']}" for one in shown.json()["follows"][0]["tags"]} == carried
            self.answers += 2
            await asyncio.sleep(TURN_SECONDS)


async def change(town: Town, web: Web, userid: str, customer: str, tag: str, adds: bool) -> None:
    """One tag put on or taken off."""
    tags = [town.tags[tag]]
    answer = await web.tag(userid, customer, tags if adds else [], [] if adds else tags)
    assert answer.status_code == 200, answer.text


def customer_of(seller: str) -> str:
    return f"wm{seller}"


@dataclass
class Ground:
    """Two serving processes and two workers on one database, one simulated WeCom and one Redis."""

    town: Town
    redis: RedisServer
    serving: list[Process]
    working: list[Process]
    services: list[Service]

    @property
    def webs(self) -> tuple[Web, Web]:
        one, other = (Web(service.http, self.town.corp_id) for service in self.services)
        return one, other


@pytest.fixture
async def ground(database: EmbeddedUrls, tmp_path: Path) -> AsyncIterator[Ground]:
    if program() is None:
        pytest.skip(NO_REDIS)
    staff = dict.fromkeys((*SELLERS, *GREEDY), (11, False, ("staff",)))
    customers = [("ann", "wmAnn", ()), ("cat", "wmCat", ()), *((seller, customer_of(seller), ()) for seller in SELLERS)]
    redis = RedisServer(tmp_path)
    async with contextlib.AsyncExitStack() as stack:
        _, urls, _ = stack.enter_context(a_server())
        await stack.enter_async_context(engine_on(urls.application))
        simulator = stack.enter_context(simulating(tmp_path / "wecom.sqlite"))
        redis.start()
        stack.callback(redis.stop)
        given = {"REDIS_URL": redis.url, "REQUESTS_PER_MINUTE": str(LIMIT)}
        servers = [stack.enter_context(serving(urls.application, **given)) for _ in range(2)]
        workers = [stack.enter_context(working(urls.application, simulator.url, **given)) for _ in range(2)]
        services = [Service(one, await stack.enter_async_context(client_of(one))) for one in servers]
        companies, people = Companies(urls.owner), {**PEOPLE, **staff}
        town = await stack.enter_async_context(a_town(companies, simulator.url, people=people, customers=customers))
        yield Ground(town, redis, servers, workers, services)


async def a_revoke_holds(ground: Ground) -> None:
    """What is taken through one process is gone in the other, both ways."""
    question = {"group_id": str(ground.town.groups["advice"]), "action": "use", "external_userid": "wmCat"}
    for here, there in (ground.webs, ground.webs[::-1]):
        for roles in ((), ("staff",)):
            given = await here.call("admin", "PUT", "/v1/employees/cat/roles", {"roles": list(roles)})
            assert given.status_code == 200, given.text
            answers = await asyncio.gather(*(there.call("cat", "POST", "/v1/decisions", question) for _ in range(3)))
            assert [answer.json()["allowed"] for answer in answers] == [bool(roles)] * 3


async def a_change_arrives(ground: Ground, number: int) -> None:
    """WeCom hears of a change while this lasts."""
    tag, web = TAGS[number % len(TAGS)], ground.webs[number % 2]
    held = await ground.town.control.held("ann", "wmAnn")
    await change(ground.town, web, "ann", "wmAnn", tag, tag not in held)
    async with asyncio.timeout(90):
        while await ground.town.control.held("ann", "wmAnn") != held ^ {tag}:
            await asyncio.sleep(0.1)


async def limits_are_kept(ground: Ground, greedy: str) -> None:
    """Who asks without end is let through for a while, then refused; in memory and over Redis may be counted apart."""
    web = ground.webs[0]
    statuses: list[int] = []

    async def ask() -> None:
        while 429 not in statuses and len(statuses) < 3 * LIMIT:
            statuses.append((await web.get(greedy, "/v1/me")).status_code)

    await asyncio.gather(*(ask() for _ in range(5)))
    assert set(statuses[: LIMIT // 2]) == {200}, "nobody below the limit is refused"
    assert set(statuses[LIMIT // 2 :]) == {200, 429}, "the limit is kept"


async def test_redis_flushed_hung_gone_and_back(ground: Ground) -> None:
    stream, redis = Stream(ground.town, ground.webs), ground.redis
    sellers = [asyncio.create_task(stream.sell(seller)) for seller in SELLERS]
    try:
        for number, happens in enumerate((redis.flush, redis.hang, redis.go_on, redis.stop, redis.start)):
            happens()
            before = stream.answers
            await asyncio.gather(a_revoke_holds(ground), a_change_arrives(ground, number))
            await limits_are_kept(ground, GREEDY[number])
            while stream.answers < before + 2 * len(SELLERS):
                await asyncio.sleep(0.1)
                assert not any(seller.done() for seller in sellers)
    finally:
        stream.stop.set()
        await asyncio.gather(*sellers)
    await ground.town.until_quiet()
    for seller, carried in stream.acknowledged.items():
        assert await ground.town.control.held(seller, customer_of(seller)) == carried
    assert await ground.town.different() == {}
    redis.hang()
    for process in (*ground.serving, *ground.working):
        assert process.running, process.log[-3000:]
        assert '"level": "error"' not in process.log
        process.stop()


async def test_a_hung_redis_is_asked_by_one_caller_in_a_while(tmp_path: Path) -> None:
    if program() is None:
        pytest.skip(NO_REDIS)
    server, relay, heard, stop = RedisServer(tmp_path), Relay(), asyncio.Event(), asyncio.Event()
    server.start()
    relay.open(server.url)
    listener = asyncio.create_task(relay.listen("news", heard.set, stop))
    try:
        async with asyncio.timeout(90):
            await heard.wait()
        before, began = server.connections(), time.monotonic()
        server.hang()
        for _ in range(20):
            await relay.publish("news", "lost")
        attempts = 1 + (time.monotonic() - began) / PAUSE
        server.go_on()
        assert server.connections() - before <= 1 + attempts, "each attempt in vain costs a connection; one is the question's"
        heard.clear()
        async with asyncio.timeout(90):
            while not heard.is_set():
                await relay.publish("news", "back")
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await listener
        await relay.close()
        server.stop()
