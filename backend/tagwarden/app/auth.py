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
from tagwarden.corps.model import Caller, CorpUnknown, Idempotency
from tagwarden.identity.model import IdentityRefused, RoleName, TokenRefused
from tagwarden.identity.tokens import Claims, TokenVerifier
from tagwarden.kernel.errors import Malformed
from tagwarden.kernel.ids import new_id
from tagwarden.policy import service as policy
from tagwarden.policy.service import Picture

LONGEST_KEY = 200
AnyRequest = Request[Any, Any, Any]


class IdempotencyKeyInvalid(Malformed):
    code = "idempotency_key_invalid"
    zh = "Idempotency-Key 须为 1 到 200 个可见字符"
    en = "An Idempotency-Key has 1 to 200 visible characters"


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
        await next_app(scope, receive, send)


def _bearer(request: AnyRequest) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
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
    if claims.act is not None:
        machine = picture.directory.employee(claims.act)
        if not machine.holds(RoleName.SERVICE):
            raise IdentityRefused(userid=claims.act)
    employee = picture.directory.employee(claims.userid)
    if claims.act is None and employee.roles == {RoleName.SERVICE}:
        raise IdentityRefused(userid=claims.userid)
    return picture


async def provide_caller(request: AnyRequest, picture: NamedDependency[Picture]) -> Caller:
    """The established identity of this request."""
    claims: Claims = request.scope["state"]["claims"]
    caller = Caller(
        claims.corp_id,
        claims.userid,
        claims.issuer,
        picture.directory.may_sign(claims.issuer),
        claims.act,
        request.scope["state"]["request_id"],
    )
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
