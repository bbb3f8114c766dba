"""Seals secrets before they reach the database: AES-256-GCM under a key derived from `TAGWARDEN_SECRET_KEY`.

The purpose (corp, app, field) is bound in as associated data, so a sealed value moved to another row does not open.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tagwarden.kernel.errors import Unavailable

NONCE_BYTES = 12


class SealBroken(Unavailable):
    code = "seal_broken"
    zh = "保存的凭据无法解密，请检查 TAGWARDEN_SECRET_KEY"
    en = "A stored credential does not open; check TAGWARDEN_SECRET_KEY"


class Sealer:
    """Seals and opens short texts; holds the derived key and shows it to nobody."""

    def __init__(self, secret_key: str) -> None:
        derive = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"tagwarden sealing v1")
        self._cipher = AESGCM(derive.derive(secret_key.encode()))

    def seal(self, text: str, purpose: str) -> bytes:
        """Nonce and ciphertext of `text`, bound to `purpose`."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, text.encode(), purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> str:
        """The text again, or SealBroken when key, purpose or bytes are not those of `seal`."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], purpose.encode()).decode()
        except InvalidTag:
            raise SealBroken() from None
