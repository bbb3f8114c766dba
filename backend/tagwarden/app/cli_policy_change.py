"""Before and after a change of the policy: what it would do, and how to take it back."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import click
import msgspec

from tagwarden.app import policy_folder, runtime
from tagwarden.app.cli import DATA_DIR, JSON, TOKEN, run, show
from tagwarden.app.cli_library import as_caller
from tagwarden.app.cli_policy import policy_group
from tagwarden.corps.model import Caller
from tagwarden.governance import drafts
from tagwarden.governance.draft_schemas import ImpactOut, impact_out
from tagwarden.governance.files import impact_of_bundle
from tagwarden.governance.impact import Impact, impact_of_draft
from tagwarden.governance.impact_table import table
from tagwarden.governance.publishing import Published
from tagwarden.identity.model import Module
from tagwarden.policy import service as policy
from tagwarden.policy.service import Picture


@policy_group.command("impact")
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--draft", type=click.UUID, default=None, help="A draft in place of a folder.")
@click.option("--days", type=click.IntRange(1, 90), default=7, show_default=True, help="How far back decisions are asked again.")
@click.option("--csv", "as_csv", is_flag=True, help="Everything, for a spreadsheet.")
@TOKEN
@JSON
@DATA_DIR
def policy_impact(
    folder: Path | None, draft: UUID | None, days: int, as_csv: bool, token: str | None, as_json: bool, data_dir: Path | None
) -> None:
    """Who would gain or lose what, which marks could no longer be made, which open requests would go stale, which decisions
    of the last days would come out differently. Writes nothing."""
    if (folder is None) == (draft is None):
        raise click.UsageError("name a folder or a --draft")
    bundle = policy_folder.bundle_of(folder) if folder else None
    found = runtime.resolve(data_dir)

    async def work() -> tuple[Picture, Impact]:
        async with runtime.as_application(found):
            caller = await runtime.caller_of(found, token)
            picture = await policy.current(caller.corp_id)
            if bundle is not None:
                return picture, await impact_of_bundle(caller, bundle, days)
            picture.directory.require_module(picture.directory.employee(caller.userid), Module.POLICY)
            assert draft is not None
            return picture, await impact_of_draft(picture, caller, draft, days)

    picture, impact = run(work())
    if as_csv:
        click.echo(table(picture, impact), nl=False)
        return
    shown = impact_out(picture, impact)
    show(msgspec.to_builtins(shown), as_json, _told(shown))


def _told(shown: ImpactOut) -> str:
    access, past = shown.access, shown.decisions
    lines = [
        f"权限变化涉及 {access.people} 人：{access.gained} 处增加，{access.lost} 处减少",
        f"现有标记中有 {shown.marks.marks} 处，其所有者今后不能再打",
        f"待审批中有 {shown.approvals.affected} 个将失效或无人可签",
        f"最近 {past.looked_at} 次打标签的决定中，有 {past.different} 次结果会不同",
    ]
    lines += [
        f"  {one.userid}  {one.group}  {one.action}：{' '.join(one.before) or '-'} → {' '.join(one.after) or '-'}"
        for one in access.sample
    ]
    if shown.loosens:
        lines.append(f"放宽了对价值标签的保护（{'、'.join(shown.loosens)}），需两级审批后才会发布")
    return "\n".join(lines)


@policy_group.command("rollback")
@click.argument("revision", type=click.IntRange(1))
@click.option("--note", required=True, help="Why; kept with the new revision.")
@click.option("--dry-run", is_flag=True, help="Do everything, the database's checks included, and take it all back.")
@TOKEN
@JSON
@DATA_DIR
def policy_rollback(revision: int, note: str, dry_run: bool, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Makes what an earlier revision said the next one; where that loosens, it waits for two signatures."""

    async def act(caller: Caller) -> Published:
        in_force = (await policy.current(caller.corp_id)).revision
        return await drafts.roll_back(caller, revision, note, drafts.policy_etag(in_force))

    done: Published = as_caller(data_dir, token, act, dry_run=dry_run)
    show({**msgspec.to_builtins(done), "dry_run": dry_run}, as_json, _outcome(done, dry_run))


def _outcome(done: Published, dry_run: bool) -> str:
    if done.approvals:
        return "演练通过：会放宽保护，需两级审批" if dry_run else f"需要两级审批：{done.approvals[0]}"
    return f"演练通过：将成为第 {done.revision} 版" if dry_run else f"已生效：策略第 {done.revision} 版"
