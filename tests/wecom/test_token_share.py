"""The token's copy in Redis: spares a question, is never plain, never decides, and may be wrong at the cost of one call."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from support.redis import RedisServer, program
from tagwarden.corps import credentials
from tagwarden.corps.credentials import CUSTOMER_APP, AppCredential
from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id
from tagwarden.kernel.redis import PATIENCE, RELAY, Relay
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.client import WecomClient
from tagwarden.wecom.model import CorpStopped
from tagwarden.wecom.token_share import Copy, TokenShare

from .conftest import SECRET, Control, sealer


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of one's own: the tests below stop it, flush it and let it hang."""
    if program() is None:
        pytest.skip("no redis-server on this machine")
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def keys(redis: RedisServer) -> AsyncIterator[Redis]:
    """What an outsider sees in it; RELAY, this process's door, is open meanwhile."""
    RELAY.open(redis.url)
    outsider = Redis.from_url(redis.url)
    async with asyncio.timeout(90):
        while not await outsider.exists("ready"):  # a door that found nobody behind it a moment ago rests for another
            await RELAY.put("ready", b"", 60)
            await asyncio.sleep(0.05)
    await outsider.delete("ready")
    yield outsider
    await outsider.aclose()
    await RELAY.close()


@contextlib.asynccontextmanager
async def a_process(control: Control) -> AsyncIterator[WecomClient]:
    """A client that remembers nothing of another's calls."""
    client = WecomClient(control.url, sealer(), Budget(600, 2.0, 5.0), timeout=5.0)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def mark(client: WecomClient, control: Control, n: int = 1) -> None:
    await client.mark_tag(
        control.corp_id,
        follow_id=new_id(),
        userid="li",
        external_userid=f"wmCustomer{n:03d}",
        add=[control.tags["意向/高"]],
        remove=[],
        attempt=1,
    )


async def codes(control: Control, api: str) -> list[int]:
    return [call["code"] for call in await control.calls(api)]


async def forget_in_postgres(control: Control) -> None:
    """From here on only Redis can know the token."""
    await db.execute("delete from wecom_token where corp_id = $1", control.corp_id)


async def test_the_copy_holds_no_plain_token_and_ends_with_it(keys: Redis, client: WecomClient, control: Control) -> None:
    token = await client.tokens.get(control.corp_id, CUSTOMER_APP)
    (key,) = [one async for one in keys.scan_iter("*")]
    assert key.decode() == f"tagwarden:wecom_token:{control.corp_id}:{CUSTOMER_APP}"
    held = await keys.get(key)
    stored = await db.fetch_value("select token_sealed from wecom_token where corp_id = $1", control.corp_id)
    for secret in (token.value, SECRET):
        assert secret.encode() not in held
        assert secret.encode() not in key
    assert stored not in held
    assert 7000 < await keys.ttl(key) <= 7200 - 60


async def test_a_process_started_later_takes_the_copy(keys: Redis, client: WecomClient, control: Control) -> None:
    await mark(client, control)
    await forget_in_postgres(control)
    async with a_process(control) as late:
        await mark(late, control)
    assert await codes(control, "gettoken") == [0]
    assert await codes(control, "mark_tag") == [0, 0]


async def test_what_postgres_knows_is_copied_again_after_a_flush(keys: Redis, client: WecomClient, control: Control) -> None:
    await mark(client, control)
    await keys.flushall()
    await mark(client, control)
    assert await codes(control, "gettoken") == [0]
    await forget_in_postgres(control)
    await mark(client, control)
    assert await codes(control, "gettoken") == [0]


async def test_redis_stopped_in_the_middle_and_back(
    redis: RedisServer, keys: Redis, client: WecomClient, control: Control
) -> None:
    await mark(client, control)
    redis.stop()
    for _ in range(3):
        await mark(client, control)
    await control.corp("DELETE", "/tokens")
    await mark(client, control)
    redis.start()
    await mark(client, control)
    assert await codes(control, "gettoken") == [0, 0]
    assert await codes(control, "mark_tag") == [0, 0, 0, 0, 40014, 0, 0]


async def test_a_redis_that_hangs_is_waited_for_once(
    redis: RedisServer, keys: Redis, client: WecomClient, control: Control
) -> None:
    await mark(client, control)
    redis.hang()
    try:
        began = time.monotonic()
        for _ in range(20):
            await client.tokens.get(control.corp_id, CUSTOMER_APP)
        assert time.monotonic() - began < 20 * PATIENCE / 2
    finally:
        redis.go_on()
    assert await codes(control, "gettoken") == [0]


async def test_an_older_generation_costs_one_refused_call(keys: Redis, client: WecomClient, control: Control) -> None:
    await mark(client, control)
    (key,) = [one async for one in keys.scan_iter("*")]
    old = await keys.get(key)
    await control.corp("DELETE", "/tokens")
    await mark(client, control)
    await keys.set(key, old)
    async with a_process(control) as late:
        for _ in range(3):
            await mark(late, control)
    assert await codes(control, "gettoken") == [0, 0], "the refusal named its generation, and PostgreSQL had a newer one"
    assert await codes(control, "mark_tag") == [0, 40014, 0, 40014, 0, 0, 0]
    assert await keys.get(key) != old


async def test_an_older_generation_with_both_dead_is_two_calls_an_attempt(
    keys: Redis, client: WecomClient, control: Control
) -> None:
    await mark(client, control)
    await control.fault(kind="errcode", api="mark_tag", code=42001, times=-1)
    (key,) = [one async for one in keys.scan_iter("*")]
    old = await keys.get(key)
    for attempt in range(1, 4):
        await keys.set(key, old)
        with pytest.raises(Exception, match="42001"):
            await mark(client, control)
        assert len(await control.calls("mark_tag")) == 1 + 2 * attempt
        assert len(await control.calls("gettoken")) <= 1 + attempt


async def test_a_newer_generation_than_postgres_remembers_is_left_behind(
    keys: Redis, client: WecomClient, control: Control
) -> None:
    """PostgreSQL was set back to an earlier day; Redis was not."""
    for _ in range(3):
        token = await client.tokens.get(control.corp_id, CUSTOMER_APP)
        await client.tokens.refresh(control.corp_id, CUSTOMER_APP, token.generation)
    await control.corp("DELETE", "/tokens")
    await forget_in_postgres(control)
    async with a_process(control) as second, a_process(control) as third:
        await asyncio.gather(*(mark(one, control, n) for n, one in enumerate((client, second, third))))
        await mark(second, control)
    assert len(await control.calls("gettoken")) == 5, "four before, and one for all after"


async def test_a_stopped_app_is_not_served_from_redis(keys: Redis, client: WecomClient, control: Control) -> None:
    await mark(client, control)
    credential = await credentials.load(sealer(), control.corp_id, CUSTOMER_APP)
    assert await credentials.stop(sealer(), credential, "a test")
    with pytest.raises(CorpStopped):
        await mark(client, control)


async def test_after_a_new_secret_the_copy_does_not_open(keys: Redis, client: WecomClient, control: Control) -> None:
    await mark(client, control)
    await control.corp("PUT", f"/apps/{CUSTOMER_APP}/secret", {"secret": "another"})
    async with db.transaction():
        await credentials.store(sealer(), AppCredential(control.corp_id, CUSTOMER_APP, 1000002, "another"))
        await credentials.drop_token(control.corp_id, CUSTOMER_APP)
    await mark(client, control)
    assert await codes(control, "mark_tag") == [0, 0]
    token = await client.tokens.get(control.corp_id, CUSTOMER_APP)
    assert token.generation == 2, "no generation is given twice"


@pytest.mark.parametrize("damage", [b"", b"\x00" * 8, b"\xff" * 8, b"x" * 20, b"\x7f" + b"\xff" * 200], ids=repr)
async def test_what_is_no_copy_is_not_there(keys: Redis, client: WecomClient, control: Control, damage: bytes) -> None:
    await mark(client, control)
    (key,) = [one async for one in keys.scan_iter("*")]
    await keys.set(key, damage)
    await mark(client, control)
    assert await codes(control, "gettoken") == [0]
    assert await codes(control, "mark_tag") == [0, 0]


async def test_a_copy_is_bound_to_its_generation_and_its_app(redis: RedisServer) -> None:
    relay = Relay()
    relay.open(redis.url)
    outsider = Redis.from_url(redis.url)
    share = TokenShare(sealer(), relay)
    mine, other = AppCredential("ww1", "crm", 1, "secret"), AppCredential("ww2", "crm", 1, "secret")
    await share.put(mine, Copy("token", 7), 60)
    assert await share.newer(mine, 6) == Copy("token", 7)
    assert await share.newer(mine, 7) is None
    data = await outsider.get("tagwarden:wecom_token:ww1:crm")
    await outsider.set("tagwarden:wecom_token:ww2:crm", data)
    assert await share.newer(other, 0) is None
    await outsider.set("tagwarden:wecom_token:ww1:crm", (8).to_bytes(8, "big") + data[8:])
    assert await share.newer(mine, 0) is None, "a generation that somebody wrote over it"
    await outsider.aclose()
    await relay.close()


async def test_without_redis_nothing_is_shared() -> None:
    share = TokenShare(sealer(), Relay())
    mine = AppCredential("ww1", "crm", 1, "secret")
    await share.put(mine, Copy("token", 7), 60)
    assert await share.newer(mine, 0) is None


async def test_a_credential_being_replaced_is_not_stopped_in_the_old_ones_stead(
    postgres_application: str, control: Control
) -> None:
    refused = await credentials.load(sealer(), control.corp_id, CUSTOMER_APP)
    other = await asyncpg.connect(postgres_application)
    async with other.transaction():  # an operator's PUT, not yet committed when WeCom's refusal arrives
        sealed = sealer().seal("another", f"{control.corp_id}/{CUSTOMER_APP}/secret")
        await other.execute(
            "update corp_credential set secret_sealed = $2, stopped_reason = null where corp_id = $1", control.corp_id, sealed
        )
        stopping = asyncio.create_task(credentials.stop(sealer(), refused, "40001"))
        await asyncio.sleep(0.3)
        assert not stopping.done()
    assert not await stopping
    await other.close()
    assert (await credentials.load(sealer(), control.corp_id, CUSTOMER_APP)).stopped_reason is None
