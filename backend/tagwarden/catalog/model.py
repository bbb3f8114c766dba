"""Groups and tags as rules see them, and the refusals of the catalog."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from tagwarden.kernel.errors import Conflict, Invalid, NotFound, Outdated, Refused, Required
from tagwarden.policy.model import Kind


class Choice(StrEnum):
    SINGLE = "single"
    MULTIPLE = "multiple"


@dataclass(frozen=True, slots=True)
class TagGroup:
    id: UUID
    name: str
    kind: Kind
    choice: Choice
    description: str
    wecom_id: str | None
    name_marked: bool
    version: int
    created_at: datetime
    sort: int = 0
    made_by_us: bool = False

    @property
    def etag(self) -> str:
        return f'"{self.version}"'

    @property
    def foreign(self) -> bool:
        """In WeCom, and made there by its console or by another app: WeCom lets us fill it and never edit it."""
        return self.wecom_id is not None and not self.made_by_us


@dataclass(frozen=True, slots=True)
class Tag:
    id: UUID
    group_id: UUID
    name: str
    parent_id: UUID | None
    meaning: str
    service_process: str
    ends_on: date | None
    wecom_id: str | None
    made_by_us: bool
    name_marked: bool
    version: int
    retired: bool
    sort: int = 0

    @property
    def etag(self) -> str:
        return f'"{self.version}"'

    @property
    def foreign(self) -> bool:
        """In WeCom, and made there by its console or by another app: WeCom lets us mark with it and never edit it."""
        return self.wecom_id is not None and not self.made_by_us


class GroupUnknown(NotFound):
    code = "tag_group_unknown"
    zh = "找不到该标签组"
    en = "No such tag group"


class GroupUnclassified(Conflict):
    code = "tag_group_unclassified"
    zh = "标签组“{name}”尚未分类，其中的标记不能改动，请管理员先分类"
    en = "The tag group “{name}” has no kind yet and refuses every change; classify it first"


class TagUnknown(NotFound):
    code = "tag_unknown"
    zh = "找不到该标签"
    en = "No such tag"


class NameRefused(Invalid):
    code = "name_refused"
    zh = "名称不符合规范（{reason}：{what}），可改用“{suggestion}”"
    en = "The name breaks the house rules ({reason}: {what}); “{suggestion}” would do"


class NameTaken(Conflict):
    code = "name_taken"
    zh = "名称已存在：“{twin}”，可改用“{suggestion}”"
    en = "The name is taken by “{twin}”; “{suggestion}” is free"


class CatalogRefused(Refused):
    code = "refused_at_{step}"
    zh = "您不能管理该标签组（{step}），请联系管理员：{ask}"
    en = "You may not manage this tag group ({step}); ask an admin: {ask}"


class EtagRequired(Required):
    code = "if_match_required"
    zh = "请在 If-Match 中提供当前 ETag"
    en = "Send the current ETag in If-Match"


class EtagOutdated(Outdated):
    code = "etag_outdated"
    zh = "内容已被他人修改，请刷新后重试"
    en = "Somebody changed it meanwhile; read it again"


class TagOfAnotherApp(Conflict):
    code = "tag_of_another_app"
    zh = "“{name}”是在企业微信后台或由其他应用创建的，本系统只能使用，不能改名或调整顺序；请在企业微信中修改，改动会自动同步过来"
    en = (
        "“{name}” was made in WeCom's console or by another app: it can be used from here, not renamed or moved. Do that in"
        " WeCom; it is taken over from there"
    )


class InUse(Conflict):
    code = "in_use"
    zh = "仍在使用中（{assignments} 处标记，{approvals} 个待审批），请改为停用；详见 {usage}"
    en = "Still in use ({assignments} marks, {approvals} open requests); retire it instead. See {usage}"


class HasChildren(Conflict):
    code = "tag_has_children"
    zh = "“{name}”下还有 {count} 个标签（{children}），请先移走或处理它们"
    en = "{count} tags stand below “{name}” ({children}); move or settle them first"


class ParentRetired(Conflict):
    code = "parent_retired"
    zh = "上级标签“{parent}”已停用，其下不能有在用的标签"
    en = "The parent “{parent}” is retired: no tag in use stands below it"


class TreeTooDeep(Invalid):
    code = "tree_too_deep"
    zh = "标签最多 {limit} 级，这样会有 {levels} 级"
    en = "A tree has at most {limit} levels; this would make {levels}"


class TreeCycle(Invalid):
    code = "tree_cycle"
    zh = "不能移到自己或自己的下级（“{parent}”）之下"
    en = "A tag cannot stand below itself or what stands below it (“{parent}”)"


class LibraryFull(Conflict):
    code = "tag_library_full"
    zh = "企业微信最多 {limit} 个企业标签，已用 {used} 个；请先删除不用的标签"
    en = "WeCom takes {limit} tags and {used} are in use; delete some that nobody needs first"


def require_etag(given: str | None, current: str) -> None:
    """Raises unless `If-Match` names the current version (RFC 9110 13.1.1)."""
    if given is None:
        raise EtagRequired()
    if given.strip() not in (current, "*"):
        raise EtagOutdated(current=current)
