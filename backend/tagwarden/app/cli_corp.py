"""The corp itself from the command line: activation, what is missing for it, and what an admin says about the corp."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from tagwarden.app import runtime
from tagwarden.app.cli import DATA_DIR, JSON, TOKEN, corp_group, run, show
from tagwarden.corps.model import PolicySource
from tagwarden.governance import readiness
from tagwarden.governance import service as governance
from tagwarden.governance.corp_settings import CorpChange, put_corp
from tagwarden.governance.files import reading


@corp_group.command("activate")
@click.option("--dry-run", is_flag=True, help="List what is missing and what is worth knowing; change nothing.")
@TOKEN
@JSON
@DATA_DIR
def corp_activate(dry_run: bool, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Leaves `setup` for good, or lists everything that is missing (exit 1)."""
    found = runtime.resolve(data_dir)

    async def look() -> list[dict[str, Any]]:
        async with runtime.as_application(found):
            picture = await reading(await runtime.caller_of(found, token))
            return [_plain(point) for point in await readiness.points(picture.corp_id, picture)]

    async def work() -> dict[str, Any]:
        async with runtime.as_application(found):
            return await governance.activate(await runtime.caller_of(found, token))

    if dry_run:
        points = run(look())
        show(points, as_json, "\n".join(map(_line, points)) or "可以启用 / ready")
        sys.exit(1 if any(point["blocking"] for point in points) else 0)
    result = run(work())
    lines = [f"已启用，策略第 {result['revision']} 版", *map(_line, result["warnings"])]
    show(result, as_json, "\n".join(lines))


def _plain(point: readiness.Point) -> dict[str, Any]:
    return {"code": point.code, "blocking": point.blocking, "zh": point.zh, "en": point.en, "facts": point.facts}


def _line(point: dict[str, Any]) -> str:
    weight = "必须 / must" if point["blocking"] else "注意 / note"
    return f"{weight} [{point['code']}] {point['zh']} / {point['en']}"


@corp_group.command("set")
@click.option("--name", default=None)
@click.option("--time-zone", default=None, help="IANA name; temporary tags end with the month in it.")
@click.option("--policy-source", type=click.Choice([one.value for one in PolicySource]), default=None)
@TOKEN
@DATA_DIR
def corp_set(
    name: str | None, time_zone: str | None, policy_source: str | None, token: str | None, data_dir: Path | None
) -> None:
    """Name, time zone, and whether the policy is written in files or in the console (an admin's token)."""
    if name is time_zone is policy_source is None:
        raise click.UsageError("--name, --time-zone or --policy-source")
    found = runtime.resolve(data_dir)
    change = CorpChange(name, time_zone, PolicySource(policy_source) if policy_source else None)

    async def work() -> bool:
        async with runtime.as_application(found):
            return await put_corp(await runtime.caller_of(found, token), change)

    click.echo("已保存" if run(work()) else "没有变化")
