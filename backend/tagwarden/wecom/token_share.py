"""The access tokens' copies in Redis: a first place to look before PostgreSQL, which alone is true.

A copy is sealed under the credential it was got with and under its generation, so no plain token, no token of another
app and no forged generation comes out of Redis. Nothing here raises: what is missing, damaged, late or older than asked
for is not there. It must never decide who renews, nor whether an app may call at all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from tagwarden.corps.credentials import AppCredential
from tagwarden.kernel.redis import RELAY, Relay
from tagwarden.kernel.sealing import SealBroken, Sealer

GENERATION_BYTES = 8


@dataclass(frozen=True, slots=True)
class Copy:
    """A token and its generation."""

    value: str = field(repr=False)
    generation: int


class TokenShare:
    """Reads and writes the copies; without Redis it holds nothing. How long Redis may take is the relay's to say."""

    def __init__(self, sealer: Sealer, relay: Relay = RELAY) -> None:
        self._sealer = sealer
        self._relay = relay

    async def newer(self, credential: AppCredential, stale: int) -> Copy | None:
        """The copy of this credential's token when its generation is above `stale`."""
        found = await self._relay.get(_key(credential))
        if found is None:
            return None
        generation = int.from_bytes(found[:GENERATION_BYTES], "big")
        if generation <= stale:
            return None
        try:
            value = self._sealer.open(found[GENERATION_BYTES:], _purpose_of_copy(credential, generation))
        except (SealBroken, ValueError):  # bytes too short to hold anything sealed are a ValueError
            return None
        return Copy(value, generation)

    async def put(self, credential: AppCredential, copy: Copy, seconds: float) -> None:
        """Keeps a copy for as long as its token may be used."""
        sealed = self._sealer.seal(copy.value, _purpose_of_copy(credential, copy.generation))
        await self._relay.put(_key(credential), copy.generation.to_bytes(GENERATION_BYTES, "big") + sealed, seconds)


def purpose(credential: AppCredential) -> str:
    """What a sealed token is bound to: after the secret is replaced, the token it had earned does not open."""
    fingerprint = hashlib.sha256(credential.secret.encode()).hexdigest()
    return f"{credential.corp_id}/{credential.app}/access_token/{fingerprint}"


def _purpose_of_copy(credential: AppCredential, generation: int) -> str:
    return f"{purpose(credential)}/{generation}"


def _key(credential: AppCredential) -> str:
    return f"tagwarden:wecom_token:{credential.corp_id}:{credential.app}"
