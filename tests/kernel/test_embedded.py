"""The embedded PostgreSQL with real servers: what it promises about rows, rights, privacy and other processes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg  # type: ignore[import-untyped,unused-ignore]
import pytest

from tagwarden.kernel.embedded import EmbeddedPostgres, EmbeddedUnavailable, EmbeddedUrls, running_urls

ROOT = os.geteuid() == 0
LINUX = sys.platform == "linux"
GONE_SECONDS = 30.0

# Starts a server in argv[1], then prints the number of every row PostgreSQL has acknowledged.
WRITER = """
import asyncio, sys
from pathlib import Path
import asyncpg
from tagwarden.kernel.embedded import EmbeddedPostgres

async def write(url):
    connection = await asyncpg.connect(dsn=url)
    await connection.execute("CREATE TABLE IF NOT EXISTS written (n int PRIMARY KEY)")
    for n in range(1_000_000):
        await connection.execute("INSERT INTO written VALUES ($1)", n)
        print(n, flush=True)

server = EmbeddedPostgres(Path(sys.argv[1]), as_root=tuple(sys.argv[2].split(",")))
asyncio.run(write(server.start().owner))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder that any user may pass into, as a test runner's own are not."""
    made = Path(tempfile.mkdtemp(prefix="tw-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture(params=["unshare", "nobody"] if ROOT else ["self"])
def strategy(request: pytest.FixtureRequest) -> str:
    """Every way to run on this machine."""
    if request.param == "unshare" and not _unshare_works():
        pytest.skip("unshare is not allowed here")
    return str(request.param)


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A data folder that was started once: making a cluster is most of a test's time."""
    made = Path(tempfile.mkdtemp(prefix="tw-"))
    server = EmbeddedPostgres(made / "data")
    try:
        server.start()
        server.stop()
        yield made / "data"
    finally:
        server.stop()
        shutil.rmtree(made)


@pytest.fixture
def data(template: Path, folder: Path) -> Path:
    """A data folder of one's own, with a cluster in it."""
    return shutil.copytree(template, folder / "data")


@pytest.fixture(scope="module")
def shared(template: Path) -> Iterator[tuple[Path, EmbeddedUrls]]:
    """A running server for the tests that only look at it."""
    made = Path(tempfile.mkdtemp(prefix="tw-"))
    made.chmod(0o711)
    server = EmbeddedPostgres(shutil.copytree(template, made / "data"))
    try:
        yield made / "data", server.start()
    finally:
        server.stop()
        shutil.rmtree(made)


def query(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Rows of one statement over a connection of its own."""

    async def run() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(dsn=url)
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    return asyncio.run(run())


def is_alive(pid: int) -> bool:
    """A zombie counts as gone: who reaps orphans, and when, is not ours to say."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(shown.stdout.strip()) and not shown.stdout.startswith("Z")


def wait_until_gone(pid: int) -> bool:
    until = time.monotonic() + GONE_SECONDS
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not is_alive(pid)


def server_pid(data: Path) -> int:
    return int((data / "pg" / "postmaster.pid").read_text().split("\n", 1)[0])


def start_writer(data: Path, strategy: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITER, str(data), strategy]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def read_until(writer: subprocess.Popen[str], number: int) -> list[int]:
    assert writer.stdout is not None
    seen = []
    for line in writer.stdout:
        seen.append(int(line))
        if seen[-1] >= number:
            return seen
    writer.communicate()
    pytest.fail("the writer ended early")


def rest_of(writer: subprocess.Popen[str]) -> list[int]:
    assert writer.stdout is not None
    with writer.stdout:
        return [int(line) for line in writer.stdout if line.endswith("\n")]


def refusal(server: EmbeddedPostgres) -> EmbeddedUnavailable:
    with pytest.raises(EmbeddedUnavailable) as caught:
        try:
            server.start()
        finally:
            server.stop()
    return caught.value


def _unshare_works() -> bool:
    command = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "true"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


# --- a life ---


def test_rows_survive_a_restart(folder: Path, strategy: str) -> None:
    data = folder / "data"
    server = EmbeddedPostgres(data, as_root=(strategy,))
    urls = server.start()
    pid = server_pid(data)
    try:
        assert server.start() == urls
        assert server_pid(data) == pid
        query(urls.owner, "CREATE TABLE kept AS SELECT 7 AS n")
    finally:
        server.stop()
    server.stop()
    assert not is_alive(pid)
    again = EmbeddedPostgres(data, as_root=(strategy,))
    try:
        assert query(again.start().owner, "SELECT n FROM kept") == [(7,)]
    finally:
        again.stop()


@pytest.mark.skipif(not ROOT, reason="only root chooses between ways")
def test_rows_survive_a_change_of_the_user_it_runs_as(data: Path) -> None:
    if not _unshare_works():
        pytest.skip("unshare is not allowed here")
    for n, way in enumerate(("unshare", "nobody", "unshare")):
        server = EmbeddedPostgres(data, as_root=(way,))
        try:
            urls = server.start()
            query(urls.owner, "CREATE TABLE IF NOT EXISTS kept (n int)")
            query(urls.owner, f"INSERT INTO kept VALUES ({n})")
            assert len(query(urls.owner, "SELECT n FROM kept")) == n + 1
            assert (data / "pg").stat().st_uid == (0 if way == "unshare" else 65534)
        finally:
            server.stop()


def test_start_is_refused_off_the_main_thread(folder: Path) -> None:
    async def elsewhere() -> None:
        await asyncio.to_thread(EmbeddedPostgres(folder / "data").start)

    with pytest.raises(RuntimeError, match="main thread"):
        asyncio.run(elsewhere())


def test_start_works_while_an_event_loop_runs(data: Path) -> None:
    async def inside() -> bool:
        server = EmbeddedPostgres(data)
        try:
            connection = await asyncpg.connect(dsn=server.start().application)
            alive = await connection.fetchval("SELECT true")
            await connection.close()
            return bool(alive)
        finally:
            server.stop()

    assert asyncio.run(inside())


# --- roles and privileges ---


def test_application_can_use_but_not_make(shared: tuple[Path, EmbeddedUrls]) -> None:
    urls = shared[1]
    assert query(urls.application, "SELECT current_user::text, current_database()::text") == [("tagwarden_app", "tagwarden")]
    for attempt in ("CREATE TABLE mine (n int)", "CREATE TEMP TABLE mine (n int)", "CREATE SCHEMA mine"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            query(urls.application, attempt)
    query(urls.owner, "CREATE TABLE made (n int)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        query(urls.application, "SELECT * FROM made")
    query(urls.owner, "GRANT SELECT, INSERT ON made TO tagwarden_app")
    query(urls.application, "INSERT INTO made VALUES (1)")
    assert query(urls.application, "SELECT n FROM made") == [(1,)]


def test_neither_role_is_a_superuser_and_the_application_owns_nothing(shared: tuple[Path, EmbeddedUrls]) -> None:
    urls = shared[1]
    rights = "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls FROM pg_roles"
    assert query(urls.owner, f"{rights} WHERE rolname LIKE 'tagwarden\\_%' AND rolname <> 'tagwarden_launcher'") == [
        (False,),
        (False,),
    ]
    owner = "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = 'tagwarden'"
    assert query(urls.owner, owner) == [("tagwarden_owner",)]
    owned = "SELECT count(*) FROM pg_shdepend WHERE deptype = 'o' AND refobjid = 'tagwarden_app'::regrole"
    assert query(urls.owner, owned) == [(0,)]


def test_application_cannot_enter_other_databases(shared: tuple[Path, EmbeddedUrls]) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        query(shared[1].application.replace("@/tagwarden?", "@/postgres?"), "SELECT 1")


def test_every_role_needs_its_password(shared: tuple[Path, EmbeddedUrls]) -> None:
    url = urlsplit(shared[1].application)
    for role in ("tagwarden_app", "tagwarden_owner", "tagwarden_launcher"):
        with pytest.raises(asyncpg.InvalidPasswordError):
            query(url._replace(netloc=f"{role}:wrong@").geturl(), "SELECT 1")


def test_settings_and_extensions(shared: tuple[Path, EmbeddedUrls]) -> None:
    url = shared[1].application
    wanted = {"fsync": "on", "jit": "off", "max_connections": "60", "shared_buffers": "128MB", "listen_addresses": ""}
    wanted |= {"password_encryption": "scram-sha-256", "server_encoding": "UTF8", "TimeZone": "UTC"}
    for name, value in wanted.items():
        assert query(url, f"SELECT current_setting('{name}')") == [(value,)]
    assert query(url, "SELECT extname::text FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1") == [
        ("btree_gin",),
        ("pg_trgm",),
    ]
    assert query(url, "SELECT similarity('重点客户', '重点客户群') > 0.5") == [(True,)]


def test_own_settings_apply_but_not_against_durability(data: Path) -> None:
    for name in ("fsync", "Full-Page-Writes", "listen_addresses", "unix_socket_directories"):
        with pytest.raises(ValueError, match="cannot be changed"):
            EmbeddedPostgres(data, settings={name: "off"})
    server = EmbeddedPostgres(data, settings={"max_connections": "23"})
    try:
        assert query(server.start().application, "SHOW max_connections") == [("23",)]
    finally:
        server.stop()


# --- privacy ---


def test_secrets_stay_private(shared: tuple[Path, EmbeddedUrls]) -> None:
    data, urls = shared
    for name in ("secrets.json", "pg.log"):
        assert stat.S_IMODE((data / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((data / "pg").stat().st_mode) == 0o700
    passwords = list(json.loads((data / "secrets.json").read_text()).values())
    assert len(set(passwords)) == 3
    assert all(len(password) >= 40 for password in passwords)
    with pytest.raises(asyncpg.PostgresError):
        query(urls.owner, "SELECT 'not for the log' FROM nowhere")
    log = (data / "pg.log").read_text()
    assert "nowhere" in log
    assert "not for the log" not in log
    assert not any(password in log or password in repr(urls) for password in passwords)


def test_open_secrets_are_closed_again(data: Path) -> None:
    server = EmbeddedPostgres(data)
    try:
        server.start()
        server.stop()
        (data / "secrets.json").chmod(0o644)
        server.start()
        assert stat.S_IMODE((data / "secrets.json").stat().st_mode) == 0o600
    finally:
        server.stop()


def test_lost_or_foreign_secrets_are_a_clear_error(data: Path) -> None:
    server = EmbeddedPostgres(data)
    server.start()
    server.stop()
    kept = (data / "secrets.json").read_text()
    (data / "secrets.json").unlink()
    assert refusal(server).code == "secrets_unusable"
    assert not (data / "secrets.json").exists()
    (data / "secrets.json").write_text(json.dumps(dict.fromkeys(json.loads(kept), "another-password")))
    error = refusal(server)
    assert error.code == "secrets_unusable"
    assert "another-password" not in str(error)
    (data / "secrets.json").write_text(kept)
    server.start()
    server.stop()


# --- crashes ---


@pytest.mark.skipif(not LINUX, reason="only Linux ends a child with its parent")
def test_nothing_outlives_a_killed_parent_and_no_acknowledged_row_is_lost(data: Path, strategy: str) -> None:
    writer = start_writer(data, strategy)
    seen = read_until(writer, 200)
    pid = server_pid(data)
    writer.kill()
    writer.wait()
    assert wait_until_gone(pid)
    seen += rest_of(writer)
    server = EmbeddedPostgres(data, as_root=(strategy,))
    try:
        kept = {n for (n,) in query(server.start().owner, "SELECT n FROM written")}
    finally:
        server.stop()
    assert set(seen) <= kept


def test_no_acknowledged_row_is_lost_when_the_server_is_killed(data: Path, strategy: str) -> None:
    writer = start_writer(data, strategy)
    seen = read_until(writer, 200)
    os.kill(server_pid(data), signal.SIGKILL)
    seen += rest_of(writer)
    writer.wait()
    server = EmbeddedPostgres(data, as_root=(strategy,))
    try:
        kept = {n for (n,) in query(server.start().owner, "SELECT n FROM written")}
    finally:
        server.stop()
    assert set(seen) <= kept


def test_the_same_object_starts_again_after_its_server_was_killed(data: Path) -> None:
    server = EmbeddedPostgres(data)
    try:
        first = server.start()
        query(first.owner, "CREATE TABLE kept AS SELECT 7 AS n")
        pid = server_pid(data)
        os.kill(pid, signal.SIGKILL)
        assert wait_until_gone(pid)
        assert query(server.start().owner, "SELECT n FROM kept") == [(7,)]
    finally:
        server.stop()


def test_a_server_without_parent_is_ended_and_replaced(data: Path) -> None:
    """What macOS leaves behind: a live server of this folder that nobody holds the lock for."""
    server = EmbeddedPostgres(data)
    server.start()
    orphan = server_pid(data)
    holder = server._lock
    assert holder is not None
    os.close(holder)
    successor = EmbeddedPostgres(data)
    try:
        urls = successor.start()
        assert server_pid(data) != orphan
        assert not is_alive(orphan)
        assert query(urls.application, "SELECT 1") == [(1,)]
    finally:
        server._lock = None
        server.stop()
        successor.stop()


def test_an_unrelated_process_with_the_recorded_number_is_left_alone(data: Path, strategy: str) -> None:
    server = EmbeddedPostgres(data, as_root=(strategy,))
    urls = server.start()
    query(urls.owner, "CREATE TABLE kept AS SELECT 7 AS n")
    lock_files = {path: path.read_text() for path in (data / "pg" / "postmaster.pid", *(data / "pg").glob(".s*.lock"))}
    assert len(lock_files) == 2
    pid = server_pid(data)
    server.stop()
    with subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            for path, text in lock_files.items():
                path.write_text(text.replace(str(pid), str(bystander.pid), 1))
            assert running_urls(data) is None
            assert query(server.start().owner, "SELECT n FROM kept") == [(7,)]
            assert bystander.poll() is None
        finally:
            server.stop()
            bystander.kill()


def test_a_server_of_another_folder_with_the_recorded_number_is_left_alone(data: Path, shared: tuple[Path, EmbeddedUrls]) -> None:
    other = server_pid(shared[0])
    server = EmbeddedPostgres(data)
    server.start()
    text = (data / "pg" / "postmaster.pid").read_text()
    pid = server_pid(data)
    server.stop()
    (data / "pg" / "postmaster.pid").write_text(text.replace(str(pid), str(other), 1))
    try:
        assert running_urls(data) is None
        server.start()
        assert is_alive(other)
        assert query(shared[1].application, "SELECT 1") == [(1,)]
    finally:
        server.stop()


def test_a_half_made_cluster_is_never_used(folder: Path) -> None:
    data = folder / "data"
    for name in ("pg.tmp", "pg.tmp.abc/cluster"):
        (data / name / "base").mkdir(parents=True)
        (data / name / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(data)
    try:
        assert query(server.start().application, "SELECT 1") == [(1,)]
        assert not list(data.glob("pg.tmp*"))
    finally:
        server.stop()


def test_a_folder_that_is_no_cluster_is_refused_and_kept(folder: Path) -> None:
    data = folder / "data"
    (data / "pg").mkdir(parents=True)
    (data / "pg" / "notes.txt").write_text("mine")
    assert refusal(EmbeddedPostgres(data)).code == "not_a_cluster"
    assert (data / "pg" / "notes.txt").read_text() == "mine"


def test_missing_roles_database_and_password_heal(data: Path) -> None:
    server = EmbeddedPostgres(data)
    try:
        urls = server.start()
        password = json.loads((data / "secrets.json").read_text())["superuser"]
        launcher = urlsplit(urls.owner)._replace(netloc=f"tagwarden_launcher:{password}@", path="/postgres").geturl()
        query(launcher, "DROP DATABASE tagwarden")
        query(launcher, "DROP ROLE tagwarden_owner")
        query(launcher, "ALTER ROLE tagwarden_app PASSWORD 'changed'")
        server.stop()
        urls = server.start()
        query(urls.owner, "CREATE TABLE again (n int)")
        assert query(urls.application, "SELECT 1") == [(1,)]
    finally:
        server.stop()


@pytest.mark.parametrize("sign", ["pg.tmp.*/cluster/base", "pg/PG_VERSION"])
def test_a_crash_during_the_first_start_heals(folder: Path, sign: str) -> None:
    """Killed in the middle of initdb, and between the finished cluster and its roles."""
    data = folder / "data"
    writer = start_writer(data, "unshare,nobody")
    until = time.monotonic() + 90
    while not list(data.glob(sign)) and time.monotonic() < until:
        time.sleep(0.001)
    begun = list(data.glob(sign))
    writer.kill()
    assert rest_of(writer) == []
    assert begun
    writer.wait()
    server = EmbeddedPostgres(data)
    try:
        assert query(server.start().application, "SELECT 1") == [(1,)]
    finally:
        server.stop()


# --- refusals ---


def test_a_second_start_on_a_folder_in_use_is_refused(shared: tuple[Path, EmbeddedUrls]) -> None:
    data, urls = shared
    error = refusal(EmbeddedPostgres(data))
    assert error.code == "data_dir_in_use"
    assert str(data) in str(error)
    assert query(urls.application, "SELECT 1") == [(1,)]


def test_an_unwritable_folder_is_refused(folder: Path) -> None:
    (folder / "file").write_text("")
    places = [folder / "file" / "data"]
    if LINUX:
        places.append(Path("/proc/tagwarden"))
    if not ROOT:
        (folder / "closed").mkdir(mode=0o500)
        places.append(folder / "closed" / "data")
    for place in places:
        error = refusal(EmbeddedPostgres(place))
        assert error.code == "data_dir_unwritable"
        assert str(place) in str(error)


@pytest.mark.skipif(not ROOT, reason="only root has to become somebody else")
def test_root_without_anybody_to_be_is_refused_and_changes_no_rights(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    for ways in ((), ("nobody",)):
        assert refusal(EmbeddedPostgres(closed / "data", as_root=ways)).code == "no_unprivileged_user"
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert stat.S_IMODE((closed / "data").stat().st_mode) == 0o700
    assert {path.name for path in (closed / "data").iterdir()} == {"lock"}


def test_a_cluster_of_another_version_is_refused_in_words(folder: Path) -> None:
    data = folder / "data"
    (data / "pg").mkdir(parents=True)
    (data / "pg" / "PG_VERSION").write_text("9\n")
    error = refusal(EmbeddedPostgres(data))
    assert error.code == "postgres_missing"
    assert "PostgreSQL 9" in str(error)


def test_a_failed_start_tells_what_the_server_said_and_leaves_nothing_running(data: Path) -> None:
    server = EmbeddedPostgres(data, settings={"shared_buffers": "nonsense"})
    error = refusal(server)
    assert error.code == "start_failed"
    assert "shared_buffers" in str(error)
    passwords = json.loads((data / "secrets.json").read_text()).values()
    assert not any(password in str(error) for password in passwords)
    healed = EmbeddedPostgres(data)
    healed.start()
    healed.stop()


# --- places ---


@pytest.mark.parametrize("name", ["comma, quote' and percent%", "客户 标签"])
def test_any_folder_name_works(folder: Path, name: str) -> None:
    server = EmbeddedPostgres(folder / name)
    try:
        urls = server.start()
        assert query(urls.application, "SELECT 1") == [(1,)]
        assert running_urls(folder / name) == urls
    finally:
        server.stop()


def test_a_long_path_gets_a_short_private_socket_folder(folder: Path, template: Path, strategy: str) -> None:
    data = shutil.copytree(template, folder / ("long" * 40))
    server = EmbeddedPostgres(data, as_root=(strategy,))
    try:
        urls = server.start()
        sockets = Path(parse_qs(urlsplit(urls.application).query)["host"][0])
        assert query(urls.application, "SELECT 1") == [(1,)]
        assert running_urls(data) == urls
        assert data not in sockets.parents
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    finally:
        server.stop()
    assert not sockets.exists()


@pytest.mark.skipif(not LINUX, reason="the killed parent's server must be gone")
def test_the_temporary_socket_folder_of_a_killed_parent_is_removed(folder: Path, template: Path) -> None:
    data = shutil.copytree(template, folder / ("long" * 40))
    writer = start_writer(data, "unshare,nobody")
    read_until(writer, 1)
    left = Path((data / "socket").read_text().strip())
    pid = server_pid(data)
    writer.kill()
    writer.wait()
    rest_of(writer)
    assert left.is_dir()
    assert wait_until_gone(pid)
    server = EmbeddedPostgres(data)
    try:
        server.start()
        assert not left.exists()
    finally:
        server.stop()


def test_the_server_listens_on_no_tcp_port(shared: tuple[Path, EmbeddedUrls]) -> None:
    listening = query(shared[1].owner, "SELECT inet_server_addr(), current_setting('port')")
    assert listening == [(None, "5432")]
    log = (shared[0] / "pg.log").read_text()
    assert "listening on Unix socket" in log
    assert "listening on IP" not in log
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.connect(str(shared[0] / "pg" / ".s.PGSQL.5432"))


# --- beside a running demo ---


def test_running_urls(folder: Path) -> None:
    data = folder / "data"
    assert running_urls(data) is None
    assert not data.exists()
    server = EmbeddedPostgres(data)
    try:
        urls = server.start()
        assert running_urls(data) == urls
    finally:
        server.stop()
    assert running_urls(data) is None
