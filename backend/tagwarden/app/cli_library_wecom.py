"""What only WeCom can settle about a tag or a group, from the command line: who made it, and making a lost one anew."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import click

from tagwarden.app.cli import DATA_DIR, JSON, TOKEN, show
from tagwarden.app.cli_library import DRY_RUN, ETAG, REASON, as_caller, find_group, find_tag, outcome
from tagwarden.app.cli_tag_groups import groups_group
from tagwarden.app.cli_tags import tags_group
from tagwarden.catalog import claim, remake
from tagwarden.catalog.service import Changed
from tagwarden.corps.model import Caller


def _asked(id_: UUID, dry_run: bool, as_json: bool) -> None:
    said = f"试运行：可以认领 {id_}，未做任何更改" if dry_run else f"已向企业微信确认归属：{id_}，结果见标签详情与同步台账"
    show({"outcome": "asking_wecom", "id": id_, "dry_run": dry_run}, as_json, said)


@tags_group.command("claim")
@click.argument("tag")
@DRY_RUN
@TOKEN
@JSON
@DATA_DIR
def claim_tag(tag: str, dry_run: bool, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Says that this app made a tag that counts as another app's; WeCom confirms it or not."""

    async def act(caller: Caller) -> UUID:
        found = await find_tag(caller, tag)
        await claim.claim_tag(caller, found.id)
        return found.id

    _asked(as_caller(data_dir, token, act, dry_run=dry_run), dry_run, as_json)


@groups_group.command("claim")
@click.argument("group")
@DRY_RUN
@TOKEN
@JSON
@DATA_DIR
def claim_group(group: str, dry_run: bool, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """The same of a group."""

    async def act(caller: Caller) -> UUID:
        found = await find_group(caller, group)
        await claim.claim_group(caller, found.id)
        return found.id

    _asked(as_caller(data_dir, token, act, dry_run=dry_run), dry_run, as_json)


@tags_group.command("remake")
@click.argument("tag")
@REASON
@ETAG
@DRY_RUN
@TOKEN
@JSON
@DATA_DIR
def remake_tag(tag: str, reason: str, etag: str, dry_run: bool, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Makes a tag anew that was deleted inside WeCom: whoever carried it carries it again."""

    async def act(caller: Caller) -> Changed:
        return await remake.remake_tag(caller, (await find_tag(caller, tag)).id, reason, etag)

    outcome("重建标签", as_caller(data_dir, token, act, dry_run=dry_run), dry_run, as_json)
