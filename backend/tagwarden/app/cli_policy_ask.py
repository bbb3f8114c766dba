"""Questions about the policy in force: why somebody may or may not, who holds what, whom no tag group reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from tagwarden.app import runtime
from tagwarden.app.cli import DATA_DIR, JSON, TOKEN, run, show
from tagwarden.app.cli_policy import policy_group
from tagwarden.catalog.model import GroupUnknown
from tagwarden.corps.model import Caller
from tagwarden.governance import asking as questions
from tagwarden.governance.asking import Asking, Question
from tagwarden.governance.decision_controllers import decision_out
from tagwarden.governance.review import Review, require_reviewer
from tagwarden.governance.review_out import ReviewedEmployee, as_table, employee_out
from tagwarden.identity.model import Module
from tagwarden.policy import service as policy
from tagwarden.policy.explain import groups_of
from tagwarden.policy.model import Action


@policy_group.command("explain")
@click.option("--user", required=True, help="userid of the person it is about.")
@click.option("--group", "group", required=True, help="The tag group, by name or id.")
@click.option("--action", type=click.Choice([one.value for one in Action]), required=True)
@click.option("--customer", default=None, help="external_userid; left out, the question is about the group itself.")
@click.option("--language", type=click.Choice(["zh", "en"]), default="zh", show_default=True)
@TOKEN
@JSON
@DATA_DIR
def policy_explain(
    user: str,
    group: str,
    action: str,
    customer: str | None,
    language: str,
    token: str | None,
    as_json: bool,
    data_dir: Path | None,
) -> None:
    """May somebody do this, and why (not): every step with what it saw and the row that decided."""
    found = runtime.resolve(data_dir)

    async def work() -> Any:
        async with runtime.as_application(found):
            caller = await runtime.caller_of(found, token)
            return await _explained(caller, user, group, action, customer, language)

    answer = run(work())
    show(answer, as_json, _told(answer))


async def _explained(caller: Caller, user: str, group: str, action: str, customer: str | None, language: str) -> Any:
    picture = await policy.current(caller.corp_id)
    found = next((one for one in picture.groups.values() if group in (one.name, one.id)), None)
    if found is None:
        raise GroupUnknown()
    asking = Asking(picture, caller, language)
    answer = await questions.answer(asking, Question(picture.directory.named(user), found.id, Action(action), customer))
    return msgspec.to_builtins(decision_out(asking, answer, with_trace=asking.reads_policy))


def _told(answer: dict[str, Any]) -> str:
    lines = [answer["text"]]
    for step in answer.get("trace", []):
        sign = "✓" if step["passed"] else "✗"
        lines.append(f"  {sign} {step['step']}  {step['row'] or '-'}  {' '.join(step['saw'])}".rstrip())
    if answer.get("nearest"):
        lines.append(f"  → {answer['nearest'] if isinstance(answer['nearest'], str) else answer['nearest'].get('text', '')}")
    return "\n".join(lines)


@policy_group.command("review")
@click.option("--csv", "as_csv", is_flag=True, help="A row for each thing each person holds.")
@click.option("--bom", is_flag=True, help="With --csv: begin as Excel wants UTF-8.")
@TOKEN
@JSON
@DATA_DIR
def policy_review(as_csv: bool, bom: bool, token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Who holds what, since when, why: a line a person, `--csv` for a spreadsheet, `--json` one object a line."""
    found = runtime.resolve(data_dir)

    async def work() -> None:
        async with runtime.as_application(found):
            caller = await runtime.caller_of(found, token)
            picture = await policy.current(caller.corp_id)
            require_reviewer(picture, caller)
            if as_csv:
                async for text in as_table(Review(picture), bom=bom):
                    click.echo(text, nl=False)
                return
            review = Review(picture)
            async for people in review.everybody():
                for one in people:
                    shown = employee_out(review, one)
                    click.echo(msgspec.json.encode(shown).decode() if as_json else _held(shown))

    run(work())


def _held(shown: ReviewedEmployee) -> str:
    roles = " ".join(role.role + (f"({'+'.join(role.modules)})" if role.modules else "") for role in shown.roles) or "-"
    groups: dict[str, list[str]] = {}
    for group in shown.groups:
        actions = groups.setdefault(group.name, [])
        actions += [] if group.action in actions else [group.action]
    said = "，".join(f"{name} {'/'.join(actions)}" for name, actions in groups.items()) or "-"
    stands = "".join(f"；代 {one.stands_for} 签批" for one in shown.delegations)
    return f"{shown.userid}  {roles}  {said}{stands}"


@policy_group.command("unassigned")
@TOKEN
@JSON
@DATA_DIR
def policy_unassigned(token: str | None, as_json: bool, data_dir: Path | None) -> None:
    """People whom no tag group reaches, with their departments."""
    found = runtime.resolve(data_dir)

    async def work() -> list[dict[str, Any]]:
        async with runtime.as_application(found):
            caller = await runtime.caller_of(found, token)
            picture = await policy.current(caller.corp_id)
            asking = picture.directory.employee(caller.userid)
            if "auditor" not in asking.roles:
                picture.directory.require_module(asking, Module.MEMBERS)
            people = sorted(picture.directory.employees.values(), key=lambda one: one.userid)
            return [
                {"userid": one.userid, "departments": sorted(one.departments), "roles": sorted(one.roles)}
                for one in people
                if one.active and not groups_of(picture, one.userid)
            ]

    rows = run(work())
    text = "\n".join(
        f"{row['userid']}  {' '.join(map(str, row['departments']))}  {' '.join(row['roles'])}".rstrip() for row in rows
    )
    show(rows, as_json, text or "没有 / nobody")
