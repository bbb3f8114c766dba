"""Policies as files: export, diff, apply. Each carries a token and passes the same services as everything else."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from tagwarden.app import policy_folder, runtime
from tagwarden.app.cli import DATA_DIR, JSON, TOKEN, cli, run, show
from tagwarden.governance.differing import Change, Plan
from tagwarden.governance.files import Applied, apply_folder, diff_bundle, export_bundle, export_organisation

FOLDER = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
SIGNS = {"added": "+", "removed": "-", "changed": "~"}
PARTS = {
    "groups": "标签组",
    "people": "人员",
    "grants": "授权",
    "capabilities": "角色权限",
    "chain": "审批链",
    "drift": "企业微信内的改动",
}
HELD = "（需两级审批 / held for two signatures）"


@cli.group("policy")
def policy_group() -> None:
    """Policies as files."""


@policy_group.command("export")
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--organisation", is_flag=True, help="Departments and places too, for offline `lint` and `test`.")
@click.option("--force", is_flag=True, help="Write over files that no export wrote.")
@TOKEN
@JSON
@DATA_DIR
def policy_export(
    folder: Path | None, organisation: bool, force: bool, token: str | None, as_json: bool, data_dir: Path | None
) -> None:
    """Writes the published policy, kinds and roles as a bundle: sorted, the same bytes for the same policy."""
    found = runtime.resolve(data_dir)

    async def work() -> dict[str, str]:
        async with runtime.as_application(found):
            caller = await runtime.caller_of(found, token)
            return {**await export_bundle(caller), **(await export_organisation(caller) if organisation else {})}

    texts = run(work())
    if folder is None:
        show(texts, as_json, "\n".join(f"# ======== {name} ========\n{text}" for name, text in texts.items()))
        return
    changed = policy_folder.write(folder, texts, force=force)
    show(changed, as_json, f"已写出：{'、'.join(changed)}" if changed else "没有变化")


@policy_group.command("diff")
@FOLDER
@TOKEN
@JSON
@DATA_DIR
def policy_diff(folder: Path, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """What `apply` would change, and what of it two people would sign; exit 3 when there are differences."""
    bundle = policy_folder.bundle_of(folder)
    found = runtime.resolve(data_dir)

    async def work() -> Plan:
        async with runtime.as_application(found):
            return await diff_bundle(await runtime.caller_of(found, token), bundle)

    plan = run(work())
    show({**msgspec.to_builtins(plan), "held": plan.held}, as_json, _told(plan) or "没有差别 / no differences")
    if not plan.empty:
        sys.exit(3)


def _told(plan: Plan) -> str:
    lines = []
    for part, word in PARTS.items():
        changes = [change for change in plan.changes if change.part == part]
        if changes:
            lines += [f"{word} / {part}", *map(_line, changes)]
    if plan.loosens:
        lines.append(
            f"放宽了保护（{', '.join(plan.loosens)}），整个策略版本要等两级审批 / the revision loosens protection and is held"
        )
    return "\n".join(lines)


def _line(change: Change) -> str:
    moved = f"：{change.before} → {change.after}" if change.change == "changed" else ""
    detail = f" {change.after or change.before}" if not moved and (change.after or change.before) else ""
    return f"  {SIGNS[change.change]} {change.what}{detail}{moved}{HELD if change.held else ''}"


@policy_group.command("apply")
@FOLDER
@click.option("--note", default="", help="Why; kept with the revision.")
@click.option("--source-of-truth", is_flag=True, help="From now on files are the policy's truth: read-only over HTTP (admin).")
@click.option("--dry-run", is_flag=True, help="Do everything, the database's checks included, and take it all back.")
@TOKEN
@JSON
@DATA_DIR
def policy_apply(
    folder: Path, note: str, source_of_truth: bool, dry_run: bool, token: str | None, as_json: bool, data_dir: Path | None
) -> None:
    """Classifies groups, gives roles and publishes the matrix of a bundle: all or nothing, and nothing where nothing differs."""
    bundle = policy_folder.bundle_of(folder)
    found = runtime.resolve(data_dir)

    async def work() -> Applied:
        async with runtime.as_application(found):
            caller = await runtime.caller_of(found, token)
            return await apply_folder(caller, bundle, note, take_source=source_of_truth, dry=dry_run)

    applied = run(work())
    show({**msgspec.to_builtins(applied), "dry_run": dry_run}, as_json, _outcome(applied, dry_run))


def _outcome(applied: Applied, dry_run: bool) -> str:
    done = applied.done
    if done is None:
        return "没有差别，什么都没有改 / nothing differs, nothing was changed"
    lines = [_told(applied.plan)] if dry_run and not applied.plan.empty else []
    if dry_run:
        lines.append(f"演练通过，未写入；其中 {len(done.approvals)} 项需要两级审批 / rehearsed, nothing was written")
        return "\n".join(lines)
    lines += [f"需要两级审批：{approval_id}" for approval_id in done.approvals]
    waits = "新的策略会放宽对价值标签的保护，签批之后才会发布"
    lines.append(waits if done.revision is None else f"已生效：策略第 {done.revision} 版，改动 {len(applied.plan.changes)} 处")
    if applied.source == "files":
        lines.append("策略以文件为准：只能用 policy apply 发布")
    return "\n".join(lines)
