"""Issuers that publish their keys: fetched once, rotated, away, hostile."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tagwarden.identity import keysets
from tagwarden.identity.model import TokenRefused
from tagwarden.identity.tokens import Issuer, TokenVerifier


@dataclass
class Publisher:
    """A real HTTP server that publishes a key set."""

    url: str = ""
    keys: dict[str, Ed25519PrivateKey] = field(default_factory=dict)
    extra: list[dict[str, Any]] = field(default_factory=list)
    answer: web.Response | None = None
    fetched: int = 0

    def publish(self, *kids: str) -> None:
        self.keys = {kid: self.keys.get(kid) or Ed25519PrivateKey.generate() for kid in kids}

    async def handle(self, _: web.Request) -> web.Response:
        self.fetched += 1
        if self.answer is not None:
            return self.answer
        published = []
        for kid, key in self.keys.items():
            jwk = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key()))
            published.append({**jwk, "kid": kid, "use": "sig"})
        return web.json_response({"keys": [*published, *self.extra]})

    def token(self, kid: str | None, key: Ed25519PrivateKey, **claims: Any) -> str:
        at = int(time.time())
        body = {"iss": "crm", "aud": "tagwarden", "sub": "ann", "corp_id": "c", "iat": at, "exp": at + 60, "jti": "1", **claims}
        return jwt.encode(body, key, algorithm="EdDSA", headers={"kid": kid} if kid else None)


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    publisher = Publisher()
    app = web.Application()
    app.router.add_get("/keys", publisher.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    publisher.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    yield publisher
    await runner.cleanup()


def verifier(publisher: Publisher) -> TokenVerifier:
    return TokenVerifier([Issuer("crm", "tagwarden", "EdDSA", jwks_url=publisher.url)])


async def test_many_tokens_make_one_fetch(publisher: Publisher) -> None:
    publisher.publish("a")
    tokens = [publisher.token("a", publisher.keys["a"], jti=str(number)) for number in range(20)]
    standing = verifier(publisher)
    claims = await asyncio.gather(*(standing.established(token) for token in tokens))
    assert {one.userid for one in claims} == {"ann"}
    assert publisher.fetched == 1


async def test_a_rotated_key_is_found_and_the_old_one_stops_counting(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keysets, "AT_MOST_EVERY", 0.0)
    publisher.publish("old")
    old = publisher.token("old", publisher.keys["old"])
    standing = verifier(publisher)
    await standing.established(old)
    publisher.publish("new")
    await standing.established(publisher.token("new", publisher.keys["new"]))
    with pytest.raises(TokenRefused):
        await standing.established(old)  # it was remembered as verified until the set rotated


async def test_unknown_keys_do_not_hammer_the_issuer(publisher: Publisher) -> None:
    publisher.publish("a")
    standing, stranger = verifier(publisher), Ed25519PrivateKey.generate()
    for number in range(30):
        with pytest.raises(TokenRefused):
            await standing.established(publisher.token(f"unknown-{number}", stranger))
    assert publisher.fetched == 1


async def test_an_issuer_that_is_away_refuses_nobody_it_vouched_for(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keysets, "AT_MOST_EVERY", 0.0)
    monkeypatch.setattr(keysets, "FRESH_SECONDS", 0.0)
    publisher.publish("a")
    standing = verifier(publisher)
    await standing.established(publisher.token("a", publisher.keys["a"], jti="1"))
    publisher.answer = web.Response(status=500)
    await standing.established(publisher.token("a", publisher.keys["a"], jti="2"))
    with pytest.raises(TokenRefused):
        await standing.established(publisher.token("b", Ed25519PrivateKey.generate()))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"keys": {}}', b'{"keys": [1, null]}', b"x" * 300_000])
async def test_a_broken_set_lets_nobody_in(publisher: Publisher, body: bytes) -> None:
    publisher.answer = web.Response(body=body, content_type="application/json")
    with pytest.raises(TokenRefused):
        await verifier(publisher).established(publisher.token("a", Ed25519PrivateKey.generate()))


async def test_a_published_shared_secret_is_nobodys(publisher: Publisher) -> None:
    publisher.extra = [{"kty": "oct", "kid": "s", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "alg": "HS256"}]
    at = int(time.time())
    body = {"iss": "crm", "aud": "tagwarden", "sub": "ann", "corp_id": "c", "iat": at, "exp": at + 60, "jti": "1"}
    forged = jwt.encode(body, b"secret-secret-secret-secret-secret"[:34], algorithm="HS256", headers={"kid": "s"})
    with pytest.raises(TokenRefused):
        await verifier(publisher).established(forged)


async def test_a_token_never_names_where_keys_come_from(publisher: Publisher) -> None:
    publisher.publish("a")
    stranger = Ed25519PrivateKey.generate()
    at = int(time.time())
    body = {"iss": "crm", "aud": "tagwarden", "sub": "ann", "corp_id": "c", "iat": at, "exp": at + 60, "jti": "1"}
    headers = {"kid": "a", "jku": publisher.url, "jwk": json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(stranger.public_key()))}
    with pytest.raises(TokenRefused):
        await verifier(publisher).established(jwt.encode(body, stranger, algorithm="EdDSA", headers=headers))
