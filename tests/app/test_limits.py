"""Inbound limits per person: in memory, over Redis, and with Redis gone."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from support.company import Company
from support.redis import RedisServer, program
from support.service import Service, serving, token_for
from tagwarden.app.limits import Alone
from tagwarden.kernel.embedded import EmbeddedUrls

LIMIT = 5


def asked(url: str, company: Company, userid: str, times: int) -> list[int]:
    """The statuses of so many requests of one person."""
    headers = {"Authorization": f"Bearer {token_for(company.corp_id, userid)}"}
    with httpx.Client(trust_env=False, headers=headers) as client:
        return [client.get(f"{url}/v1/me").status_code for _ in range(times)]


@pytest.fixture
def redis(tmp_path: Path) -> RedisServer:
    if program() is None:
        pytest.skip("no redis-server on this machine")
    return RedisServer(tmp_path)


async def test_one_person_is_limited_and_the_others_are_not(database: EmbeddedUrls, company: Company, redis: RedisServer) -> None:
    redis.start()
    try:
        more = {"REDIS_URL": redis.url, "REQUESTS_PER_MINUTE": str(LIMIT)}
        with serving(database.application, **more) as one, serving(database.application, **more) as two:
            first = asked(one.url, company, "ann", LIMIT)
            assert set(first) == {200}
            assert set(asked(two.url, company, "ann", 3)) == {429}, "the other process counts with us"
            assert set(asked(two.url, company, "bob", LIMIT)) == {200}
            redis.stop()
            assert asked(one.url, company, "ann", 1) == [200], "with Redis gone each process counts alone"
            assert asked(one.url, company, "ann", LIMIT)[-1] == 429
    finally:
        redis.stop()


async def test_a_refusal_for_too_many_says_so(database: EmbeddedUrls, company: Company, redis: RedisServer) -> None:
    redis.start()
    try:
        with serving(database.application, REDIS_URL=redis.url, REQUESTS_PER_MINUTE="1") as one:
            headers = {"Authorization": f"Bearer {token_for(company.corp_id, 'ann')}"}
            httpx.get(f"{one.url}/v1/me", headers=headers, trust_env=False)
            refused = httpx.get(f"{one.url}/v1/me", headers=headers, trust_env=False)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert refused.headers["retry-after"]
        assert refused.headers["content-type"] == "application/problem+json"
    finally:
        redis.stop()


async def test_a_second_serving_process_without_redis_is_refused(database: EmbeddedUrls, service: Service) -> None:
    with pytest.raises(AssertionError, match="redis_needed"), serving(database.application):
        raise RuntimeError("it serves beside the one that runs")
    assert (await service.http.get("/health/ready")).status_code == 200, "the first is unharmed"


def test_one_process_alone_counts_over_a_sliding_minute() -> None:
    alone = Alone(10)
    assert [alone.hit("ann", 60.0) for _ in range(11)] == [True] * 10 + [False]
    assert alone.hit("bob", 60.0)
    assert not alone.hit("ann", 120.0), "a minute later all of them still count"
    assert [alone.hit("ann", 150.0) for _ in range(6)] == [True] * 5 + [False], "half of them do"
    assert [alone.hit("ann", 300.0) for _ in range(11)] == [True] * 10 + [False]
