"""The tag library from the command line. The same services as over HTTP, with a token; tags are named by id or "group/tag".

A dry run does all that the change would do and rolls it back: what refuses the one refuses the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import msgspec

from tagwarden.app.cli import DATA_DIR, JSON, TOKEN, cli, show
from tagwarden.app.cli_library import (
    DRY_RUN,
    ETAG,
    KINDS,
    NEVER,
    REASON,
    SORT,
    Day,
    as_caller,
    find_group,
    find_tag,
    listing,
    outcome,
    show_usage,
)
from tagwarden.assignments import library, usage
from tagwarden.assignments.library_schemas import UsageOut, usage_of_tag
from tagwarden.catalog import counts, repository, service
from tagwarden.catalog.schemas import GroupList, GroupOut, tag_out
from tagwarden.corps.model import Caller
from tagwarden.policy import service as policy
from tagwarden.policy.model import Kind


@cli.group("tags")
def tags_group() -> None:
    """The tag library: groups, tags, where they are used."""


def _lines(group: GroupOut) -> list[str]:
    more = f"，{group.unconfirmed} 处待确认" if group.unconfirmed else ""
    offered = f"  → {group.suggested_name}" if group.name_marked else ""
    lines = [f"{group.id}  {group.name}（{KINDS[group.kind]}，{group.marks} 处标记{more}）{offered}"]
    for tag in group.tags:
        offered = f"  → {tag.suggested_name}" if tag.name_marked else ""
        words = "  已停用" if tag.retired else ""
        lines.append(f"{'  ' * tag.depth}{tag.id}  {tag.name}  {tag.carried}{words}{offered}")
    return lines


@tags_group.command("list")
@click.option("--kind", type=click.Choice([one.value for one in Kind]), help="Groups of one kind.")
@click.option("--marked", is_flag=True, help="Names from WeCom that break our rules, with a cleaned one.")
@TOKEN
@JSON
@DATA_DIR
def list_(kind: str | None, marked: bool, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Groups with their tags as trees, how many carry each, and how full the library is."""
    found: GroupList = as_caller(
        data_dir, token, lambda caller: listing(caller, Kind(kind) if kind else None, True if marked else None)
    )
    full = f"企业标签 {found.limits.tags_used} / {found.limits.tags}"
    show(found, as_json, "\n".join([*(line for group in found.items for line in _lines(group)), full]))


@tags_group.command("show")
@click.argument("tag")
@TOKEN
@JSON
@DATA_DIR
def show_(tag: str, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """One tag."""

    async def read(caller: Caller) -> Any:
        found = await find_tag(caller, tag)
        siblings = await repository.tags_of_group(caller.corp_id, found.group_id)
        return tag_out(found, siblings, await counts.by_tag(caller.corp_id, [found.id]))

    shown = msgspec.to_builtins(as_caller(data_dir, token, read))
    show(shown, as_json, "\n".join(f"{name}: {value}" for name, value in shown.items()))


@tags_group.command("usage")
@click.argument("tag")
@TOKEN
@JSON
@DATA_DIR
def usage_(tag: str, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Where a tag is used, as far as the caller may see."""

    async def read(caller: Caller) -> UsageOut:
        found = await find_tag(caller, tag)
        return usage_of_tag(await usage.of_tag(await policy.current(caller.corp_id), caller.userid, found.id), "zh")

    show_usage(as_caller(data_dir, token, read), as_json)


@tags_group.command("create")
@click.argument("group")
@click.argument("name")
@click.option("--meaning", default="")
@click.option("--process", default="", help="Service process.")
@click.option("--ends-on", type=Day(), help="Its last day.")
@click.option("--parent", help="The tag it stands below.")
@click.option("--sort", type=click.IntRange(0, 2**32 - 1), default=0, help="Larger stands first.")
@DRY_RUN
@TOKEN
@JSON
@DATA_DIR
def create(
    group: str,
    name: str,
    meaning: str,
    process: str,
    ends_on: date | None,
    parent: str | None,
    sort: int,
    dry_run: bool,
    token: str | None,
    as_json: bool,
    data_dir: Path | None,
) -> None:
    """Makes a tag in a group."""

    async def act(caller: Caller) -> UUID:
        above = (await find_tag(caller, parent)).id if parent else None
        draft = service.TagDraft(name, meaning, process, ends_on, above, sort)
        return await service.create_tag(caller, (await find_group(caller, group)).id, draft)

    made: UUID = as_caller(data_dir, token, act, dry_run=dry_run)
    outcome("新建标签", service.Changed(made), dry_run, as_json)


def change_with(change: Callable[[Caller], Awaitable[service.TagChange]], tag: str, etag: str) -> Any:
    """The act that changes one tag."""

    async def act(caller: Caller) -> service.Changed:
        found = await find_tag(caller, tag)
        return await service.change_tag(caller, found.id, await change(caller), etag)

    return act


@tags_group.command("change")
@click.argument("tag")
@click.option("--name")
@click.option("--meaning")
@click.option("--process", help="Service process.")
@click.option("--ends-on", type=Day(or_never=True), help="Its last day.")
@click.option("--parent", help='The tag it is to stand below, or "none" for the top.')
@SORT
@REASON
@ETAG
@DRY_RUN
@TOKEN
@JSON
@DATA_DIR
def change_(tag: str, dry_run: bool, token: str | None, as_json: bool, data_dir: Path | None, **fields: Any) -> None:
    """Renames, describes, orders, ends or moves a tag in its tree."""

    async def wanted(caller: Caller) -> service.TagChange:
        parent = fields["parent"]
        above = service.KEEP if parent is None else None if parent == "none" else (await find_tag(caller, parent)).id
        day = fields["ends_on"]
        ends_on = service.KEEP if day is None else None if day == NEVER else day
        texts = (fields["name"], fields["meaning"], fields["process"])
        return service.TagChange(*texts, None, fields["reason"], ends_on, above, fields["sort"])

    done = as_caller(data_dir, token, change_with(wanted, tag, fields["etag"]), dry_run=dry_run)
    outcome("修改标签", done, dry_run, as_json)


def _retirement(name: str, what: str, retired: bool, words: str) -> None:
    @tags_group.command(name, help=words)
    @click.argument("tag")
    @REASON
    @ETAG
    @DRY_RUN
    @TOKEN
    @JSON
    @DATA_DIR
    def command(tag: str, reason: str, etag: str, dry_run: bool, token: str | None, as_json: bool, data_dir: Path | None) -> None:
        async def wanted(_: Caller) -> service.TagChange:
            return service.TagChange(retired=retired, reason=reason)

        outcome(what, as_caller(data_dir, token, change_with(wanted, tag, etag), dry_run=dry_run), dry_run, as_json)


_retirement("retire", "停用标签", True, "Retires a tag: it stays where it is carried and is given to nobody any more.")
_retirement("restore", "恢复标签", False, "Takes a retired tag into use again.")


@tags_group.command("delete")
@click.argument("tag")
@REASON
@ETAG
@DRY_RUN
@TOKEN
@JSON
@DATA_DIR
def delete(tag: str, reason: str, etag: str, dry_run: bool, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Deletes a tag that nobody carries or asks for and nothing stands below."""

    async def act(caller: Caller) -> library.Done:
        return await library.delete_tag(caller, (await find_tag(caller, tag)).id, reason, etag)

    outcome("删除标签", as_caller(data_dir, token, act, dry_run=dry_run), dry_run, as_json)


@tags_group.command("move")
@click.argument("tag")
@click.argument("group")
@REASON
@ETAG
@DRY_RUN
@TOKEN
@JSON
@DATA_DIR
def move(
    tag: str, group: str, reason: str, etag: str, dry_run: bool, token: str | None, as_json: bool, data_dir: Path | None
) -> None:
    """Moves a tag to another group: a new tag there takes over every mark, the old one is retired."""

    async def act(caller: Caller) -> library.Done:
        found, goal = await find_tag(caller, tag), await find_group(caller, group)
        return await library.move_tag(caller, found.id, goal.id, reason, etag)

    done: library.Done = as_caller(data_dir, token, act, dry_run=dry_run)
    outcome("移动标签", done, dry_run, as_json, follows=done.moved)


@tags_group.command("merge")
@click.argument("tag")
@click.argument("into")
@REASON
@ETAG
@DRY_RUN
@TOKEN
@JSON
@DATA_DIR
def merge(
    tag: str, into: str, reason: str, etag: str, dry_run: bool, token: str | None, as_json: bool, data_dir: Path | None
) -> None:
    """Merges a tag into another: whoever carries it carries the other from then on; it is retired."""

    async def act(caller: Caller) -> library.Done:
        found, goal = await find_tag(caller, tag), await find_tag(caller, into)
        return await library.merge_tag(caller, found.id, goal.id, reason, etag)

    done: library.Done = as_caller(data_dir, token, act, dry_run=dry_run)
    outcome("合并标签", done, dry_run, as_json, follows=done.moved)
