"""Start and stop the embedded PostgreSQL of one data folder.

Why it exists: one object that makes the cluster, the roles and the database when they are missing, starts the server as
our child and hands out two URLs. It must not migrate and must not keep a connection open.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import asyncpg  # type: ignore[import-untyped,unused-ignore]

from tagwarden.kernel.embedded.binaries import ROOT_STRATEGIES, Installation, choose_installation, hand_over
from tagwarden.kernel.embedded.errors import EmbeddedUnavailable
from tagwarden.kernel.embedded.folder import (
    PORT,
    SUPERUSER_ROLE,
    DataFolder,
    EmbeddedUrls,
    Passwords,
    urls_for,
    write_private,
)
from tagwarden.kernel.embedded.process import end, end_left_over, is_server, read_status, spawn
from tagwarden.kernel.embedded.roles import ensure_roles_and_database

# Sized for a laptop. Statements and details stay out of the log: they may hold customers' names and phone numbers.
DEFAULT_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "max_connections": "60",
        "shared_buffers": "128MB",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
    }
)
_FIXED_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_permissions": "0700",
        "password_encryption": "scram-sha-256",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "logging_collector": "off",
    }
)
# Code point order is the same everywhere; the character classes must be Unicode's, or pg_trgm ignores Chinese.
_CHARACTER_TYPE = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
_START_SECONDS = 120.0  # recovery after a crash in the middle of heavy writing
_RETRY_SECONDS = 10.0
_POLL_SECONDS = 0.01
_LITTLE_SPACE = 64 * 1024 * 1024


class EmbeddedPostgres:
    """The server of one data folder. Not for use by several threads at once."""

    def __init__(
        self,
        data_dir: Path,
        *,
        settings: Mapping[str, str] | None = None,
        as_root: Sequence[str] = ROOT_STRATEGIES,
    ) -> None:
        """`settings` are PostgreSQL's, over `DEFAULT_SETTINGS`; `as_root` names the ways to give up root, in order.

        Raises `ValueError` for a setting that durability or privacy depends on.
        """
        chosen = {name.lower().replace("-", "_"): value for name, value in (settings or {}).items()}
        fixed = sorted(chosen.keys() & {*_FIXED_SETTINGS, "unix_socket_directories"})
        if fixed:
            raise ValueError(f"settings that cannot be changed: {', '.join(fixed)}")
        self._settings = {**DEFAULT_SETTINGS, **chosen, **_FIXED_SETTINGS}
        self._as_root = tuple(as_root)
        self._folder = DataFolder(data_dir)
        self._lock: int | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._urls: EmbeddedUrls | None = None

    def start(self) -> EmbeddedUrls:
        """Blocks until the database can be used; a second call returns the same URLs while the server lives.

        Only from the main thread, because Linux ends the server with the *thread* that started it.
        Raises `EmbeddedUnavailable`; nothing is left running then.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("EmbeddedPostgres.start must be called from the main thread")
        if self._urls is not None and self._server is not None and self._server.poll() is None:
            return self._urls
        self.stop()
        try:
            self._urls = self._start()
        except OSError as error:
            self.stop()
            sentence = f"The data folder {self._folder.path} cannot be written: {error.strerror or error}."
            raise EmbeddedUnavailable("data_dir_unwritable", sentence) from None
        except BaseException:
            self.stop()
            raise
        return self._urls

    def stop(self) -> None:
        """Fast shutdown, and wait for it: open transactions are rolled back. May be called at any time, repeatedly."""
        if self._server is not None:
            end(self._server)
            self._server = None
        self._urls = None
        if self._lock is not None:
            self._folder.forget_socket_folder()
            os.close(self._lock)
            self._lock = None

    def _start(self) -> EmbeddedUrls:
        folder = self._folder
        self._lock = folder.lock()
        folder.rotate_log()
        staging = folder.fresh_staging()
        try:
            installation = choose_installation(folder.cluster_version(), staging, self._as_root)
            passwords = folder.ensure_passwords()
            if not folder.cluster.exists():
                self._make_cluster(installation, staging, passwords)
        finally:
            folder.remove_staging(staging)
        self._end_left_over()
        hand_over(folder.cluster, installation.run_as)
        socket_folder = folder.ensure_socket_folder()
        hand_over(socket_folder, installation.run_as)
        self._run_server(installation, socket_folder, passwords)
        self._ensure_roles(passwords, socket_folder)
        return urls_for(passwords, socket_folder, PORT)

    def _make_cluster(self, installation: Installation, staging: Path, passwords: Passwords) -> None:
        """Make a cluster beside its place and move it there when it is whole."""
        password_file = staging / "password"
        write_private(password_file, passwords.superuser + "\n")
        hand_over(password_file, installation.run_as)
        made = staging / "cluster"
        since = self._folder.log_size()
        program = str(installation.programs / "initdb")
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", f"--lc-ctype={_CHARACTER_TYPE}"]
        command = [program, "-D", str(made), "-U", SUPERUSER_ROLE, f"--pwfile={password_file}", *options]
        initdb = self._spawn(installation, command, signal.SIGKILL)
        try:
            failed = initdb.wait(_START_SECONDS) != 0
        finally:
            initdb.kill()
            initdb.wait()
        if failed:
            raise self._failure("PostgreSQL could not make a database", passwords, since)
        self._folder.install_cluster(made)

    def _end_left_over(self) -> None:
        folder = self._folder
        if not end_left_over(folder.cluster):
            sentence = f"The data folder {folder.path} is in use by a PostgreSQL server that does not stop."
            raise EmbeddedUnavailable("data_dir_in_use", sentence)

    def _run_server(self, installation: Installation, socket_folder: Path, passwords: Passwords) -> None:
        settings = {**self._settings, "unix_socket_directories": str(socket_folder)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(installation.programs / "postgres"), "-D", str(self._folder.cluster), *options]
        give_up = time.monotonic() + _RETRY_SECONDS
        while True:
            since = self._folder.log_size()
            # SIGINT is PostgreSQL's fast shutdown: what remains of our death is a clean cluster.
            self._server = self._spawn(installation, command, signal.SIGINT)
            if self._wait_until_ready(self._server):
                return
            failure = self._failure("PostgreSQL did not start", passwords, since)
            # Sessions of a killed server may live for a moment longer than it.
            if "shared memory block" not in str(failure) or time.monotonic() > give_up:
                raise failure
            time.sleep(0.2)

    def _wait_until_ready(self, server: subprocess.Popen[bytes]) -> bool:
        give_up = time.monotonic() + _START_SECONDS
        while server.poll() is None and time.monotonic() < give_up:
            status = read_status(self._folder.cluster)
            if status is not None and status.pid == server.pid and status.ready:
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def _ensure_roles(self, passwords: Passwords, socket_folder: Path) -> None:
        since = self._folder.log_size()
        try:
            ensure_roles_and_database(passwords, socket_folder)
        except asyncpg.InvalidPasswordError:
            sentence = f"secrets.json in {self._folder.path} does not fit the database beside it: restore that file."
            raise EmbeddedUnavailable("secrets_unusable", sentence) from None
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            raise self._failure("PostgreSQL could not make roles and database", passwords, since) from None

    def _spawn(self, installation: Installation, command: Sequence[str], death: signal.Signals) -> subprocess.Popen[bytes]:
        log = self._folder.open_log()
        try:
            return spawn(command, installation.run_as, log, death)
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedUnavailable("start_failed", f"PostgreSQL could not be started: {error}.") from None
        finally:
            os.close(log)

    def _failure(self, what: str, passwords: Passwords, since: int) -> EmbeddedUnavailable:
        free = self._folder.free_bytes()
        space = f" (only {free // 1024**2} MB are free there)" if free < _LITTLE_SPACE else ""
        tail = self._folder.log_tail(passwords, since)
        return EmbeddedUnavailable("start_failed", f"{what} in {self._folder.path}{space}; pg.log ends with: {tail}")


def running_urls(data_dir: Path) -> EmbeddedUrls | None:
    """URLs of the server that runs on this folder now, or None. For a CLI beside a running demo; changes nothing."""
    folder = DataFolder(data_dir)
    try:
        status = read_status(folder.cluster)
        if status is None or not status.ready or not is_server(status.pid, folder.cluster):
            return None
        return urls_for(folder.load_passwords(), status.socket_folder, status.port)
    except (OSError, EmbeddedUnavailable):
        return None
