"""What leaves for WeCom from the command line: pause, resume, the ledger, trying again. The same services as over HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from tagwarden.app import runtime
from tagwarden.app.cli import DATA_DIR, JSON, TOKEN, run, show
from tagwarden.app.cli_sync import sync_group
from tagwarden.kernel.http import LARGEST_PAGE
from tagwarden.policy import service as policy
from tagwarden.sync import again, ledger_lines, sending
from tagwarden.sync.ledger_lines import LineState, Position
from tagwarden.sync.queries import Filter

REASON = click.option("--reason", required=True, help="Why; shown to whoever looks at the sync.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")


@sync_group.command("pause")
@REASON
@DRY_RUN
@TOKEN
@DATA_DIR
def sync_pause(reason: str, dry_run: bool, token: str | None, data_dir: Path | None) -> None:
    """Holds back everything that changes WeCom's tags, through restarts, until `sync resume`."""
    _switch(True, reason, dry_run, token, data_dir)


@sync_group.command("resume")
@REASON
@DRY_RUN
@TOKEN
@DATA_DIR
def sync_resume(reason: str, dry_run: bool, token: str | None, data_dir: Path | None) -> None:
    """Lets it go on."""
    _switch(False, reason, dry_run, token, data_dir)


def _switch(pauses: bool, reason: str, dry_run: bool, token: str | None, data_dir: Path | None) -> None:
    found = runtime.resolve(data_dir)
    verb = "暂停" if pauses else "恢复"

    async def work() -> bool:
        async with runtime.as_application(found):
            caller = await runtime.caller_of(found, token)
            if dry_run:
                return True
            return await (sending.pause_sending if pauses else sending.resume_sending)(caller, reason)

    changed = run(work())
    if dry_run:
        click.echo(f"将{verb}向企业微信同步")
        return
    click.echo(f"已{verb}向企业微信同步" if changed else f"向企业微信同步此前已{verb}")


@sync_group.command("ledger")
@click.option("--state", type=click.Choice([one.value for one in LineState]), default=None)
@click.option("--customer", default=None, help="external_userid")
@click.option("--limit", type=click.IntRange(1, LARGEST_PAGE), default=50, show_default=True)
@TOKEN
@JSON
@DATA_DIR
def sync_ledger(
    state: str | None, customer: str | None, limit: int, token: str | None, as_json: bool, data_dir: Path | None
) -> None:
    """What waits, what was given up and the newest calls, as far as the caller may see them."""
    found = runtime.resolve(data_dir)

    async def work() -> list[dict[str, Any]]:
        async with runtime.as_application(found):
            caller = await runtime.caller_of(found, token)
            picture = await policy.current(caller.corp_id)
            chosen = LineState(state) if state else None
            wanted = Filter(external_userid=customer)
            lines, _ = await ledger_lines.page(picture, caller, wanted, chosen, Position(), limit)
            return [ledger_lines.shown(line, "en" if os.environ.get("LANG", "").startswith("en") else "zh") for line in lines]

    rows = run(work())
    show(rows, as_json, "\n".join(map(_line, rows)) or "没有")


def _line(row: dict[str, Any]) -> str:
    about = " ".join(filter(None, (row["userid"], row["external_userid"]))) or row["subject"] or ""
    said = " ".join(str(one) for one in (row["code"], row["words"]) if one)
    return f"{row['state']:<9} {row['id']} {row['api']} {about} {said}".rstrip()


@sync_group.command("retry")
@click.argument("line_id", type=click.UUID, required=False)
@click.option("--code", type=int, default=None, help="All that was given up with this code of WeCom's.")
@click.option("--all", "everything", is_flag=True, help="All that was given up.")
@DRY_RUN
@TOKEN
@DATA_DIR
def sync_retry(
    line_id: UUID | None, code: int | None, everything: bool, dry_run: bool, token: str | None, data_dir: Path | None
) -> None:
    """Tries again what was given up: one line by its id, all of one code, or all."""
    if sum((line_id is not None, code is not None, everything)) != 1:
        raise click.UsageError("name a line, --code or --all")
    found = runtime.resolve(data_dir)

    async def work() -> int:
        async with runtime.as_application(found):
            caller = await runtime.caller_of(found, token)
            if dry_run:
                return await again.count_given_up(caller.corp_id, code)
            if line_id is not None:
                return await sending.retry_line(caller, line_id)
            done = await sending.retry_code(caller, code)
            total = done.retried
            while done.left and done.retried:
                done = await sending.retry_code(caller, code)
                total += done.retried
            return total

    count = run(work())
    click.echo(f"将重试 {1 if line_id else count} 项" if dry_run else f"已重新排队 {count} 项")
