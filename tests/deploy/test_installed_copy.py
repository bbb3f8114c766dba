"""The wheel in an empty environment, run by the units' own commands: nothing of the checkout is needed.

Dependencies are those of this environment, put on the path of the new one; Tagwarden itself is only its wheel's.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import pytest

from support.service import SECRET_KEY, free_port
from tagwarden.kernel.embedded import EmbeddedPostgres, EmbeddedUrls

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"
DRAINED_WITHIN = 20.0
READY_WITHIN = 90.0


def copied_by_the_image() -> list[str]:
    """What the Dockerfile takes from the repository."""
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    return [name for line in re.findall(r"^COPY (?!--)(.*)$", text, re.MULTILINE) for name in line.split()[:-1]]


@dataclass
class Installed:
    """An environment with the wheel in it and an empty folder to stand in."""

    prefix: Path
    folder: Path

    def command(self, unit: str) -> list[str]:
        """The unit's ExecStart, in this environment."""
        text = (UNITS / f"tagwarden-{unit}.service").read_text(encoding="utf-8")
        line = re.search(r"^ExecStart=/srv/tagwarden/bin/(\S+)(.*)$", text, re.MULTILINE)
        assert line is not None
        return [str(self.prefix / "bin" / line[1]), *line[2].split()]

    def run(self, words: Sequence[str], **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd=self.folder, env=environment(**settings), capture_output=True, text=True, timeout=120, check=False
        )


def environment(**settings: str) -> dict[str, str]:
    """What an EnvironmentFile gives, and nothing of this shell."""
    return {"PATH": os.defpath, "LANG": "C.UTF-8", **{f"TAGWARDEN_{name}": value for name, value in settings.items()}}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Builds the wheel from the files the image copies, and installs it without a registry."""
    folder = tmp_path_factory.mktemp("installed")
    source, prefix, empty = folder / "source", folder / "prefix", folder / "empty"
    source.mkdir()
    empty.mkdir()
    for name in copied_by_the_image():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "wheels")]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    venv.create(prefix, with_pip=False, symlinks=True)
    wheel = next((folder / "wheels").glob("tagwarden-*.whl"))
    python = str(prefix / "bin" / "python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    shutil.rmtree(source)
    site = next((prefix / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return Installed(prefix, empty)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedUrls]:
    """A PostgreSQL with both roles and not one table."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def upgraded(installed: Installed, empty_database: EmbeddedUrls) -> EmbeddedUrls:
    """The database after the upgrade unit ran."""
    refused = installed.run(installed.command("serve"), **settings_of(empty_database))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "[migrations_pending]" in refused.stderr
    owner = {"MIGRATION_DATABASE_URL": empty_database.owner}
    first = installed.run(installed.command("upgrade"), **settings_of(empty_database), **owner)
    assert first.returncode == 0, first.stderr
    again = installed.run(installed.command("upgrade"), **settings_of(empty_database), **owner)
    assert (again.returncode, again.stdout) == (0, "已是最新\n")
    return empty_database


def settings_of(urls: EmbeddedUrls, **more: str) -> dict[str, str]:
    return {"DATABASE_URL": urls.application, "SECRET_KEY": SECRET_KEY, **more}


@contextmanager
def running(installed: Installed, unit: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """A unit's process; ended with the block if it has not ended."""
    process = subprocess.Popen(
        installed.command(unit), cwd=installed.folder, env=environment(**settings), stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ends_well(process: subprocess.Popen[str]) -> str:
    """Asks with SIGTERM; the log of a process that drained in time."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=3 * DRAINED_WITHIN)
    assert time.monotonic() - began < DRAINED_WITHIN, log
    assert process.returncode == 0, log
    return log


def wait_until_ready(url: str, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + READY_WITHIN
    while time.monotonic() < until:
        assert process.poll() is None, process.communicate()[1]
        try:
            if httpx.get(f"{url}/health/ready", trust_env=False, timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError


def test_the_copy_is_its_own(installed: Installed) -> None:
    code = (
        "import tagwarden; from tagwarden.kernel.resources import folder;"
        "print(tagwarden.__file__, folder('policies'), folder('migrations'))"
    )
    told = installed.run([str(installed.prefix / "bin" / "python"), "-c", code])
    places = told.stdout.split()
    assert len(places) == 3, told.stderr
    assert all(place.startswith(str(installed.prefix)) for place in places)
    version = installed.run([str(installed.prefix / "bin" / "tagwarden"), "--version"])
    assert version.returncode == 0, version.stderr


def test_the_service_refuses_the_owner_role(installed: Installed, upgraded: EmbeddedUrls) -> None:
    told = installed.run(installed.command("serve"), DATABASE_URL=upgraded.owner, SECRET_KEY=SECRET_KEY)
    assert told.returncode == 1
    assert "[owner_role_refused]" in told.stderr
    worker = installed.run(installed.command("worker"), DATABASE_URL=upgraded.owner, SECRET_KEY=SECRET_KEY)
    assert worker.returncode == 1
    assert "[owner_role_refused]" in worker.stderr


async def test_serve_and_worker_run_and_drain(installed: Installed, upgraded: EmbeddedUrls) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    sql = await asyncpg.connect(upgraded.owner)
    worker_settings = settings_of(upgraded, WECOM_API_BASE="http://127.0.0.1:1")
    with (
        running(installed, "serve", **settings_of(upgraded, PORT=str(port))) as service,
        running(installed, "worker", **worker_settings) as worker,
    ):
        wait_until_ready(url, service)
        await _until(sql, "select count(*) = 2 from process_heartbeat where role in ('serve', 'worker')")
        assert httpx.get(f"{url}/schema/openapi.json", trust_env=False).status_code == 200
        assert 'tagwarden_processes_alive{role="worker"} 1.0' in httpx.get(f"{url}/metrics", trust_env=False, timeout=5).text
        time.sleep(1)  # a reading older than this is not used again, so the next scrape meets the lock
        transaction = sql.transaction()
        await transaction.start()
        await sql.execute("lock table corp in access exclusive mode")
        answers: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answers.append(httpx.get(f"{url}/metrics", trust_env=False, timeout=9)))
        asking.start()
        # The scrape itself, not the worker's sweep, which waits for the same lock.
        waits = "select count(*) > 0 from pg_stat_activity where wait_event_type = 'Lock' and query like '%audit_head%'"
        looking = await asyncpg.connect(upgraded.application)
        await _until(looking, waits)
        await looking.close()
        service.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        await transaction.rollback()
        asking.join(9)
        assert [answer.status_code for answer in answers] == [200], "a request under way is answered before the end"
        assert "tagwarden_database_up 1.0" in answers[0].text
        logs = [ends_well(service), ends_well(worker)]
    assert await sql.fetchval("select count(*) from process_heartbeat") == 0
    await sql.close()
    assert not [log for log in logs if '"level": "error"' in log or "Traceback" in log]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health/live", trust_env=False)


async def _until(sql: asyncpg.Connection, question: str) -> None:
    until = time.monotonic() + READY_WITHIN
    while not await sql.fetchval(question):
        assert time.monotonic() < until, question
        time.sleep(0.05)
