"""The witness in real processes: a worker sends heads three ways, failing places stop nothing, an embedded one keeps a file."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from support.company import Companies, Company
from support.engine import engine_on
from support.installation import a_server, until
from support.servers import as_operator, command, tried
from support.service import SECRET_KEY, Process, environment, free_port, working
from tagwarden.audit import service as audit
from tagwarden.audit.heads import read_witnesses
from tagwarden.kernel import db
from tagwarden.kernel.embedded import EmbeddedUrls, running_urls

from .chains import SIGNER
from .hooks import HOOK_SECRET, a_hook, said_by

NOBODY = "http://127.0.0.1:1"
DUE = (
    "insert into pgqueuer_schedules (expression, entrypoint) values ('*/10 * * * *', 'witness_audit')"
    " on conflict (expression, entrypoint) do update set next_run = now(), status = 'queued'"
)
"""Lets the ten minutes pass, before a worker starts: one that runs looks again at the next full minute only."""


@dataclass
class Ground:
    """A database of its own, so that one worker alone keeps its schedule."""

    urls: EmbeddedUrls
    company: Company


@pytest.fixture(scope="module")
async def ground(database: EmbeddedUrls) -> AsyncIterator[Ground]:
    with a_server() as (_, urls, _folder):
        async with engine_on(urls.application):
            company = await Companies(urls.owner).make()
            yield Ground(urls, company)


def logged(process: Process, event: str) -> list[dict[str, Any]]:
    """Lines of one event in a process's log."""
    lines = [json.loads(line) for line in process.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


async def witnessed_by(ground: Ground, enough: Callable[[Process], bool], **settings: str) -> list[dict[str, Any]]:
    """A worker's whole life, with the heads due at its start; the lines that it logged with heads."""
    await db.execute(DUE)
    with working(ground.urls.application, NOBODY, **settings) as worker:
        worker.secrets.append(HOOK_SECRET)

        async def met() -> bool:
            return enough(worker)

        await until(met)
        assert worker.running
        assert logged(worker, "worker.round_failed") == []
        return logged(worker, "audit.head")


async def test_a_real_worker_sends_them_three_ways(ground: Ground, tmp_path: Path) -> None:
    file, corp_id = tmp_path / "heads.jsonl", ground.company.corp_id
    lines: list[dict[str, Any]] = []
    async with a_hook() as hook:
        for times in (1, 2):
            await ground.company.change("ann", "c1", [f"activity/{('hot', 'warm')[times - 1]}"])
            enough = partial(lambda times, _: hook.calls == times, times)
            lines += await witnessed_by(ground, enough, AUDIT_HEADS_FILE=str(file), AUDIT_HEADS_URL=hook.url)
    found = await audit.head(corp_id)
    assert found is not None
    for heads in (lines, hook.heads, [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]):
        assert len(said_by(heads, corp_id)) == 2
        assert said_by(heads, corp_id)[found[0]] == found[1].hex()
        assert read_witnesses([json.dumps(one) for one in heads], SIGNER.public_key, corp_id).forged == 0
    assert [set(one) for one in hook.heads] == [{"corp_id", "seq", "hash", "at", "signature"}] * 2
    told = file.read_text(encoding="utf-8") + json.dumps(hook.heads) + json.dumps(lines)
    assert [secret for secret in (SECRET_KEY, HOOK_SECRET, "postgresql", "password") if secret in told] == []


async def test_places_that_fail_stop_nothing(ground: Ground, tmp_path: Path) -> None:
    async with a_hook(status=500) as hook:
        more = {"AUDIT_HEADS_FILE": str(tmp_path / "no" / "such" / "folder.jsonl"), "AUDIT_HEADS_URL": hook.url}
        failures = ("audit.heads_file_failed", "audit.heads_hook_refused")
        lines = await witnessed_by(ground, lambda worker: all(logged(worker, one) for one in failures), **more)
        assert len(lines) == 1, "the log has it all the same"
        hook.status = 200
        await witnessed_by(ground, lambda _: bool(hook.heads), **more)


async def test_commands_sign_and_check_elsewhere(ground: Ground, tmp_path: Path) -> None:
    env = as_operator(ground.urls)
    lines, key = await command(env, "audit", "heads"), (await command(env, "audit", "key")).strip()
    assert key == SIGNER.public_key
    assert [json.loads(line)["corp_id"] for line in lines.splitlines()] == [ground.company.corp_id]
    kept = tmp_path / "kept.jsonl"
    kept.write_text(lines, encoding="utf-8")
    other = {**env, "TAGWARDEN_SECRET_KEY": "the key of a machine that only verifies, long"}
    said = await command(other, "audit", "verify", "--json", "--heads", str(kept), "--public-key", key)
    assert (json.loads(said)["heads"], json.loads(said)["forged_heads"]) == (1, 0)
    assert (await tried(other, "audit", "verify", "--heads", str(kept)))[0] == 3


async def test_an_embedded_installation_keeps_them_beside_its_keys(tmp_path: Path) -> None:
    data, port = tmp_path / "data", free_port()
    env = {name: value for name, value in environment("").items() if not name.startswith("TAGWARDEN_")}
    credentials = json.dumps([{"app": "crm", "agent_id": 1, "secret": "a secret of the app"}])
    served = Process(["serve", "--port", str(port), "--data", str(data)], env, f"http://127.0.0.1:{port}").start()
    try:
        added = ("corp", "add", "--corp", "wwone", "--name", "one", "--admin", "admin", "--credentials", "-")
        await command(env, *added, "--data", str(data), stdin=credentials)
        urls = running_urls(data)
        assert urls is not None
        owner = await asyncpg.connect(urls.owner)
        await owner.execute(DUE)
        await owner.close()
        served.stop()
        served.start()
        file = data / "audit-heads.jsonl"

        async def kept() -> bool:
            return file.exists() and bool(file.read_text(encoding="utf-8"))

        await until(kept)
        owner = await asyncpg.connect(urls.owner)
        said = json.loads(await command(env, "audit", "verify", "--json", "--data", str(data)))
        assert (said["first_bad"], said["heads"], said["forged_heads"]) == (None, 1, 0)
        await owner.execute("alter table audit_line disable trigger user")
        await owner.execute("delete from audit_line where corp_id = 'wwone'")
        await owner.execute("update audit_head set seq = 0, hash = $1 where corp_id = 'wwone'", bytes(32))
        code, told = await tried(env, "audit", "verify", "--data", str(data))
        assert (code, "截断" in told) == (3, True)
        await owner.close()
    finally:
        served.stop()
