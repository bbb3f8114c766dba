"""The data folder: what lies where, who may read it, who owns it now.

    pg/            the cluster, made elsewhere and renamed into place, so it is whole or absent
    pg.tmp.*/      a cluster in the making; left-overs are removed at the next start
    secrets.json   the three passwords (mode 0600)
    lock           held with flock by the process that runs the server
    pg.log         what the server says (mode 0600); pg.log.1 is the one before
    socket         names the private temporary folder of the socket, only when the path here is too long for one

It must not start or signal processes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote

from tagwarden.kernel.embedded.errors import EmbeddedUnavailable

DATABASE = "tagwarden"
SUPERUSER_ROLE = "tagwarden_launcher"
OWNER_ROLE = "tagwarden_owner"
APPLICATION_ROLE = "tagwarden_app"
PORT = 5432  # only a suffix of the socket's name: nothing listens on TCP, and every cluster has its own socket folder

_SOCKET_PATH_LIMIT = 100  # bytes; sun_path holds 108 on Linux and 104 on macOS, see unix(7)
_SOCKET_SAFE = re.compile(r"[\w/ .+~-]+")  # PostgreSQL and asyncpg split socket folders at commas
_SOCKET_FOLDER = "tagwarden-"
_LOG_LIMIT = 10 * 1024 * 1024
_TAIL_LINES = 8


@dataclass(frozen=True)
class EmbeddedUrls:
    """Connection URLs for asyncpg: `owner` migrates, `application` serves. They hold passwords: not shown in a repr."""

    owner: str = field(repr=False)
    application: str = field(repr=False)


@dataclass(frozen=True)
class Passwords:
    """One password per role, URL-safe text of 256 random bits."""

    superuser: str = field(repr=False)
    owner: str = field(repr=False)
    application: str = field(repr=False)


class DataFolder:
    """Paths and files of one data folder. Methods raise `OSError` when the folder cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self.cluster = self.path / "pg"
        self._secrets = self.path / "secrets.json"
        self._log = self.path / "pg.log"
        self._socket_note = self.path / "socket"

    def lock(self) -> int:
        """Make the folder ours; returns the descriptor to close when done.

        Raises `EmbeddedUnavailable` (`data_dir_in_use`) while another process holds it.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            sentence = f"The data folder {self.path} is in use by another running Tagwarden: stop it first."
            raise EmbeddedUnavailable("data_dir_in_use", sentence) from None
        return descriptor

    def fresh_staging(self) -> Path:
        """An empty private folder to make a cluster in; clusters that were never finished are removed."""
        for unfinished in self.path.glob("pg.tmp*"):
            shutil.rmtree(unfinished)
        return Path(tempfile.mkdtemp(prefix="pg.tmp.", dir=self.path))

    def remove_staging(self, staging: Path) -> None:
        """Remove what is left there, whoever owns it."""
        shutil.rmtree(staging, ignore_errors=True)

    def cluster_version(self) -> str | None:
        """Major version of the cluster ("18"), or None when there is none yet."""
        if not self.cluster.exists():
            return None
        try:
            return (self.cluster / "PG_VERSION").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            sentence = f"{self.cluster} exists but holds no PostgreSQL database: move it away or choose another folder."
            raise EmbeddedUnavailable("not_a_cluster", sentence) from None

    def install_cluster(self, made: Path) -> None:
        """Put a finished cluster into its place in one step that survives a power cut."""
        made.rename(self.cluster)
        sync_folder(self.path)

    def load_passwords(self) -> Passwords:
        """Read the passwords; raises `EmbeddedUnavailable` (`secrets_unusable`) when they are absent or damaged."""
        try:
            return Passwords(**json.loads(self._secrets.read_text(encoding="ascii")))
        except (FileNotFoundError, TypeError, ValueError):
            sentence = f"{self._secrets} is missing or damaged, so the database beside it cannot be opened: restore it."
            raise EmbeddedUnavailable("secrets_unusable", sentence) from None

    def ensure_passwords(self) -> Passwords:
        """Read the passwords, or make them when there is no cluster that needs the old ones."""
        if self._secrets.exists() or self.cluster.exists():
            passwords = self.load_passwords()
            self._secrets.chmod(0o600)
            return passwords
        made = Passwords(*(secrets.token_urlsafe(32) for _ in range(3)))
        write_private(self._secrets, json.dumps(asdict(made), indent=2) + "\n")
        return made

    def ensure_socket_folder(self) -> Path:
        """The cluster's own folder, or a short private temporary one when that path cannot name a socket."""
        if _can_hold_socket(self.cluster):
            return self.cluster
        self.forget_socket_folder()
        made = Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER))
        if not _can_hold_socket(made):
            made.rmdir()
            made = Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER, dir="/tmp"))  # TMPDIR itself is too long
        write_private(self._socket_note, f"{made}\n")
        return made

    def forget_socket_folder(self) -> None:
        """Remove the temporary socket folder, if one was made."""
        with contextlib.suppress(OSError):
            folder = Path(self._socket_note.read_text(encoding="utf-8").strip())
            if folder.name.startswith(_SOCKET_FOLDER):
                shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._socket_note.unlink()

    def rotate_log(self) -> None:
        """Set a large log aside; only the last one is kept."""
        if self.log_size() > _LOG_LIMIT:
            self._log.replace(self._log.with_name("pg.log.1"))

    def open_log(self) -> int:
        """Descriptor to append server messages to."""
        return os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def log_size(self) -> int:
        """Where the log ends now, in bytes."""
        return self._log.stat().st_size if self._log.exists() else 0

    def log_tail(self, passwords: Passwords, since: int = 0) -> str:
        """The last lines written after byte `since`, without passwords."""
        with self._log.open("rb") as log:
            log.seek(since)
            lines = log.read().decode("utf-8", "replace").splitlines()
        tail = " | ".join(lines[-_TAIL_LINES:])
        for password in asdict(passwords).values():
            tail = tail.replace(password, "***")
        return tail

    def free_bytes(self) -> int:
        """Space left on the folder's disk."""
        return shutil.disk_usage(self.path).free


def urls_for(passwords: Passwords, socket_folder: Path, port: int) -> EmbeddedUrls:
    """Connection URLs of both roles."""
    return EmbeddedUrls(
        owner=url_for(OWNER_ROLE, passwords.owner, socket_folder, port),
        application=url_for(APPLICATION_ROLE, passwords.application, socket_folder, port),
    )


def url_for(role: str, password: str, socket_folder: Path, port: int, database: str = DATABASE) -> str:
    """A libpq URL over a Unix socket (PostgreSQL manual, 32.1.1.2 Connection URIs)."""
    return f"postgresql://{role}:{quote(password)}@/{database}?host={quote(str(socket_folder))}&port={port}"


def write_private(path: Path, text: str) -> None:
    """Write a file only we may read, whole or not at all, even if the power fails."""
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make renames in this folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _can_hold_socket(folder: Path) -> bool:
    name = f"{folder}/.s.PGSQL.{PORT}.lock"
    return len(os.fsencode(name)) < _SOCKET_PATH_LIMIT and _SOCKET_SAFE.fullmatch(str(folder)) is not None
