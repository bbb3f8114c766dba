"""`tagwarden doctor` on an installation of its own: every finding is provoked, and no secret stands in what it says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest
from pydantic import SecretStr

from support.company import GRANTS, PEOPLE, SEALER, Action, Companies, GrantLine, bundle_of
from support.engine import engine_on
from support.installation import a_server
from support.redis import RedisServer, program
from support.service import ISSUERS, SECRET_KEY, TOKEN_KEY, environment, serving, settings_of, simulating, token_for, working
from support.town import SECRET, Town, a_town
from tagwarden.app.doctor import checks, examine, remedies
from tagwarden.app.doctor.model import Level, span, worst
from tagwarden.app.doctor.probe import probe
from tagwarden.corps import credentials
from tagwarden.corps.credentials import AppCredential
from tagwarden.governance import publishing, roles
from tagwarden.identity.model import Module, RoleName
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.kernel.ids import new_id
from tagwarden.kernel.settings import IssuerSetting
from tagwarden.sync.model import RunKind
from tagwarden.wecom import callback
from tagwarden.wecom.model import VERDICTS, VerdictKind

CALLBACK_TOKEN, AES_KEY = "canaryToken7", "canary" + "k" * 37
WRONG_SECRET = "a canary that is no secret any more"
NO_REDIS = "redis://:canary-of-redis@127.0.0.1:1/0"
CANARIES = (SECRET, WRONG_SECRET, CALLBACK_TOKEN, AES_KEY, SECRET_KEY, TOKEN_KEY, "canary-of-redis", "eyJ", "Traceback")


@dataclass
class Report:
    """What one run said."""

    exit: int
    said: str
    findings: list[dict[str, Any]]

    def level(self, check: str, corp_id: str | None = None) -> str:
        """The worst level of one check."""
        levels = [one["level"] for one in self.findings if one["check"] == check and corp_id in (None, one["corp_id"])]
        assert levels, f"no {check} in {self.said}"
        return max(levels, key=[level.value for level in Level].index)

    def one(self, check: str, level: str, corp_id: str | None = None) -> dict[str, Any]:
        """The only finding of a check at this level."""
        found = [one for one in self.findings if (one["check"], one["level"]) == (check, level)]
        (only,) = (one for one in found if corp_id in (None, one["corp_id"]))
        return only


@dataclass
class Ground:
    urls: EmbeddedUrls
    wecom_url: str
    town: Town

    async def look(self, only: str | None = None, *, probes: bool = False, url: str | None = None, **more: Any) -> Report:
        """What the command looks at, in this process: the engine belongs to the doctor meanwhile."""
        found = settings_of(url or self.urls.application, wecom_api_base=self.wecom_url, wecom_calls_per_minute=3000)
        found = found.model_copy(update=more)
        mine, db.DB.pool = db.DB.pool, None
        try:
            findings = await (probe(found, only) if probes else examine(found, only))
        finally:
            db.DB.pool = mine
        told = [finding.as_json() for finding in findings]
        return Report(int(worst(findings) is Level.BROKEN), self._without_canaries(json.dumps(told, default=str)), told)

    async def type(self, *words: str, url: str | None = None, as_json: bool = True, **more: str) -> Report:
        """`tagwarden doctor …`."""
        env = environment(url or self.urls.application, WECOM_API_BASE=self.wecom_url, WECOM_CALLS_PER_MINUTE="3000", **more)
        code, said, aside = await ran(env, "doctor", *(["--json"] if as_json else []), *words)
        self._without_canaries(said + aside)
        return Report(code, said, json.loads(said)["findings"] if as_json and said else [])

    def _without_canaries(self, said: str) -> str:
        passwords = [urlsplit(one).password or "" for one in (self.urls.application, self.urls.owner)]
        found = [canary[:8] for canary in (*CANARIES, *passwords) if canary and canary in said]
        assert not found, (found, said)
        return said


async def ran(env: dict[str, str], *words: str, stdin: bytes = b"") -> tuple[int, str, str]:
    """One command: its exit code and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tagwarden", *words, env=env,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    said, aside = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, said.decode(), aside.decode()


@pytest.fixture(scope="module")
async def ground() -> AsyncIterator[Ground]:
    with a_server() as (_, urls, folder), simulating(folder / "wecom.sqlite") as simulator:
        async with engine_on(urls.application), a_town(Companies(urls.owner), simulator.url) as town:
            await town.control.switch(wrong_secrets_per_hour=0)
            await credentials.store(SEALER, AppCredential(town.corp_id, "crm", 1, SECRET, CALLBACK_TOKEN, AES_KEY))
            yield Ground(urls, simulator.url, town)


@contextlib.asynccontextmanager
async def running(ground: Ground) -> AsyncIterator[None]:
    """A serve and a worker that have beaten."""
    url = ground.urls.application
    with serving(url), working(url, ground.wecom_url):
        async with asyncio.timeout(90):
            while await db.fetch_value("select count(distinct role) from process_heartbeat") < 2:
                await asyncio.sleep(0.1)
        yield


# -- all is well --------------------------------------------------------------------------------------------------------


async def test_all_is_well_and_wecom_says_so_too(ground: Ground) -> None:
    await callback.store(ground.town.corp_id, "crm", "signature", "1700000000", "nonce", b"<xml/>")
    async with running(ground):
        report = await ground.type("--probe", ISSUERS=json.dumps(ISSUERS[:1]))
        assert {one["level"] for one in report.findings} == {"ok"}, report.said
        assert report.exit == 0
        apis = {one["facts"].get("api") for one in report.findings if one["check"] == "probe"}
        assert len(apis - {None}) == 5
        assert report.one("corp.state", "ok")["corp_id"] == ground.town.corp_id
        told = await ground.type("--language", "en", as_json=False, REDIS_URL=NO_REDIS)
        assert told.exit == 1
        lines = told.said.splitlines()
        assert any(line.startswith("broken     redis: ") for line in lines)
        assert any(line.startswith("           → See that Redis runs") for line in lines)
        assert not any("\u4e00" <= letter <= "\u9fff" for line in lines if "issuer" not in line for letter in line)
        assert lines[-1] == "Something is broken and has to be mended"
    writes = [call for call in await ground.town.control.calls() if call["api"].rsplit("/")[-1] in ("mark_tag", "add_corp_tag")]
    assert not writes, "a probe never writes"


async def test_it_cannot_write(ground: Ground) -> None:
    mine, db.DB.pool = db.DB.pool, None
    try:
        async with checks._reading(settings_of(ground.urls.application)):
            assert await db.fetch_value("select count(*) from corp") >= 1
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await db.execute("delete from process_heartbeat")
    finally:
        db.DB.pool = mine


# -- the installation ---------------------------------------------------------------------------------------------------


async def test_nobody_serves_and_nobody_works(ground: Ground) -> None:
    await db.execute("delete from process_heartbeat")
    report = await ground.look()
    assert report.exit == 1
    assert report.level("processes.serve") == report.level("processes.worker") == "broken"
    assert "tagwarden worker" in report.one("processes.worker", "broken")["todo_zh"]


async def test_processes_that_fell_silent_differ_or_live_in_another_time(ground: Ground) -> None:
    late = UUID(int=(int((time.time() - 90) * 1000) << 80) | (7 << 76) | (2 << 62))
    beat = "insert into process_heartbeat (id, role, host, pid, version, seen_at, started_at) values ($1, $2, $3, 1, $4, {}, {})"
    ago = "clock_timestamp() - interval '1 hour'"
    now = "clock_timestamp()"
    await db.execute("delete from process_heartbeat")
    await db.execute(beat.format(ago, ago), new_id(), "worker", "replaced", "0")
    await db.execute(beat.format(now, now), new_id(), "worker", "replaced", "9.9.9")
    await db.execute(beat.format(ago, ago), new_id(), "worker", "lost", "0")
    await db.execute(beat.format(now, now), late, "serve", "slow", "9.9.9")
    await db.execute(beat.format(now, now), new_id(), "serve", "other", "9.9.9")
    report = await ground.look(ground.town.corp_id)
    silent = report.one("processes.silent", "attention")
    assert silent["facts"]["count"] == 1
    assert "lost" in silent["facts"]["who"]
    assert "9.9.9" in report.one("processes.version", "attention")["en"]
    assert report.one("clock.processes", "broken")["facts"]["seconds"] < -89
    assert report.one("redis", "broken")["facts"]["serves"] == 2
    assert report.level("clock") == "ok"
    await db.execute("delete from process_heartbeat")


async def test_redis_there_and_gone(ground: Ground, tmp_path: Any) -> None:
    if program() is None:
        pytest.skip("no redis-server on this machine")
    redis = RedisServer(tmp_path)
    redis.start()
    try:
        assert (await ground.look(redis_url=SecretStr(redis.url))).level("redis") == "ok"
    finally:
        redis.stop()
    assert (await ground.look(redis_url=SecretStr(redis.url))).level("redis") == "broken"


async def test_the_database_under_another_role_behind_or_away(ground: Ground) -> None:
    owner = await asyncpg.connect(ground.urls.owner)
    steps = await owner.fetch("delete from migration returning name, app_name, ran_on")
    behind = await ground.look()
    await owner.executemany("insert into migration (name, app_name, ran_on) values ($1, $2, $3)", [tuple(row) for row in steps])
    await owner.execute("revoke select on process_heartbeat from tagwarden_app")
    bare = await ground.look()
    await owner.execute("grant select on process_heartbeat to tagwarden_app")
    await owner.close()
    wrong = await ground.look(url=with_password(ground.urls.application, "canary-of-a-password"))
    away = await ground.type(url="postgresql://someone:canary-of-a-password@127.0.0.1:1/nowhere")
    owned = await ground.look(url=ground.urls.owner)
    assert owned.level("database.role") == "broken"
    assert "MIGRATION" in owned.one("database.role", "broken")["todo_en"]
    assert behind.level("database.migrations") == "broken"
    assert "db upgrade" in behind.one("database.migrations", "broken")["todo_zh"]
    assert "db upgrade" in bare.one("database", "broken")["todo_en"]
    assert "InvalidPassword" in wrong.one("database", "broken")["en"]
    assert away.one("database", "broken")["facts"] == {"why": "ConnectionRefusedError"}
    for report in (behind, wrong, away):
        assert report.exit == 1
        assert "canary-of-a-password" not in report.said


def with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", f":{password}@")).geturl()


async def test_settings_that_do_not_stand(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGWARDEN_REDISURL", "canary-of-redis")
    assert "TAGWARDEN_REDISURL" in (await ground.look(ground.town.corp_id)).one("settings", "attention")["en"]
    base = await ground.look(ground.town.corp_id, wecom_api_base="http://wecom.example", issuers=[], secret_key=None)
    assert base.level("settings") == base.level("corp.issuers") == "broken"
    refused, unknown = await asyncio.gather(ground.type(SECRET_KEY="canary-short"), ground.type("--corp", "nobody"))
    assert refused.one("settings", "broken")["facts"]["code"] == "settings_invalid"
    assert "canary-short" not in refused.said
    assert (unknown.exit, unknown.findings) == (1, [])


# -- a corp -------------------------------------------------------------------------------------------------------------


async def test_a_wrong_secret_stops_the_app_and_the_remedy_lifts_it(ground: Ground) -> None:
    town = ground.town
    await town.control.corp("PUT", "/apps/crm/secret", {"secret": WRONG_SECRET})
    await db.execute("update wecom_token set expires_at = '-infinity' where corp_id = $1", town.corp_id)
    probed = await ground.look(town.corp_id, probes=True)
    assert probed.one("probe", "broken")["facts"]["code"] == 40001
    stopped = (await ground.look(town.corp_id)).one("corp.stopped", "broken")
    assert stopped["facts"]["code"] == 40001
    assert "Secret" in stopped["todo_zh"]
    assert "corp credentials" in stopped["todo_en"]
    entry = {"app": "crm", "agent_id": 1, "secret": WRONG_SECRET, "token": CALLBACK_TOKEN, "aes_key": AES_KEY}
    env = {**environment(ground.urls.application), "TAGWARDEN_TOKEN": token_for(town.corp_id, "admin")}
    code, said, aside = await ran(env, "corp", "credentials", "--credentials", "-", stdin=json.dumps([entry]).encode())
    assert code == 0, said + aside
    assert WRONG_SECRET not in said + aside
    assert (await ground.look(town.corp_id)).level("corp.credentials") == "ok"
    assert (await ground.look(town.corp_id, probes=True)).level("probe") == "ok"


async def test_a_right_that_is_missing_is_named(ground: Ground) -> None:
    town = ground.town
    await town.control.fault(kind="errcode", api="get_corp_tag_list", code=60011)
    await town.control.fault(kind="errcode", api="department/list", code=60011)
    report = await ground.look(town.corp_id, probes=True)
    refused = [one for one in report.findings if (one["check"], one["level"]) == ("probe", "broken")]
    assert {one["facts"]["api"] for one in refused} == {"department/list", "externalcontact/get_corp_tag_list"}
    assert all("可见范围" in one["todo_en"] for one in refused)


async def test_a_corp_in_setup_says_what_is_missing(ground: Ground) -> None:
    async with a_town(Companies(ground.urls.owner), ground.wecom_url, imports=False) as fresh:
        await fresh.run(RunKind.ORG)
        await fresh.run(RunKind.CUSTOMERS)
        await fresh.control.fault(kind="errcode", api="get_corp_tag_list", code=40058)
        assert (await fresh.run(RunKind.CATALOG))["state"] == "failed"
        failed = await ground.look(fresh.corp_id)
        assert "catalog" in failed.one("corp.runs", "attention")["todo_en"]
        await fresh.run(RunKind.CATALOG)
        report = await ground.look(fresh.corp_id)
    for check in ("corp.state", "corp.groups", "corp.signers", "corp.credentials"):
        assert report.level(check) == "attention", check
    assert report.one("corp.groups", "attention")["facts"]["count"] == 3
    assert "Shanghai" in report.one("corp.signers", "attention")["en"]
    assert report.level("corp.runs") == "ok"


async def test_what_goes_wrong_in_a_live_corp(ground: Ground) -> None:
    town = ground.town
    follow = await town.follow_id("ann", "wmC1")
    other = await town.follow_id("ann", "wmC2")
    await db.execute("update corp set org_mirrored_at = now() - interval '13 hours' where corp_id = $1", town.corp_id)
    await db.execute("update follow_sync set dirty = true, given_up = '40096 x' where follow_id = $1", follow)
    old = "update follow_sync set dirty = true, first_dirty_at = now() - interval '2 hours' where follow_id = $1"
    await db.execute(old, other)
    await db.execute(
        "insert into wecom_callback (corp_id, id, app, signature, sent_at, nonce, envelope, received_at)"
        " values ($1, $2, 'crm', 's', now(), 'n', '', now() - interval '2 hours')",
        town.corp_id,
        new_id(),
    )
    job = (
        "insert into pgqueuer (priority, status, entrypoint, execute_after)"
        " values (0, $1::pgqueuer_status, $2, now() - $3::interval)"
    )
    await db.execute(job, "failed", "sync.run", timedelta())
    moving = await ground.look(town.corp_id, issuers=[IssuerSetting.model_validate({**ISSUERS[0], "issuer": "stranger"})])
    await db.execute("update wecom_call set answered_at = answered_at - interval '1 hour' where corp_id = $1", town.corp_id)
    await db.execute("update corp set org_mirrored_at = now() - interval '25 hours' where corp_id = $1", town.corp_id)
    await db.execute(job, "queued", "sync.run", timedelta(hours=1))
    stuck = await ground.look(secret_key=SecretStr("another key than the one that sealed them all"))
    await db.execute("delete from pgqueuer")
    await db.execute("update follow_sync set dirty = false, given_up = null where corp_id = $1", town.corp_id)
    await db.execute("update corp set org_mirrored_at = now() where corp_id = $1", town.corp_id)
    await db.execute("update wecom_callback set processed_at = now() where corp_id = $1", town.corp_id)
    for check in ("corp.mirror", "corp.outbox", "corp.given_up", "corp.callbacks", "jobs"):
        assert moving.level(check) == "attention", check
    assert "40096" in moving.one("corp.given_up", "attention")["zh"]
    assert moving.level("corp.issuers") == "broken"
    for check in ("corp.mirror", "corp.outbox", "corp.credentials", "jobs"):
        assert stuck.level(check, town.corp_id if "." in check else None) == "broken", check
    assert "TAGWARDEN_SECRET_KEY" in stuck.one("corp.credentials", "broken", town.corp_id)["todo_en"]
    assert {one["facts"]["name"] for one in stuck.findings if one["check"] == "issuers"} == {"second", "rsa"}


async def test_signers_who_went_and_owners_who_left(ground: Ground) -> None:
    async with a_town(Companies(ground.urls.owner), ground.wecom_url) as town:
        gone = ("south", "boss", "cat")
        await town.move_people({userid: place for userid, place in PEOPLE.items() if userid not in gone})
        report = await ground.look(town.corp_id)
        assert "cat" in report.one("corp.owners", "attention")["en"]
        signers = report.one("corp.signers", "broken")
        assert "Shenzhen (level1)" in signers["en"]
        assert signers["facts"]["count"] == 1


async def test_sub_admins_who_can_do_nothing(ground: Ground) -> None:
    async with a_town(Companies(ground.urls.owner), ground.wecom_url) as town:
        assert (await ground.look(town.corp_id)).level("corp.subadmins") == "ok"
        admin, subadmin = town.as_("admin"), [RoleName.SUBADMIN]
        for userid, modules in (("ann", []), ("bob", [Module.CATALOG, Module.SYNC]), ("dan", [Module.POLICY])):
            await roles.put_roles(admin, userid, subadmin, modules)
        found = [one for one in (await ground.look(town.corp_id)).findings if one["check"] == "corp.subadmins"]
        assert [(one["level"], one["facts"]["who"]) for one in found] == [("attention", "ann"), ("attention", "bob")]
        assert ("catalog" in found[0]["todo_en"], "manage" in found[1]["zh"]) == (True, True)
        await roles.put_roles(admin, "ann", subadmin, [Module.MEMBERS])
        grants = (*GRANTS, GrantLine(10, "advice", Action.MANAGE))
        await publishing.apply_bundle(admin, bundle_of({}, {}, grants), "bob manages")
        said = (await ground.look(town.corp_id)).one("corp.subadmins", "ok")
        assert said["facts"]["count"] == 3


async def test_an_altered_audit_line(ground: Ground) -> None:
    async with a_town(Companies(ground.urls.owner), ground.wecom_url) as town:
        owner = await asyncpg.connect(ground.urls.owner)
        await owner.execute("alter table audit_line disable trigger audit_line_frozen")
        await owner.execute("update audit_line set body = body || ' ' where corp_id = $1 and seq = 3", town.corp_id)
        await owner.execute("alter table audit_line enable trigger audit_line_frozen")
        await owner.close()
        report = await ground.look(town.corp_id)
        assert report.one("corp.audit", "broken")["facts"] == {"seq": 3, "reason": "altered"}


# -- words --------------------------------------------------------------------------------------------------------------


def test_every_code_that_stops_an_app_has_its_remedy() -> None:
    for code in (code for code, verdict in VERDICTS.items() if verdict.kind is VerdictKind.STOP):
        assert remedies.remedy(code) is not remedies.OTHER, code
        assert remedies.meaning(code).zh
    for code in (40001, 40013, 40125, 41005, 48002, 60020, 301002):
        assert remedies.remedy(code).of("zh") != remedies.remedy(code).of("en")
    assert "41005" in remedies.remedy(41005).en
    assert remedies.code_in("40001 应用 Secret 不正确") == 40001
    assert remedies.code_in("-1 busy") == -1
    assert remedies.code_in("gone") is None


def test_levels_and_spans() -> None:
    assert worst([]) is Level.OK
    assert [span(seconds) for seconds in (5, 119, 120, 3 * 3600, 3 * 86400)] == ["5 s", "119 s", "2 min", "3 h", "3 d"]
