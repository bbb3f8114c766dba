"""Agreements between departments from the command line. The same services as over HTTP, with a token."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import msgspec

from tagwarden.app import runtime
from tagwarden.app.cli import DATA_DIR, JSON, TOKEN, run, show
from tagwarden.app.cli_policy import policy_group
from tagwarden.governance import agreements
from tagwarden.governance.agreement_controllers import shown
from tagwarden.governance.agreements import Made, Wanted
from tagwarden.governance.policy_controllers import require_policy_reader
from tagwarden.kernel import clock
from tagwarden.kernel.http import LARGEST_PAGE
from tagwarden.policy import agreement_rows
from tagwarden.policy import service as policy
from tagwarden.policy.service import Picture

STATES = {"planned": "未开始", "in_force": "生效中", "over": "已到期", "ended": "已终止"}


@policy_group.group("agreements")
def agreements_group() -> None:
    """Who may use which tag group on another department's customers."""


@agreements_group.command("list")
@click.option("--ended", is_flag=True, help="Those that are over too.")
@TOKEN
@JSON
@DATA_DIR
def list_(ended: bool, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Newest first."""
    found = runtime.resolve(data_dir)

    async def work() -> tuple[Picture, list[dict[str, Any]]]:
        async with runtime.as_application(found):
            caller = await runtime.caller_of(found, token)
            picture, now = await policy.current(caller.corp_id), clock.now()
            require_policy_reader(picture, caller)
            rows: list[dict[str, Any]] = []
            before: UUID | None = None
            while page := await agreement_rows.page(picture.corp_id, ended=ended, before=before, at=now, limit=LARGEST_PAGE):
                rows += [msgspec.to_builtins(shown(picture, row, now)) for row in page]
                before = page[-1].id
            return picture, rows

    picture, rows = run(work())
    show(rows, as_json, "\n".join(_line(picture, row) for row in rows) or "没有")


def _line(picture: Picture, row: dict[str, Any]) -> str:
    named = _in_words(picture, row["department"], row["partner_department"], _group_name(picture, row["group_id"]))
    until = f"，到 {row['until']}" if row["until"] else ""
    return f"{row['id']}  {STATES[row['state']]}  {named}{until}  {row['made_by']}  {row['note']}"


def _group_name(picture: Picture, group_id: str) -> str:
    """A group's name, or its id where it is gone."""
    group = picture.groups.get(group_id)
    return group.name if group else group_id


def _in_words(picture: Picture, department: int, partner: int, group: str) -> str:
    def name(number: int) -> str:
        known = picture.directory.departments.get(number)
        return f"{known.name}（{number}）" if known else str(number)

    return f"{name(department)} 可对 {name(partner)} 的客户使用“{group}”"


@agreements_group.command("make")
@click.option("--department", type=click.IntRange(1), required=True, help="Whose people may (id, with all below it).")
@click.option("--partner", type=click.IntRange(1), required=True, help="On whose customers (id, with all below it).")
@click.option("--group", required=True, help="The tag group's name.")
@click.option("--until", default=None, help="When it ends, e.g. 2026-12-31T16:00:00Z.")
@click.option("--note", default="", help="Why; kept with it.")
@click.option("--dry-run", is_flag=True, help="Say what would be put on record.")
@TOKEN
@DATA_DIR
def make(
    department: int,
    partner: int,
    group: str,
    until: str | None,
    note: str,
    dry_run: bool,
    token: str | None,
    data_dir: Path | None,
) -> None:
    """Puts one on record; about a value group it waits for two signatures."""
    ends = _moment(until)
    found = runtime.resolve(data_dir)

    async def work() -> tuple[str, Made | None]:
        async with runtime.as_application(found):
            caller = await runtime.caller_of(found, token)
            picture = await policy.current(caller.corp_id)
            named = next((one.id for one in picture.groups.values() if one.name == group), None)
            if named is None:
                raise click.ClickException(f"没有标签组 {group}")
            words = _in_words(picture, department, partner, group)
            if dry_run:
                return words, None
            wanted = Wanted(department, partner, UUID(named), None, ends, note)
            return words, await agreements.make_agreement(caller, wanted)

    words, done = run(work())
    if done is None:
        click.echo(f"将登记：{words}")
    elif done.approval_id is not None:
        click.echo(f"需要两级审批：{done.approval_id}")
    else:
        click.echo(f"已登记：{words}（{done.id}）")


def _moment(text: str | None) -> datetime | None:
    try:
        moment = msgspec.convert(text, datetime | None)
    except msgspec.ValidationError:
        raise click.UsageError("--until is a moment such as 2026-12-31T16:00:00Z") from None
    if moment is not None and moment.tzinfo is None:
        raise click.UsageError("--until names its zone, such as 2026-12-31T16:00:00Z")
    return moment


@agreements_group.command("end")
@click.argument("agreement_id", type=click.UUID)
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@TOKEN
@DATA_DIR
def end(agreement_id: UUID, dry_run: bool, token: str | None, data_dir: Path | None) -> None:
    """Ends one at once; it stays on record."""
    found = runtime.resolve(data_dir)

    async def work() -> None:
        async with runtime.as_application(found):
            caller = await runtime.caller_of(found, token)
            if dry_run:
                require_policy_reader(await policy.current(caller.corp_id), caller)
                if await agreement_rows.get(caller.corp_id, agreement_id) is None:
                    raise agreements.AgreementUnknown()
                return
            await agreements.end_agreement(caller, agreement_id)

    run(work())
    click.echo(f"将终止：{agreement_id}" if dry_run else f"已终止：{agreement_id}")
