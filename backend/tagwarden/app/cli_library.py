"""What the commands of the tag library share: who calls, how groups and tags are named, what is said at the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import click

from tagwarden.app import runtime
from tagwarden.app.cli import run, show
from tagwarden.assignments.library_schemas import UsageOut
from tagwarden.catalog import counts, limits, reading, repository
from tagwarden.catalog.model import GroupUnknown, Tag, TagGroup, TagUnknown
from tagwarden.catalog.schemas import GroupList, group_out, limits_out
from tagwarden.corps.model import Caller
from tagwarden.policy import service as policy
from tagwarden.policy.model import Kind

NEVER = date.max
DRY_RUN = click.option("--dry-run", is_flag=True, help="Do it all and keep nothing.")
ETAG = click.option("--etag", default="*", show_default=True, help="The version that is meant; * is whichever there is.")
REASON = click.option("--reason", default="", help="Read by the signers of what has to wait.")
SORT = click.option("--sort", type=click.IntRange(0, 2**32 - 1), help="Larger stands first.")
KINDS = {"temporary": "临时", "standard": "普通", "value": "价值", "unclassified": "未分类"}


class Day(click.ParamType[date]):
    """A day; with `or_never` also the word that takes an end away."""

    def __init__(self, *, or_never: bool = False) -> None:
        self.or_never = or_never
        self.name = "YYYY-MM-DD|never" if or_never else "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if self.or_never and value == "never":
            return NEVER
        try:
            return datetime.strptime(value, "%Y-%m-%d").date()
        except ValueError:
            self.fail(f"{value!r} is no day", param, ctx)


def as_caller(data_dir: Path | None, token: str | None, act: Callable[[Caller], Awaitable[Any]], *, dry_run: bool = False) -> Any:
    """Runs one act as whoever the token names."""
    found = runtime.resolve(data_dir)

    async def work() -> Any:
        async with runtime.as_application(found):
            return await act(replace(await runtime.caller_of(found, token), dry_run=dry_run))

    return run(work())


async def find_group(caller: Caller, named: str) -> TagGroup:
    """A group by id or name, of those that are open to the caller; GroupUnknown."""
    picture = await policy.current(caller.corp_id)
    for group, _, _ in await reading.library(picture, caller.userid):
        if named in (str(group.id), group.name):
            return group
    raise GroupUnknown()


async def find_tag(caller: Caller, named: str) -> Tag:
    """A tag by id or "group/tag", of the groups that are open to the caller; TagUnknown."""
    picture = await policy.current(caller.corp_id)
    for group, tags, _ in await reading.library(picture, caller.userid):
        for tag in tags:
            if named in (str(tag.id), f"{group.name}/{tag.name}"):
                return tag
    raise TagUnknown()


async def listing(caller: Caller, kind: Kind | None, marked: bool | None) -> GroupList:
    """What `GET /v1/tag-groups` answers."""
    picture = await policy.current(caller.corp_id)
    shown = await reading.library(picture, caller.userid, kind, marked)
    kept, taken = await counts.by_tag(caller.corp_id), sorted(await repository.group_names(caller.corp_id))
    items = [group_out(group, tags, actions, kept, taken) for group, tags, actions in shown]
    return GroupList(items, limits_out(await limits.use(caller.corp_id)))


def show_usage(found: UsageOut, as_json: bool) -> None:
    """A tag's or a group's usage for a machine or a person."""
    marks, asked = found.assignments, found.approvals
    lines = [
        f"{found.name}：{marks.total} 处标记，其中 {marks.hidden} 处您不可见",
        *(f"  {owner}  {carried}" for owner, carried in marks.by_owner.items()),
        f"待审批 {len(asked.ids) + asked.hidden}，其中 {asked.hidden} 个您不可见",
        *(f"  {one}" for one in asked.ids),
        f"授权 {found.policy.grants}，其他引用 {found.policy.others}",
        f"下级标签：{'、'.join(child.name for child in found.children) or '无'}",
        found.wecom.text,
        f"不能删除：{'、'.join(found.blocking)}" if found.blocking else "可以删除",
    ]
    show(found, as_json, "\n".join(line for line in lines if line))


def outcome(what: str, done: Any, dry_run: bool, as_json: bool, **more: Any) -> None:
    """What was done, what waits, or what would be."""
    waits = done.approval_id is not None
    answer = {"outcome": "pending_approval" if waits else "applied", "id": done.id, "dry_run": dry_run, **more}
    if dry_run:  # the request that would be asked was rolled back with its id
        text = f"试运行：{what}{'需要两人审批' if waits else '可以执行'}，未做任何更改"
    elif waits:
        answer["approval_id"] = done.approval_id
        text = f"{what}等待两人审批：{done.approval_id}"
    else:
        text = f"已{what}：{done.id}"
    show(answer, as_json, "；".join([text, *(f"{name} {value}" for name, value in more.items())]))
