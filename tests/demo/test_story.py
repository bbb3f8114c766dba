"""The whole story once, as `make demo ONCE=1` plays it; then what its folder serves with `--keep`."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.stagehand import CORP, Demo, demo, environment, free_port, tagwarden

ONCE_SECONDS = 300.0
CHAPTERS = 13
STEPS = 60
CURTAIN = "Ctrl-C stops everything."
KEEPSAKE = "客户价值/高净值"


@dataclass(frozen=True)
class Played:
    """A story that was told to its end."""

    data: Path
    said: str
    exit_code: int


@pytest.fixture(scope="module")
def stall() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="tw-demo-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def played(stall: Path) -> Played:
    (stall / "data").mkdir(mode=0o755)  # open to others, as a folder somebody made himself
    with demo(stall / "data", "--once") as running:
        code = running.exit_code(ONCE_SECONDS)
        assert running.still_alive() == []
        return Played(running.data, running.said, code)


@pytest.fixture(scope="module")
def served(stall: Path, played: Played) -> Iterator[Demo]:
    """That folder, served again."""
    with demo(shutil.copytree(played.data, stall / "served", symlinks=True), "--keep") as running:
        running.wait_for(CURTAIN)
        yield running
        running.send(signal.SIGTERM)
        assert running.exit_code() == 0
        assert running.still_alive() == []
        assert "Traceback" not in running.said


@pytest.fixture
def copy(folder: Path, played: Played) -> Path:
    return Path(shutil.copytree(played.data, folder / "data", symlinks=True))


def get(url: str, token: str = "") -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def tokens(said: str) -> dict[str, str]:
    """Ready-made tokens by userid, as printed."""
    return dict(re.findall(r"^  ([a-z.]+) \S+ \([\w, -]*\)\n    (\S+)$", said, re.MULTILINE))


def whose_keepsake(said: str) -> str:
    found = re.search(r"li\.na asks for 客户价值 = 高净值 on (wm\d+)", said)
    assert found
    return found.group(1)


# -- the story --


def test_the_story_comes_out_as_expected(played: Played) -> None:
    assert played.exit_code == 0, played.said
    steps = re.findall(r"^  (ok|NO) (\d+)\.(\d+) ", played.said, re.MULTILINE)
    assert {verdict for verdict, _, _ in steps} == {"ok"}
    assert {int(chapter) for _, chapter, _ in steps} == set(range(1, CHAPTERS + 1))
    assert len(steps) >= STEPS
    assert "Traceback" not in played.said


def test_no_secret_is_told_or_left_open(played: Played) -> None:
    secrets = [*json.loads((played.data / "keys.json").read_text()).values()]
    secrets += json.loads((played.data / "secrets.json").read_text()).values()
    with sqlite3.connect(played.data / "wecom.sqlite") as state:
        secrets += [secret for (secret,) in state.execute("select secret from apps")]
    state.close()
    assert len(secrets) == 7
    log = (played.data / "pg.log").read_text()
    assert [secret for secret in secrets if secret in played.said or secret in log] == []
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in played.data.iterdir() if path.name != "demo.json"}
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


# -- the folder again --


def test_the_address_serves_the_documentation_without_other_hosts(served: Demo) -> None:
    base = f"http://127.0.0.1:{served.port}"
    status, page = get(f"{base}/schema")
    assert (status, b"/v1/customers/" in page) == (200, True)
    assert re.findall(rb"(?:src|href|url\()\s*=?\s*['\"]?(?:https?:)?//", page) == []
    assert b"<script" not in page
    status, document = get(f"{base}/schema/openapi.json")
    assert (status, json.loads(document)["info"]["title"]) == (200, "Tagwarden")


def test_everybody_has_a_token_that_works(served: Demo) -> None:
    found = tokens(served.said)
    assert len(found) == 13
    for userid, token in found.items():
        status, me = get(f"http://127.0.0.1:{served.port}/v1/me/", token)
        assert (status, userid in me.decode()) == (200, True)


def test_the_same_data_is_served_and_wecom_remembers_too(served: Demo, played: Played) -> None:
    customer = whose_keepsake(played.said)
    _, answer = get(f"http://127.0.0.1:{served.port}/v1/customers/{customer}/tags", tokens(served.said)["li.na"])
    carried = {f"{tag['group_name']}/{tag['tag']}" for follow in json.loads(answer)["follows"] for tag in follow["tags"]}
    assert KEEPSAKE in carried
    assert KEEPSAKE in wecom(served, f"/follows/li.na/{customer}")["tags"]


def wecom(running: Demo, path: str) -> Any:
    port = json.loads((running.data / "demo.json").read_text())["simulator_port"]
    return json.loads(get(f"http://127.0.0.1:{port}/control/corps/{CORP}{path}")[1])


def test_the_command_line_works_beside_it(served: Demo) -> None:
    data = ("--data", str(served.data))
    issued = tagwarden("token", "issue", "--corp", CORP, "--user", "li.na", *data)
    assert issued.returncode == 0, issued.stderr
    token = issued.stdout.strip()
    assert get(f"http://127.0.0.1:{served.port}/v1/me/", token)[0] == 200
    verified = tagwarden("audit", "verify", *data)
    assert (verified.returncode, CORP in verified.stdout) == (0, True), verified.stderr
    refused = tagwarden("sync", "status", *data, TAGWARDEN_TOKEN=token)
    assert refused.returncode == 1, "what waits for all of WeCom is for who may read it over HTTP"
    token = tagwarden("token", "issue", "--corp", CORP, "--user", "admin", *data).stdout.strip()
    status = tagwarden("sync", "status", "--json", *data, TAGWARDEN_TOKEN=token)
    assert (status.returncode, json.loads(status.stdout)["waiting"]) == (0, 0), status.stderr


def test_a_second_keeper_is_refused_and_the_first_serves_on(served: Demo) -> None:
    for words in (("--keep",), ()):
        second = tagwarden("demo", "--data", str(served.data), "--port", str(free_port()), *words)
        assert (second.returncode, second.stdout) == (1, "")
        assert "in use" in second.stderr
    assert get(f"http://127.0.0.1:{served.port}/health/ready")[0] == 200


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_keeper_leaves_nothing_and_its_folder_can_be_kept_again(copy: Path, played: Played) -> None:
    with demo(copy, "--keep", PYTHONIOENCODING="ascii") as killed:  # names are lost there, the demo is not
        killed.wait_for(CURTAIN)
        killed.send(signal.SIGKILL)
        killed.exit_code()
        assert killed.still_alive() == []
    with demo(copy, "--keep") as again:
        again.wait_for(CURTAIN)
        assert KEEPSAKE in wecom(again, f"/follows/li.na/{whose_keepsake(played.said)}")["tags"]
        again.send(signal.SIGINT, to_group=True)
        assert again.exit_code() == 0
        assert again.still_alive() == []
        assert "Traceback" not in again.said


def test_a_reader_that_goes_away_ends_it_in_order(copy: Path) -> None:
    command = [sys.executable, "-m", "tagwarden", "demo", "--keep", "--data", str(copy), "--port", str(free_port())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        complaint = process.stderr.read().decode()
    assert process.wait(30) == 1
    assert "Traceback" not in complaint


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_without_any_output_it_serves_all_the_same(copy: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "tagwarden", "demo", "--keep", "--data", str(copy), "--port", str(port)]
    process = subprocess.Popen(["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], env=environment())
    until = time.monotonic() + 90
    while not answers(f"http://127.0.0.1:{port}/health/ready"):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    process.terminate()
    assert process.wait(30) == 0


def answers(url: str) -> bool:
    try:
        return get(url)[0] == 200
    except OSError:
        return False


def test_a_damaged_folder_is_one_sentence(copy: Path) -> None:
    (copy / "keys.json").write_text('{"secret_key":')
    refused = tagwarden("demo", "--keep", "--data", str(copy), "--port", str(free_port()))
    assert refused.returncode == 1
    assert "settings_invalid" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
