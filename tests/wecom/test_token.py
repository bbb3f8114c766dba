"""One token for all: renewed once however many ask, stopped at a wrong secret, never a loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tagwarden.corps import credentials
from tagwarden.corps.credentials import CUSTOMER_APP, AppCredential
from tagwarden.kernel import db
from tagwarden.kernel.ids import new_id
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.client import WecomClient
from tagwarden.wecom.model import CorpStopped, NoAnswer, TokenBrake, VerdictKind, WecomRefused

from .conftest import SECRET, Control, sealer

API = "externalcontact/mark_tag"


@pytest.fixture
async def second(control: Control) -> AsyncIterator[WecomClient]:
    """Another process, as far as tokens go: it shares nothing with `client` but the database."""
    client = WecomClient(control.url, sealer(), Budget(600, 2.0, 5.0), timeout=5.0)
    await client.start()
    yield client
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


async def secret_is(control: Control, secret: str) -> None:
    await credentials.store(sealer(), AppCredential(control.corp_id, CUSTOMER_APP, 1000002, secret))


async def test_thirty_calls_of_two_clients_ask_for_one_token(client: WecomClient, second: WecomClient, control: Control) -> None:
    await asyncio.gather(*(mark((client, second)[n % 2], control, n) for n in range(30)))
    assert len(await control.calls("gettoken")) == 1
    assert len(await control.calls("mark_tag")) == 30


async def test_token_ended_early_is_renewed_once_and_every_call_passes(
    client: WecomClient, second: WecomClient, control: Control
) -> None:
    await mark(client, control)
    await control.corp("DELETE", "/tokens")
    await asyncio.gather(*(mark((client, second)[n % 2], control, n) for n in range(30)))
    assert len(await control.calls("gettoken")) == 2
    codes = [call["code"] for call in await control.calls("mark_tag")]
    assert codes.count(0) == 31
    assert set(codes) == {0, 40014}


async def test_token_is_renewed_before_it_expires(client: WecomClient, control: Control) -> None:
    await control.switch(token_seconds=1)
    for _ in range(3):
        await mark(client, control)
        await asyncio.sleep(0.5)
    assert {call["code"] for call in await control.calls("mark_tag")} == {0}
    assert len(await control.calls("gettoken")) == 2


@pytest.mark.parametrize("code", [40014, 42001])
async def test_lasting_refusal_costs_two_calls_and_one_renewal(client: WecomClient, control: Control, code: int) -> None:
    await mark(client, control)
    await control.fault(kind="errcode", api="mark_tag", code=code, times=-1)
    for attempt in (1, 2):
        with pytest.raises(WecomRefused) as refused:
            await mark(client, control)
        assert refused.value.wecom_code == code
        assert refused.value.verdict.kind is VerdictKind.REFRESH
        assert len(await control.calls("mark_tag")) == 1 + 2 * attempt
        assert len(await control.calls("gettoken")) == 1 + attempt


async def test_late_failure_with_an_old_token_drops_nothing(client: WecomClient, control: Control) -> None:
    old = await client.tokens.get(control.corp_id, CUSTOMER_APP)
    new = await client.tokens.refresh(control.corp_id, CUSTOMER_APP, old.generation)
    assert new.generation == old.generation + 1
    for _ in range(3):
        late = await client.tokens.refresh(control.corp_id, CUSTOMER_APP, old.generation)
        assert late.generation == new.generation
    assert len(await control.calls("gettoken")) == 2


async def test_wrong_secret_stops_at_once_for_everybody(client: WecomClient, second: WecomClient, control: Control) -> None:
    await secret_is(control, "wrong")
    outcomes = await asyncio.gather(*(mark((client, second)[n % 2], control, n) for n in range(20)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {CorpStopped}
    assert len(await control.calls("gettoken")) == 1
    assert await control.calls("mark_tag") == []
    assert "40001" in str(outcomes[0])
    assert "wrong" not in str(outcomes[0]).replace("不正确", "").lower()
    await secret_is(control, SECRET)
    await mark(client, control)


async def test_three_wrong_secrets_an_hour_and_no_fourth(client: WecomClient, control: Control) -> None:
    for n in range(3):
        await secret_is(control, f"wrong {n}")
        with pytest.raises(CorpStopped):
            await mark(client, control)
    await secret_is(control, "wrong again")
    with pytest.raises(TokenBrake):
        await mark(client, control)
    assert len(await control.calls("gettoken")) == 3


async def test_stale_refusal_does_not_stop_a_new_credential(client: WecomClient, control: Control) -> None:
    await secret_is(control, "wrong")
    await control.fault(kind="errcode", code=40001, api="gettoken", seconds=1.0)
    late = asyncio.create_task(mark(client, control))
    await control.wait_for("gettoken", 1)
    await secret_is(control, SECRET)
    assert not late.done()
    with pytest.raises(CorpStopped):
        await late
    await mark(client, control)


async def test_refused_right_stops_the_app(client: WecomClient, control: Control) -> None:
    await mark(client, control)
    await control.fault(kind="errcode", api="mark_tag", code=60020)
    with pytest.raises(CorpStopped) as stopped:
        await mark(client, control)
    assert "60020" in str(stopped.value)
    with pytest.raises(CorpStopped):
        await mark(client, control)
    assert len(await control.calls("mark_tag")) == 2


async def test_new_secret_does_not_use_the_old_token(client: WecomClient, control: Control) -> None:
    await mark(client, control)
    await control.corp("PUT", f"/apps/{CUSTOMER_APP}/secret", {"secret": "another"})
    await secret_is(control, "another")
    await mark(client, control)
    assert {call["code"] for call in await control.calls("mark_tag")} == {0}
    assert len(await control.calls("gettoken")) == 2


async def test_outage_is_met_by_one_try_not_by_one_for_each(client: WecomClient, control: Control) -> None:
    await control.fault(kind="http", api="gettoken", status=503, times=-1, seconds=0.2)
    outcomes = await asyncio.gather(*(mark(client, control, n) for n in range(20)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {NoAnswer}
    assert len(await control.calls("gettoken")) == 1
    await control.corp("DELETE", "/faults")
    await mark(client, control)


async def test_caller_who_leaves_does_not_take_the_renewal_along(client: WecomClient, control: Control) -> None:
    await control.fault(kind="slow", api="gettoken", seconds=0.4)
    leaver, stayer = asyncio.create_task(mark(client, control, 1)), asyncio.create_task(mark(client, control, 2))
    await control.wait_for("gettoken", 1)
    leaver.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leaver
    await stayer
    assert len(await control.calls("gettoken")) == 1


async def test_token_is_sealed_budgeted_and_in_the_ledger(client: WecomClient, control: Control) -> None:
    token = await client.tokens.get(control.corp_id, CUSTOMER_APP)
    row = await db.fetch_one("select * from wecom_token where corp_id = $1", control.corp_id)
    assert row is not None
    assert token.value.encode() not in row["token_sealed"]
    assert token.value not in repr(token)
    (line,) = await db.fetch("select * from wecom_call where corp_id = $1", control.corp_id)
    assert (line["api"], line["class"], line["state"]) == ("gettoken", "interactive", "accepted")
    assert token.value not in str(line)
    busy = await db.fetch_value(
        "select count(*) from budget_slot where corp_id = $1 and free_at > clock_timestamp()", control.corp_id
    )
    assert busy == 1


async def test_apps_of_a_corp_have_tokens_of_their_own(client: WecomClient, control: Control) -> None:
    await credentials.store(sealer(), AppCredential(control.corp_id, "contacts", None, "wrong"))
    await client.tokens.get(control.corp_id, CUSTOMER_APP)
    with pytest.raises(CorpStopped):
        await client.tokens.get(control.corp_id, "contacts")
    await mark(client, control)


async def test_holder_of_the_lock_that_dies_blocks_nobody(
    postgres_application: str, client: WecomClient, control: Control
) -> None:
    import asyncpg

    from tagwarden.wecom.token import lock_key

    dead = await asyncpg.connect(postgres_application)
    await dead.fetchval("select pg_try_advisory_lock($1)", lock_key(control.corp_id, CUSTOMER_APP))
    call = asyncio.create_task(mark(client, control))
    await asyncio.sleep(0.3)
    assert await control.calls("gettoken") == []
    dead.terminate()
    await asyncio.wait_for(call, 5)
