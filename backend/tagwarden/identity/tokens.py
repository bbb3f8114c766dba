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

from tagwarden.identity.keysets import KeySets
from tagwarden.identity.model import TokenRefused

REQUIRED = ["iss", "aud", "sub", "corp_id", "exp", "iat", "jti"]
LEEWAY_SECONDS = 5
LONGEST_TOKEN = 8_192
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Issuer:
    """Keys of one issuer of tokens: `verify_key` (the shared secret, or the public key in PEM), or a published set."""

    name: str
    audience: str
    algorithm: str
    verify_key: str | None = field(repr=False, default=None)
    sign_key: str | None = field(repr=False, default=None)
    jwks_url: str | None = None


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
        published = {issuer.name: issuer.jwks_url for issuer in issuers if issuer.jwks_url}
        self._keysets = KeySets(published, rotated=self.forget)

    async def established(self, token: str) -> Claims:
        """`verify`, after fetching the issuer's published keys where they are missing or stale."""
        if self._keysets.any:
            issuer, kid = _named(token)
            if issuer is not None and self._keysets.publishes(issuer):
                await self._keysets.prepare(issuer, kid)
        return self.verify(token)

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
            named, kid = _named(token)
            issuer = self._issuers.get(named) if named is not None else None
            if issuer is None:
                raise TokenRefused()
            body = jwt.decode(
                token,
                self._key(issuer, kid),
                algorithms=[issuer.algorithm],
                audience=issuer.audience,
                issuer=issuer.name,
                leeway=LEEWAY_SECONDS,
                options={"require": REQUIRED},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise TokenRefused() from None
        return _claims(body)

    def _key(self, issuer: Issuer, kid: str | None) -> jwt.PyJWK | str:
        if issuer.verify_key is not None:
            return issuer.verify_key
        published = self._keysets.key(issuer.name, kid)
        if published is None:
            raise TokenRefused()
        return jwt.PyJWK(published, algorithm=issuer.algorithm)

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


def _named(token: str) -> tuple[str | None, str | None]:
    """Which issuer and key a token claims, unproven: good for choosing what to verify it with, and for nothing else."""
    if len(token) > LONGEST_TOKEN:
        return None, None
    try:
        header = jwt.get_unverified_header(token)
        issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None, None
    kid = header.get("kid")
    return (issuer if isinstance(issuer, str) else None), (kid if isinstance(kid, str) else None)


def _claims(body: dict[str, object]) -> Claims:
    act = body.get("act")
    machine = act.get("sub") if isinstance(act, dict) else None
    texts = (body["iss"], body["corp_id"], body["sub"], body["jti"])
    if not all(isinstance(text, str) and 0 < len(text) <= 256 and text.isprintable() for text in texts):
        raise TokenRefused()
    if "act" in body and not (isinstance(machine, str) and 0 < len(machine) <= 256 and machine.isprintable()):
        raise TokenRefused()
    expires = body["exp"]
    if not isinstance(expires, int):
        raise TokenRefused()
    issuer, corp_id, userid, jti = (str(text) for text in texts)
    return Claims(issuer, corp_id, userid, machine if isinstance(machine, str) else None, jti, expires)
