"""What the figures stand on: a private PostgreSQL, companies of any size made by the real use cases, real processes.

Ends everything it started, by its own handles. Only what has no use case yet, or would take hours through one, is written
as rows by the figure that needs it, and says so there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from uuid import UUID

import asyncpg  # type: ignore[import-untyped,unused-ignore]
import uvloop

from bench.processes import Process, free_port, plain_environment, redis
from tagwarden.app import wiring
from tagwarden.catalog.model import Choice
from tagwarden.corps.credentials import AppCredential
from tagwarden.corps.model import Caller
from tagwarden.customers.model import ContactSeen
from tagwarden.governance import operator, publishing
from tagwarden.governance import service as governance
from tagwarden.governance.bundle import GrantLine, GroupLine, PersonLine, read_bundle
from tagwarden.identity.model import RoleName
from tagwarden.identity.tokens import Issuer, TokenVerifier
from tagwarden.kernel import db, migrations
from tagwarden.kernel.embedded import EmbeddedPostgres, EmbeddedUrls
from tagwarden.kernel.ids import new_id
from tagwarden.kernel.sealing import Sealer
from tagwarden.policy import service as policy
from tagwarden.policy.model import Kind
from tagwarden.sync import repository as sync_rows
from tagwarden.sync import service as sync
from tagwarden.sync.model import RunKind
from tagwarden.sync.service import OrgSeen

T = TypeVar("T")
ISSUER = "tagwarden"
TOKEN_KEY = "the key of the issuer, for figures only"  # noqa: S105
SECRET_KEY = "a secret key for figures only, long enough"  # noqa: S105
APP_SECRET = "secret-of-the-app"  # noqa: S105
CALLBACK_TOKEN = "tokenForFigures"  # noqa: S105
AES_KEY = "aKeyForFiguresOnly0123456789ABCDEFGHIJKLMNO"
SIGNER = TokenVerifier([Issuer(ISSUER, "tagwarden", "HS256", TOKEN_KEY, TOKEN_KEY)])
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = 500


@dataclass(frozen=True, slots=True)
class Person:
    """An employee of one department; `leads` it or not."""

    userid: str
    department: int
    roles: tuple[str, ...]
    leads: bool = False


@dataclass(frozen=True)
class Shape:
    """A company to make: departments as parents by id (0: none), people, groups as kind and number of tags, grants."""

    parents: Mapping[int, int]
    people: Sequence[Person]
    groups: Mapping[str, tuple[Kind, int]]
    grants: Sequence[GrantLine]
    follows: Sequence[tuple[str, str]] = ()
    drift: Mapping[str, Any] = field(default_factory=dict)
    """What becomes of edits inside WeCom, as in `drift.toml`; empty: as shipped."""


@dataclass
class Corp:
    """A live company with handles: groups by name, tags as "group/tag"."""

    corp_id: str
    groups: dict[str, UUID] = field(default_factory=dict)
    tags: dict[str, UUID] = field(default_factory=dict)

    def as_(self, userid: str) -> Caller:
        """A caller whose issuer may sign."""
        return Caller(self.corp_id, userid, ISSUER, may_sign=True, request_id=str(new_id()))

    def token(self, userid: str) -> str:
        """A token for four hours."""
        return SIGNER.issue(ISSUER, self.corp_id, userid, seconds=4 * 3600)


class Ground:
    """One data folder and one PostgreSQL for a run of figures, with the settings of an embedded installation."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tw-bench-"))
        self._postgres = EmbeddedPostgres(self.folder / "postgres")
        self._urls: EmbeddedUrls | None = None

    def __enter__(self) -> Ground:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._postgres.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def urls(self) -> EmbeddedUrls:
        """The running, migrated database; started at first use."""
        if self._urls is None:
            self._urls = self._postgres.start()
            asyncio.run(_migrate(self._urls))
        return self._urls

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs `work` on a loop as the service has it, with the database open as the application's role."""
        url = self.urls.application

        async def opened() -> T:
            wiring.wire()
            await db.DB.open(url, size=10)
            try:
                return await work()
            finally:
                policy.forget()
                await db.DB.close()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(opened())

    async def company(
        self, shape: Shape, *, corp_id: str = "", library: Sequence[dict[str, Any]] | None = None, live: bool = True
    ) -> Corp:
        """Makes a company through the use cases; `library` is WeCom's own where a simulator holds one."""
        corp = Corp(corp_id or f"corp-{new_id().hex}")
        await self._add_corp(corp.corp_id)
        admin = corp.as_("admin")
        await sync.mirror_org(admin, _org(shape))
        await sync.mirror_catalog(admin, library or _library(shape))
        await publishing.apply_bundle(admin, _bundle(shape), "figures")
        await _learn(corp)
        await _mirror_follows(corp, shape.follows)
        if live:
            await governance.activate(admin)
        return corp

    async def _add_corp(self, corp_id: str) -> None:
        """As the operator does: as the owner role."""
        mine = db.DB.pool
        db.DB.pool = await asyncpg.create_pool(self.urls.owner, min_size=1, max_size=1)
        try:
            new = operator.NewCorp(corp_id, "a company", "admin", ISSUER, True)
            await operator.add_corp(
                Sealer(SECRET_KEY), new, [AppCredential(corp_id, "crm", 1000002, APP_SECRET, CALLBACK_TOKEN, AES_KEY)]
            )
        finally:
            await db.DB.pool.close()
            db.DB.pool = mine

    @contextlib.contextmanager
    def serving(self, processes: int = 1) -> Iterator[list[Process]]:
        """So many `tagwarden serve` processes on one database, each on a port of its own; several share a Redis."""
        with contextlib.ExitStack() as stack:
            shared = {"REDIS_URL": stack.enter_context(redis(self.folder))} if processes > 1 else {}
            yield [stack.enter_context(self._serve(shared)) for _ in range(processes)]

    @contextlib.contextmanager
    def _serve(self, shared: Mapping[str, str]) -> Iterator[Process]:
        port = free_port()
        process = Process(["serve", "--port", str(port)], self.environment(**shared))
        try:
            process.wait_for(f"http://127.0.0.1:{port}/health/live")
            yield process
        finally:
            process.stop()

    @contextlib.contextmanager
    def process(self, *words: str, **settings: str) -> Iterator[Process]:
        """A `tagwarden ...` process that is not asked over HTTP, with further settings."""
        process = Process(words, self.environment(**settings))
        try:
            yield process
        finally:
            process.stop()

    def environment(self, **more: str) -> dict[str, str]:
        """What an operator would set, and nothing else of ours from this shell; the inbound limit counts, but lets all pass."""
        issuer = {"issuer": ISSUER, "algorithm": "HS256", "verify_key": TOKEN_KEY, "sign_key": TOKEN_KEY}
        given = {"DATABASE_URL": self.urls.application, "SECRET_KEY": SECRET_KEY, "ISSUERS": json.dumps([issuer])}
        given |= {"REQUESTS_PER_MINUTE": "10000000", **more}
        return plain_environment() | {f"TAGWARDEN_{name}": value for name, value in given.items()}


async def _migrate(urls: EmbeddedUrls) -> None:
    await db.DB.open(urls.owner, size=2)
    try:
        await migrations.upgrade("tagwarden_app")
    finally:
        await db.DB.close()


def _org(shape: Shape) -> OrgSeen:
    departments = tuple((number, f"d{number}", parent, number) for number, parent in shape.parents.items())
    employees = tuple((one.userid, f"name of {one.userid}", "active", one.department) for one in shape.people)
    return OrgSeen(departments, employees, tuple((one.userid, one.department, one.leads) for one in shape.people))


def _library(shape: Shape) -> list[dict[str, Any]]:
    return [
        {
            "group_id": f"g-{name}",
            "group_name": name,
            "order": 1,
            "tag": [{"id": f"t-{name}-{number}", "name": f"t{number}", "order": 1} for number in range(tags)],
        }
        for name, (_, tags) in shape.groups.items()
    ]


def _bundle(shape: Shape) -> Any:
    shipped = read_bundle({}, operator.default_texts())
    return with_fields(
        shipped,
        drift=shape.drift or shipped.drift,
        groups=tuple(GroupLine(name, kind, Choice.MULTIPLE) for name, (kind, _) in shape.groups.items()),
        people=tuple(PersonLine(one.userid, tuple(RoleName(role) for role in one.roles)) for one in shape.people if one.roles),
        grants=tuple(shape.grants),
    )


async def _learn(corp: Corp) -> None:
    rows = await db.fetch(
        "select g.id as group_id, g.name as group_name, t.id, t.name from tag t"
        " join tag_group g on g.corp_id = t.corp_id and g.id = t.group_id where t.corp_id = $1",
        corp.corp_id,
    )
    for row in rows:
        corp.groups[row["group_name"]] = row["group_id"]
        corp.tags[f"{row['group_name']}/{row['name']}"] = row["id"]


async def _mirror_follows(corp: Corp, follows: Sequence[tuple[str, str]]) -> None:
    run_id = new_id()
    await sync_rows.insert_run(corp.corp_id, run_id, RunKind.CUSTOMERS.value, "admin")
    for start in range(0, len(follows), PAGE):
        seen = [
            ContactSeen(owner, customer, f"name of {customer}", 1, None, SINCE, ())
            for owner, customer in follows[start : start + PAGE]
        ]
        await sync.mirror_contacts(corp.as_("admin"), run_id, seen, {}, start + len(seen))
    await sync_rows.finish_run(corp.corp_id, run_id, {}, None)
