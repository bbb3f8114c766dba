"""A real PostgreSQL and a real WeCom simulator for this room's tests, one of each a session, a fresh corp a test."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator

import aiohttp
import asyncpg
import pytest

from support.wecom import Control
from tagwarden.corps import credentials
from tagwarden.corps.credentials import CUSTOMER_APP, AppCredential
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.kernel.sealing import Sealer
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.client import WecomClient

SECRET_KEY = "a key for tests only"
SECRET = "secret-of-the-app"
START_SECONDS = 60
_NUMBERS = itertools.count(1)


@pytest.fixture
def postgres_application(database: EmbeddedUrls) -> str:
    return database.application


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def simulator_url() -> Iterator[str]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="tw-sim-", dir="/tmp") as made:
        code = (
            "from pathlib import Path; from tagwarden.simulator.server import run;"
            f" run('127.0.0.1', {port}, Path({made!r}) / 'state.sqlite')"
        )
        process = subprocess.Popen([sys.executable, "-c", code])
        try:
            asyncio.run(_wait_until_up(f"http://127.0.0.1:{port}"))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


async def _wait_until_up(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(START_SECONDS * 20):
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{url}/control/health") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.05)
    raise TimeoutError("the simulator did not start")


@pytest.fixture
async def control(database: EmbeddedUrls, simulator_url: str) -> AsyncIterator[Control]:
    corp_id = f"ww{next(_NUMBERS):06d}"
    setup = {
        "corp_id": corp_id,
        "name": "测试企业",
        "apps": [{"name": CUSTOMER_APP, "secret": SECRET, "agent_id": 1000002}],
        "departments": [{"id": 1, "name": "总部", "parentid": 0}, {"id": 2, "name": "销售", "parentid": 1}],
        "employees": [
            {"userid": "li", "name": "李", "department": [2], "is_leader_in_dept": [1]},
            {"userid": "wang", "name": "王", "department": [2], "mobile": "13800000000"},
        ],
        "tag_groups": [
            {"name": "意向", "tags": ["高", "低"], "app": CUSTOMER_APP},
            {"name": "价值", "tags": ["核心"]},
        ],
        "follows": [{"userid": "li", "external_userid": f"wmCustomer{n:03d}", "tags": ["意向/低"]} for n in range(130)],
    }
    async with aiohttp.ClientSession() as session:
        control = Control(simulator_url, corp_id, session, {})
        before = await control.ask("GET", "/switches")
        control.tags = (await control.ask("POST", "/corps", setup))["tags"]
        await add_corp(database, corp_id)
        yield control
        await control.ask("DELETE", "/bans")
        await control.switch(**before)


async def add_corp(postgres: EmbeddedUrls, corp_id: str, secret: str = SECRET) -> None:
    owner = await asyncpg.connect(postgres.owner)
    try:
        await owner.execute("insert into corp (corp_id, name) values ($1, $1)", corp_id)
    finally:
        await owner.close()
    await credentials.store(sealer(), AppCredential(corp_id, CUSTOMER_APP, 1000002, secret))


def sealer() -> Sealer:
    return Sealer(SECRET_KEY)


@pytest.fixture
async def client(control: Control) -> AsyncIterator[WecomClient]:
    wecom = WecomClient(control.url, sealer(), Budget(600, 2.0, 5.0), timeout=5.0)
    await wecom.start()
    yield wecom
    await wecom.close()
