"""What Prometheus may know: how requests end, how far WeCom lags, how the pool stands, which processes live.

Labels hold roles, route templates, status classes, corp ids and WeCom apps; never a person, a customer, a tag or a
token. Every process answers for its own requests; what lies in the database is read at the scrape, by one statement
under a time-out, and whichever process is asked says the same. Nothing is registered on import.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version

import asyncpg
import msgspec
import structlog
from litestar import Request, Response, get
from litestar.datastructures import State
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tagwarden.app.heartbeat import DEAD_AFTER
from tagwarden.kernel import db
from tagwarden.kernel.errors import TagwardenError

log = structlog.get_logger(__name__)

PATIENCE = 2.0
"""Seconds the database may take."""
FRESH = 0.5
"""Seconds for which a scrape is answered again: the route is public, the database is not its caller's to burden."""
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Ids of calls begin with the millisecond of their birth (UUIDv7), so the index spares us the ledger's history.
_READ = """
select (select coalesce(jsonb_object_agg(role, alive), '{}') from (
          select role, count(*) filter (where seen_at > clock_timestamp() - make_interval(secs => $1)) as alive
            from process_heartbeat group by role) p) as processes,
       (select coalesce(jsonb_agg(one), '[]') from (
          select c.corp_id, c.state = 'live' as live, follows.waiting, follows.given_up, follows.oldest_seconds,
                 tags.waiting as tags_waiting, tags.given_up as tags_given_up, calls.last_minute as calls,
                 coalesce(stops.apps, '{}') as stopped, coalesce(h.seq, 0) as audit_head,
                 extract(epoch from clock_timestamp() - coalesce(c.org_mirrored_at, c.created_at))::float8 as mirror_age,
                 exists (select 1 from wecom_pause where corp_id = c.corp_id and paused) as paused
            from corp c left join audit_head h on h.corp_id = c.corp_id
           cross join lateral (
             select count(*) filter (where given_up is null) as waiting,
                    count(*) filter (where given_up is not null) as given_up,
                    coalesce(extract(epoch from clock_timestamp() - min(first_dirty_at) filter (where given_up is null)),
                             0)::float8 as oldest_seconds
               from follow_sync where corp_id = c.corp_id and dirty) follows
           cross join lateral (
             select count(*) filter (where given_up is null) as waiting,
                    count(*) filter (where given_up is not null) as given_up
               from library_sync where corp_id = c.corp_id and dirty) tags
           cross join lateral (
             select count(*) as last_minute from wecom_call where corp_id = c.corp_id
                and id > (rpad(lpad(to_hex((extract(epoch from clock_timestamp() - interval '10 minutes') * 1000)::bigint),
                                    12, '0'), 32, '0'))::uuid
                and sent_at > clock_timestamp() - interval '60 seconds') calls
           cross join lateral (
             select array_agg(app) as apps from corp_credential where corp_id = c.corp_id and stopped_at is not null) stops
        ) one) as corps
"""


class Corp(msgspec.Struct):
    """One corp at a scrape; ages in seconds, counts of rows, `stopped` the apps whose calls to WeCom are stopped."""

    corp_id: str
    live: bool
    waiting: int
    given_up: int
    oldest_seconds: float
    tags_waiting: int
    tags_given_up: int
    calls: int
    stopped: list[str]
    audit_head: int
    mirror_age: float
    paused: bool


class Reading(msgspec.Struct):
    """What lies in the database at a scrape: processes alive by role, and every corp."""

    processes: dict[str, int]
    corps: list[Corp]


async def read() -> Reading:
    """One statement over every corp; DatabaseUnavailable."""
    row = await db.fetch_one(_READ, DEAD_AFTER)
    if row is None:
        raise db.DatabaseUnavailable()
    return Reading(msgspec.json.decode(row["processes"], type=dict[str, int]), msgspec.json.decode(row["corps"], type=list[Corp]))


class Metrics(Collector):
    """The measurements of one process, in a registry of their own."""

    def __init__(self, calls_per_minute: int) -> None:
        self._calls_per_minute = calls_per_minute
        self._series: dict[tuple[str, str, int], Histogram] = {}
        self._reading: Reading | None = None
        self._text = b""
        self._read_at = float("-inf")
        self._one_reads = asyncio.Lock()
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "tagwarden_http_request_duration_seconds",
            "Requests that ended, by route template and class of status.",
            ("method", "route", "status"),
            buckets=BUCKETS,
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def request_ended(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one request; `route` is a template, never a path."""
        key = (method, route, status // 100)
        series = self._series.get(key)
        if series is None:  # as many as there are routes: templates, known methods, classes
            series = self._series[key] = self._requests.labels(method, route, f"{status // 100}xx")
        series.observe(seconds)

    async def scrape(self) -> bytes:
        """The exposition text; without the database, what this process knows by itself."""
        async with self._one_reads:
            if time.monotonic() - self._read_at > FRESH:
                self._reading = await _within(PATIENCE)
                self._text = await asyncio.to_thread(generate_latest, self._registry)  # tens of milliseconds
                self._read_at = time.monotonic()
        return self._text

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: a corp is only known at a scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """What is not counted but looked at."""
        yield _gauge("tagwarden_build_info", "1, with the version that runs.", {(version("tagwarden"),): 1}, "version")
        yield _gauge("tagwarden_database_up", "Whether the database answered this scrape.", {(): int(self._reading is not None)})
        yield _gauge("tagwarden_wecom_budget_calls_per_minute", "Calls allowed per corp.", {(): self._calls_per_minute})
        yield from _pool()
        if self._reading is not None:
            yield from _processes(self._reading.processes)
            yield from _corps(self._reading.corps)


async def _within(seconds: float) -> Reading | None:
    """A reading, or None; a server that hangs is not waited for, not even until the cancelled statement has ended."""
    task = asyncio.create_task(read())
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        task.add_done_callback(_forget)
        task.cancel()
        log.warning("metrics.database_slow", seconds=seconds)
        return None
    try:
        return task.result()
    except (TagwardenError, asyncpg.PostgresError, *db.GONE) as error:
        log.warning("metrics.database_failed", error=type(error).__name__)
        return None


def _forget(task: asyncio.Task[Reading]) -> None:
    if not task.cancelled():
        task.exception()


Values = dict[tuple[str, ...], float]


def _gauge(name: str, about: str, values: Values, *labels: str) -> Metric:
    family = GaugeMetricFamily(name, about, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _pool() -> Iterator[Metric]:
    pool = db.DB.pool
    size, idle, most = (pool.get_size(), pool.get_idle_size(), pool.get_max_size()) if pool else (0, 0, 0)
    yield _gauge("tagwarden_database_pool_in_use", "Connections at work in this process.", {(): size - idle})
    yield _gauge("tagwarden_database_pool_size", "Connections open in this process.", {(): size})
    yield _gauge("tagwarden_database_pool_limit", "Connections this process may open.", {(): most})


def _processes(alive: dict[str, int]) -> Iterator[Metric]:
    counted: Values = {(role,): alive.get(role, 0) for role in {"serve", "worker", *alive}}
    yield _gauge("tagwarden_processes_alive", "Processes with a heartbeat in the last two minutes.", counted, "role")


def _corps(corps: list[Corp]) -> Iterator[Metric]:
    waiting: Values = {}
    given_up: Values = {}
    stopped: Values = {}
    for corp in corps:
        waiting |= {(corp.corp_id, "follows"): corp.waiting, (corp.corp_id, "tags"): corp.tags_waiting}
        given_up |= {(corp.corp_id, "follows"): corp.given_up, (corp.corp_id, "tags"): corp.tags_given_up}
        stopped |= {(corp.corp_id, app): 1 for app in corp.stopped}
    yield _gauge("tagwarden_sync_waiting", "Follows and library tags on their way to WeCom.", waiting, "corp_id", "what")
    yield _gauge("tagwarden_sync_given_up", "Follows and library tags WeCom did not take.", given_up, "corp_id", "what")
    yield _gauge(
        "tagwarden_sync_oldest_waiting_seconds",
        "How long the oldest follow has waited.",
        {(corp.corp_id,): corp.oldest_seconds for corp in corps},
        "corp_id",
    )
    yield _gauge(
        "tagwarden_wecom_calls_last_minute",
        "Calls to WeCom in the last 60 seconds, of every process.",
        {(corp.corp_id,): corp.calls for corp in corps},
        "corp_id",
    )
    paused: Values = {(corp.corp_id,): int(bool(corp.paused)) for corp in corps}
    yield _gauge("tagwarden_sync_paused", "1 where an admin paused sending to WeCom, else 0.", paused, "corp_id")
    yield _gauge("tagwarden_wecom_stopped", "1 where WeCom refuses the credential.", stopped, "corp_id", "app")
    yield _gauge(
        "tagwarden_org_mirror_age_seconds",
        "Since a live corp's organisation was mirrored.",
        {(corp.corp_id,): corp.mirror_age for corp in corps if corp.live},
        "corp_id",
    )
    yield _gauge(
        "tagwarden_audit_head_sequence",
        "Sequence of the audit chain's newest line.",
        {(corp.corp_id,): corp.audit_head for corp in corps},
        "corp_id",
    )


@get("/metrics", opt={"action": "health", "public": True}, include_in_schema=False)
async def metrics(request: Request[object, object, State]) -> Response[bytes]:
    """The scrape; public like the health routes, so a deployment shows it to its Prometheus only."""
    measured: Metrics = request.app.state.metrics
    return Response(await measured.scrape(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
