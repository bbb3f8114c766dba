"""Sets the stage for the story: database, simulated WeCom, corp, import, policy, service and worker; clears it again.

Everything is a child that ends with us, however we end: PostgreSQL by its launcher, the simulator by the pipe it holds.
A folder is only ever cleared when it carries the demo's own mark.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import click
from rich.console import Console

from tagwarden.app import runtime, server
from tagwarden.app.asgi import create_app, require_serviceable, verifier_of
from tagwarden.app.demo import sample
from tagwarden.app.demo.people import People, Wecom
from tagwarden.app.demo.story import StoryFailed, tell
from tagwarden.kernel import db, settings
from tagwarden.kernel import logging as logs
from tagwarden.kernel.embedded import EmbeddedPostgres
from tagwarden.kernel.errors import Conflict
from tagwarden.kernel.resources import folder
from tagwarden.kernel.settings import LOCAL_ISSUER, Settings

MARK = "demo.json"
TOKEN_SECONDS = 12 * 3600
console = Console(highlight=False, soft_wrap=True)


class FolderNotOurs(Conflict):
    code = "folder_not_ours"
    zh = "目录 {folder} 里有不属于演示的文件，请用 --data 换一个空目录"
    en = "The folder {folder} holds files that are not the demo's; choose an empty one with --data"


class FolderEmpty(Conflict):
    code = "folder_empty"
    zh = "目录 {folder} 里没有可以继续的演示，请先不带 --keep 运行"
    en = "The folder {folder} holds no demo to keep; run without --keep first"


@dataclass(frozen=True, slots=True)
class Mark:
    """What the demo writes into its folder: whose it is, where its simulator listens, and whether it is complete."""

    simulator_port: int
    complete: bool

    @classmethod
    def read(cls, data_dir: Path) -> Mark | None:
        """The mark of a folder, if it carries one."""
        try:
            found = json.loads((data_dir / MARK).read_text(encoding="utf-8"))
            return cls(int(found["simulator_port"]), bool(found["complete"]))
        except (OSError, ValueError, KeyError):
            return None

    def write(self, data_dir: Path) -> None:
        """Writes the mark whole."""
        partial = data_dir / f"{MARK}.part"
        partial.write_text(json.dumps({"simulator_port": self.simulator_port, "complete": self.complete}), encoding="utf-8")
        partial.replace(data_dir / MARK)


def play(port: int, data_dir: Path, *, once: bool, keep: bool) -> None:
    """Runs the demo; exits 1 at the first step of the story that is not as expected."""
    data_dir = data_dir.resolve()
    listener = server.bind("127.0.0.1", port)
    logs.configure("error", "console")
    if keep and not ((mark := Mark.read(data_dir)) and mark.complete):
        raise FolderEmpty(folder=data_dir)
    postgres = EmbeddedPostgres(data_dir)
    started = time.monotonic()
    try:
        if not keep:
            _clear(data_dir, postgres)
        urls = postgres.start()
        found = runtime.with_embedded(settings.load(data_dir=data_dir), urls)
        console.print(f"PostgreSQL is up in {data_dir} ({time.monotonic() - started:.1f} s)")
        asyncio.run(runtime.upgrade(found))
        with _simulator(data_dir, keep) as sim_port:
            found = found.model_copy(update={"wecom_api_base": f"http://127.0.0.1:{sim_port}"})
            told = asyncio.run(_on_stage(found, listener, port, sim_port, once=once, keep=keep, started=started))
    finally:
        postgres.stop()
    if not told:
        sys.exit(1)


def _clear(data_dir: Path, postgres: EmbeddedPostgres) -> None:
    """Empties a folder of an earlier demo; refuses any other folder that holds something."""
    if not data_dir.exists() or not any(data_dir.iterdir()):
        return
    if Mark.read(data_dir) is None:
        raise FolderNotOurs(folder=data_dir)
    # Starting takes the folder's lock and ends what a killed demo left behind; only then may anything be removed.
    postgres.start()
    postgres.stop()
    for entry in data_dir.iterdir():
        if entry.name == MARK:
            continue
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink(missing_ok=True)


@contextlib.contextmanager
def _simulator(data_dir: Path, keep: bool) -> Iterator[int]:
    """The simulated WeCom as a process of its own, on a free port; its state is a file in the folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    Mark(port, complete=keep).write(data_dir)
    command = [sys.executable, "-m", "tagwarden", "simulator", "--port", str(port), "--state", str(data_dir / "wecom.sqlite")]
    child = subprocess.Popen([*command, "--while-stdin-open"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        _wait_for_port(port, child)
        yield port
    finally:
        if child.stdin:
            child.stdin.close()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait_for_port(port: int, child: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if child.poll() is not None:
            raise RuntimeError("the simulator ended before it listened")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the simulator did not listen within 30 s")


async def _on_stage(
    found: Settings, listener: socket.socket, port: int, sim_port: int, *, once: bool, keep: bool, started: float
) -> bool:
    stop = asyncio.Event()
    server.stop_on_signals(stop)
    company = sample.load()
    tokens = _tokens(found, company)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        wecom = Wecom(session, f"http://127.0.0.1:{sim_port}", company.corp_id)
        if not keep:
            await _set_up(found, company, tokens, wecom, f"http://127.0.0.1:{sim_port}")
            Mark(sim_port, complete=True).write(found.data_dir)
        async with _service(found, listener):
            console.print(f"Service and worker are up ({time.monotonic() - started:.1f} s)\n")
            told = keep or await _tell(People(session, f"http://127.0.0.1:{port}", tokens), wecom, company, found, stop)
            if once or stop.is_set():
                return told
            _curtain(port, sim_port, tokens, company)
            await stop.wait()
            console.print("\nStopping.")
            return told


async def _tell(people: People, wecom: Wecom, company: sample.Sample, found: Settings, stop: asyncio.Event) -> bool:
    """Tells the story until it ends or somebody presses Ctrl-C."""
    story = asyncio.create_task(tell(people, wecom, company, found.data_dir, console))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({story, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not story.done():
        story.cancel()
        await asyncio.gather(story, return_exceptions=True)
        return False
    stopping.cancel()
    try:
        story.result()
    except StoryFailed as failed:
        console.print(f"\n[red]Not as expected:[/red] {failed}")
        return False
    return True


@contextlib.asynccontextmanager
async def _service(found: Settings, listener: socket.socket) -> AsyncIterator[None]:
    url = found.database_url.get_secret_value() if found.database_url else ""
    await db.DB.open(url, size=found.database_connections)
    try:
        await require_serviceable()
        async with (
            server.working(found, asyncio.Event()),
            server.listening(create_app(found, opens_database=False), listener),
        ):
            yield
    finally:
        await db.DB.close()


async def _set_up(found: Settings, company: sample.Sample, tokens: dict[str, str], wecom: Wecom, control: str) -> None:
    """Loads WeCom, then does what an operator and an admin do, with the public command line."""
    app_secret, contacts_secret = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    setup = company.corp_setup(app_secret, contacts_secret)
    await wecom.load(control, setup)
    console.print(f"WeCom (simulated) holds {len(setup['employees'])} employees and {len(setup['follows'])} follows")
    credentials = [{"app": "crm", "agent_id": 1000002, "secret": app_secret}]
    add = [
        "corp",
        "add",
        "--corp",
        company.corp_id,
        "--name",
        company.company["name"],
        "--admin",
        "admin",
        "--may-sign",
        "--credentials",
        "-",
    ]
    await _command(found, add, stdin=json.dumps(credentials))
    admin = {"TAGWARDEN_TOKEN": tokens["admin"]}
    await _command(found, ["import"], env=admin)
    await _command(found, ["policy", "apply", str(folder("policies") / "demo"), "--note", "demo"], env=admin)
    await _command(found, ["corp", "activate"], env=admin)


async def _command(found: Settings, words: list[str], *, stdin: str = "", env: dict[str, str] | None = None) -> None:
    """Runs one public command as a process of its own, as an operator would."""
    console.print(f"[dim]$ tagwarden {' '.join(words)}[/dim]")
    environment = {**os.environ, "TAGWARDEN_WECOM_API_BASE": found.wecom_api_base, **(env or {})}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tagwarden", *words, "--data", str(found.data_dir), stdin=subprocess.PIPE, env=environment
    )
    await process.communicate(stdin.encode())
    if process.returncode:
        raise click.ClickException(f"`tagwarden {words[0]}` ended with {process.returncode}")


def _tokens(found: Settings, company: sample.Sample) -> dict[str, str]:
    verifier = verifier_of(found)
    people = [one["userid"] for one in company.company["employees"]]
    return {userid: verifier.issue(LOCAL_ISSUER, company.corp_id, userid, seconds=TOKEN_SECONDS) for userid in people}


def _curtain(port: int, sim_port: int, tokens: dict[str, str], company: sample.Sample) -> None:
    names: dict[str, Any] = {one["userid"]: one for one in company.company["employees"]}
    console.print("\nReady-made tokens (12 hours):")
    for userid, token in tokens.items():
        console.print(f"  {userid} {names[userid]['name']} ({', '.join(names[userid]['roles'])})\n    {token}", soft_wrap=True)
    console.print(f"\nAddress        http://127.0.0.1:{port}")
    console.print(f"OpenAPI page   http://127.0.0.1:{port}/schema")
    console.print(f"Simulated WeCom http://127.0.0.1:{sim_port}")
    console.print("Ctrl-C stops everything.")
