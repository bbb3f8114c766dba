"""The demo's folder: whose it is, whether its demo is whole, and emptying it.

Only a folder that carries the demo's mark, and nothing but what the demo itself puts there, is ever emptied; the lock of
the embedded PostgreSQL is held meanwhile, so a running one is never touched.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path

from tagwarden.app.witness import HEADS
from tagwarden.kernel.embedded import EmbeddedUnavailable
from tagwarden.kernel.embedded.folder import DataFolder
from tagwarden.kernel.embedded.process import end_left_over
from tagwarden.kernel.errors import Conflict

MARK = "demo.json"
WECOM_STATE = "wecom.sqlite"
LOCK = "lock"
# What the embedded PostgreSQL, the keys and the simulator leave in a folder, half-written files of a killed demo included.
OURS = (
    f"{MARK}*",
    f"{WECOM_STATE}*",
    LOCK,
    "pg",
    "pg.tmp.*",
    "pg.log",
    "pg.log.1",
    "keys.json",
    "keys.part",
    HEADS,
    "secrets.json*",
    "socket*",
)
NEEDED = ("pg/PG_VERSION", "secrets.json", "keys.json", WECOM_STATE)


class FolderNotOurs(Conflict):
    code = "folder_not_ours"
    zh = "目录 {folder} 里有不属于演示的文件（{file}），未做任何更改，请用 --data 换一个空目录"
    en = "The folder {folder} holds files that are not the demo's ({file}); nothing was touched, choose an empty one with --data"


class FolderEmpty(Conflict):
    code = "folder_empty"
    zh = "目录 {folder} 里没有可以继续的演示，请先不带 --keep 运行"
    en = "The folder {folder} holds no complete demo to keep; run without --keep first"


class FolderOutdated(Conflict):
    code = "folder_outdated"
    zh = "目录 {folder} 里的演示与此版本不符或已损坏（{why}），请不带 --keep 重新开始"
    en = "The demo in {folder} does not fit this version or is damaged ({why}); run without --keep to begin anew"


class FolderUnusable(Conflict):
    code = "folder_unusable"
    zh = "目录 {folder} 无法使用（{why}），请用 --data 换一个"
    en = "The folder {folder} cannot be used ({why}); choose another with --data"


@dataclass(frozen=True, slots=True)
class Mark:
    """What the demo writes into its folder: whose it is, where its simulator listens, and whether it is complete."""

    simulator_port: int
    complete: bool

    @classmethod
    def read(cls, data_dir: Path) -> Mark | None:
        """The mark of a folder, if it carries one; somebody else's file of that name is none."""
        try:
            found = json.loads((data_dir / MARK).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        match found:
            case {"simulator_port": int(port), "complete": bool(complete), **rest} if not rest:
                return cls(port, complete)
        return None

    def write(self, data_dir: Path) -> None:
        """Writes the mark whole."""
        partial = data_dir / f"{MARK}.part"
        partial.write_text(json.dumps(asdict(self)), encoding="utf-8")
        partial.replace(data_dir / MARK)


def resolved(data_dir: Path) -> Path:
    """The folder's real path; FolderUnusable where there can be none."""
    try:
        found = data_dir.resolve()
        found.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise FolderUnusable(folder=data_dir, why=_why(error)) from None
    return found


def require_whole(data_dir: Path) -> None:
    """For `--keep`: raises FolderEmpty unless an earlier demo was set up to its end there."""
    mark = Mark.read(data_dir)
    if mark is None or not mark.complete or not all((data_dir / name).exists() for name in NEEDED):
        raise FolderEmpty(folder=data_dir)


def take(data_dir: Path) -> None:
    """Leaves the folder marked as the demo's, not complete, and otherwise empty.

    Raises FolderNotOurs, FolderUnusable, or EmbeddedUnavailable (`data_dir_in_use`) while another process runs there.
    """
    try:
        _require_ours(data_dir)
        folder = DataFolder(data_dir)
        lock = folder.lock()
        try:
            # First, so that a demo killed at any moment from here on leaves a folder the next one knows to be its own.
            Mark(0, complete=False).write(data_dir)
            if not end_left_over(folder.cluster):
                raise EmbeddedUnavailable("data_dir_in_use", f"A PostgreSQL server on {data_dir} does not stop.")
            folder.forget_socket_folder()
            _empty(data_dir)
        finally:
            os.close(lock)
    except OSError as error:
        raise FolderUnusable(folder=data_dir, why=_why(error)) from None


def _require_ours(data_dir: Path) -> None:
    if not data_dir.exists():
        return
    names = sorted(entry.name for entry in data_dir.iterdir())
    foreign = [name for name in names if not any(fnmatch(name, pattern) for pattern in OURS)]
    # Before the mark a demo makes its lock only, which holds nothing.
    unmarked = Mark.read(data_dir) is None and not {*names} <= {LOCK, f"{MARK}.part"}
    if foreign or unmarked:
        raise FolderNotOurs(folder=data_dir, file=(foreign or names)[0])


def _empty(data_dir: Path) -> None:
    for entry in data_dir.iterdir():
        if entry.name in (MARK, LOCK):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
