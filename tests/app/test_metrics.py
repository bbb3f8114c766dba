"""`/metrics`: what it counts, what stands in its labels, and what it still says when the database is away."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.company import Companies, Company
from support.service import Service, service_on, serving
from tagwarden.app.metrics import FRESH, PATIENCE
from tagwarden.kernel.embedded import EmbeddedPostgres, EmbeddedUrls
from tagwarden.kernel.ids import new_id

NO_REDIS = "redis://127.0.0.1:1/0"  # a second process may serve
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scraped(service: Service) -> Samples:
    """One scrape that no earlier one answers for, as name and labels → value."""
    await asyncio.sleep(FRESH + 0.05)
    answer = await service.http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return samples_of(answer.text)


def samples_of(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def of_corp(samples: Samples, company: Company) -> dict[str, float]:
    """Every sample of one corp by its name and other labels."""
    found: dict[str, float] = {}
    for (name, labels), number in samples.items():
        rest = dict(labels)
        if rest.pop("corp_id", None) == company.corp_id:
            found["/".join([name, *rest.values()])] = number
    return found


async def test_requests_are_counted_by_template_and_class(service: Service, company: Company) -> None:
    web = service.web(company)
    before = await scraped(service)
    for customer in ("c1", "c2", "nobody"):
        await web.get("ann", f"/v1/customers/{customer}/tags")
    await service.http.get("/v1/me")
    await service.http.get(f"/no/such/address/{company.corp_id}")
    await service.http.request("PROPFIND", "/v1/me")
    after = await scraped(service)

    def grown(method: str, route: str, status: str) -> float:
        name, labels = "tagwarden_http_request_duration_seconds_count", {"method": method, "route": route, "status": status}
        return (value(after, name, **labels) or 0) - (value(before, name, **labels) or 0)

    template = "/v1/customers/{external_userid}/tags"
    assert (grown("GET", template, "2xx"), grown("GET", template, "4xx")) == (1, 2)
    assert grown("GET", "/v1/me", "4xx") == 1
    assert grown("GET", "unmatched", "4xx") == 1
    assert grown("OTHER", "unmatched", "4xx") == 1
    assert not any(company.corp_id in str(labels) for name, labels in after if "http" in name)


async def test_labels_hold_nothing_about_people(service: Service, company: Company) -> None:
    await service.web(company).tag("ann", "c1", [company.tags["advice/asked"]])
    samples = await scraped(service)
    names = {label for _, labels in samples for label, _ in labels}
    assert names <= {"method", "route", "status", "le", "corp_id", "what", "app", "role", "version"}
    values = {text for _, labels in samples for _, text in labels}
    people = {"ann", "c1", "name of c1", str(company.tags["advice/asked"]), "asked", "secret-of-the-app"}
    assert not values & people


async def test_a_change_is_seen_waiting_and_its_audit_line_counted(service: Service, company: Company) -> None:
    before = of_corp(await scraped(service), company)
    await service.web(company).tag("ann", "c1", [company.tags["advice/asked"]])
    after = of_corp(await scraped(service), company)
    assert before["tagwarden_sync_waiting/follows"] == 0
    assert after["tagwarden_sync_waiting/follows"] == 1
    assert FRESH <= after["tagwarden_sync_oldest_waiting_seconds"] < 60
    assert after["tagwarden_audit_head_sequence"] == before["tagwarden_audit_head_sequence"] + 1
    assert 0 < after["tagwarden_org_mirror_age_seconds"] < 600


async def test_what_wecom_refused_is_seen(service: Service, company: Company, sql: asyncpg.Connection) -> None:
    web = service.web(company)
    await web.tag("ann", "c1", [company.tags["advice/asked"]])
    await web.tag("bob", "c2", [company.tags["advice/asked"]])
    corp = company.corp_id
    await sql.execute(
        "update follow_sync set given_up = 'x' where corp_id = $1 and follow_id = $2", corp, await company.follow_id("ann", "c1")
    )
    await sql.execute("update corp_credential set stopped_at = now() where corp_id = $1", corp)
    for age in (1, 30, 59, 61, 300):
        await sql.execute(
            "insert into wecom_call (corp_id, id, app, api, class, state, sent_at)"
            " values ($1, $2, 'crm', 'mark_tag', 'interactive', 'accepted', $3)",
            corp,
            new_id(),
            datetime.now(UTC) - timedelta(seconds=age - 1.5),  # a scrape later it is `age` old
        )
    samples = await scraped(service)
    found = of_corp(samples, company)
    assert (found["tagwarden_sync_waiting/follows"], found["tagwarden_sync_given_up/follows"]) == (1, 1)
    assert found["tagwarden_wecom_stopped/crm"] == 1
    assert found["tagwarden_wecom_calls_last_minute"] == 3
    assert value(samples, "tagwarden_wecom_budget_calls_per_minute") == 60


async def test_a_corp_in_setup_has_no_mirror_to_be_old(service: Service, companies: Companies) -> None:
    found = of_corp(await scraped(service), await companies.make(live=False))
    assert "tagwarden_org_mirror_age_seconds" not in found


async def test_processes_are_counted_until_they_fall_silent(
    service: Service, database: EmbeddedUrls, sql: asyncpg.Connection
) -> None:
    alone = value(await scraped(service), "tagwarden_processes_alive", role="serve")
    with serving(database.application, REDIS_URL=NO_REDIS) as second:
        newest = "select id, role, pid, host, version from process_heartbeat order by started_at desc limit 1"
        row = await sql.fetchrow(newest)
        assert (row["role"], row["host"], row["version"]) == ("serve", socket.gethostname(), version("tagwarden"))
        assert value(await scraped(service), "tagwarden_processes_alive", role="serve") == (alone or 0) + 1
        second.kill()
    assert await sql.fetchval("select count(*) from process_heartbeat where id = $1", row["id"]) == 1
    await sql.execute("update process_heartbeat set seen_at = now() - interval '121 seconds' where id = $1", row["id"])
    assert value(await scraped(service), "tagwarden_processes_alive", role="serve") == alone
    await sql.execute("update process_heartbeat set seen_at = now() - interval '2 days' where id = $1", row["id"])
    with serving(database.application, REDIS_URL=NO_REDIS):
        pass
    assert await sql.fetchval("select count(*) from process_heartbeat where id = $1", row["id"]) == 0, "long dead, forgotten"


async def test_a_clean_stop_takes_the_row_away(database: EmbeddedUrls, sql: asyncpg.Connection) -> None:
    before = {row["id"] for row in await sql.fetch("select id from process_heartbeat")}
    with serving(database.application, REDIS_URL=NO_REDIS):
        during = {row["id"] for row in await sql.fetch("select id from process_heartbeat")}
        assert len(during - before) == 1
    assert {row["id"] for row in await sql.fetch("select id from process_heartbeat")} == before


async def test_many_scrapes_read_the_database_once(service: Service, sql: asyncpg.Connection) -> None:
    """The route is public: whoever calls it in a loop costs the database two statements a second."""
    lock = "begin; lock table corp in access exclusive mode"
    await asyncio.sleep(FRESH + 0.05)
    await sql.execute(lock)
    try:
        began = time.monotonic()
        answers = await asyncio.gather(*(service.http.get("/metrics") for _ in range(20)))
        assert time.monotonic() - began < 2 * PATIENCE
    finally:
        await sql.execute("rollback")
    for answer in answers:
        samples = samples_of(answer.text)
        assert value(samples, "tagwarden_database_up") == 0
        assert (value(samples, "tagwarden_database_pool_in_use") or 0) < 5
        assert not any(name.startswith("tagwarden_sync") for name, _ in samples)
    assert value(await scraped(service), "tagwarden_database_up") == 1


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[tuple[EmbeddedPostgres, Service]]:
    """A service whose PostgreSQL is its own, to be stopped."""
    from tagwarden.kernel import db, migrations

    postgres = EmbeddedPostgres(tmp_path / "pg")
    urls = postgres.start()
    mine, db.DB.pool = db.DB.pool, None
    try:
        await db.DB.open(urls.owner, size=2)
        await migrations.upgrade("tagwarden_app")
        await db.DB.close()
    finally:
        db.DB.pool = mine
    try:
        async with service_on(urls.application) as running:
            yield postgres, running
    finally:
        postgres.stop()


async def test_without_the_database_the_process_still_tells_of_itself(alone: tuple[EmbeddedPostgres, Service]) -> None:
    postgres, service = alone
    assert value(await scraped(service), "tagwarden_database_up") == 1
    postgres.stop()
    samples = await scraped(service)
    assert value(samples, "tagwarden_database_up") == 0
    assert value(samples, "process_start_time_seconds") is not None
    count = value(samples, "tagwarden_http_request_duration_seconds_count", method="GET", route="/metrics", status="2xx")
    assert count == 1
    assert "metrics.database_failed" in service.process.log


async def test_a_server_that_hangs_is_not_waited_for(alone: tuple[EmbeddedPostgres, Service], tmp_path: Path) -> None:
    """Cancelling a statement waits for the server too; a scrape must not."""
    _, service = alone
    await scraped(service)
    pid = next((tmp_path / "pg").rglob("postmaster.pid")).read_text(encoding="utf-8").split()[0]
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if not children.exists():
        pytest.skip("no /proc: the server's processes cannot be named")
    stopped = [int(one) for one in (pid, *children.read_text(encoding="utf-8").split())]
    for one in stopped:
        os.kill(one, signal.SIGSTOP)
    try:
        began = time.monotonic()
        samples = await scraped(service)
        assert time.monotonic() - began < PATIENCE + 3
    finally:
        for one in stopped:
            os.kill(one, signal.SIGCONT)
    assert value(samples, "tagwarden_database_up") == 0
    assert value(await scraped(service), "tagwarden_database_up") == 1


def test_nothing_is_registered_on_import() -> None:
    from prometheus_client import REGISTRY

    from tagwarden.app import metrics

    assert metrics.Metrics(60)
    assert not [name for name in REGISTRY._names_to_collectors if name.startswith("tagwarden")]
