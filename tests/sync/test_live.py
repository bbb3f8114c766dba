"""Live progress of runs: a service and a worker in two processes, with Redis, without, and with Redis gone on the way."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.company import PEOPLE, Companies, Company
from support.redis import RedisServer, program
from support.service import Service, Web, bearer, check_problem, service_on, token_for, working
from support.town import Town
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.sync import live, repository
from tagwarden.sync import service as sync
from tagwarden.sync.model import RunKind

pytestmark = pytest.mark.usefixtures("nothing_left_over")

Event = tuple[str, dict[str, Any]]
NO_REDIS = "redis://127.0.0.1:1/0"  # several processes may serve, and nobody is told anything
SLOW = 0.3


async def events_of(answer: httpx.Response) -> AsyncIterator[Event]:
    """Name and data of each event, as they come; words without meaning are passed over."""
    name, data = "", ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data = line.removeprefix("data: ")
        elif not line and name:
            yield name, json.loads(data)
            name, data = "", ""


@contextlib.asynccontextmanager
async def watching(web: Web, userid: str, run_id: object, **headers: str) -> AsyncIterator[AsyncIterator[Event]]:
    """One open stream."""
    path = f"/v1/sync/runs/{run_id}/events"
    async with web.http.stream("GET", path, headers={**web.headers(userid), **headers}) as answer:
        if answer.status_code != 200:
            await answer.aread()
            check_problem(answer)
            raise httpx.HTTPStatusError(answer.json()["code"], request=answer.request, response=answer)
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events_of(answer)


@pytest.fixture
def redis(tmp_path: Path) -> Any:
    if program() is None:
        pytest.skip("no redis-server on this machine")
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


# -- two processes ------------------------------------------------------------------------------------------------------


async def watched_to_the_end(service: Service, town: Town, halfway: Any = lambda: None) -> list[Event]:
    """A slow import of the organisation, asked for and watched over HTTP; `halfway` happens once it has moved on."""
    web = service.web(town)
    await town.control.fault(kind="slow", api="user/list", seconds=SLOW, times=6)
    started = await web.call("admin", "POST", "/v1/sync/runs", {"kind": "org"})
    run_id = started.json()["id"]
    told: list[Event] = []
    async with asyncio.timeout(90), watching(web, "auditor", run_id) as events:
        async for event in events:
            told.append(event)
            if halfway and event[1].get("done"):
                halfway()
                halfway = None
    assert told[-1][1] == (await web.get("admin", f"/v1/sync/runs/{run_id}")).json()
    return told


def check_course(told: list[Event]) -> None:
    """From the first event on only forwards, each event a change, and one end."""
    assert [name for name, _ in told] == ["progress"] * (len(told) - 1) + ["end"]
    assert [run["done"] for _, run in told] == sorted(run["done"] for _, run in told)
    assert all(one != other for one, other in itertools.pairwise(told))
    last = told[-1][1]
    assert (last["state"], last["done"], last["total"], last["problem"]) == ("done", 6, 6, None)
    assert last["result"]["departments"] == 6


async def test_a_run_is_watched_over_postgres(town: Town, database: EmbeddedUrls) -> None:
    async with service_on(database.application) as service:
        with working(database.application, town.control.url):
            told = await watched_to_the_end(service, town)
    check_course(told)
    assert {run["state"] for _, run in told} >= {"running", "done"}


async def test_a_run_is_watched_over_redis_and_when_redis_goes(town: Town, database: EmbeddedUrls, redis: RedisServer) -> None:
    async with service_on(database.application, REDIS_URL=redis.url) as service:
        with working(database.application, town.control.url, REDIS_URL=redis.url):
            check_course(await watched_to_the_end(service, town))
            check_course(await watched_to_the_end(service, town, halfway=redis.stop))


async def test_a_stopping_service_says_so(companies: Companies, database: EmbeddedUrls) -> None:
    company = await companies.make()
    run_id = await sync.request_run(company.as_("admin"), RunKind.ORG)
    async with service_on(database.application, REDIS_URL=NO_REDIS) as service:
        async with asyncio.timeout(90), watching(service.web(company), "admin", run_id) as events:
            assert (await anext(events))[0] == "progress"
            stopping = asyncio.create_task(asyncio.to_thread(service.process.stop))
            assert await anext(events) == ("closed", {"why": "stopping"})
            with pytest.raises(StopAsyncIteration):
                await anext(events)
        await stopping


# -- who may ------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def service(database: EmbeddedUrls) -> AsyncIterator[Service]:
    async with service_on(database.application) as running:
        yield running


async def waiting_run(company: Company) -> UUID:
    """A run that nobody executes."""
    return await sync.request_run(company.as_("admin"), RunKind.ORG)


async def test_only_who_may_read_the_run(company: Company, companies: Companies, service: Service) -> None:
    web, run_id = service.web(company), await waiting_run(company)
    path = f"/v1/sync/runs/{run_id}/events"
    check_problem(await web.get("ann", path), 403, "module_missing")
    check_problem(await service.http.get(path), 401, "unauthenticated")
    other = service.web(await companies.make())
    check_problem(await other.get("admin", path), 404, "sync_run_unknown")


@pytest.mark.parametrize("how", ["role taken", "left", "token over"])
async def test_who_may_not_any_more_is_told_nothing_more(how: str, company: Company, service: Service) -> None:
    web, run_id = service.web(company), await waiting_run(company)
    headers = bearer(token_for(company.corp_id, "auditor", seconds=4 if how == "token over" else 600))
    async with asyncio.timeout(90), watching(web, "auditor", run_id, **headers) as events:
        assert (await anext(events))[0] == "progress"
        if how == "role taken":
            await web.call("admin", "PUT", "/v1/employees/auditor/roles", {"roles": ["staff"]})
        if how == "left":
            await company.move_people({userid: place for userid, place in PEOPLE.items() if userid != "auditor"})
        if how != "token over":
            await repository.advance_run(company.corp_id, run_id, {}, 1, 2)
        assert await anext(events) == ("closed", {"why": "refused"})
        with pytest.raises(StopAsyncIteration):
            await anext(events)


# -- what it costs ------------------------------------------------------------------------------------------------------


async def pool_in_use(service: Service) -> float:
    text = (await service.http.get("/metrics")).text
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return next(one.value for one in samples if one.name == "tagwarden_database_pool_in_use")


async def test_streams_are_few_hold_no_connection_and_leave_nothing(company: Company, service: Service) -> None:
    web, run_id = service.web(company), await waiting_run(company)
    async with contextlib.AsyncExitStack() as stack:
        kept = []  # a reader that is dropped hangs up
        for userid in ["admin", "auditor"] * live.STREAMS_OF_ONE:
            kept.append(await stack.enter_async_context(watching(web, userid, run_id)))
            assert (await anext(kept[-1]))[0] == "progress"
        check_problem(await web.get("admin", f"/v1/sync/runs/{run_id}/events"), 429, "too_many_streams")
        await asyncio.sleep(live.BREATH + 0.1)
        # One for the listener, one that says who serves alone, one for the scrape; a look may be under way.
        assert await pool_in_use(service) <= 4
        assert (await web.get("admin", "/v1/me")).status_code == 200
    async with asyncio.timeout(90):
        while await pool_in_use(service) > 2:
            await asyncio.sleep(0.3)
        async with contextlib.AsyncExitStack() as stack:
            opened = 0
            while opened < live.STREAMS_OF_ONE:  # those that went away are gone a moment later
                with contextlib.suppress(httpx.HTTPStatusError):
                    await stack.enter_async_context(watching(web, "admin", run_id))
                    opened += 1


# -- in this process ----------------------------------------------------------------------------------------------------


async def test_a_notice_wakes_and_nobody_listens_for_nobody(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL", 1e6)
    run_id = await waiting_run(company)

    async def read() -> int:
        row = await repository.run(company.corp_id, run_id)
        assert row is not None
        return int(row["done"])

    stream = live.follow("one", read, lambda done: done == 3)
    async with asyncio.timeout(90):
        assert (await anext(stream))["data"] == b"0"
        for done in (1, 2, 3):
            await repository.advance_run(company.corp_id, run_id, {}, done, 3)
            event = await anext(stream)
            assert event == {"event": "end" if done == 3 else "progress", "data": str(done).encode()}
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert live.WATCHERS.open_of("one") == 0
        while live.WATCHERS.listening:
            await asyncio.sleep(0.02)


async def test_a_stream_has_its_lifetime_and_waits_out_what_is_away() -> None:
    answers = iter([1, db.DatabaseUnavailable(), 2])

    async def read() -> int:
        answer = next(answers, 2)
        if isinstance(answer, Exception):
            raise answer
        return answer

    told = [event async for event in live.follow("one", read, lambda _: False, life=5.0)]
    assert [event["data"] for event in told] == [b"1", b"2", b'{"why":"lifetime"}']


async def test_a_stream_that_is_dropped_gives_its_place_back() -> None:
    async def read() -> int:
        return 1

    streams = [await live.begin(live.follow("one", read, lambda _: False)) for _ in range(live.STREAMS_OF_ONE)]
    with pytest.raises(live.TooManyStreams):
        await live.begin(live.follow("one", read, lambda _: False))
    assert live.WATCHERS.open_of("one") == live.STREAMS_OF_ONE
    await live.begin(live.follow("another", read, lambda _: False))
    del streams
    async with asyncio.timeout(90):
        while live.WATCHERS.open_of("one"):
            await asyncio.sleep(0.02)
