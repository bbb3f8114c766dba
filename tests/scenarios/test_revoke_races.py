"""Rights are taken through one process while another is asked without pause: no request that began after the answer passes.

A role, a grant, a department and a whole account are taken and given back, with Redis there, gone and hung. Requests
are timed by one clock. One that began after the revoke's answer and ended before the right was asked back must be refused;
nothing is said about one that was under way at either moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import pytest

from support.company import GRANTS, GROUPS, PEOPLE, Companies, Company, bundle_of
from support.redis import RedisServer, program
from support.service import Service, Web, service_on
from tagwarden.governance import publishing
from tagwarden.kernel.embedded import EmbeddedUrls

ROUNDS = 4
EACH = 50
"""Requests that begin while the right is gone, at least, in every round."""
ASKERS = 6
Act = Callable[[], Awaitable[None]]


@dataclass
class Watch:
    """What was asked, and when: (began, ended, allowed)."""

    asked: list[tuple[float, float, bool]] = field(default_factory=list)
    gone: list[tuple[float, float]] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep_asking(self, allowed: Callable[[], Awaitable[bool]]) -> None:
        """One request after the other until the end."""
        while not self.stop.is_set():
            began = time.perf_counter()
            answer = await allowed()
            self.asked.append((began, time.perf_counter(), answer))

    def inside(self) -> list[bool]:
        """The answers to requests that lay wholly in a time without the right."""
        return [answer for began, ended, answer in self.asked if any(a <= began and ended <= b for a, b in self.gone)]

    async def enough(self, since: float) -> None:
        """Waits until enough requests began after a moment and were answered."""
        async with asyncio.timeout(90):
            while sum(began >= since for began, _, _ in self.asked[-2_000:]) < EACH:
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def asking(watch: Watch, *ways: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(watch.keep_asking(ways[number % len(ways)])) for number in range(ASKERS)]
    try:
        yield
    finally:
        watch.stop.set()
        await asyncio.gather(*tasks)


async def race(take: Act, give: Act, *ways: Callable[[], Awaitable[bool]]) -> None:
    """Takes and gives back, round after round, under requests that never pause."""
    watch = Watch()
    async with asking(watch, *ways):
        for _ in range(ROUNDS):
            await watch.enough(time.perf_counter())
            await take()
            taken = time.perf_counter()
            await watch.enough(taken)
            watch.gone.append((taken, time.perf_counter()))
            await give()
    passed = [answer for answer in watch.inside() if answer]
    print(f"{len(watch.asked)} asked, {len(watch.inside())} while it was gone, {len(passed)} passed")
    assert len(watch.inside()) >= ROUNDS * EACH // 2
    assert passed == []
    assert any(answer for _, _, answer in watch.asked), "with the right it passes"


NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture(params=["there", "gone", "hung"], scope="module")
def redis(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, RedisServer | None]]:
    """Where Redis is, or where nobody listens; one that is to hang hangs once the processes run."""
    if request.param == "gone":
        yield NOWHERE, None
        return
    if program() is None:
        pytest.skip("no redis-server on this machine")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server.url, server if request.param == "hung" else None
    server.stop()


@dataclass
class Pair:
    """One process that takes, one that is asked."""

    here: Service
    there: Service


@pytest.fixture(scope="module")
async def pair(database: EmbeddedUrls, redis: tuple[str, RedisServer | None]) -> AsyncIterator[Pair]:
    url, hangs = redis
    async with service_on(database.application, REDIS_URL=url) as here, service_on(database.application, REDIS_URL=url) as there:
        if hangs is not None:
            hangs.hang()
        yield Pair(here, there)
        if hangs is not None:
            hangs.go_on()


@pytest.fixture
async def company(companies: Companies) -> Company:
    return await companies.make()


def may_ask(web: Web, company: Company) -> Callable[[], Awaitable[bool]]:
    """Whether cat may use a group on her customer."""
    question = {"group_id": str(company.groups["advice"]), "action": "use", "external_userid": "c3"}

    async def ask() -> bool:
        answer = await web.call("cat", "POST", "/v1/decisions", question)
        return answer.status_code == 200 and bool(answer.json()["allowed"])

    return ask


def may_tag(web: Web, company: Company) -> Callable[[], Awaitable[bool]]:
    """Whether cat's change of her customer is made."""
    tag, turn = company.tags["advice/keen"], iter(range(10**9))

    async def change() -> bool:
        adds = next(turn) % 2 == 0
        answer = await web.tag("cat", "c3", [tag] if adds else [], [] if adds else [tag])
        return answer.status_code == 200

    return change


def may_many(web: Web, company: Company) -> Callable[[], Awaitable[bool]]:
    """The same question among many."""
    body = {"group_ids": [str(company.groups["advice"])], "customers": ["c3"] * 20}

    async def ask() -> bool:
        answer = await web.call("cat", "POST", "/v1/decisions/batch", body)
        return answer.status_code == 200 and any(one["allowed"] for one in answer.json()["items"])

    return ask


def ways(pair: Pair, company: Company) -> list[Callable[[], Awaitable[bool]]]:
    web = pair.there.web(company)
    return [way(web, company) for way in (may_ask, may_tag, may_many)]


async def test_a_role(pair: Pair, company: Company) -> None:
    here = pair.here.web(company)

    async def give(*roles: str) -> None:
        answer = await here.call("admin", "PUT", "/v1/employees/cat/roles", {"roles": list(roles)})
        assert answer.status_code == 200, answer.text

    await race(lambda: give(), lambda: give("staff"), *ways(pair, company))


async def test_a_role_that_is_changed_for_another(pair: Pair, company: Company) -> None:
    here = pair.here.web(company)

    async def give(*roles: str) -> None:
        answer = await here.call("admin", "PUT", "/v1/employees/cat/roles", {"roles": list(roles)})
        assert answer.status_code == 200, answer.text

    await race(lambda: give("auditor"), lambda: give("staff"), *ways(pair, company))


async def test_a_grant(pair: Pair, company: Company) -> None:
    less = bundle_of({}, GROUPS, [grant for grant in GRANTS if grant.group != "advice"])
    more = bundle_of({}, GROUPS, GRANTS)

    async def publish(bundle: object, note: str) -> None:
        await publishing.apply_bundle(company.as_("admin"), bundle, note)  # type: ignore[arg-type]

    await race(lambda: publish(less, "less"), lambda: publish(more, "more"), *ways(pair, company))


async def test_a_move_to_another_department(companies: Companies, pair: Pair) -> None:
    grants = [grant for grant in GRANTS if grant.department == 10]
    company = await companies.make(grants=grants)
    moved = {**PEOPLE, "cat": (21, False, ("staff",))}
    await race(lambda: company.move_people(moved), lambda: company.move_people(PEOPLE), *ways(pair, company))


async def test_a_departure(pair: Pair, company: Company) -> None:
    without = {userid: place for userid, place in PEOPLE.items() if userid != "cat"}
    await race(lambda: company.move_people(without), lambda: company.move_people(PEOPLE), *ways(pair, company))
