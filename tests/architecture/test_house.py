"""The plan of the house, held against the house: layers, libraries, file sizes, and nothing of anybody's machine in it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "backend" / "tagwarden"
LONGEST_FILE = 400

# Files that may be longer, each with its reason. There should be none; a reason is not "it grew".
LONGER = {
    "tests/kernel/test_embedded.py": "one server's life from first start to kill -9, told in one place",
    "tests/scenarios/test_visibility.py": "one company looked at by everybody in it: what each sees, list by list",
}

# Where a library may be imported. Everybody else speaks to the room that owns it.
HOME_OF = {
    "casbin": ("policy/enforcer.py",),
    "jwt": ("identity/tokens.py",),
    "wechatpy": ("wecom/",),
    "aiohttp": ("wecom/", "identity/keysets.py", "simulator/callbacks.py", "app/demo/", "app/witness.py"),
    "sqlite3": ("simulator/",),
    "redis": ("kernel/redis.py",),
    "requests": (),
    "httpx": (),
    "urllib3": (),
}

WAITS = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
CLOCKS = ("now", "utcnow", "today", "monotonic", "time_ns", "perf_counter")


def test_import_linter_keeps_every_contract() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    told = subprocess.run([program, "--no-cache"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", told.stdout), told.stdout


def test_every_library_stays_in_its_room() -> None:
    strayed = [
        f"{_shown(path)} imports {library}"
        for path in _python(PACKAGE)
        for library in _imported(path) & HOME_OF.keys()
        if not path.relative_to(PACKAGE).as_posix().startswith(HOME_OF[library])
    ]
    assert not strayed


def test_pure_files_neither_wait_nor_read_a_clock() -> None:
    impure = [
        f"{_shown(path)}:{node.lineno}"
        for path in _python(PACKAGE)
        if path.name == "model.py"
        for node in ast.walk(_tree(path))
        if isinstance(node, WAITS) or (isinstance(node, ast.Call) and _last_name(node.func) in CLOCKS)
    ]
    assert not impure


def test_every_module_says_why_it_exists() -> None:
    silent = [_shown(path) for path in _python(PACKAGE) if not ast.get_docstring(_tree(path))]
    assert not silent


def test_no_file_grows_beyond_reading() -> None:
    lengths = {_shown(path): _lines(path) for folder in ("backend", "tests") for path in _python(ROOT / folder)}
    too_long = {name for name, lines in lengths.items() if lines > LONGEST_FILE}
    assert too_long - LONGER.keys() == set()
    assert LONGER.keys() - too_long == set(), "these need no exception any more"


def test_nothing_of_a_machine_or_a_registry_stands_in_the_repository() -> None:
    found = [
        f"{name}:{number}: {line.strip()[:80]}"
        for name in _kept_files()
        for number, line in enumerate(_text(ROOT / name).splitlines(), 1)
        if FOREIGN.search(line)
    ]
    assert not found


@pytest.mark.parametrize(
    ("line", "foreign"),
    [
        ("--index" + "-url x", True),
        ("see py" + "pi.org for it", True),
        ('DATA = "/ro' + 'ot/data"', True),
        ("cd /wo" + "rk/main", True),
        ("/ho" + "me/ann/tagwarden", True),
        ("/Us" + "ers/ann/tagwarden", True),
        ("/tm" + "p/x1", True),
        ("POST /v1/work/x", False),
        ("tests/tmp/x", False),
        ("tmp_path / 'x'", False),
        ("at the root/leaf", False),
    ],
)
def test_what_counts_as_foreign(line: str, foreign: bool) -> None:
    assert bool(FOREIGN.search(line)) is foreign


# Written in pieces, so that this file passes its own test. A path counts where it begins, not inside another one.
FOREIGN = re.compile(
    "|".join(
        (
            r"(?<![\w.~/}>$-])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me|Us" + r"ers|tm" + r"p|op" + r"t)/\w\w",
            r"\bpy" + r"pi\b",
            r"python" + r"hosted",
            r"(?:extra-)?index" + r"-url(?!\w)",
            r"\b(?:npm" + r"js|mirrors?\.(?:aliyun|tuna|ustc))\b",
        )
    )
)


def _kept_files() -> list[str]:
    """What git keeps or would keep; a data folder or a note beside it is nobody's business."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _lines(path: Path) -> int:
    return len(_text(path).splitlines())


def _python(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*.py")) if "__pycache__" not in path.parts)


def _tree(path: Path) -> ast.Module:
    return ast.parse(_text(path), str(path))


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _imported(path: Path) -> set[str]:
    """Top-level names of imported packages, also those imported by a name in a string."""
    found: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            found |= {str(one.value).partition(".")[0] for one in node.args if isinstance(one, ast.Constant)}
    return found


def _last_name(called: ast.expr) -> str:
    return ast.unparse(called).rpartition(".")[2]
