"""Who calls: a verified token, its issuer's right in this corp, an active employee. Everything not marked public is shut.

The answer to every token that does not stand is one constant 401. The picture is read behind the epoch barrier, so a
revoke holds for every request that begins after its response.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from litestar import Request
from litestar.di import NamedDependency
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from tagwarden.app.problems import language_of
from tagwarden.corps import refusals
from tagwarden.corps.model import Caller, CorpUnknown, Idempotency
from tagwarden.identity.model import IdentityRefused, RoleName, TokenRefused
from tagwarden.identity.tokens import Claims, TokenVerifier
from tagwarden.kernel.errors import Malformed, UnsupportedMedia
from tagwarden.kernel.ids import new_id
from tagwarden.policy import service as policy
from tagwarden.policy.service import Picture

LONGEST_KEY = 200
AnyRequest = Request[Any, Any, Any]


class IdempotencyKeyInvalid(Malformed):
    code = "idempotency_key_invalid"
    zh = "Idempotency-Key 须为 1 到 200 个可见字符"
    en = "An Idempotency-Key has 1 to 200 visible characters"


class MediaTypeRefused(UnsupportedMedia):
    code = "media_type"
    zh = "请使用 application/json"
    en = "Send application/json"


class Authentication(ASGIMiddleware):
    """Gives every request an id and, unless its route says `public`, verified claims."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Verifies before anything else of the request is read."""
        request: AnyRequest = Request(scope)
        scope["state"]["request_id"] = str(new_id())
        if not scope["route_handler"].opt.get("public"):
            scope["state"]["claims"] = await self._verifier.established(_bearer(request))
            _require_json(request)
        await next_app(scope, receive, send)


def _require_json(request: AnyRequest) -> None:
    """A body that says it is something else than JSON is not read as JSON (RFC 9110 15.5.16)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method in ("POST", "PUT", "PATCH") and kind not in ("", "application/json"):
        raise MediaTypeRefused()


def _bearer(request: AnyRequest) -> str:
    given = request.headers.getall("authorization", [])
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token:
        raise TokenRefused()
    return token.strip()


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
        _require_established(picture, claims)
    except IdentityRefused as refusal:
        if request.method not in ("GET", "HEAD"):
            await refusals.record(_caller(request, picture), "identity", refusal)
        raise
    return picture


def _require_established(picture: Picture, claims: Claims) -> None:
    if claims.act is not None:
        machine = picture.directory.employee(claims.act)
        if not machine.holds(RoleName.SERVICE):
            raise IdentityRefused(userid=claims.act, audit={"step": "identity"})
    employee = picture.directory.employee(claims.userid)
    if claims.act is None and employee.roles == {RoleName.SERVICE}:
        raise IdentityRefused(userid=claims.userid, audit={"step": "identity"})


def _caller(request: AnyRequest, picture: Picture) -> Caller:
    claims: Claims = request.scope["state"]["claims"]
    may_sign = picture.directory.may_sign(claims.issuer)
    request_id = request.scope["state"]["request_id"]
    return Caller(claims.corp_id, claims.userid, claims.issuer, may_sign, claims.act, request_id)


async def provide_caller(request: AnyRequest, picture: NamedDependency[Picture]) -> Caller:
    """The established identity of this request."""
    caller = _caller(request, picture)
    key = request.headers.get("idempotency-key")
    if key is None or request.method != "POST":
        return caller
    if not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
        raise IdempotencyKeyInvalid()
    body_hash = hashlib.sha256(await request.body()).hexdigest()
    return replace(caller, idempotency=Idempotency(request.url.path, key, body_hash))


def provide_language(request: AnyRequest) -> str:
    """`zh` or `en`."""
    return language_of(request.headers.get("accept-language", ""))
