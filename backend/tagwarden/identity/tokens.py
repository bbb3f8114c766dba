"""JSON Web Tokens (RFC 7519): the only file that imports `jwt`.

An issuer's keys come from settings, its algorithm is fixed there and never read from the token; what the issuer may
do in a corp stands in rows. Every way to be wrong ends in the same TokenRefused, which never says why.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass, field

import jwt

from tagwarden.identity.model import TokenRefused

REQUIRED = ["iss", "aud", "sub", "corp_id", "exp", "iat", "jti"]
LEEWAY_SECONDS = 5
LONGEST_TOKEN = 8_192
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Issuer:
    """Keys of one issuer of tokens. `verify_key` is the shared secret (HS256) or the public key in PEM."""

    name: str
    audience: str
    algorithm: str
    verify_key: str = field(repr=False)
    sign_key: str | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says; whether that person may do anything is not said here."""

    issuer: str
    corp_id: str
    userid: str
    act: str | None
    jti: str
    expires_at: int


class TokenVerifier:
    """Verifies tokens of the known issuers; remembers verified ones by hash until they expire."""

    def __init__(self, issuers: list[Issuer]) -> None:
        self._issuers = {issuer.name: issuer for issuer in issuers}
        self._verified: dict[bytes, Claims] = {}

    def verify(self, token: str) -> Claims:
        """The claims of a token that is whole, ours, in time and complete; TokenRefused otherwise."""
        if len(token) > LONGEST_TOKEN:
            raise TokenRefused()
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._verified.get(digest)
        if known is not None and known.expires_at > time.time():
            return known
        claims = self._verify(token)
        if len(self._verified) >= REMEMBERED:
            self._verified.clear()
        self._verified[digest] = claims
        return claims

    def forget(self) -> None:
        """Drops every remembered token (a revocation, a rotated key)."""
        self._verified.clear()

    def _verify(self, token: str) -> Claims:
        try:
            unverified = jwt.decode(token, options={"verify_signature": False})
            named = unverified.get("iss")
            issuer = self._issuers.get(named) if isinstance(named, str) else None
            if issuer is None:
                raise TokenRefused()
            body = jwt.decode(
                token,
                issuer.verify_key,
                algorithms=[issuer.algorithm],
                audience=issuer.audience,
                issuer=issuer.name,
                leeway=LEEWAY_SECONDS,
                options={"require": REQUIRED},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise TokenRefused() from None
        return _claims(body)

    def issue(self, issuer: str, corp_id: str, userid: str, *, seconds: int) -> str:
        """A token signed by one of our own issuers (operator, demo); KeyError when it has no signing key here."""
        keys = self._issuers[issuer]
        if keys.sign_key is None:
            raise KeyError(issuer)
        at = int(time.time())
        body = {
            "iss": issuer,
            "aud": keys.audience,
            "sub": userid,
            "corp_id": corp_id,
            "iat": at,
            "exp": at + seconds,
            "jti": secrets.token_hex(16),
        }
        return jwt.encode(body, keys.sign_key, algorithm=keys.algorithm)


def _claims(body: dict[str, object]) -> Claims:
    act = body.get("act")
    machine = act.get("sub") if isinstance(act, dict) else None
    texts = (body["iss"], body["corp_id"], body["sub"], body["jti"])
    if not all(isinstance(text, str) and 0 < len(text) <= 256 for text in texts):
        raise TokenRefused()
    if "act" in body and not (isinstance(machine, str) and machine):
        raise TokenRefused()
    expires = body["exp"]
    if not isinstance(expires, int):
        raise TokenRefused()
    issuer, corp_id, userid, jti = (str(text) for text in texts)
    return Claims(issuer, corp_id, userid, machine if isinstance(machine, str) else None, jti, expires)
