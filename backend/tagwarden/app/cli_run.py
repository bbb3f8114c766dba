"""Commands that run something until it is stopped: service, worker, simulator, demo."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import click

from tagwarden.app import demo, runtime, server
from tagwarden.app.cli import DATA_DIR, cli, configure_logs, embedded, run
from tagwarden.app.demo.folder import Mark
from tagwarden.kernel import settings
from tagwarden.kernel.errors import Conflict
from tagwarden.kernel.settings import Settings
from tagwarden.simulator import server as simulator


class DemoFolder(Conflict):
    code = "demo_folder"
    zh = "目录 {folder} 属于演示，下次演示会清空它；请用 --data 换一个目录，或运行 tagwarden demo --keep"
    en = "The folder {folder} is a demo's, which the next demo empties; use another --data, or `tagwarden demo --keep`"


@cli.command("serve")
@click.option("--host", default=None)
@click.option("--port", type=click.IntRange(1, 65535), default=None)
@DATA_DIR
def serve(host: str | None, port: int | None, data_dir: Path | None) -> None:
    """Serves HTTP. Without TAGWARDEN_DATABASE_URL an embedded PostgreSQL is started, migrated, and a worker runs beside it."""
    wanted = settings.load(data_dir=data_dir)
    if wanted.embedded and Mark.read(wanted.data_dir):
        raise DemoFolder(folder=wanted.data_dir)
    found, postgres = embedded(data_dir)
    try:
        configure_logs(found)
        listener = server.bind(host or found.host, port or found.port)
        if postgres is not None:
            run(runtime.upgrade(found))
        run(server.serve(found, listener, with_worker=postgres is not None))
    finally:
        if postgres is not None:
            postgres.stop()


@cli.command("worker")
@DATA_DIR
def worker(data_dir: Path | None) -> None:
    """Sends changes to WeCom and runs imports; any number may run."""
    found: Settings = runtime.resolve(data_dir)
    configure_logs(found)
    run(server.work(found))


@cli.command("simulator")
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback only: the control API is open.")
@click.option("--port", type=click.IntRange(1, 65535), default=8100, show_default=True)
@click.option(
    "--state", type=click.Path(path_type=Path), default=None, help="SQLite file that keeps its state; in memory without."
)
@click.option("--while-stdin-open", is_flag=True, help="End when standard input closes: a child that never outlives its parent.")
def simulate(host: str, port: int, state: Path | None, while_stdin_open: bool) -> None:
    """An HTTP server that behaves like WeCom, for demos and an embedding CRM's own tests."""
    if while_stdin_open:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    simulator.run(host, port, state)


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # its state is on disk after every call; there is nothing to finish


@cli.command("demo")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--data", "data_dir", type=click.Path(path_type=Path), default=Path(".tagwarden"), show_default=True)
@click.option("--once", is_flag=True, help="Play the story and exit: 0, or 1 at the first step not as expected.")
@click.option("--keep", is_flag=True, help="Serve an existing folder without a story.")
def play(port: int, data_dir: Path, once: bool, keep: bool) -> None:
    """A sales team tags its customers under governance; every accepted change arrives in a simulated WeCom."""
    if once and keep:
        raise click.UsageError("--once plays the story, --keep serves without one: choose one of them")
    demo.play(port, data_dir, once=once, keep=keep)
