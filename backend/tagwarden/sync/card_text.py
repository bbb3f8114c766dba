"""What a card says: what changes, who asks and why, cut to the lengths WeCom shows (path/90236). Pure.

Cards are in Chinese, as WeCom is. A number that could be a telephone's is never shown, whoever wrote it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

TITLE, DESC, SUB_TITLE, KEY, VALUE, BUTTON = 36, 44, 160, 5, 30, 10
"""How many characters WeCom shows of each text; items at the side: six at most."""
MOST_ITEMS = 6
APPROVE, SEEN = "approve", "seen"

KINDS = {
    "tag_change": "客户标签变更",
    "adopt_marks": "确认已有价值标签",
    "tag_migration": "移动或合并标签",
    "tag_delete": "删除标签",
    "tag_group_delete": "删除标签组",
    "tag_group_change": "更改标签组",
    "tag_edit": "更改标签",
    "policy_publish": "发布策略",
    "issuer_right": "签发方权限",
    "roles_give": "授予签批角色",
    "delegation": "委托签批",
}
OUTCOMES = {
    "signed": "您已同意",
    "passed": "已由他人签批",
    "applied": "已生效",
    "rejected": "已驳回",
    "withdrawn": "申请人已撤回",
    "expired": "已过期",
    "stale": "已失效",
    "edited": "内容已修改，以新卡片为准",
    "not_due": "已不需要您签批",
    "seen": "请在审批页面处理",
    "refused": "未生效，请到审批页面查看",
}

_PHONE = re.compile(r"(?<![0-9A-Za-z_-])\+?\d(?:[\s.()（）-]*\d){6,}(?![0-9A-Za-z_-])")
_FIELDS = {"name": "名称", "kind": "类型", "choice": "单选/多选", "retired": "停用", "tag": "标签", "tag_group": "标签组"}


@dataclass(frozen=True, slots=True)
class Request:
    """What a card draws from: names where there are names, and before → after as the kind describes it."""

    kind: str
    level: int
    requester: str
    owner: str
    customer: str | None
    reason: str
    change: dict[str, Any]
    expires_at: datetime
    task_id: str
    page: str | None
    clicks_sign: bool


def cut(text: str, length: int) -> str:
    """A text no longer than WeCom shows, without numbers that could be telephones'."""
    plain = " ".join(_PHONE.sub("•••", text).split())
    return plain if len(plain) <= length else plain[: length - 1] + "…"


def told(value: Any) -> str:
    """A value of a description as a person reads it."""
    if value is None or value in ([], {}, ""):
        return "（无）"
    if isinstance(value, bool):
        return "是" if value else "否"
    if isinstance(value, dict):
        return "，".join(f"{_FIELDS.get(key, key)}：{told(one)}" for key, one in value.items())
    if isinstance(value, list):
        named = [one for one in value if not isinstance(one, (dict, list))]
        return "、".join(map(str, named)) if len(named) == len(value) else f"{len(value)} 项"
    return {"unconfirmed": "未确认", "confirmed": "已确认"}.get(str(value), str(value))


def draw(request: Request, outcome: str | None = None) -> dict[str, Any]:
    """The card; with an outcome, as it stands when it is closed: the same, and no button any more."""
    before, after = told(request.change.get("before")), told(request.change.get("after"))
    card: dict[str, Any] = {
        "card_type": "button_interaction",
        "source": {"desc": "标签卫士", "desc_color": 0},
        "main_title": {
            "title": cut(f"待签批：{KINDS.get(request.kind, '受保护的更改')}", TITLE),
            "desc": cut(request.reason or "（未填写理由）", DESC),
        },
        "sub_title_text": cut(f"{before} → {after}", SUB_TITLE),
        "horizontal_content_list": _items(request, before, after),
        "task_id": request.task_id,
        "button_list": _buttons(request),
    }
    if request.page is not None:
        card["card_action"] = {"type": 1, "url": request.page}
    if outcome is not None:
        card["main_title"]["title"] = cut(KINDS.get(request.kind, "受保护的更改"), TITLE)
        card["replace_text"] = OUTCOMES.get(outcome, OUTCOMES["not_due"])
    return card


def _items(request: Request, before: str, after: str) -> list[dict[str, Any]]:
    pairs = [
        ("申请人", request.requester),
        ("客户", request.customer),
        ("归属", request.owner),
        ("变更前", before),
        ("变更后", after),
        ("环节", f"第{request.level}级，{request.expires_at:%m月%d日}前"),
    ]
    return [{"keyname": cut(key, KEY), "value": cut(value, VALUE)} for key, value in pairs if value][:MOST_ITEMS]


def _buttons(request: Request) -> list[dict[str, Any]]:
    """A refusal needs a comment, which a card cannot take: its button opens the request's page."""
    buttons: list[dict[str, Any]] = []
    if request.clicks_sign:
        buttons.append({"text": "同意", "style": 1, "key": APPROVE})
    if request.page is not None:
        text = "驳回或查看" if request.clicks_sign else "去签批"
        buttons.append({"type": 1, "text": text, "style": 2, "url": request.page})
    return buttons or [{"text": "知道了", "style": 1, "key": SEEN}]
