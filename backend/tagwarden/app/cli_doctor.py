"""`tagwarden doctor`: one line a check, and what to do about it. Exit 0 when nothing is broken, 1 when something is."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from tagwarden.app import runtime
from tagwarden.app.cli import DATA_DIR, JSON, cli, configure_logs, run, show
from tagwarden.app.doctor import Finding, Level, Text, examine, worst
from tagwarden.app.doctor.model import attention, broken
from tagwarden.app.doctor.probe import probe
from tagwarden.kernel.errors import TagwardenError
from tagwarden.kernel.settings import Settings, SettingsInvalid

VERDICTS = {
    Level.OK: Text("一切正常", "All is well"),
    Level.ATTENTION: Text("可以运行，但有事项需要留意", "It works; somebody should look at what needs attention"),
    Level.BROKEN: Text("有故障需要处理", "Something is broken and has to be mended"),
}


@cli.command("doctor")
@click.option("--corp", default=None, help="Look at one corp only.")
@click.option("--probe", "probes", is_flag=True, help="Also ask WeCom: a token and one cheap read for each right; never a write.")
@click.option("--language", type=click.Choice(["zh", "en"]), default=None, help="Default: English where the locale says so.")
@JSON
@DATA_DIR
def doctor(corp: str | None, probes: bool, language: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Looks at the whole installation and says what to do. Reads only; exit 1 where something is broken."""
    findings = run(_examine(data_dir, corp, probes))
    verdict = worst(findings)
    spoken = language or _language_of_the_locale()
    text = "\n".join([*(_lines(finding, spoken) for finding in findings), VERDICTS[verdict].of(spoken)])
    show(_report(findings, verdict), as_json, text)
    if verdict is Level.BROKEN:
        sys.exit(1)


async def _examine(data_dir: Path | None, corp: str | None, probes: bool) -> list[Finding]:
    try:
        found = runtime.resolve(data_dir)
    except SettingsInvalid as error:
        return [
            _told(
                "settings",
                error,
                Text("按提示改正该环境变量；说明见 deploy/env.example", "Mend that variable; deploy/env.example explains each"),
            )
        ]
    except runtime.NothingRuns as error:
        return [_told("database", error, Text("启动后再运行 doctor", "Start it, then run doctor again"))]
    configure_logs(found)
    findings = await examine(found, corp)
    return [*findings, *await _probe(found, corp, findings)] if probes else findings


def _told(check: str, error: TagwardenError, todo: Text) -> Finding:
    return broken(check, Text("{zh}", "{en}"), todo, zh=error.text("zh"), en=error.text("en"), code=error.code)


async def _probe(found: Settings, corp: str | None, findings: list[Finding]) -> list[Finding]:
    """Asks WeCom unless what the calls stand on is not there."""
    unfit = {"settings", "database", "database.role", "database.migrations"}
    if any(finding.level is Level.BROKEN and finding.check in unfit for finding in findings):
        text = Text("没有询问企业微信：上面的故障须先处理", "WeCom was not asked: what is broken above comes first")
        return [attention("probe", text, Text("处理后再运行 doctor --probe", "Mend it, then run `doctor --probe` again"))]
    return await probe(found, corp)


def _lines(finding: Finding, language: str) -> str:
    about = f"{finding.check} [{finding.corp_id}]" if finding.corp_id else finding.check
    line = f"{finding.level.value:<10} {about}: {finding.text.of(language)}"
    return f"{line}\n{'':<10} → {finding.todo.of(language)}" if finding.todo.en else line


def _report(findings: list[Finding], verdict: Level) -> dict[str, Any]:
    return {"version": version("tagwarden"), "verdict": verdict.value, "findings": [one.as_json() for one in findings]}


def _language_of_the_locale() -> str:
    """Chinese where nothing is said, as everywhere else."""
    said = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "en" if said.startswith("en") else "zh"
