"""Sets the stage for the story: database, simulated WeCom, corp, import, policy, service and worker; clears it again.

It is an island: whatever real installation the environment names, the demo neither reads nor writes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import aiohttp
import asyncpg
from rich.console import Console
from rich.markup import escape

from tagwarden.app import runtime, server
from tagwarden.app.asgi import create_app, require_serviceable, sealer_of, verifier_of
from tagwarden.app.demo import children, folder, sample
from tagwarden.app.demo.folder import Mark
from tagwarden.app.demo.people import People, Wecom, callback_keys
from tagwarden.app.demo.story import StoryFailed, tell
from tagwarden.corps import credentials
from tagwarden.corps.credentials import CredentialMissing
from tagwarden.kernel import db, resources, settings
from tagwarden.kernel import logging as logs
from tagwarden.kernel.embedded import EmbeddedPostgres, EmbeddedUrls
from tagwarden.kernel.sealing import SealBroken
from tagwarden.kernel.settings import LOCAL_ISSUER, Settings

TOKEN_SECONDS = 12 * 3600
ONCE_SECONDS = 290.0  # with `--once` all is over within five minutes, one way or the other
INTERRUPTED = 128 + signal.SIGINT
console = Console(highlight=False, soft_wrap=True, emoji=False)


class Interrupted(Exception):
    """Somebody asked for the end before the story had its own."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the demo: where it listens, where its WeCom does, what was asked for, and when it began."""

    listener: socket.socket
    port: int
    sim_port: int
    once: bool
    keep: bool
    started: float

    def elapsed(self) -> str:
        """For a line."""
        return f"{time.monotonic() - self.started:.1f} s"


def play(port: int, data_dir: Path, *, once: bool, keep: bool) -> None:
    """Runs the demo; exits 1 at the first step of the story that is not as expected, 130 when stopped before its end."""
    started = time.monotonic()
    _prepare_process()
    try:
        told = _play(port, folder.resolved(data_dir), once=once, keep=keep, started=started)
    except (KeyboardInterrupt, Interrupted):
        console.print("\nStopped.")
        sys.exit(INTERRUPTED)
    finally:
        console.show_cursor(True)
    if not told:
        sys.exit(1)


def _play(port: int, data_dir: Path, *, once: bool, keep: bool, started: float) -> bool:
    with contextlib.closing(server.bind("127.0.0.1", port)) as listener:
        folder.require_whole(data_dir) if keep else folder.take(data_dir)
        postgres = EmbeddedPostgres(data_dir)
        try:
            urls = postgres.start()
            console.print(f"PostgreSQL is up in {escape(str(data_dir))} ({time.monotonic() - started:.1f} s)")
            found = _unlocked(data_dir, urls, keep=keep)
            with children.simulator(data_dir) as sim_port:
                Mark(sim_port, complete=keep).write(data_dir)
                found = found.model_copy(update={"wecom_api_base": f"http://127.0.0.1:{sim_port}"})
                return asyncio.run(_on_stage(found, Run(listener, port, sim_port, once, keep, started)))
        finally:
            postgres.stop()


def _unlocked(data_dir: Path, urls: EmbeddedUrls, *, keep: bool) -> Settings:
    """Settings with the folder's keys, its database up to date; FolderOutdated where a kept one cannot be."""
    try:
        found = runtime.with_embedded(settings.load(data_dir=data_dir), urls)
        asyncio.run(runtime.upgrade(found))
    except (asyncpg.PostgresError, ValueError, LookupError) as error:
        if not keep:
            raise
        raise folder.FolderOutdated(folder=data_dir, why=type(error).__name__) from None
    return found


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    """Does what Ctrl-C does at this moment.

    While a loop runs, asyncio cancels its task instead of raising: an exception raised inside a driver's C code is lost.
    """
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(number, frame)


def _prepare_process() -> None:
    """SIGTERM is Ctrl-C, a narrow terminal encoding loses characters instead of the demo, and no setting leaks in."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # begun in the background it would be ignored, SIGTERM with it
    signal.signal(signal.SIGTERM, _as_ctrl_c)
    for number in range(3):  # children cannot work with a standard stream that is closed
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number: this one
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    for name in [name for name in os.environ if name.upper().startswith("TAGWARDEN_")]:
        del os.environ[name]
    logs.configure("error", "console")


async def _on_stage(found: Settings, run: Run) -> bool:
    stop = asyncio.Event()
    server.stop_on_signals(stop)
    company = sample.load()
    tokens = _tokens(found, company)
    until = run.started + ONCE_SECONDS if run.once else None
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        wecom = Wecom(session, found.wecom_api_base, company.corp_id, None if run.keep else callback_keys())
        if not run.keep:
            if not await _as_expected(_set_up(found, company, tokens, wecom), stop, until):
                return False
            Mark(run.sim_port, complete=True).write(found.data_dir)
        async with _service(found, run.listener):
            console.print(f"Service and worker are up ({run.elapsed()})\n")
            await _let_wecom_call_back(found, wecom, run)
            people = People(session, [f"http://127.0.0.1:{run.port}"], tokens)
            told = run.keep or await _as_expected(tell(people, wecom, company, found.data_dir, console), stop, until)
            if not run.once:
                _curtain(run, tokens, company)
                await stop.wait()
                console.print("\nStopping.")
            return told


async def _as_expected(work: Coroutine[Any, Any, None], stop: asyncio.Event, until: float | None) -> bool:
    """Does some work to its end and says whether it came out as expected; raises Interrupted when stopped before."""
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    seconds = max(0.0, until - time.monotonic()) if until is not None else None
    try:
        await asyncio.wait((task, stopping), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            raise Interrupted
        if not task.done():
            raise StoryFailed(f"the story has not ended after {ONCE_SECONDS:.0f} s")
        task.result()
    except StoryFailed as failed:
        console.print(f"\n[red]Not as expected:[/red] {escape(str(failed))}")
        return False
    except aiohttp.ClientError as error:
        console.print(f"\n[red]Not as expected:[/red] the simulated WeCom or the service is gone ({type(error).__name__})")
        return False
    finally:
        task.cancel()
        stopping.cancel()
        await asyncio.gather(task, stopping, return_exceptions=True)
    return True


async def _let_wecom_call_back(found: Settings, wecom: Wecom, run: Run) -> None:
    """A kept folder may be served at another address: WeCom is told of this one. In a new one the story does it."""
    if not run.keep:
        return
    with contextlib.suppress(CredentialMissing, SealBroken, aiohttp.ClientError):
        credential = await credentials.load(sealer_of(found), wecom.corp_id, credentials.CUSTOMER_APP)
        if credential.token and credential.aes_key:
            wecom.keys = (credential.token, credential.aes_key)
            await wecom.call_back(f"http://127.0.0.1:{run.port}")


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


async def _set_up(found: Settings, company: sample.Sample, tokens: dict[str, str], wecom: Wecom) -> None:
    """Loads WeCom, then does what an operator and an admin do, with the public command line."""
    app_secret, contacts_secret = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    setup = company.corp_setup(app_secret, contacts_secret)
    await wecom.load(found.wecom_api_base, setup)
    console.print(f"WeCom (simulated) holds {len(setup['employees'])} employees and {len(setup['follows'])} follows")
    token, aes_key = wecom.keys or ("", "")
    app = {"app": "crm", "agent_id": 1000002, "secret": app_secret, "token": token, "aes_key": aes_key}
    named = ["--corp", company.corp_id, "--name", company.company["name"], "--admin", "admin"]
    await _command(found, ["corp", "add", *named, "--may-sign", "--credentials", "-"], stdin=json.dumps([app]))
    admin = {"TAGWARDEN_TOKEN": tokens["admin"]}
    await _command(found, ["import"], env=admin)
    await _command(found, ["policy", "apply", str(resources.folder("policies") / "demo"), "--note", "demo"], env=admin)
    await _command(found, ["corp", "activate"], env=admin)


async def _command(found: Settings, words: list[str], *, stdin: str = "", env: dict[str, str] | None = None) -> None:
    console.print(f"[dim]$ tagwarden {escape(' '.join(words))}[/dim]")
    environment = {"TAGWARDEN_WECOM_API_BASE": found.wecom_api_base, **(env or {})}
    code, _ = await children.command(words, found.data_dir, stdin=stdin, env=environment)
    if code:
        raise children.CommandFailed(command=words[0], exit=code)


def _tokens(found: Settings, company: sample.Sample) -> dict[str, str]:
    verifier = verifier_of(found)
    people = [one["userid"] for one in company.company["employees"]]
    return {userid: verifier.issue(LOCAL_ISSUER, company.corp_id, userid, seconds=TOKEN_SECONDS) for userid in people}


def _curtain(run: Run, tokens: dict[str, str], company: sample.Sample) -> None:
    names: dict[str, Any] = {one["userid"]: one for one in company.company["employees"]}
    console.print("\nReady-made tokens (12 hours):")
    for userid, token in tokens.items():
        console.print(f"  {userid} {names[userid]['name']} ({', '.join(names[userid]['roles'])})\n    {token}")
    console.print(f"\nAddress        http://127.0.0.1:{run.port}")
    console.print(f"OpenAPI page   http://127.0.0.1:{run.port}/schema")
    console.print(f"Simulated WeCom http://127.0.0.1:{run.sim_port}")
    console.print("Ctrl-C stops everything.")
