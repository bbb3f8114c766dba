"""Commands about sync: what waits, runs, and drift. Each carries a token and passes the same services as HTTP."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from tagwarden.app import runtime
from tagwarden.app.cli import DATA_DIR, JSON, TOKEN, cli, run, show
from tagwarden.corps.model import Caller
from tagwarden.policy import service as policy
from tagwarden.policy.service import Picture
from tagwarden.sync import drift, drift_reading, estimate
from tagwarden.sync import repository as sync
from tagwarden.sync import service as sync_service
from tagwarden.sync.controllers import require_reader
from tagwarden.sync.model import RunKind
from tagwarden.wecom.budget import Budget

T = TypeVar("T")


@cli.group("sync")
def sync_group() -> None:
    """How equal WeCom is to what was decided."""


def _as_caller(token: str | None, data_dir: Path | None, act: Callable[[Caller], Awaitable[T]]) -> T:
    found = runtime.resolve(data_dir)

    async def work() -> T:
        async with runtime.as_application(found):
            return await act(await runtime.caller_of(found, token))

    answer: T = run(work())
    return answer


async def _reader(caller: Caller) -> Picture:
    picture = await policy.current(caller.corp_id)
    require_reader(picture, caller)
    return picture


@sync_group.command("status")
@TOKEN
@JSON
@DATA_DIR
def sync_status(token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """What waits and what was given up, what WeCom reported, and where the nightly reading stands."""
    found = runtime.resolve(data_dir)
    words: list[str] = []

    async def act(caller: Caller) -> dict[str, Any]:
        await _reader(caller)
        counted = await sync.counts(caller.corp_id)
        inbound = await drift_reading.inbound(caller.corp_id)
        reconcile = await drift_reading.reconciliation(caller.corp_id, found.reconcile_calls)
        left = await estimate.of(Budget(found.wecom_calls_per_minute), caller.corp_id)
        out = {"waiting": counted["waiting"], "given_up": counted["given_up"], "estimate_seconds": left.seconds}
        out |= {"paused_since": left.pause.since.isoformat() if left.pause else None, "stopped": left.stopped}
        words.append(left.in_words("zh"))
        return {**out, "inbound": inbound, "reconcile": reconcile}

    result = _as_caller(token, data_dir, act)
    inbound, reconcile = result["inbound"], result["reconcile"]
    text = f"等待 {result['waiting']}，放弃 {result['given_up']}（{words[0]}）"
    text += f"；回调待处理 {inbound['callbacks']}，待重读 {inbound['readings']}"
    show(result, as_json, f"{text}\n{_pass(reconcile)}")


def _pass(reconcile: dict[str, Any]) -> str:
    if not reconcile["calls_a_night"]:
        return "夜间核对已关闭"
    last = _moment(reconcile["last_pass_finished_at"]) if reconcile["last_pass_finished_at"] else "尚未完成过"
    return f"夜间核对：上次完整一轮 {last}，一轮约 {reconcile['nights_a_pass']} 晚（每晚 {reconcile['calls_a_night']} 次调用）"


@sync_group.command("run")
@click.argument("kind", type=click.Choice([kind.value for kind in RunKind]))
@TOKEN
@DATA_DIR
def sync_run(kind: str, token: str | None, data_dir: Path | None) -> None:
    """Queues a run; a worker executes it. `drift` reads every follow again and lets the guard act."""
    run_id = _as_caller(token, data_dir, lambda caller: sync_service.request_run(caller, RunKind(kind)))
    click.echo(f"已排队：{run_id}")


@sync_group.group("drift")
def drift_group() -> None:
    """Tags changed inside WeCom, and what became of them."""


@drift_group.command("list")
@click.option("--state", default=None, help="pending, open, reported, put_back, taken_in, asked or gone.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@TOKEN
@JSON
@DATA_DIR
def drift_list(state: str | None, limit: int, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Cases, newest first; exit 3 while the guard has stopped and asks."""

    async def act(caller: Caller) -> dict[str, Any]:
        picture = await _reader(caller)
        found = await drift_reading.cases(picture, caller.userid, state, None, limit)
        guard, counts, held = await drift_reading.standing(caller.corp_id)
        return {"items": found, "guard": guard, "counts": counts, "tags_held_back": held}

    result = _as_caller(token, data_dir, act)
    lines = [_line(row) for row in result["items"]]
    lines += [f"停止发送的标签：{row['tag']}（{row['wecom_name'] or '已在企业微信中删除'}）" for row in result["tags_held_back"]]
    if result["guard"]["stopped"]:
        lines.append(f"守护已停下，等待确认：{result['guard']['waiting']} 位客户（tagwarden sync drift confirm）")
    show(result, as_json, "\n".join(lines) or "没有偏差")
    if result["guard"]["stopped"]:
        sys.exit(3)


def _line(row: dict[str, Any]) -> str:
    sign = "+" if row["case"] == "added_in_wecom" else "-"
    who = f"{row['userid']} → {row['external_userid']}" if row["userid"] else "（无权查看）"
    why = f"（{row['reason']}）" if row["reason"] else ""
    return f"{_moment(row['first_seen_at'])}  {who}  {sign}{row['group_name']}/{row['tag']}  {row['state']}{why}"


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")


@drift_group.command("offenders")
@TOKEN
@JSON
@DATA_DIR
def drift_offenders(token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Whose edits inside WeCom had to be put back again and again."""

    async def act(caller: Caller) -> list[dict[str, Any]]:
        await _reader(caller)
        return await drift_reading.offenders(caller.corp_id)

    found = _as_caller(token, data_dir, act)
    show(found, as_json, "\n".join(f"{row['userid']}：{row['put_back']} 次" for row in found) or "没有")


@drift_group.command("confirm")
@click.option("--dry-run", is_flag=True, help="Say whether the guard waits, and for how many.")
@TOKEN
@DATA_DIR
def drift_confirm(dry_run: bool, token: str | None, data_dir: Path | None) -> None:
    """Lets the guard go on after it stopped and asked."""

    async def look(caller: Caller) -> int:
        await _reader(caller)
        guard, _, _ = await drift_reading.standing(caller.corp_id)
        return int(guard["waiting"]) if guard["stopped"] else 0

    if dry_run:
        click.echo(f"等待确认：{_as_caller(token, data_dir, look)} 位客户")
        return
    click.echo(f"已确认：{_as_caller(token, data_dir, drift.confirm)} 位客户")
