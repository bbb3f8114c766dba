"""Checks of a corp's mirror, tag groups and signers: whether what has to be signed can be signed."""

from __future__ import annotations

from collections.abc import Sequence

from tagwarden.app.doctor import readings
from tagwarden.app.doctor.model import Finding, Text, attention, broken, listed, ok, span
from tagwarden.approvals.chain import chain_for
from tagwarden.approvals.model import NoApprover
from tagwarden.approvals.service import MIRROR_LIMIT
from tagwarden.catalog import limits
from tagwarden.catalog import repository as catalog
from tagwarden.identity.model import Directory, Module, RoleName
from tagwarden.policy.model import Action, Kind
from tagwarden.policy.service import Picture

MIRROR_LATE = MIRROR_LIMIT / 2
"""From here on a mirror that should come every six hours has been missed twice."""


def of_mirror(corp: readings.Corp) -> Finding:
    """The organisation's age beside the limit for signing."""
    limit = MIRROR_LIMIT.total_seconds()
    facts = {"age": span(corp.mirror_age or 0), "hours": int(limit // 3600), "seconds": corp.mirror_age}
    todo = Text(
        "运行 tagwarden import org；worker 每 6 小时自动同步，若没有，查看 worker 日志与应用是否被停止",
        "Run `tagwarden import org`. A worker does so every 6 hours by itself: if not, look at its log and at stopped apps",
    )
    if corp.mirror_age is None:
        return attention("corp.mirror", Text("组织架构尚未导入", "The organisation was never imported"), todo, corp.corp_id)
    if corp.live and corp.mirror_age > limit:
        text = Text(
            "组织架构已 {age} 未同步，超过 {hours} 小时：不能签批",
            "The organisation was mirrored {age} ago, more than {hours} h: nobody can sign",
        )
        return broken("corp.mirror", text, todo, corp.corp_id, **facts)
    if corp.live and corp.mirror_age > MIRROR_LATE.total_seconds():
        text = Text(
            "组织架构已 {age} 未同步；超过 {hours} 小时后不能签批",
            "The organisation was mirrored {age} ago; beyond {hours} h nobody can sign",
        )
        return attention("corp.mirror", text, todo, corp.corp_id, **facts)
    return ok("corp.mirror", Text("组织架构 {age} 前同步", "The organisation was mirrored {age} ago"), corp.corp_id, **facts)


async def of_groups(corp_id: str) -> list[Finding]:
    """Groups nobody has classified refuse every change."""
    names = [group.name for group in await catalog.groups(corp_id) if group.kind is Kind.UNCLASSIFIED]
    if not names:
        return [ok("corp.groups", Text("所有标签组都已分类", "Every tag group is classified"), corp_id)]
    return [
        attention(
            "corp.groups",
            Text(
                "{count} 个标签组未分类，其标签不能使用：{names}",
                "{count} tag groups are unclassified, their tags cannot be used: {names}",
            ),
            Text(
                "在 groups.toml 中写明类别后运行 tagwarden policy apply，或 PATCH /v1/tag-groups/{{id}}",
                "Name their kind in groups.toml and run `tagwarden policy apply`, or PATCH /v1/tag-groups/{{id}}",
            ),
            corp_id,
            count=len(names),
            names=listed(names),
        )
    ]


def of_subadmins(corp_id: str, picture: Picture) -> list[Finding]:
    """Sub-admins who can do nothing with it: without a switch, or with that of the catalog and no group to manage."""
    found = [one for one in picture.directory.holders(RoleName.SUBADMIN) if not one.holds(RoleName.ADMIN)]
    idle = [one.userid for one in found if not one.modules]
    bare = [one.userid for one in found if Module.CATALOG in one.modules and not _manages(picture, one.userid)]
    findings = [_idle(corp_id, idle)] if idle else []
    findings += [_bare(corp_id, bare)] if bare else []
    text = Text("子管理员 {count} 位，均有可用的模块", "{count} sub-admins, each with a module switch that opens something")
    return findings or [ok("corp.subadmins", text, corp_id, count=len(found))]


def _manages(picture: Picture, userid: str) -> bool:
    groups = [group for group in picture.groups.values() if group.kind is not Kind.UNCLASSIFIED]
    return not groups or any(picture.may(userid, group.id, group.kind, Action.MANAGE, None) for group in groups)


def _idle(corp_id: str, idle: Sequence[str]) -> Finding:
    return attention(
        "corp.subadmins",
        Text(
            "{count} 位子管理员没有开通任何模块，不能做任何管理操作：{who}",
            "{count} sub-admins hold no module switch, so they can configure nothing: {who}",
        ),
        Text(
            "由管理员开通模块（catalog、policy、members、sync、approvals）或收回该角色：PUT /v1/employees/{{userid}}/roles",
            "An admin switches modules on (catalog, policy, members, sync, approvals) or takes the role back:"
            " PUT /v1/employees/{{userid}}/roles",
        ),
        corp_id,
        count=len(idle),
        who=listed(idle),
    )


def _bare(corp_id: str, bare: Sequence[str]) -> Finding:
    return attention(
        "corp.subadmins",
        Text(
            "{count} 位子管理员有 catalog 模块，但其部门没有任何标签组的 manage 授权：可以建组，不能管理标签：{who}",
            "{count} sub-admins hold the switch catalog, but their departments have no manage grant: they can make groups and"
            " shape no tag: {who}",
        ),
        Text(
            "在 grants.toml 中给其部门加 manage 授权并运行 tagwarden policy apply，或收回 catalog 模块",
            "Give their departments a manage grant in grants.toml and run `tagwarden policy apply`, or take the switch back",
        ),
        corp_id,
        count=len(bare),
        who=listed(bare),
    )


async def of_library(corp_id: str) -> list[Finding]:
    """How full WeCom's tag library is."""
    use = await limits.use(corp_id)
    facts = {"used": use.used, "limit": limits.TAGS}
    text = Text("企业标签 {used} / {limit}", "{used} of {limit} tags are in use")
    if not use.is_nearly_full:
        return [ok("corp.library", text, corp_id, **facts)]
    return [
        attention(
            "corp.library",
            text,
            Text(
                "企业微信到 {limit} 个后不能再新建标签：合并或删除不用的标签（tagwarden tags list、tags usage）",
                "WeCom takes no new tag beyond {limit}: merge or delete what nobody uses (`tagwarden tags list`, `tags usage`)",
            ),
            corp_id,
            **facts,
        )
    ]


def of_signers(corp: readings.Corp, directory: Directory, owners: Sequence[str]) -> list[Finding]:
    """Departments with customers whose owners have no level 1 and another level 2, and owners who have left."""
    missing: dict[str, str] = {}
    gone = []
    for owner in owners:
        employee = directory.known(owner)
        if employee is None or not employee.active:
            gone.append(owner)
            continue
        try:
            chain_for(directory, owner=owner, requester=owner, asking_is_level1=False)
        except NoApprover as error:
            homes = sorted(directory.departments[one].name for one in employee.departments if one in directory.departments)
            missing[homes[0] if homes else owner] = str(error.facts["why"])
    findings = [_left(corp.corp_id, gone)] if gone else []
    return [*findings, _signers(corp, missing)]


def _left(corp_id: str, gone: Sequence[str]) -> Finding:
    return attention(
        "corp.owners",
        Text(
            "{count} 位已离职或停用的员工名下仍有客户：{who}",
            "{count} employees who left or are inactive still own customers: {who}",
        ),
        Text(
            "在企业微信中把他们的客户分配给在职员工，然后运行 tagwarden import customers",
            "Hand their customers over to somebody in WeCom, then run `tagwarden import customers`",
        ),
        corp_id,
        count=len(gone),
        who=listed(gone),
    )


def _signers(corp: readings.Corp, missing: dict[str, str]) -> Finding:
    if not missing:
        return ok(
            "corp.signers",
            Text("每个有客户的部门都有两级审批人", "Every department with customers has signers of both levels"),
            corp.corp_id,
        )
    say = broken if corp.live else attention
    return say(
        "corp.signers",
        Text(
            "{count} 个有客户的部门没有两位不同的审批人，其长期标签无法申请：{where}",
            "{count} departments with customers have no two signers, so value tags cannot be asked for: {where}",
        ),
        Text(
            "level1：在企业微信通讯录中把上级设为部门负责人，并给他 manager 角色；level2：给总部人员 supervisor 角色。"
            "两人须不同（PUT /v1/employees/{{userid}}/roles）",
            "level1: make a superior the department's leader in WeCom's contacts and give him the role manager; level2: give"
            " somebody at HQ the role supervisor. They are two persons (PUT /v1/employees/{{userid}}/roles)",
        ),
        corp.corp_id,
        count=len(missing),
        where=listed(f"{name} ({why})" for name, why in sorted(missing.items())),
    )
