"""Checks of a bundle before it is applied: `policy lint` and `policy test`. They change nothing and need no corp."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import msgspec

from tagwarden.app import policy_folder, runtime
from tagwarden.app.cli import DATA_DIR, JSON, TOKEN, run, show
from tagwarden.app.cli_policy import FOLDER, policy_group
from tagwarden.governance.bundle import read_bundle
from tagwarden.governance.files import reading, standing_of
from tagwarden.governance.lint import Known, lint
from tagwarden.governance.operator import default_texts
from tagwarden.governance.table_runner import Asked, Coverage, coverage
from tagwarden.governance.table_runner import run as ask
from tagwarden.kernel.settings import Settings
from tagwarden.policy.service import model_text


@policy_group.command("lint")
@FOLDER
@click.option("--corp/--offline", "against", default=None, help="Against the token's corp (default: where there is a token).")
@click.option("--strict", is_flag=True, help="Exit 1 when there is a warning.")
@TOKEN
@JSON
@DATA_DIR
def policy_lint(
    folder: Path, against: bool | None, strict: bool, token: str | None, as_json: bool, data_dir: Path | None
) -> None:
    """What to look at twice in a bundle: rows that do nothing, groups nobody may use, departments without any group …"""
    bundle = policy_folder.bundle_of(folder)
    known = _known(folder)
    if against if against is not None else bool(token or os.environ.get("TAGWARDEN_TOKEN")):
        known = run(_of_corp(runtime.resolve(data_dir), token, known))
    warnings = lint(bundle, known)
    show(warnings, as_json, "\n".join(one.said() for one in warnings) or "没有问题 / nothing to look at")
    if warnings and strict:
        sys.exit(1)


def _known(folder: Path) -> Known:
    defaults = frozenset(read_bundle({}, default_texts()).capabilities)
    return Known(model_text(), defaults, policy_folder.organisation_of(folder))


async def _of_corp(found: Settings, token: str | None, known: Known) -> Known:
    async with runtime.as_application(found):
        picture = await reading(await runtime.caller_of(found, token))
        standing = await standing_of(picture)
        kinds = {name: group.kind for name, group in standing.groups.items()}
        return replace(known, directory=picture.directory, kinds=kinds)


@policy_group.command("test")
@FOLDER
@click.option(
    "--coverage", "least", type=click.IntRange(0, 100), default=0, help="Fail where the tables meet fewer per cent of rows."
)
@JSON
def policy_test(folder: Path, least: int, as_json: bool) -> None:
    """Asks the engine what the decision tables in FOLDER/tests say must come out; exit 1 when something does not."""
    bundle = policy_folder.bundle_of(folder)
    asked = [ask(table, model_text()) for table in policy_folder.tables_of(folder, bundle)]
    met = coverage(bundle, asked)
    show({"tables": asked_out(asked), "coverage": coverage_out(met)}, as_json, _told(asked, met))
    if not asked or any(one.failures for one in asked) or met.percent < least:
        sys.exit(1)


def asked_out(asked: Sequence[Asked]) -> list[dict[str, object]]:
    """Tables as JSON shows them."""
    return [
        {"name": one.name, "title": one.title, "cells": one.cells, "failures": msgspec.to_builtins(one.failures)} for one in asked
    ]


def coverage_out(met: Coverage) -> dict[str, object]:
    """Coverage as JSON shows it."""
    return {"of": met.of, "rows": met.rows, "percent": met.percent, "unmet": list(met.unmet)}


def _told(asked: Sequence[Asked], met: Coverage) -> str:
    lines = []
    for one in asked:
        verdict = f"{len(one.failures)} 处不符 / not as expected" if one.failures else "ok"
        lines.append(f"{one.name}  {one.title}：{one.cells} 格，{verdict}")
        lines += [f"  ✗ {failure.where}：{failure.zh} / {failure.en}" for failure in one.failures]
    if not asked:
        lines.append("没有决策表：在 tests/ 里写 .toml / there is no decision table: write one into tests/")
    rows = "授权" if met.of == "grants" else "角色权限"
    lines.append(f"覆盖 / coverage：{met.rows - len(met.unmet)}/{met.rows} 条{rows}（{met.percent}%）")
    lines += [f"  未触及 / not met：{row}" for row in met.unmet]
    return "\n".join(lines)
