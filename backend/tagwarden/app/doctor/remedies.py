"""What an operator does about a code of WeCom's that stops an app or refuses a probe: where to look, what to type. Pure.

The meaning of a code stands in `wecom/model.py`; here stands the remedy alone. Menu names are those of WeCom's admin
console, which is in Chinese.
"""

from __future__ import annotations

from tagwarden.app.doctor.model import Text
from tagwarden.wecom.model import verdict

SAVE = Text(
    "然后重新保存凭据以解除停止：tagwarden corp credentials（管理员令牌），或 PUT /v1/corp/credentials/{{app}}。"
    "每小时最多尝试三次：反复使用错误的 Secret 会使本机 IP 被企业微信封禁一小时。",
    "Then save the credential again, which lifts the stop: `tagwarden corp credentials` (an admin's token), or"
    " PUT /v1/corp/credentials/{{app}}. At most three tries an hour: wrong secrets in a row get this address banned for an hour.",
)
SECRET = Text(
    "企业微信管理后台 → 应用管理 → 该自建应用 → Secret，查看（或重置后查看）当前 Secret，并确认应用已启用。",
    "In WeCom's admin console, 应用管理 → the self-built app → Secret: read the current secret (reset it if need be) and see"
    " that the app is enabled.",
)
CORP_ID = Text(
    "企业微信管理后台 → 我的企业 → 企业信息 → 企业ID，核对它与本系统中的企业 ID 是否一致；不一致时须以正确的 ID 重新添加企业。",
    "In WeCom's admin console, 我的企业 → 企业信息 → 企业ID: compare it with the corp's id here. If they differ, the corp has to"
    " be added anew under the right id.",
)
CUSTOMER_SCOPE = Text(
    "企业微信管理后台 → 客户与上下游 → 客户联系 → API → 可调用接口的应用，把该应用加入；读取通讯录还需要可见范围包含相应部门。",
    "In WeCom's admin console, 客户与上下游 → 客户联系 → API → 可调用接口的应用: add the app. For reading the organisation, the"
    " app's visible range has to hold the departments too.",
)
RANGE = Text(
    "企业微信管理后台 → 应用管理 → 该应用 → 可见范围，以及客户联系 → 权限配置，把相应的部门与成员加入。",
    "In WeCom's admin console, 应用管理 → the app → 可见范围, and 客户联系 → 权限配置: add the departments and members.",
)
ADDRESS = Text(
    "企业微信管理后台 → 应用管理 → 该应用 → 企业可信IP，加入本服务器（每个 serve 与 worker）的出口 IP；约一分钟后生效。",
    "In WeCom's admin console, 应用管理 → the app → 企业可信IP: add the outgoing address of this server (of every serve and"
    " worker). It takes effect after about a minute.",
)
ENABLED = Text(
    "企业微信管理后台 → 应用管理，启用该应用并确认授权仍然有效；长期未使用的接口权限须重新申请。",
    "In WeCom's admin console, 应用管理: enable the app and see that its authorization stands; an API permission withdrawn for"
    " want of use has to be applied for again.",
)
NOT_LISTED = Text(
    "41005 不在企业微信的错误码表中（公众号错误码表中为“缺少多媒体文件数据”），并不表示 Secret 过期。先核对"
    " TAGWARDEN_WECOM_API_BASE 是否指向企业微信本身、中间有无网关改写应答，再核对该应用的 Secret。"
    "真正与 Secret 有关的错误码是 40001、40091、41004、45031 和 50003。",
    "41005 is not in WeCom's list of codes (in that of Official Accounts it is missing media data) and does not say that a"
    " secret expired. See that TAGWARDEN_WECOM_API_BASE is WeCom itself and that no gateway rewrites answers; then check the"
    " app's secret. The codes that are about the secret are 40001, 40091, 41004, 45031 and 50003.",
)
TLS = Text(
    "升级本机的 OpenSSL，或检查中间代理的 TLS 版本。",
    "Renew this machine's OpenSSL, or look at the TLS version of a proxy between.",
)
AGENT = Text(
    "核对保存的 agent_id 是否属于同一个应用（应用管理 → 该应用 → AgentId）。",
    "See that the stored agent_id is that of the same app (应用管理 → the app → AgentId).",
)
WAIT = Text(
    "等待限制解除（通常一分钟；按小时的限制为一小时），并确认没有其他程序用同一企业的接口。",
    "Wait until the limit is over (mostly a minute; an hour for hourly ones), and see that no other program uses up the"
    " corp's calls.",
)
NETWORK = Text(
    "核对 TAGWARDEN_WECOM_API_BASE、本机的 DNS、代理与防火墙；本机须能访问企业微信的 443 端口。",
    "Check TAGWARDEN_WECOM_API_BASE, DNS, proxy and firewall of this machine: it has to reach WeCom's port 443.",
)
BRAKE = Text(
    "先核对 Secret，等一小时后再试：继续尝试会使本机 IP 被企业微信封禁。",
    "Check the secret first, and try again in an hour: going on would get this address banned by WeCom.",
)
OTHER = Text(
    "在企业微信开放平台的错误码查询工具中查看该错误码，核对该应用的权限。",
    "Look the code up in WeCom's error code tool and check the app's permissions.",
)

_BY_CODE: dict[int, Text] = {
    **dict.fromkeys((40001, 40091, 40125, 41004, 45031), SECRET),
    **dict.fromkeys((40013, 41002, 2000002), CORP_ID),
    **dict.fromkeys((48002, 84074, 84084), CUSTOMER_SCOPE),
    **dict.fromkeys((50002, 60003, 60011, 60021, 60030), RANGE),
    **dict.fromkeys((60020, 48009), ADDRESS),
    **dict.fromkeys((48004, 48006, 50003, 50006), ENABLED),
    **dict.fromkeys((45009, 45033, 45036, -1), WAIT),
    41005: NOT_LISTED,
    48010: TLS,
    301002: AGENT,
}


_FOREIGN = {40125: Text("应用 Secret 无效（公众号错误码）", "The app's secret is not valid (an Official Account code)")}
"""Codes of WeCom's siblings: the product takes them for unknown, a gateway may send them all the same."""


def meaning(code: int) -> Text:
    """The code in plain words."""
    if code in _FOREIGN:
        return _FOREIGN[code]
    found = verdict(code)
    return Text(found.words_zh, found.words_en)


def code_in(reason: str) -> int | None:
    """The code at the head of the reason for which an app was stopped."""
    head = reason.partition(" ")[0]
    return int(head) if head.lstrip("-").isdigit() else None


def remedy(code: int | None) -> Text:
    """What to do about the code, before the credential is saved again."""
    return _BY_CODE.get(code, OTHER) if code is not None else OTHER
