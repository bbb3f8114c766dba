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

    @property
    def etag(self) -> str:
        return f'"{self.version}"'


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

    @property
    def etag(self) -> str:
        return f'"{self.version}"'


class GroupUnknown(NotFound):
    code = "tag_group_unknown"
    zh = "找不到该标签组"
    en = "No such tag group"


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


class ProtectedChange(Refused):
    code = "protected_change"
    zh = "这是受保护的更改，需要两级审批：{what}"
    en = "This is a protected change and needs two sign-offs: {what}"


class EtagRequired(Required):
    code = "if_match_required"
    zh = "请在 If-Match 中提供当前 ETag"
    en = "Send the current ETag in If-Match"


class EtagOutdated(Outdated):
    code = "etag_outdated"
    zh = "内容已被他人修改，请刷新后重试"
    en = "Somebody changed it meanwhile; read it again"


class InUse(Conflict):
    code = "in_use"
    zh = "仍在使用中（{assignments} 处标记），请先停用"
    en = "Still in use ({assignments} assignments); retire it instead"


def require_etag(given: str | None, current: str) -> None:
    """Raises unless `If-Match` names the current version (RFC 9110 13.1.1)."""
    if given is None:
        raise EtagRequired()
    if given.strip() not in (current, "*"):
        raise EtagOutdated(current=current)
