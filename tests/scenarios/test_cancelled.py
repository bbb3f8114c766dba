"""Requests that nobody waits for any more: each is wholly made, with its line, or not at all, and keeps no connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import asyncpg
import pytest

from support import soak
from support.company import Companies, Company
from support.engine import engine_on
from support.installation import a_server, until
from support.service import Service, Web, check_problem, client_of, service_on, serving
from support.wire import Wire, wire_to
from tagwarden.app import wiring
from tagwarden.audit import service as audit
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.kernel.errors import TagwardenError

CONNECTIONS = 4
AT_ONCE = 24
NAME = "the-service"


@pytest.fixture(scope="module")
def urls() -> Iterator[EmbeddedUrls]:
    """A server of this file's own, so that its sessions can be counted."""
    with a_server() as (_, urls, _folder):
        yield urls


@dataclass
class Stand:
    """A company with many customers of ann's, and a service with few connections."""

    url: str
    company: Company
    service: Service
    sql: asyncpg.Connection
    customers: list[str]

    async def sessions(self) -> Counter[str]:
        """The service's sessions in PostgreSQL, by state."""
        rows = await self.sql.fetch("select state from pg_stat_activity where application_name = $1", NAME)
        return Counter(row["state"] for row in rows)

    async def is_still(self) -> bool:
        """Whether the service does nothing; what it left open would show as `idle in transaction`."""
        return set(await self.sessions()) <= {"idle"}

    async def is_gone(self) -> bool:
        """Whether no session is left: none waits on for a process that is not there."""
        return not await self.sessions()

    @contextlib.asynccontextmanager
    async def locked(self, customers: Sequence[str]) -> AsyncIterator[None]:
        """Their follows are somebody else's for the length of the block."""
        # On a connection of its own: inside a transaction pg_stat_activity shows one moment only.
        other = await asyncpg.connect(self.url)
        try:
            async with other.transaction():
                wanted = "select 1 from follow where corp_id = $1 and external_userid = any($2) for update"
                await other.execute(wanted, self.company.corp_id, list(customers))
                yield
        finally:
            await other.close()

    async def wait_for_waiting(self) -> None:
        """Returns when the service waits for a lock."""
        waits = "select exists (select 1 from pg_stat_activity where application_name = $1 and wait_event_type = 'Lock')"
        await until(lambda: self.sql.fetchval(waits, NAME))


@contextlib.asynccontextmanager
async def a_stand(urls: EmbeddedUrls, customers: int) -> AsyncIterator[Stand]:
    wiring.wire()
    names = [f"a{number:03}" for number in range(customers)]
    async with engine_on(urls.application):
        company = await Companies(urls.owner).make(customers=[("ann", name, ()) for name in names])
        sql = await asyncpg.connect(urls.application)
        async with service_on(f"{urls.application}&application_name={NAME}", DATABASE_CONNECTIONS=str(CONNECTIONS)) as service:
            try:
                yield Stand(urls.application, company, service, sql, names)
            finally:
                await sql.close()


async def whole(company: Company, customers: Sequence[str]) -> set[str]:
    """The customers whose change was made; AssertionError where row, line and dirty mark are not there together."""
    lines = [audit.decoded(row) async for row in audit.stream(company.corp_id)]
    said = Counter(line["object"] for line in lines if line["action"] == "tags.changed")
    made = set()
    for customer in customers:
        follow_id = await company.follow_id("ann", customer)
        carried = await company.carried("ann", customer)
        version = await db.fetch_value("select version from follow_sync where follow_id = $1", follow_id)
        assert carried <= {"advice/asked"}
        assert (len(carried), len(carried)) == (said[f"follow:{follow_id}"], version - 1), customer
        made |= {customer} if carried else set()
    assert (await audit.verify(company.corp_id)).sound
    return made


async def serves_a_crowd(stand: Stand, customers: Sequence[str]) -> None:
    """More requests than connections, all answered; then no session is left in a transaction."""
    web, tag = stand.service.web(stand.company), stand.company.tags["advice/keen"]
    answers = await asyncio.gather(*(web.tag("ann", customer, [tag]) for customer in customers))
    assert {answer.status_code for answer in answers} == {200}
    await asyncio.gather(*(web.tag("ann", customer, remove=[tag]) for customer in customers))
    await until(stand.is_still)
    assert (await stand.sessions()).total() <= CONNECTIONS


# -- clients that hang up -----------------------------------------------------------------------------------------------


def body_of(stand: Stand) -> bytes:
    """The body of a tag change."""
    return json.dumps({"add": [str(stand.company.tags["advice/asked"])]}).encode()


def request_of(stand: Stand, customer: str) -> bytes:
    """The bytes of a tag change."""
    body = body_of(stand)
    headers = {
        **stand.service.web(stand.company).headers("ann"),
        "Host": "127.0.0.1",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Idempotency-Key": customer,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /v1/customers/{customer}/tag-changes HTTP/1.1\r\n{head}\r\n".encode() + body


@contextlib.asynccontextmanager
async def cut_off(stand: Stand, request: bytes) -> AsyncIterator[None]:
    """Sends a request and hangs up, with a reset, when the block ends."""
    host, port = stand.service.process.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    await writer.drain()
    try:
        yield
    finally:
        writer.transport.abort()


async def hang_up(stand: Stand, customer: str, dice: random.Random) -> bool:
    """One request given up after a moment; whether all of it was sent."""
    request = request_of(stand, customer)
    complete = dice.random() < 0.8
    async with cut_off(stand, request if complete else request[: -dice.randint(1, 60)]):
        await asyncio.sleep(dice.choice((0, dice.uniform(0, 0.05), dice.uniform(0, 0.3))))
    return complete


async def test_clients_that_hang_up_leave_whole_changes_or_none(urls: EmbeddedUrls) -> None:
    dice = random.Random(soak.seed())
    async with a_stand(urls, 120) as stand:
        places = asyncio.Semaphore(12)

        async def one(customer: str) -> bool:
            async with places:
                return await hang_up(stand, customer, dice)

        complete = await asyncio.gather(*(one(customer) for customer in stand.customers))
        await until(stand.is_still)
        made = await whole(stand.company, stand.customers)
        assert made <= {customer for customer, sent in zip(stand.customers, complete, strict=True) if sent}
        await serves_a_crowd(stand, stand.customers[:AT_ONCE])


async def test_held_requests_that_are_hung_up_give_their_connections_back(urls: EmbeddedUrls) -> None:
    dice = random.Random(soak.seed())
    async with a_stand(urls, AT_ONCE) as stand:
        held = stand.customers[:12]
        async with stand.locked(held), contextlib.AsyncExitStack() as stack:
            for customer in held:
                await stack.enter_async_context(cut_off(stand, request_of(stand, customer)))
            await stand.wait_for_waiting()
            await asyncio.sleep(dice.uniform(0, 0.2))
        await until(stand.is_still)
        await whole(stand.company, held)
        headers = {**stand.service.web(stand.company).headers("ann"), "Content-Type": "application/json"}
        for customer in held:
            path, own = f"/v1/customers/{customer}/tag-changes", {**headers, "Idempotency-Key": customer}
            answer = await stand.service.http.post(path, content=body_of(stand), headers=own)
            assert answer.status_code == 200
            assert [item["outcome"] for item in answer.json()["items"]] == ["applied"], "the key has one effect, whoever made it"
        assert await whole(stand.company, held) == set(held)
        await serves_a_crowd(stand, stand.customers)


async def test_a_service_told_to_stop_gives_up_what_is_held(urls: EmbeddedUrls) -> None:
    async with a_stand(urls, 4) as stand:
        async with stand.locked(stand.customers):
            async with contextlib.AsyncExitStack() as stack:
                for customer in stand.customers:
                    await stack.enter_async_context(cut_off(stand, request_of(stand, customer)))
                await stand.wait_for_waiting()
                await asyncio.to_thread(stand.service.process.stop)
            await until(stand.is_gone)
        assert await whole(stand.company, stand.customers) == set()


# -- tasks that are cancelled -------------------------------------------------------------------------------------------


async def test_cancelled_commands_give_their_connections_back(urls: EmbeddedUrls) -> None:
    dice = random.Random(soak.seed())
    async with a_stand(urls, 150) as stand, engine_on(urls.application, CONNECTIONS):
        company, held = stand.company, stand.customers[:30]

        async def one(customer: str) -> None:
            task = asyncio.create_task(company.change("ann", customer, ["advice/asked"]))
            await asyncio.sleep(dice.uniform(0, 0.05))
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, TagwardenError):
                await task

        async with stand.locked(held):
            await asyncio.gather(*(one(customer) for customer in held))
        for start in range(len(held), len(stand.customers), 6):
            await asyncio.gather(*(one(customer) for customer in stand.customers[start : start + 6]))
        assert not set(held) & await whole(company, stand.customers)
        async with asyncio.timeout(90):
            await asyncio.gather(*(company.change("ann", customer, ["advice/cheap"]) for customer in stand.customers))
        assert db.DB.pool is not None
        assert db.DB.pool.get_idle_size() == db.DB.pool.get_size()


# -- a commit whose answer is lost --------------------------------------------------------------------------------------


async def test_nobody_says_that_nothing_was_changed_when_the_answer_to_commit_is_lost(urls: EmbeddedUrls) -> None:
    wiring.wire()
    async with engine_on(urls.application):
        company = await Companies(urls.owner).make(customers=[("ann", "lost", ())])
        with wire_to(urls.application) as wire, serving(wire.url) as process:
            async with client_of(process) as http:
                await loses_an_answer(Web(http, company.corp_id), company, wire)


async def loses_an_answer(web: Web, company: Company, wire: Wire) -> None:
    headers = {**web.headers("ann"), "Idempotency-Key": "lost"}
    path, body = "/v1/customers/lost/tag-changes", {"add": [str(company.tags["advice/asked"])]}
    await web.get("ann", "/v1/me")
    wire.armed = True
    lost = await web.http.post(path, json=body, headers=headers)
    assert wire.cut == 1
    assert "may have been made" in check_problem(lost, 503, "outcome_unknown")["detail"]
    assert await whole(company, ["lost"]) == {"lost"}
    again = await web.http.post(path, json=body, headers=headers)
    assert (again.status_code, again.json()["items"][0]["outcome"]) == (200, "applied")
    assert await whole(company, ["lost"]) == {"lost"}
