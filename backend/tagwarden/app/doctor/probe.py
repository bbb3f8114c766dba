"""A live look at WeCom, asked for by name: each app's token, then one cheap read for each right the product needs.

Every call goes through the budgeted client and stands in the ledger like any other, and a refused credential stops its
app like any other call's would. Nothing is ever written to WeCom; what is read is dropped, but for the ids that the next
read needs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from tagwarden.app import runtime
from tagwarden.app.asgi import sealer_of
from tagwarden.app.doctor import callbacks, remedies
from tagwarden.app.doctor.model import Finding, Text, broken, ok
from tagwarden.catalog import repository as catalog
from tagwarden.corps import repository
from tagwarden.corps.credentials import CONTACTS_APP, CUSTOMER_APP, CredentialMissing
from tagwarden.kernel import db
from tagwarden.kernel.errors import TagwardenError
from tagwarden.kernel.sealing import SealBroken
from tagwarden.kernel.settings import Settings
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.client import WecomClient
from tagwarden.wecom.model import CallClass, CorpStopped, NoAnswer, TokenBrake, WecomRefused

NOW = CallClass.INTERACTIVE
Read = Callable[[], Awaitable[Any]]
UNTOUCHED = (CredentialMissing, SealBroken)
"""What the other checks tell already."""


async def probe(found: Settings, only: str | None) -> list[Finding]:
    """Asks WeCom on behalf of every corp, or of one."""
    findings: list[Finding] = []
    client = WecomClient(found.wecom_api_base, sealer_of(found), Budget(found.wecom_calls_per_minute))
    async with runtime.as_application(found):
        await client.start()
        try:
            for corp_id in [only] if only else await repository.corp_ids():
                findings += [finding async for finding in of_corp(client, corp_id)]
                findings += await callbacks.of_corp(sealer_of(found), corp_id)
        finally:
            await client.close()
    return findings


async def of_corp(client: WecomClient, corp_id: str) -> AsyncIterator[Finding]:
    """Each app's token, then one read for each right."""
    for app in (CUSTOMER_APP, CONTACTS_APP):
        try:
            await client.tokens.get(corp_id, app)
        except UNTOUCHED:
            continue
        except TagwardenError as error:
            yield _refused(corp_id, app, "gettoken", error)
            continue
        yield ok("probe", Text("企业微信接受应用 {app} 的凭据", "WeCom takes the credential of app {app}"), corp_id, app=app)
        if app == CUSTOMER_APP:
            async for finding in _reads(client, corp_id):
                yield finding


async def _reads(client: WecomClient, corp_id: str) -> AsyncIterator[Finding]:
    """One read for each right; where one has stopped the app the others would be refused unasked."""
    seen: dict[str, Sequence[Any]] = {"departments": (), "followers": ()}
    for api, right, read in _rights(client, corp_id, seen):
        try:
            if await read() is False:
                continue
        except CorpStopped as stopped:
            yield _refused(corp_id, CUSTOMER_APP, api, stopped)
            return
        except db.DatabaseUnavailable:
            raise
        except TagwardenError as error:
            yield _refused(corp_id, CUSTOMER_APP, api, error)
            continue
        text = Text("可以{right_zh}（{api}）", "May {right_en} ({api})")
        yield ok("probe", text, corp_id, app=CUSTOMER_APP, api=api, right_zh=right.zh, right_en=right.en)


def _rights(client: WecomClient, corp_id: str, seen: dict[str, Sequence[Any]]) -> list[tuple[str, Text, Read]]:
    async def departments() -> None:
        seen["departments"] = await client.department_list(corp_id, call_class=NOW)

    async def members() -> bool:
        if seen["departments"]:
            # The smallest answer that proves the right: the members of a department that has none below it.
            parents = {one.get("parentid") for one in seen["departments"]}
            leaf = next((one for one in seen["departments"] if one["id"] not in parents), seen["departments"][0])
            await client.user_list(corp_id, leaf["id"], call_class=NOW)
        return bool(seen["departments"])

    async def followers() -> None:
        seen["followers"] = await client.follow_users(corp_id, call_class=NOW)

    async def customers() -> bool:
        if seen["followers"]:
            await client.customers_page(corp_id, list(seen["followers"][:1]), "", call_class=NOW)
        return bool(seen["followers"])

    async def library() -> None:
        known = [group.wecom_id for group in await catalog.groups(corp_id) if group.wecom_id]
        await client.tag_library(corp_id, group_ids=known[:1], call_class=NOW)

    return [
        ("department/list", Text("读取部门", "read departments"), departments),
        ("user/list", Text("读取成员", "read members"), members),
        ("externalcontact/get_follow_user_list", Text("读取有客户联系功能的成员", "read who has customer contact"), followers),
        ("externalcontact/batch/get_by_user", Text("读取客户", "read customers"), customers),
        ("externalcontact/get_corp_tag_list", Text("读取企业标签库", "read the tag library"), library),
    ]


def _refused(corp_id: str, app: str, api: str, error: TagwardenError) -> Finding:
    """What a refusal means and what to do about it."""
    code: int | None = None
    todo = remedies.OTHER
    if isinstance(error, CorpStopped):
        code = remedies.code_in(str(error.facts["reason"]))
        todo = remedies.remedy(code) + remedies.SAVE
    elif isinstance(error, WecomRefused):
        code = error.wecom_code
        todo = remedies.remedy(code)
    elif isinstance(error, NoAnswer):
        todo = remedies.NETWORK
    elif isinstance(error, TokenBrake):
        todo = remedies.BRAKE
    return broken(
        "probe",
        Text("应用 {app} 调用 {api} 未成功：{zh}", "App {app}, {api}: {en}"),
        todo,
        corp_id,
        app=app,
        api=api,
        code=code,
        zh=error.text("zh") if code is None else remedies.meaning(code).zh,
        en=error.text("en") if code is None else remedies.meaning(code).en,
    )
