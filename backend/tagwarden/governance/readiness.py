"""What stands between a corp and `live`: every blocker, and what an admin should know and may leave.

A blocker is what could not be mended, or could not be signed, once the corp is live. Each point has a stable code, facts
for a program and a sentence in both languages that says what to do. It changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tagwarden.approvals.chain import chain_for
from tagwarden.approvals.model import NoApprover
from tagwarden.approvals.service import MIRROR_LIMIT
from tagwarden.assignments.service import TAG_CHANGE
from tagwarden.catalog import repository as catalog
from tagwarden.identity.model import Directory, Employee
from tagwarden.kernel import clock, db
from tagwarden.policy.explain import groups_of
from tagwarden.policy.model import Action, Effect, Kind
from tagwarden.policy.service import Picture

NAMED = 10
"""So many of a kind are named; the facts carry how many there are."""


@dataclass(frozen=True, slots=True)
class Point:
    """One thing that is missing, or worth knowing."""

    code: str
    blocking: bool
    zh: str
    en: str
    facts: dict[str, Any] = field(default_factory=dict)


async def points(corp_id: str, picture: Picture) -> list[Point]:
    """Everything, blockers first."""
    found = [*await _organisation(corp_id), *_policy(picture), *_issuers(picture.directory)]
    found += _signers(picture, await _owners(corp_id))
    found += await _credentials(corp_id)
    found += [*await _groups(corp_id, picture), *_departments(picture), *_people(picture)]
    return sorted(found, key=lambda point: not point.blocking)


async def _owners(corp_id: str) -> list[str]:
    rows = await db.fetch("select distinct userid from follow where corp_id = $1 and ended_at is null order by userid", corp_id)
    return [row["userid"] for row in rows]


async def _organisation(corp_id: str) -> list[Point]:
    mirrored: datetime | None = await db.fetch_value("select org_mirrored_at from corp where corp_id = $1", corp_id)
    if mirrored is None:
        return [
            Point(
                "org_never_imported",
                True,
                "组织架构尚未从企业微信导入：运行 tagwarden import org",
                "The organisation was never imported from WeCom: run `tagwarden import org`",
            )
        ]
    hours = (clock.now() - mirrored).total_seconds() / 3600
    if hours <= MIRROR_LIMIT.total_seconds() / 3600:
        return []
    return [
        Point(
            "org_mirror_old",
            False,
            f"组织架构已 {hours:.0f} 小时没有更新，过旧时不能签批：运行 tagwarden import org",
            f"The organisation was mirrored {hours:.0f} hours ago, and nobody signs on an old one: run `tagwarden import org`",
            {"hours": int(hours)},
        )
    ]


def _policy(picture: Picture) -> list[Point]:
    if picture.revision:
        return []
    return [
        Point(
            "no_policy",
            True,
            "没有已发布的策略：运行 tagwarden policy apply",
            "No policy was published: run `tagwarden policy apply`",
        )
    ]


def _issuers(directory: Directory) -> list[Point]:
    if directory.signing_issuers:
        return []
    return [
        Point(
            "no_signing_issuer",
            True,
            "没有任何签发方可以签批；启用后这一权利本身要两人签批才能给，将无人能签："
            "PUT /v1/corp/issuers/{issuer}，may_sign 设为 true",
            "No issuer may sign. Once live that right itself waits for two signatures, which nobody could give:"
            " PUT /v1/corp/issuers/{issuer} with may_sign true",
            {"issuers": sorted(directory.issuers)},
        )
    ]


# -- who signs for whom -------------------------------------------------------------------------------------------------


def _signers(picture: Picture, owners: Iterable[str]) -> list[Point]:
    """Departments with customers that lack a level 1 or another level 2; owners who stand nowhere."""
    lacking: dict[tuple[int, str], list[str]] = {}
    gone, nowhere = [], []
    for owner in owners:
        employee = picture.directory.known(owner)
        if employee is None or not employee.active:
            gone.append(owner)
        elif not any(home in picture.directory.departments for home in employee.departments):
            nowhere.append(owner)
        elif (level := _lacks(picture, employee)) is not None:
            for home in sorted(employee.departments):
                lacking.setdefault((home, level), []).append(owner)
    found = [_lacking(picture, home, level, who) for (home, level), who in sorted(lacking.items())]
    found += [_nowhere(nowhere)] if nowhere else []
    return [*found, *([_gone(gone)] if gone else [])]


def _lacks(picture: Picture, owner: Employee) -> str | None:
    """`level1` or `level2` where two different people cannot be found for the owner's customers."""
    rules = picture.approvals.of(TAG_CHANGE)
    try:
        chain_for(picture.directory, owner=owner.userid, requester=owner.userid, asking_is_level1=False, rules=rules)
    except NoApprover as error:
        return str(error.facts["why"])
    return None


def _lacking(picture: Picture, home: int, level: str, owners: list[str]) -> Point:
    department = picture.directory.departments.get(home)
    name = department.name if department else str(home)
    facts = {"department": home, "name": name, "employees": owners[:NAMED], "count": len(owners)}
    who = _listed(owners)
    if level == "level1":
        return Point(
            "no_level1",
            True,
            f"部门“{name}”（{home}）有客户但没有一级审批人：{who} 往上没有兼具负责人身份和签批角色（manager 或 supervisor）的人。"
            "在企业微信设置部门负责人，并给他签批角色",
            f"Department “{name}” ({home}) has customers and no level 1: nobody above {who} is both a leader and holds manager or"
            " supervisor. Set the leader in WeCom and give him the role",
            facts,
        )
    return Point(
        "no_level2",
        True,
        f"部门“{name}”（{home}）有客户但没有另一位二级审批人：给总部一位（不同于一级的）人 supervisor 角色。涉及：{who}",
        f"Department “{name}” ({home}) has customers and no other person for level 2: give somebody at HQ the role supervisor."
        f" Concerns {who}",
        facts,
    )


def _nowhere(owners: list[str]) -> Point:
    return Point(
        "owner_without_department",
        True,
        f"{len(owners)} 名员工有客户却不在任何部门，没有人能为其签批：{_listed(owners)}。请在企业微信把他们放进部门",
        f"{len(owners)} employees have customers and stand in no department, so nobody could sign: {_listed(owners)}."
        " Put them into a department in WeCom",
        {"employees": owners[:NAMED], "count": len(owners)},
    )


def _gone(owners: list[str]) -> Point:
    return Point(
        "owner_left",
        False,
        f"{len(owners)} 名已离职或停用的员工名下仍有客户，这些客户的标签没有人能改：{_listed(owners)}。"
        "请在企业微信分配给在职员工",
        f"{len(owners)} employees who left or are inactive still have customers whose tags nobody can change: {_listed(owners)}."
        " Hand them over in WeCom",
        {"employees": owners[:NAMED], "count": len(owners)},
    )


# -- what is worth knowing ----------------------------------------------------------------------------------------------


async def _credentials(corp_id: str) -> list[Point]:
    rows = await db.fetch("select app, stopped_reason from corp_credential where corp_id = $1 order by app", corp_id)
    found = [
        Point(
            "credential_stopped",
            False,
            f"应用 {row['app']} 的凭据被企业微信拒绝，已停止调用：运行 tagwarden doctor 查看原因",
            f"WeCom refused the credential of app {row['app']}, calls are stopped: `tagwarden doctor` says why",
            {"app": row["app"]},
        )
        for row in rows
        if row["stopped_reason"] is not None
    ]
    if "crm" not in {row["app"] for row in rows}:
        found.append(
            Point(
                "no_credential",
                False,
                "没有应用 crm 的企业微信凭据，标签到不了企业微信：运行 tagwarden corp credentials",
                "There is no WeCom credential of app crm, so no tag reaches WeCom: run `tagwarden corp credentials`",
                {"app": "crm"},
            )
        )
    return found


async def _groups(corp_id: str, picture: Picture) -> list[Point]:
    groups = await catalog.groups(corp_id)
    used = {row.group for row in picture.matrix if row.effect is Effect.ALLOW and row.action is Action.USE}
    unclassified = [group.name for group in groups if group.kind is Kind.UNCLASSIFIED]
    unused = [group.name for group in groups if group.kind is not Kind.UNCLASSIFIED and str(group.id) not in used]
    return _some(
        "unclassified_groups",
        unclassified,
        "个标签组未归类，里面的标签谁也不能用，请写进 groups.toml",
        "tag groups have no kind and nobody can use them; name it in groups.toml",
    ) + _some(
        "groups_nobody_may_use",
        unused,
        "个标签组没有分配给任何部门使用，请在 grants.toml 分配",
        "tag groups are given to no department; give them in grants.toml",
    )


def _departments(picture: Picture) -> list[Point]:
    directory = picture.directory
    staffed = {home for one in directory.employees.values() if one.active for home in one.departments}
    bare = [
        directory.departments[home].name
        for home in sorted(staffed & directory.departments.keys())
        if not picture.matrix.groups_opened_to([home], directory.line(home)[1:])
    ]
    return _some(
        "departments_without_group",
        bare,
        "个有员工的部门没有分配任何标签组",
        "departments with people in them have no tag group",
    )


def _people(picture: Picture) -> list[Point]:
    active = [one for one in picture.directory.employees.values() if one.active]
    bare = sorted(one.userid for one in active if not groups_of(picture, one.userid))
    without_role = sorted(one.userid for one in active if not one.roles)
    return _some(
        "people_without_group",
        bare,
        "名员工的部门没有任何标签组（tagwarden policy unassigned 列出全部）",
        "people have no tag group by their departments (`tagwarden policy unassigned` lists all)",
    ) + _some(
        "people_without_role",
        without_role,
        "名员工没有任何角色，什么都不能做，请写进 people.toml",
        "people hold no role and can do nothing; name them in people.toml",
    )


def _some(code: str, names: list[str], zh: str, en: str) -> list[Point]:
    if not names:
        return []
    facts = {"names": names[:NAMED], "count": len(names)}
    return [Point(code, False, f"{len(names)} {zh}：{_listed(names)}", f"{len(names)} {en}: {_listed(names)}", facts)]


def _listed(names: list[str]) -> str:
    more = f" …（+{len(names) - NAMED}）" if len(names) > NAMED else ""
    return "、".join(names[:NAMED]) + more
