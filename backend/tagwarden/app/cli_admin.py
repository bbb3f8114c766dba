"""Commands of admins: import, policy, sync. Each carries a token and passes the same services as HTTP."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tagwarden.app import runtime
from tagwarden.app.asgi import sealer_of
from tagwarden.app.cli import DATA_DIR, JSON, TOKEN, cli, run, show
from tagwarden.catalog import repository as catalog
from tagwarden.governance import service as governance
from tagwarden.governance.bundle import FILES, Bundle, lint, read_bundle
from tagwarden.governance.operator import default_texts
from tagwarden.kernel.errors import Conflict
from tagwarden.kernel.settings import Settings
from tagwarden.policy import service as policy
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


@cli.group("policy")
def policy_group() -> None:
    """Policies as files."""


def _read(folder: Path) -> Bundle:
    files = {name: (folder / name).read_text(encoding="utf-8") for name in FILES if (folder / name).is_file()}
    unknown = {path.name: "" for path in folder.glob("*.toml") if path.name not in FILES}
    return read_bundle({**files, **unknown}, default_texts())


@policy_group.command("apply")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--note", default="", help="Why; kept with the revision.")
@click.option("--dry-run", is_flag=True, help="Read and check only.")
@TOKEN
@DATA_DIR
def policy_apply(folder: Path, note: str, dry_run: bool, token: str | None, data_dir: Path | None) -> None:
    """Classifies groups, gives roles and publishes the matrix of a bundle: all or nothing."""
    bundle = _read(folder)
    if dry_run:
        click.echo(f"可读：{len(bundle.groups)} 个标签组，{len(bundle.people)} 人，{len(bundle.grants)} 条授权")
        return
    found = runtime.resolve(data_dir)

    async def work() -> int:
        async with runtime.as_application(found):
            caller = await runtime.caller_of(found, token)
            return await governance.apply_bundle(caller, bundle, note)

    revision = run(work())
    click.echo(f"已发布第 {revision} 版：{len(bundle.groups)} 个标签组，{len(bundle.people)} 人，{len(bundle.grants)} 条授权")


@policy_group.command("lint")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@TOKEN
@DATA_DIR
def policy_lint(folder: Path, token: str | None, data_dir: Path | None) -> None:
    """What to look at twice in a bundle; exit 3 when there is something."""
    bundle = _read(folder)
    found = runtime.resolve(data_dir)

    async def work() -> list[str]:
        async with runtime.as_application(found):
            caller = await runtime.caller_of(found, token)
            picture = await policy.current(caller.corp_id)
            groups = {group.name for group in await catalog.groups(caller.corp_id)}
            return lint(bundle, picture.directory.departments, groups)

    warnings = run(work())
    for warning in warnings:
        click.echo(warning)
    if warnings:
        sys.exit(3)
    click.echo("没有问题")


@cli.group("sync")
def sync_group() -> None:
    """How equal WeCom is to what was decided."""


@sync_group.command("status")
@TOKEN
@JSON
@DATA_DIR
def sync_status(token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """What waits and what was given up."""
    found = runtime.resolve(data_dir)

    async def work() -> dict[str, Any]:
        async with runtime.as_application(found):
            caller = await runtime.caller_of(found, token)
            counted = await sync.counts(caller.corp_id)
            return {"waiting": counted["waiting"], "given_up": counted["given_up"]}

    result = run(work())
    show(result, as_json, f"等待 {result['waiting']}，放弃 {result['given_up']}")
