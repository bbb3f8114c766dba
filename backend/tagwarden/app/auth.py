"""Who calls: a verified token, its issuer's right in this corp, an active employee. Everything not marked public is shut.

The answer to every token that does not stand is one constant 401. The picture is read behind the epoch barrier, so a
revoke holds for every request that begins after its response. The answer says which epoch holds after it
(`Tagwarden-Epoch`), and a request may demand one that it learned elsewhere (`Tagwarden-Epoch-At-Least`).
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from typing import Any, cast

from litestar import Request
from litestar.di import NamedDependency
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from tagwarden.app.problems import language_of
from tagwarden.corps import epoch as epochs
from tagwarden.corps import refusals
from tagwarden.corps.model import Caller, CorpUnknown, Idempotency
from tagwarden.governance.asking import Asking
from tagwarden.identity.model import IdentityRefused, RoleName, TokenRefused
from tagwarden.identity.tokens import Claims, TokenVerifier
from tagwarden.kernel.errors import Malformed, Outdated, UnsupportedMedia
from tagwarden.kernel.http import EPOCH, EPOCH_AT_LEAST
from tagwarden.kernel.ids import new_id
from tagwarden.policy import service as policy
from tagwarden.policy.service import Picture

LONGEST_KEY = 200
LARGEST_EPOCH = 2**63 - 1
AnyRequest = Request[Any, Any, Any]
Said = dict[bytes, list[bytes]]


class IdempotencyKeyInvalid(Malformed):
    code = "idempotency_key_invalid"
    zh = "Idempotency-Key 须为 1 到 200 个可见字符"
    en = "An Idempotency-Key has 1 to 200 visible characters"


class MediaTypeRefused(UnsupportedMedia):
    code = "media_type"
    zh = "请使用 application/json"
    en = "Send application/json"


class EpochUnreadable(Malformed):
    code = "epoch_unreadable"
    zh = "Tagwarden-Epoch-At-Least 须为一个十进制正整数"
    en = "Tagwarden-Epoch-At-Least is one positive decimal number"


class EpochAhead(Outdated):
    code = "epoch_ahead"
    zh = "请求要求的版本 {wanted} 尚不存在，当前为 {epoch}；请确认该版本号来自本企业的响应"
    en = "The request demands epoch {wanted}, which does not exist; it is {epoch} now. Was it told about this corp?"


class Authentication(ASGIMiddleware):
    """Gives every request an id and, unless its route says `public`, verified claims."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Verifies before anything else of the request is read."""
        state = scope["state"]
        if "request_id" not in state:
            state["request_id"] = str(new_id())
        if not scope["route_handler"].opt.get("public"):
            said = _said(scope)
            state["claims"] = await self._verifier.established(_bearer(said))
            state["epoch"] = epochs.watch()
            state["at_least"] = _at_least(said)
            _require_json(cast(HTTPScope, scope)["method"], said)
        await next_app(scope, receive, send)


_READ = frozenset({b"authorization", b"content-type", b"content-length", EPOCH_AT_LEAST.lower().encode()})


def _said(scope: Scope) -> Said:
    """The headers that are looked at here, as they came; a server hands over their names in small letters."""
    found: Said = {}
    for name, value in scope["headers"]:
        if name in _READ:
            found.setdefault(name, []).append(value)
    return found


def _require_json(method: str, said: Said) -> None:
    """A body that says it is something else than JSON is not read as JSON (RFC 9110 15.5.16)."""
    if method not in ("POST", "PUT", "PATCH"):
        return
    kind = said.get(b"content-type", [b""])[0].partition(b";")[0].strip().lower()
    if kind in (b"", b"application/json") or said.get(b"content-length", [b""])[0] == b"0":  # nothing said: no kind
        return
    raise MediaTypeRefused()


def _bearer(said: Said) -> str:
    given = said.get(b"authorization", [])
    scheme, _, token = given[0].decode("latin-1").partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token:
        raise TokenRefused()
    return token.strip()


def _at_least(said: Said) -> int:
    """The epoch that the answer must stand on at least; 0 where none is demanded."""
    given = said.get(EPOCH_AT_LEAST.lower().encode())
    if given is None:
        return 0
    text = given[0].decode("latin-1").strip(" \t")
    if len(given) > 1 or not (text.isascii() and text.isdigit() and len(text) <= 19 and 0 < int(text) <= LARGEST_EPOCH):
        raise EpochUnreadable()
    return int(text)


async def tell_epoch(message: Message, scope: Scope) -> None:
    """Names the epoch that holds after this answer, where one was met; 401 stays one constant answer."""
    if message["type"] != "http.response.start" or message["status"] == 401:
        return
    seen = scope["state"].get("epoch")
    if seen is not None and seen.number:
        message["headers"] = [*message["headers"], (EPOCH.lower().encode(), str(seen.number).encode())]


async def provide_picture(request: AnyRequest) -> Picture:
    """The policy in force for the caller's corp, behind the barrier; the caller established in it."""
    claims: Claims = request.scope["state"]["claims"]
    try:
        picture = await policy.current(claims.corp_id)
    except CorpUnknown:
        raise TokenRefused() from None
    if claims.issuer not in picture.directory.issuers:
        raise TokenRefused()
    try:
        here = request.scope["state"]["established"] = as_here(picture, claims)
        require_established(picture, here)
    except IdentityRefused as refusal:
        if request.method not in ("GET", "HEAD"):
            await refusals.record(_caller(request, picture), "identity", refusal)
        raise
    wanted = request.scope["state"]["at_least"]
    if picture.epoch < wanted:
        raise EpochAhead(wanted=wanted, epoch=picture.epoch)
    return picture


async def establish_anew(request: AnyRequest) -> Picture:
    """The same once more, for an answer that is still being given: TokenRefused when the token has run out meanwhile."""
    claims: Claims = request.scope["state"]["claims"]
    if claims.expires_at <= time.time():
        raise TokenRefused()
    return await provide_picture(request)


def as_here(picture: Picture, claims: Claims) -> Claims:
    """The claims by the userids that accounts have here: WeCom may call them otherwise by now; IdentityRefused."""
    directory = picture.directory
    return replace(
        claims, userid=directory.here(claims.userid), act=directory.here(claims.act) if claims.act is not None else None
    )


def require_established(picture: Picture, claims: Claims) -> None:
    """Raises unless the person is an active employee, and who acts for him is a machine of the corp; IdentityRefused."""
    if claims.act is not None:
        machine = picture.directory.employee(claims.act)
        if not machine.holds(RoleName.SERVICE):
            raise IdentityRefused(userid=claims.act, audit={"step": "identity"})
    employee = picture.directory.employee(claims.userid)
    if claims.act is None and employee.roles == {RoleName.SERVICE}:
        raise IdentityRefused(userid=claims.userid, audit={"step": "identity"})


def _caller(request: AnyRequest, picture: Picture) -> Caller:
    state = request.scope["state"]
    claims: Claims = state.get("established", state["claims"])
    may_sign = picture.directory.may_sign(claims.issuer)
    request_id = request.scope["state"]["request_id"]
    return Caller(claims.corp_id, claims.userid, claims.issuer, may_sign, claims.act, request_id)


async def provide_caller(request: AnyRequest, picture: NamedDependency[Picture]) -> Caller:
    """The established identity of this request."""
    caller = _caller(request, picture)
    key = request.headers.get("idempotency-key") if request.method == "POST" else None
    if key is None:
        return caller
    if not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
        raise IdempotencyKeyInvalid()
    body_hash = hashlib.sha256(await request.body()).hexdigest()
    return replace(caller, idempotency=Idempotency(request.url.path, key, body_hash))


def provide_language(request: AnyRequest, caller: NamedDependency[Caller]) -> str:
    """`zh` or `en`. Behind the caller: dependencies that stand side by side cost a task group a request."""
    return language_of(request.headers.get("accept-language", ""))


async def provide_asking(request: AnyRequest) -> Asking:
    """All three at once, for what is asked thousands of times a second: each dependency by itself costs its share."""
    picture = await provide_picture(request)
    return Asking(picture, _caller(request, picture), language_of(request.headers.get("accept-language", "")))
