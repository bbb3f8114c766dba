"""Approvals from the command line: what waits, one request, a decision. The same services as over HTTP, with a token."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import msgspec

from tagwarden.app import runtime
from tagwarden.app.cli import DATA_DIR, JSON, TOKEN, cli, run, show
from tagwarden.approvals import reading, service
from tagwarden.approvals.model import ApprovalUnknown, Verdict
from tagwarden.approvals.reading import Box
from tagwarden.approvals.schemas import summary, whole
from tagwarden.corps.model import Caller
from tagwarden.kernel import clock
from tagwarden.kernel.http import LARGEST_PAGE
from tagwarden.kernel.settings import Settings
from tagwarden.policy import service as policy

STATES = {
    "pending_level1": "待一级审批",
    "pending_level2": "待二级审批",
    "applied": "已生效",
    "rejected": "已驳回",
    "withdrawn": "已撤回",
    "expired": "已过期",
    "stale": "已失效",
}
UNDECIDED = ("stale", "expired")
"""How a request ends when a decision comes too late: shown as it stands, and the decision was not made."""
DRY_RUN = click.option("--dry-run", is_flag=True, help="Show the request as it stands; change nothing.")


@cli.group("approvals")
def approvals_group() -> None:
    """Held changes and their two sign-offs."""


@approvals_group.command("list")
@click.option("--box", type=click.Choice([one.value for one in Box]), default=Box.INBOX.value, show_default=True)
@TOKEN
@JSON
@DATA_DIR
def list_(box: str, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Requests of a box, newest first."""
    found = runtime.resolve(data_dir)

    async def work() -> list[Any]:
        async with runtime.as_application(found):
            caller = await runtime.caller_of(found, token)
            picture, now = await policy.current(caller.corp_id), clock.now()
            signer = await reading.reader(picture, caller.userid, now)
            shown: list[Any] = []
            before: UUID | None = None
            while True:
                rows, before = await reading.page(picture, signer, Box(box), before=before, limit=LARGEST_PAGE, now=now)
                shown += [msgspec.to_builtins(summary(one)) for one in rows]
                if before is None:
                    return shown

    rows = run(work())
    text = "\n".join(_line(row) for row in rows) or "没有"
    show(rows, as_json, text)


def _line(row: dict[str, Any]) -> str:
    about = row["about_customer"] or row["about_userid"]
    why = f"（{row['closed_reason']}）" if row["closed_reason"] else ""
    return f"{row['id']}  {STATES[row['state']]}{why}  {row['kind']}  {row['requester']} → {about}  {row['reason']}"


@approvals_group.command("show")
@click.argument("approval_id", type=click.UUID)
@TOKEN
@JSON
@DATA_DIR
def show_(approval_id: UUID, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """One request: before → after, signatures, what was asked before."""
    found = runtime.resolve(data_dir)
    result = run(_with_caller(found, token, lambda caller: _read(caller, approval_id)))
    show(result, as_json, _text(result))


async def _with_caller(found: Settings, token: str | None, act: Any) -> Any:
    async with runtime.as_application(found):
        return await act(await runtime.caller_of(found, token))


async def _read(caller: Caller, approval_id: UUID) -> dict[str, Any]:
    picture = await policy.current(caller.corp_id)
    approval, signatures, change = await reading.read(caller.corp_id, approval_id)
    signer = await reading.reader(picture, caller.userid, clock.now())
    signed_it = any(one.signer == caller.userid for one in signatures)
    if not signed_it and not reading.can_see(picture, approval, signer):
        raise ApprovalUnknown()
    earlier = await reading.earlier(picture, approval, signer)
    shown: dict[str, Any] = msgspec.to_builtins(whole(approval, signatures, change, earlier))
    return shown


def _text(result: dict[str, Any]) -> str:
    lines = [_line(result["approval"])]
    lines += [f"  {name}: {value}" for name, value in result["change"].items()]
    for one in result["signatures"]:
        behalf = f"（代 {one['on_behalf_of']}）" if one["on_behalf_of"] else ""
        lines.append(f"  第 {one['level']} 级 {one['signer']}{behalf} {one['verdict']} {one['comment']}".rstrip())
    return "\n".join(lines)


@approvals_group.command("decide")
@click.argument("approval_id", type=click.UUID)
@click.argument("verdict", type=click.Choice([one.value for one in Verdict]))
@click.option("--comment", default="", help="Needed for a refusal.")
@click.option("--etag", default=None, help="The request's ETag as you read it (default: as it stands now).")
@DRY_RUN
@TOKEN
@JSON
@DATA_DIR
def decide(
    approval_id: UUID,
    verdict: str,
    comment: str,
    etag: str | None,
    dry_run: bool,
    token: str | None,
    as_json: bool,
    data_dir: Path | None,
) -> None:
    """Signs or refuses the level that is due. Exit code 1 where that could not be done: refused, stale or expired."""
    found = runtime.resolve(data_dir)

    async def work(caller: Caller) -> dict[str, Any]:
        if not dry_run:
            await service.decide(caller, approval_id, Verdict(verdict), comment, etag or "*")
        return await _read(caller, approval_id)

    result = run(_with_caller(found, token, work))
    show(result, as_json, _text(result))
    if not dry_run and result["approval"]["state"] in UNDECIDED:
        sys.exit(1)


@approvals_group.command("withdraw")
@click.argument("approval_id", type=click.UUID)
@DRY_RUN
@TOKEN
@DATA_DIR
def withdraw(approval_id: UUID, dry_run: bool, token: str | None, data_dir: Path | None) -> None:
    """Takes one's own request back."""
    found = runtime.resolve(data_dir)

    async def work(caller: Caller) -> dict[str, Any]:
        if not dry_run:
            await service.withdraw(caller, approval_id)
        return await _read(caller, approval_id)

    result = run(_with_caller(found, token, work))
    click.echo(_text(result) if dry_run else "已撤回")
