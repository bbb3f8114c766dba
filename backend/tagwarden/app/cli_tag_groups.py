"""`tagwarden tags groups`: groups of the library from the command line, by the same services as over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import click

from tagwarden.app.cli import DATA_DIR, JSON, TOKEN, show
from tagwarden.app.cli_library import DRY_RUN, ETAG, KINDS, REASON, SORT, as_caller, find_group, listing, outcome, show_usage
from tagwarden.app.cli_tags import tags_group
from tagwarden.assignments import library, usage
from tagwarden.assignments.library_schemas import UsageOut, usage_of_group
from tagwarden.catalog import counts, service
from tagwarden.catalog.model import Choice
from tagwarden.catalog.schemas import GroupList
from tagwarden.corps.model import Caller
from tagwarden.policy import service as policy
from tagwarden.policy.model import Kind

KIND = click.option("--kind", type=click.Choice([one.value for one in Kind if one is not Kind.UNCLASSIFIED]))
CHOICE = click.option("--choice", type=click.Choice([one.value for one in Choice]))


@tags_group.group("groups")
def groups_group() -> None:
    """Groups of tags: their kind and choice, and where they are used."""


@groups_group.command("list")
@click.option("--kind", type=click.Choice([one.value for one in Kind]), help="Of one kind; `unclassified` wait for one.")
@TOKEN
@JSON
@DATA_DIR
def list_(kind: str | None, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Groups without their tags."""
    found: GroupList = as_caller(data_dir, token, lambda caller: listing(caller, Kind(kind) if kind else None, None))
    for group in found.items:
        group.tags = []
    text = "\n".join(f"{one.id}  {one.name}  {KINDS[one.kind]}  {one.marks}" for one in found.items)
    show(found, as_json, text or "没有")


@groups_group.command("usage")
@click.argument("group")
@TOKEN
@JSON
@DATA_DIR
def usage_(group: str, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Where a group and its tags are used, as far as the caller may see."""

    async def read(caller: Caller) -> UsageOut:
        found = await find_group(caller, group)
        return usage_of_group(await usage.of_group(await policy.current(caller.corp_id), caller.userid, found.id), "zh")

    show_usage(as_caller(data_dir, token, read), as_json)


@groups_group.command("create")
@click.argument("name")
@click.option("--kind", type=click.Choice([one.value for one in Kind if one is not Kind.UNCLASSIFIED]), required=True)
@click.option("--choice", type=click.Choice([one.value for one in Choice]), default=Choice.MULTIPLE.value, show_default=True)
@click.option("--description", default="")
@click.option("--sort", type=click.IntRange(0, 2**32 - 1), default=0, help="Larger stands first.")
@DRY_RUN
@TOKEN
@JSON
@DATA_DIR
def create(
    name: str,
    kind: str,
    choice: str,
    description: str,
    sort: int,
    dry_run: bool,
    token: str | None,
    as_json: bool,
    data_dir: Path | None,
) -> None:
    """Makes a group. WeCom, which knows no empty group, hears of it with its first tag."""
    draft = service.GroupDraft(name, Kind(kind), Choice(choice), description, sort)
    made: UUID = as_caller(data_dir, token, lambda caller: service.create_group(caller, draft), dry_run=dry_run)
    outcome("新建标签组", service.Changed(made), dry_run, as_json)


@groups_group.command("change")
@click.argument("group")
@click.option("--name")
@KIND
@CHOICE
@click.option("--description")
@SORT
@REASON
@ETAG
@DRY_RUN
@TOKEN
@JSON
@DATA_DIR
def change_(group: str, dry_run: bool, token: str | None, as_json: bool, data_dir: Path | None, **fields: Any) -> None:
    """Classifies, renames, orders or describes a group; says how many marks would not be confirmed in a value group."""
    kind, choice = fields["kind"], fields["choice"]
    change = service.GroupChange(
        fields["name"],
        Kind(kind) if kind else None,
        Choice(choice) if choice else None,
        fields["description"],
        fields["reason"],
        fields["sort"],
    )

    async def act(caller: Caller) -> tuple[service.Changed, int]:
        found = await find_group(caller, group)
        marks = await counts.unbacked_of(caller.corp_id, found.id)
        return await service.change_group(caller, found.id, change, fields["etag"]), marks

    done, marks = as_caller(data_dir, token, act, dry_run=dry_run)
    more = {"unconfirmed_marks": marks} if change.kind is Kind.VALUE else {}
    outcome("修改标签组", done, dry_run, as_json, **more)


@groups_group.command("delete")
@click.argument("group")
@REASON
@ETAG
@DRY_RUN
@TOKEN
@JSON
@DATA_DIR
def delete(group: str, reason: str, etag: str, dry_run: bool, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Deletes a group with its tags, which nobody may carry or ask for."""

    async def act(caller: Caller) -> library.Done:
        return await library.delete_group(caller, (await find_group(caller, group)).id, reason, etag)

    outcome("删除标签组", as_caller(data_dir, token, act, dry_run=dry_run), dry_run, as_json)
