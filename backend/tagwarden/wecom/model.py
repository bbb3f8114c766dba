"""What WeCom's answers mean: one table from code to what we do, and the errors a caller sees.

It exists so that no other file compares an error code with a number. It must never await, read a clock, or put a URL
(they carry tokens) or WeCom's `errmsg` (it may carry addresses) into an error.

Source: the global error list, https://developer.work.weixin.qq.com/document/path/90313.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tagwarden.kernel.errors import Conflict, Unavailable


class CallClass(StrEnum):
    """Who waits for a call: a person (next slot), a batch (evenly spaced), or a mirror (yields to both)."""

    INTERACTIVE = "interactive"
    BULK = "bulk"
    READ = "read"


class VerdictKind(StrEnum):
    """What to do about a refusal."""

    RETRY = "retry"
    REFRESH = "refresh"
    SLOW_DOWN = "slow_down"
    DROP = "drop"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one code means. `seconds`: wait at least so long; `tries`: attempts in all before giving up."""

    kind: VerdictKind
    words_zh: str
    words_en: str
    seconds: float = 0.0
    tries: int = 1


UNKNOWN_TRIES = 3
UNKNOWN_TAG = 40068
"""A tag named in the call is not in WeCom (any more)."""
NO_RELATION = frozenset({84061, 40096, 610004})
"""Nobody in the app's range has this customer (any more)."""
MINUTE = 60.0


def _retry(zh: str, en: str, *, seconds: float = 2.0, tries: int = 4) -> Verdict:
    return Verdict(VerdictKind.RETRY, zh, en, seconds, tries)


def _refresh(zh: str, en: str) -> Verdict:
    return Verdict(VerdictKind.REFRESH, zh, en, seconds=5.0, tries=3)


def _slow(zh: str, en: str, seconds: float) -> Verdict:
    return Verdict(VerdictKind.SLOW_DOWN, zh, en, seconds, tries=10)


def _drop(zh: str, en: str) -> Verdict:
    return Verdict(VerdictKind.DROP, zh, en)


def _stop(zh: str, en: str) -> Verdict:
    return Verdict(VerdictKind.STOP, zh, en)


VERDICTS: dict[int, Verdict] = {
    # -- retry: the same call may pass later. -1: official advice is at most three retries.
    -1: _retry("企业微信系统繁忙", "WeCom is busy"),
    6000: _retry("数据版本冲突，有人同时在编辑", "Data version conflict: somebody else is editing"),
    45035: _retry("同一成员与客户的标签正被同时修改", "The same member and customer are being marked at once", tries=6),
    41063: _retry("群发消息仍在发送中", "The mass message is still being sent", seconds=60.0),
    # -- refresh: the token, not the secret.
    40014: _refresh("access_token 无效", "The access token is not valid"),
    42001: _refresh("access_token 已过期", "The access token has expired"),
    # -- slow down: a minute limit blocks for about a minute; the page gives no length for the other two.
    45009: _slow("接口调用超过频率限制", "The call frequency limit is exceeded", MINUTE),
    45033: _slow("接口并发调用超过限制", "Too many parallel calls", 5.0),
    45036: _slow("因流量异常被限制访问数据", "Data access is limited because of abnormal traffic", MINUTE),
    # -- stop: the credential or the app's rights; every further call would be refused too.
    40001: _stop("应用 Secret 不正确或应用已停用", "The app's secret is wrong or the app is disabled"),
    40013: _stop("企业 ID 不正确", "The corp id is wrong"),
    40091: _stop("应用 Secret 无效，可能属于其他企业", "The secret is not valid; it may belong to another corp"),
    41002: _stop("缺少企业 ID", "The corp id is missing"),
    41004: _stop("缺少应用 Secret", "The secret is missing"),
    41005: _stop(
        "企业微信错误码表中没有 41005，请核对该应用的凭据（Secret）",
        "41005 is not in WeCom's list of codes; check this app's credential (secret)",
    ),
    45031: _stop("应用 Secret 安全性不足，须在管理后台重置", "The secret is not secure enough and must be reset"),
    48002: _stop("该应用没有调用此接口的权限", "This app may not call this API"),
    48004: _stop("应用授权无效", "The app's authorization is not valid"),
    48006: _stop("接口权限因长期未使用被收回", "The API permission was withdrawn because it was not used"),
    48009: _stop("通讯录同步不允许从新的 IP 读取通讯录", "Contact sync may not read contacts from a new address"),
    48010: _stop("TLS 版本不受支持", "The TLS version is not supported"),
    50003: _stop("应用已停用", "The app is disabled"),
    50006: _stop("系统应用已停用", "The system app is disabled"),
    60020: _stop("本机 IP 不在企业可信 IP 中", "This address is not among the corp's trusted addresses"),
    2000002: _stop("企业 ID 不存在", "The corp id does not exist"),
    # -- drop: this call will never pass as it is.
    41001: _drop("请求缺少 access_token", "The access token is missing from the call"),
    48011: _drop("成员活跃度过低，客户数据不予提供", "The member's activity is too low; customer data is withheld"),
    50001: _drop("回调域名不是应用的可信域名", "The redirect domain is not the app's trusted domain"),
    50002: _drop("成员不在应用的权限范围内", "The member is outside the app's range"),
    60003: _drop("部门不存在", "The department does not exist"),
    60011: _drop("对该成员、部门或标签没有权限", "No permission on this member, department or tag"),
    60021: _drop("成员不在应用可见范围内", "The member is not in the app's visible range"),
    60030: _drop("超出应用可见范围", "Beyond the app's visible range"),
    60110: _drop("成员所属部门数超过限制", "The member belongs to too many departments"),
    60111: _drop("成员不存在", "The member does not exist"),
    301002: _drop("没有该应用的权限", "No permission for this agent"),
    45029: _drop("回包过大", "The answer is too large"),
    45011: _drop("接口分钟调用次数超限（公众号错误码）", "Minute quota reached (an Official Account code)"),
    40003: _drop("成员 UserID 无效", "The member's userid is not valid"),
    40029: _drop("登录 code 无效", "The login code is not valid"),
    40031: _drop("成员列表无效", "The list of userids is not valid"),
    40032: _drop("成员列表过长", "The list of userids is too long"),
    40058: _drop("参数不合法", "A parameter is not valid"),
    40063: _drop("缺少必填参数", "A required parameter is empty"),
    40068: _drop("企业微信中没有该标签或标签组", "WeCom has no such tag or tag group"),
    40071: _drop("标签名称已存在", "The tag name exists already"),
    40072: _drop("标签名称为空或过长", "The tag name is empty or too long"),
    40096: _drop("客户 ID 无效，或跟进成员不在可见范围", "The customer id is wrong, or its follower out of range"),
    40097: _drop("成员尚未离职", "The member has not left"),
    40098: _drop("成员尚未实名认证", "The member is not verified by real name"),
    40099: _drop("接替成员的客户数已达上限", "The member's customer limit is reached"),
    40100: _drop("客户已在转接中", "The customer is already in transfer"),
    40126: _drop("企业标签数已达上限", "The corp's limit of tags is reached"),
    40128: _drop("客户转接过于频繁", "The customer was transferred too often"),
    40129: _drop("客户正在转接中", "The customer is being transferred"),
    40130: _drop("原成员与接替成员相同", "Handover and takeover are the same member"),
    40131: _drop("原成员不是客户的跟进人", "The handover member does not follow the customer"),
    40143: _drop("接替成员被限制", "The takeover member is banned"),
    40144: _drop("该客户的标签数已达上限", "The customer's limit of tags is reached"),
    40205: _drop("成员的微信登录已过期", "The member's WeChat login has expired"),
    41006: _drop("缺少 media_id", "The media id is missing"),
    41017: _drop("缺少标签 ID", "The tag id is missing"),
    41018: _drop("缺少标签名称", "The tag name is missing"),
    41035: _drop("缺少客户 ID", "The customer id is missing"),
    41048: _drop("没有可发送的客户", "There is no customer to send to"),
    41093: _drop("群发消息已取消", "The mass message was cancelled"),
    41094: _drop("提醒过于频繁", "The reminder comes too often"),
    41110: _drop("标签 ID 不正确", "The tag id is not correct"),
    41111: _drop("标签数量须在 1 到 1000 之间", "The number of tags must be 1 to 1000"),
    42012: _drop("该应用不能使用此 ticket", "The ticket cannot be used by this app"),
    42022: _drop("登录 code 已使用", "The login code was used already"),
    43012: _drop("应用未配置回调地址", "The app has no callback address"),
    50100: _drop("分页游标无效", "The paging cursor is not valid"),
    60140: _drop("卡片 response_code 无效或已过期", "The card's response code is not valid or has expired"),
    81011: _drop("只能操作本应用创建的标签", "An app may only touch tags it created"),
    81013: _drop("接收人全部无效或无权限", "No receiver is valid"),
    84061: _drop("成员与客户不是外部联系人关系", "The member does not follow this customer"),
    84074: _drop("没有外部联系人权限", "No external-contact permission"),
    84083: _drop("成员不是服务人员", "Not a service member"),
    84084: _drop("成员没有客户联系功能", "Not a member with customer contact"),
    610004: _drop("该 ID 不是企业客户", "The id is not a customer of the corp"),
    701008: _drop("成员均无有效的互通许可", "No member holds a valid interop licence"),
    **{
        code: _drop("模板卡片参数错误", "A field of the template card is not valid")
        for code in (*range(42014, 42020), *range(42027, 42052))
    },
}

UNKNOWN = Verdict(
    VerdictKind.RETRY,
    "企业微信返回了未知错误码",
    "WeCom answered an unknown code",
    seconds=5.0,
    tries=UNKNOWN_TRIES,
)


def verdict(code: int) -> Verdict:
    """What to do about an error code other than 0; an unknown one is tried a few times and is never success."""
    if code == 0:
        raise ValueError("0 is no refusal")
    return VERDICTS.get(code, UNKNOWN)


NO_ANSWER: dict[str, tuple[str, str]] = {
    "timeout": ("企业微信在时限内没有应答", "WeCom did not answer in time"),
    "network": ("与企业微信的连接失败或中断", "The connection to WeCom failed or broke"),
    "http_status": ("企业微信网关返回异常状态", "The gateway answered with an error status"),
    "empty": ("企业微信返回了空内容", "WeCom answered with nothing"),
    "not_json": ("企业微信返回的不是 JSON", "The answer is not JSON"),
    "too_large": ("企业微信返回的内容过大", "The answer is too large"),
    "paused": ("同步已暂停，调用没有发出", "Sending was paused; the call never left"),
    "pages_broke_off": ("企业微信没有给全分页内容", "WeCom did not give all pages"),
    "not_wecom": ("返回内容不是企业微信的应答", "The answer is not one of WeCom's"),
}
"""Reasons for which an outcome is unknown: the call may have been carried out, or not."""


def code_at_head(reason: str) -> int | None:
    """The code with which a kept reason ("84061 …") begins."""
    head = reason.partition(" ")[0]
    return int(head) if head.removeprefix("-").isdecimal() and len(head) < 9 else None


class WecomRefused(Conflict):
    """WeCom answered with a code; `verdict` says what to do about it."""

    code = "wecom_refused"
    zh = "企业微信拒绝了调用（{wecom_code}）：{words_zh}"
    en = "WeCom refused the call ({wecom_code}): {words_en}"

    def __init__(self, wecom_code: int, meaning: Verdict) -> None:
        self.wecom_code = wecom_code
        self.verdict = meaning
        super().__init__(wecom_code=wecom_code, words_zh=meaning.words_zh, words_en=meaning.words_en)


class NoAnswer(Unavailable):
    """The outcome is unknown; whoever repeats the call must be able to bear that it was carried out."""

    code = "wecom_no_answer"
    zh = "{words_zh}，结果未知"
    en = "{words_en}; the outcome is unknown"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        words_zh, words_en = NO_ANSWER[reason]
        super().__init__(reason=reason, words_zh=words_zh, words_en=words_en)


class CorpStopped(Unavailable):
    """WeCom refused the credential: nobody calls until an operator changes it."""

    code = "wecom_stopped"
    zh = "企业 {corp_id} 应用 {app} 的企业微信调用已停止：{reason}。请核对凭据后重新保存"
    en = "Calls to WeCom are stopped for corp {corp_id}, app {app}: {reason}. Check the credential and save it again"


class TokenBrake(Unavailable):
    """Too many access tokens were asked for within the hour; WeCom bans addresses that go on."""

    code = "wecom_token_brake"
    zh = "一小时内获取 access_token 的次数过多，为避免 IP 被封已暂停，请稍后再试"
    en = "Too many access tokens were asked for within an hour; paused so that WeCom does not ban this address"


class SendingPaused(Conflict):
    """The corp's admins hold back what changes WeCom's tags; nothing of it leaves."""

    code = "sending_paused"
    zh = "向企业微信同步已暂停"
    en = "Sending to WeCom is paused"


class AgentMissing(Conflict):
    """Cards go out in an app's name, and its AgentId is not known."""

    code = "agent_missing"
    zh = "应用 {app} 没有保存 AgentId，无法发送卡片"
    en = "App {app} has no agent_id stored: no card can be sent"
