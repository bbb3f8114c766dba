"""A draft of the matrix and the refusals that are its own. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from tagwarden.governance.cells import Cell
from tagwarden.kernel.errors import Conflict, Invalid, NotFound, Outdated, Required


class DraftState(StrEnum):
    """`held`: it loosens and waits for two signatures."""

    OPEN = "open"
    HELD = "held"
    PUBLISHED = "published"
    DISCARDED = "discarded"


class DraftUnknown(NotFound):
    code = "draft_unknown"
    zh = "找不到该策略草稿"
    en = "No such policy draft"


class RevisionUnknown(NotFound):
    code = "revision_unknown"
    zh = "找不到该策略版本"
    en = "No such policy revision"


class DraftClosed(Conflict):
    code = "draft_closed"
    zh = "该草稿已结束或正在等待审批（{state}），不能再修改"
    en = "This draft has ended or waits for signatures ({state}); it cannot be changed"


class DraftOutdated(Conflict):
    code = "draft_outdated"
    zh = "草稿基于版本 {base}，现行版本已是 {current}；请先更新草稿（rebase）并重新查看影响"
    en = "The draft was made on revision {base}, and {current} is in force; rebase it and look at its impact again"


class NothingDiffers(Conflict):
    code = "nothing_differs"
    zh = "与现行版本没有差别，无需发布"
    en = "Nothing differs from the revision in force"


class CellUnknown(Invalid):
    code = "cell_unknown"
    zh = "部门或标签组不存在：{what}"
    en = "No such department or tag group: {what}"


class DenyReaches(Invalid):
    code = "deny_has_no_reach"
    zh = "禁止对所有客户生效，不能设置范围：{what}"
    en = "A deny forbids everywhere and has no reach: {what}"


class CapabilitiesInvalid(Invalid):
    code = "capabilities_invalid"
    zh = "角色权限有误：{why}"
    en = "The capabilities are not valid: {why}"


class NoteRequired(Invalid):
    code = "note_required"
    zh = "发布时请写明说明"
    en = "Say in a note what is published and why"


class PolicyEtagRequired(Required):
    code = "if_match_required"
    zh = "请在 If-Match 中提供当前 ETag"
    en = "Send the current ETag in If-Match"


class PolicyEtagOutdated(Outdated):
    code = "etag_outdated"
    zh = "内容已被他人修改，请刷新后重试"
    en = "Somebody changed it meanwhile; read it again"


@dataclass(frozen=True, slots=True)
class Draft:
    """What would differ from the revision `base`; `capabilities`, `approvals` and `drift` None: as they are there."""

    id: UUID
    base: int
    note: str
    cells: tuple[Cell, ...]
    capabilities: list[dict[str, Any]] | None
    approvals: dict[str, Any] | None
    drift: dict[str, Any] | None
    editors: tuple[str, ...]
    state: DraftState
    approval_id: UUID | None
    revision: int | None
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def etag(self) -> str:
        return f'"{self.version}"'

    def edited_by(self, userid: str) -> Draft:
        """The same with one more hand in it."""
        return replace(self, editors=tuple(dict.fromkeys((*self.editors, userid))))

    def require_open(self) -> None:
        """Raises DraftClosed unless it can be changed and published."""
        if self.state is not DraftState.OPEN:
            raise DraftClosed(state=self.state.value)

    def require_base(self, current: int) -> None:
        """Raises DraftOutdated unless it was made on the revision in force."""
        if self.base != current:
            raise DraftOutdated(base=self.base, current=current)


def require_etag(given: str | None, current: str) -> None:
    """Raises unless `If-Match` names the current version (RFC 9110 13.1.1)."""
    if given is None:
        raise PolicyEtagRequired()
    if given.strip() not in (current, "*"):
        raise PolicyEtagOutdated(current=current)
