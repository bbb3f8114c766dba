"""One real PostgreSQL for the whole run (one a worker), migrated once; companies never meet, so nothing is truncated."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from support import leftovers, redis
from support.company import Companies, Company
from tagwarden.app import wiring
from tagwarden.kernel import db, migrations
from tagwarden.kernel.embedded import EmbeddedPostgres, EmbeddedUrls


def pytest_configure() -> None:
    """One seed for the random tests of a run, fresh unless it is given; workers inherit it."""
    os.environ.setdefault("TAGWARDEN_TEST_SEED", str(secrets.randbits(32)))


def pytest_report_header() -> str:
    """What plays a run again."""
    return f"TAGWARDEN_TEST_SEED={os.environ['TAGWARDEN_TEST_SEED']}"


LONG = (
    "sync/test_simulated.py",
    "approvals/test_stateful.py",
    "approvals/test_stateful_second.py",
    "scenarios/test_servers.py",
    "scenarios/test_crashes.py",
    "demo/test_story.py",
    "approvals/test_races.py",
)
"""Files that take minutes. They come first, so that no worker is left with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; within a file the order stays."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    path = item.path.relative_to(Path(__file__).parent).as_posix()
    return LONG.index(path) if path in LONG else len(LONG)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedUrls]:
    """A private server; its URLs are those of the owner and of the application's role."""
    server = EmbeddedPostgres(Path(tmp_path_factory.mktemp("postgres")))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
async def database(postgres: EmbeddedUrls) -> AsyncIterator[EmbeddedUrls]:
    """The engine open as the application's role on the migrated database."""
    await db.DB.open(postgres.owner, size=2)
    await migrations.upgrade("tagwarden_app")
    await db.DB.close()
    wiring.wire()
    await db.DB.open(postgres.application, size=12)
    yield postgres
    await db.DB.close()


@pytest.fixture(scope="session")
async def companies(database: EmbeddedUrls) -> Companies:
    """Makes companies."""
    return Companies(database.owner)


@pytest.fixture
async def company(companies: Companies) -> Company:
    """A live company: ann and bob (Shanghai) and cat (Hangzhou) under east, dan under south; boss and hq supervise."""
    return await companies.make()


@pytest.fixture
async def nothing_left_over(database: EmbeddedUrls) -> None:
    """For tests that start a worker: what earlier ones left undone is not its work."""
    await leftovers.set_aside()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis; named as skipped where there is none on this machine."""
    if url := redis.named_url():
        yield url
        return
    if redis.program() is None:
        pytest.skip("no redis-server: set TAGWARDEN_TEST_REDIS_URL, or put one on the PATH")
    server = redis.RedisServer(Path(tmp_path_factory.mktemp("redis")))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
async def sql(database: EmbeddedUrls) -> AsyncIterator[asyncpg.Connection]:
    """Plain SQL as the application's role, beside the service."""
    connection = await asyncpg.connect(database.application)
    yield connection
    await connection.close()


@pytest.fixture
async def owner_sql(database: EmbeddedUrls) -> AsyncIterator[asyncpg.Connection]:
    """Plain SQL as the owner role."""
    connection = await asyncpg.connect(database.owner)
    yield connection
    await connection.close()
