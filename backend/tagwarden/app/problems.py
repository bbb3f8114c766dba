"""The one place where errors become HTTP: RFC 9457 problem documents, Chinese or English, with a stable code."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec
import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException, ValidationException

from tagwarden.kernel import errors
from tagwarden.kernel.db import GONE, DatabaseUnavailable
from tagwarden.kernel.http import Problem

log = structlog.get_logger(__name__)

STATUS: list[tuple[type[errors.TagwardenError], int]] = [
    (errors.Malformed, 400),
    (errors.UnsupportedMedia, 415),
    (errors.Unauthenticated, 401),
    (errors.Refused, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.Outdated, 412),
    (errors.Invalid, 422),
    (errors.Required, 428),
    (errors.Limited, 429),
    (errors.Unavailable, 503),
]

TITLES = {
    400: ("请求格式错误", "Bad request"),
    401: ("未登录", "Not signed in"),
    403: ("没有权限", "Refused"),
    404: ("未找到", "Not found"),
    405: ("不支持的方法", "Method not allowed"),
    409: ("冲突", "Conflict"),
    412: ("内容已变化", "Precondition failed"),
    413: ("请求过大", "Too large"),
    415: ("不支持的内容类型", "Unsupported media type"),
    422: ("内容不符合要求", "Not acceptable as it stands"),
    428: ("缺少前提条件", "Precondition required"),
    429: ("请求过于频繁", "Too many requests"),
    500: ("系统内部错误", "Internal error"),
    503: ("服务暂时不可用", "Unavailable"),
}

FRAMEWORK_CODES = {
    400: ("request_invalid", "请求无法读取：{why}", "The request cannot be read: {why}"),
    401: ("unauthenticated", "请先登录：令牌缺失、无效或已过期", "Sign in first: the token is missing, invalid or expired"),
    404: ("not_found", "没有这个地址", "No such address"),
    405: ("method_not_allowed", "该地址不支持此方法", "This address does not take this method"),
    413: ("body_too_large", "请求内容过大", "The request body is too large"),
    415: ("media_type", "请使用 application/json", "Send application/json"),
    422: ("request_invalid", "请求内容不符合要求：{why}", "The request is not acceptable: {why}"),
    429: ("too_many", "请求过于频繁，请稍后再试", "Too many requests; try again later"),
}
AnyRequest = Request[Any, Any, Any]


def language_of(accept: str) -> str:
    """`zh` or `en` by Accept-Language (RFC 9110 12.5.4); Chinese where nothing is said."""
    best, language = -1.0, "zh"
    for part in accept.split(","):
        name, _, weight = part.replace(" ", "").partition(";q=")
        known = name[:2].lower()
        try:
            value = float(weight) if weight else 1.0
        except ValueError:
            continue
        if known in ("zh", "en") and value > max(best, 0.0):
            best, language = value, known
    return language


def respond(request: AnyRequest, status: int, code: str, detail: str, facts: dict[str, Any] | None = None) -> Response[Problem]:
    """One problem document."""
    language = language_of(request.headers.get("accept-language", ""))
    title = TITLES.get(status, TITLES[500])[0 if language == "zh" else 1]
    facts = dict(facts or {})
    items = [_localised(item, language) for item in facts.pop("items", [])]
    shown = {name: value for name, value in facts.items() if not name.startswith("summary")}
    problem = Problem(
        f"urn:tagwarden:problem:{code}", title, status, detail, code, request.scope["state"].get("request_id", ""), items, shown
    )
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {"Retry-After": "5"} if status in (429, 503) else {}
    return Response(problem, status_code=status, media_type="application/problem+json", headers=headers)


def _localised(item: dict[str, Any], language: str) -> dict[str, Any]:
    """Picks the language: `zh`/`en` become `text`, `name_zh`/`name_en` become `name`."""
    plain = {name: value for name, value in item.items() if name[-2:] not in ("zh", "en")}
    spoken = {name[:-3] or "text": value for name, value in item.items() if name[-2:] == language}
    return {**plain, **spoken}


def on_ours(request: AnyRequest, error: errors.TagwardenError) -> Response[Problem]:
    """An error raised where its rule lives."""
    status = next((status for kind, status in STATUS if isinstance(error, kind)), 500)
    language = language_of(request.headers.get("accept-language", ""))
    code = error.code.format(**error.facts) if "{" in error.code else error.code
    if status == 401:
        return respond(request, 401, "unauthenticated", error.text(language))
    return respond(request, status, code, error.text(language), error.facts)


def on_framework(request: AnyRequest, error: HTTPException) -> Response[Problem]:
    """What the framework itself refuses; its own words never carry our values."""
    status = error.status_code
    if status == 400 and isinstance(error, ValidationException) and _readable(error):
        status = 422
    code, zh, en = FRAMEWORK_CODES.get(status, ("internal", "系统内部错误", "Internal error"))
    zh_wanted = language_of(request.headers.get("accept-language", "")) == "zh"
    answer = respond(request, status, code, (zh if zh_wanted else en).format(why=_why(error)))
    if allowed := (error.headers or {}).get("Allow"):
        answer.headers["Allow"] = allowed  # RFC 9110 15.5.6
    return answer


def _readable(error: ValidationException) -> bool:
    """Whether the body was JSON at all: what it says is wrong, not how it is written."""
    cause = error.__cause__
    return not (isinstance(cause, msgspec.DecodeError) and not isinstance(cause, msgspec.ValidationError))


def _why(error: HTTPException) -> str:
    extra = error.extra if isinstance(error.extra, list) else []
    parts = [f"{one.get('key', '')}: {one.get('message', '')}".strip(": ") for one in extra if isinstance(one, dict)]
    return "; ".join(parts)[:300] or str(error.detail)[:300]


def on_database(request: AnyRequest, error: Exception) -> Response[Problem]:
    """The database went away in the middle: nothing is half-written, because nothing was committed."""
    if isinstance(error, ValueError):  # asyncpg's own word for a value that fits no column
        return on_text(request, error)
    return on_ours(request, DatabaseUnavailable())


def on_text(request: AnyRequest, error: Exception) -> Response[Problem]:
    """A value PostgreSQL cannot hold (NUL in a text, a number out of range): said by a client, refused whole."""
    language = language_of(request.headers.get("accept-language", ""))
    zh, en = "内容包含无法保存的字符或数值", "A value holds characters or numbers that cannot be stored"
    return respond(request, 422, "value_invalid", zh if language == "zh" else en)


def on_anything(request: AnyRequest, error: Exception) -> Response[Problem]:
    """A mistake of ours: logged by type and place, told without detail."""
    if isinstance(error, GONE):
        return on_database(request, error)
    if isinstance(error, OverflowError):
        return on_text(request, error)
    if isinstance(error, (RecursionError, UnicodeError)):
        zh, en = ("请求嵌套过深", "The request is nested too deeply")
        if isinstance(error, UnicodeError):
            zh, en = ("请求内容不是 UTF-8", "The request is not UTF-8")
        chinese = language_of(request.headers.get("accept-language", "")) == "zh"
        return respond(request, 400, "request_invalid", zh if chinese else en)
    log.error("request.failed", error=type(error).__name__, path=request.scope.get("path_template", ""), exc_info=error)
    language = language_of(request.headers.get("accept-language", ""))
    zh, en = errors.TagwardenError.zh, errors.TagwardenError.en
    return respond(request, 500, "internal", zh if language == "zh" else en)


HANDLERS: dict[int | type[Exception], Any] = {
    errors.TagwardenError: on_ours,
    HTTPException: on_framework,
    asyncpg.PostgresConnectionError: on_database,
    asyncpg.InterfaceError: on_database,
    asyncpg.DataError: on_text,
    Exception: on_anything,
}
MEDIA = MediaType.JSON
