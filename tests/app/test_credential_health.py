"""The monthly look at WeCom's credentials, what admins and the doctor hear of it, and trying callback keys out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from support.company import SEALER, Companies, arrange
from support.service import Service, service_on, simulating
from support.town import SECRET, Town, a_town
from tagwarden.app.credential_health import CredentialHealth
from tagwarden.app.doctor import callbacks, remedies, traffic
from tagwarden.corps import credentials
from tagwarden.corps.credentials import CUSTOMER_APP, AppCredential
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.simulator import crypto
from tagwarden.sync import credential_checks
from tagwarden.wecom import callback
from tagwarden.wecom.envelope import CallbackKeys, decrypt, encrypt

TOKEN, AES_KEY = "QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"


@pytest.fixture(scope="module")
def simulator_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with simulating(tmp_path_factory.mktemp("simulator") / "state.sqlite") as process:
        yield process.url


@pytest.fixture
async def town(companies: Companies, simulator_url: str) -> AsyncIterator[Town]:
    async with a_town(companies, simulator_url) as made:
        yield made


@pytest.fixture(scope="module")
async def service(database: EmbeddedUrls) -> AsyncIterator[Service]:
    async with service_on(database.application) as running:
        yield running


async def a_month_goes_by(town: Town, days: int = 31) -> None:
    await arrange(
        town.corp_id, f"update corp set activated_at = activated_at - interval '{days} days' where corp_id = $1", town.corp_id
    )
    await db.execute(
        f"update credential_check set checked_at = checked_at - interval '{days} days' where corp_id = $1", town.corp_id
    )


async def told(service: Service, town: Town, userid: str) -> list[dict[str, Any]]:
    items = (await service.web(town).get(userid, "/v1/notifications")).json()["items"]
    return [one for one in items if one["event"].startswith("credentials_")]


async def line(town: Town) -> tuple[str, str]:
    (found,) = await traffic.of_credential_checks(town.corp_id)
    return found.level.value, found.text.en


async def test_once_a_month_and_admins_hear_of_it(town: Town, service: Service) -> None:
    health = CredentialHealth(town.client)
    assert not await health.check_if_due(town.corp_id), "a company that has just begun was looked at by its import"
    assert (await line(town))[0] == "ok"
    await a_month_goes_by(town)
    assert await health.check_if_due(town.corp_id)
    assert not await health.check_if_due(town.corp_id), "a month has not gone by"
    (heard,) = await told(service, town, "admin")
    assert (heard["event"], heard["subject"], heard["approval_id"]) == ("credentials_checked", f"corp:{town.corp_id}", None)
    assert await told(service, town, "ann") == []
    assert [(one.app, one.ok) for one in await credential_checks.last(town.corp_id)] == [("crm", True)]
    apis = {call["api"] for call in await town.control.calls()}
    assert apis >= {"department/list", "externalcontact/get_corp_tag_list", "externalcontact/batch/get_by_user"}
    assert not [api for api in apis if api.endswith(("mark_tag", "add_corp_tag", "message/send"))], "reads only"
    await a_month_goes_by(town, 45)
    assert (await line(town))[0] == "attention", "nobody looked for 45 days"


@pytest.mark.parametrize(("code", "api"), [(40001, "gettoken"), (60020, "department/list"), (48002, "get_corp_tag_list")])
async def test_what_wecom_refuses_is_told_and_looked_at_again_the_next_day(
    town: Town, service: Service, code: int, api: str
) -> None:
    await a_month_goes_by(town)
    if api == "gettoken":
        await town.control.corp("DELETE", "/tokens")
        await db.execute("update wecom_token set expires_at = '-infinity' where corp_id = $1", town.corp_id)
    await town.control.fault(kind="errcode", code=code, api=api)
    health = CredentialHealth(town.client)
    assert await health.check_if_due(town.corp_id)
    (heard,) = await told(service, town, "admin")
    assert heard["event"] == "credentials_refused"
    assert heard["reason"].startswith("crm：")
    (kept,) = await credential_checks.last(town.corp_id)
    assert (kept.ok, kept.code) == (False, code)
    level, said = await line(town)
    assert (level, "WeCom refused" in said) == ("attention", True)
    await a_month_goes_by(town, 2)
    async with db.transaction():
        await credentials.store(SEALER, AppCredential(town.corp_id, CUSTOMER_APP, 1, SECRET))
    assert await health.check_if_due(town.corp_id), "not a month later: the next day"
    assert (await line(town))[0] == "ok"


async def test_callback_keys_are_tried_on_an_envelope_of_our_own(town: Town) -> None:
    assert await callbacks.of_corp(SEALER, town.corp_id) == [], "without keys another check speaks"
    async with db.transaction():
        await credentials.store(SEALER, AppCredential(town.corp_id, CUSTOMER_APP, 1, SECRET, TOKEN, AES_KEY))
    keys, silence = await callbacks.of_corp(SEALER, town.corp_id)
    assert (keys.level.value, silence.level.value) == ("ok", "attention")
    assert f"/callbacks/wecom/{town.corp_id}/crm" in silence.todo.en
    await callback.store(town.corp_id, "crm", "s", "1700000000", "n", b"<xml/>")
    assert [one.level.value for one in await callbacks.of_corp(SEALER, town.corp_id)] == ["ok", "ok"]
    await db.execute("update wecom_callback set received_at = now() - interval '8 days' where corp_id = $1", town.corp_id)
    assert (await callbacks.of_corp(SEALER, town.corp_id))[1].level.value == "attention"
    async with db.transaction():
        await credentials.store(SEALER, AppCredential(town.corp_id, CUSTOMER_APP, 1, SECRET, TOKEN, "too short"))
    (broken,) = await callbacks.of_corp(SEALER, town.corp_id)
    assert broken.level.value == "broken"


def test_our_envelopes_are_weComs() -> None:
    keys = CallbackKeys(TOKEN, AES_KEY, "ww1")
    for message in ("", "x" * 31, "签批" * 40):
        assert decrypt(keys, encrypt(keys, message)) == message
        assert crypto.decrypt(AES_KEY, "ww1", encrypt(keys, message)) == message, "read by the other side's own code"


def test_41005_names_the_codes_that_are_about_the_secret() -> None:
    said = remedies.remedy(41005)
    for code in ("40001", "40091", "41004", "45031", "50003"):
        assert code in said.zh
        assert code in said.en
