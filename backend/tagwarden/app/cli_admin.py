"""Commands of admins: import. It carries a token and passes the same services as HTTP."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tagwarden.app import runtime
from tagwarden.app.asgi import sealer_of
from tagwarden.app.cli import DATA_DIR, TOKEN, cli, run
from tagwarden.kernel.errors import Conflict
from tagwarden.kernel.settings import Settings
from tagwarden.sync import repository as sync
from tagwarden.sync import service as sync_service
from tagwarden.sync.importer import Importer
from tagwarden.sync.model import RunKind
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.client import WecomClient

WORDS = {"org": "组织架构", "catalog": "标签库", "customers": "客户与标签"}


class RunFailed(Conflict):
    code = "sync_run_failed"
    zh = "导入失败：{why}"
    en = "The import failed: {why}"


@cli.command("import")
@click.argument("kinds", nargs=-1, type=click.Choice(["org", "catalog", "customers"]))
@TOKEN
@DATA_DIR
def import_(kinds: tuple[str, ...], token: str | None, data_dir: Path | None) -> None:
    """Imports from WeCom through its API, within the budget: org, catalog, customers (default: all three)."""
    found = runtime.resolve(data_dir)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=not sys.stdout.isatty()) as bars:
        results = run(_import(found, token, kinds or ("org", "catalog", "customers"), bars))
    for kind, result in results:
        click.echo(f"{WORDS[kind]}：" + "，".join(f"{name} {_brief(value)}" for name, value in result.items()))


def _brief(value: Any) -> str:
    return str(len(value)) if isinstance(value, list) else str(value)


async def _import(found: Settings, token: str | None, kinds: tuple[str, ...], bars: Progress) -> list[tuple[str, dict[str, Any]]]:
    budget = Budget(found.wecom_calls_per_minute)
    client = WecomClient(found.wecom_api_base, sealer_of(found), budget)
    done: list[tuple[str, dict[str, Any]]] = []
    async with runtime.as_application(found):
        await client.start()
        try:
            for kind in kinds:
                done.append((kind, await _import_one(found, token, kind, client, bars)))
        finally:
            await client.close()
    return done


async def _import_one(found: Settings, token: str | None, kind: str, client: WecomClient, bars: Progress) -> dict[str, Any]:
    caller = await runtime.caller_of(found, token)
    bar = bars.add_task(WORDS[kind], total=None)

    def progress(_kind: str, count: int, total: int | None) -> None:
        bars.update(bar, completed=count, total=total)

    run_id = await sync_service.request_run(caller, RunKind(kind))
    taken = await Importer(client, progress).run_next(caller.corp_id, run_id)
    row = await sync.run(caller.corp_id, run_id)
    while not taken and row is not None and row["state"] in ("queued", "running"):
        await asyncio.sleep(0.5)  # a worker was quicker to take it
        row = await sync.run(caller.corp_id, run_id)
    if row is None or row["problem"]:
        raise RunFailed(why=row["problem"] if row else "?")
    bars.update(bar, completed=row["done"] or 1, total=row["done"] or 1)
    return dict(row["result"])
