"""Signed heads: what the chain looked like at a moment, kept outside the database.

A chain proves its own order, not that it is the one there was: whoever owns the database may cut its tail, write it
anew or restore last week's backup. A head that left before says so. Signed with Ed25519 (RFC 8032) under a key derived
from `TAGWARDEN_SECRET_KEY`, which the database never holds; the public key alone checks them. Pure.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import msgspec
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tagwarden.kernel.clock import iso
from tagwarden.kernel.errors import Invalid


class PublicKeyInvalid(Invalid):
    code = "public_key_invalid"
    zh = "公钥应为 base64 编码的 32 字节 Ed25519 公钥"
    en = "A public key is 32 bytes of Ed25519 in base64"


class SignedHead(msgspec.Struct, frozen=True):
    """One corp's head: the last sequence number, its hash in hex, when it was read (UTC), and the signature in hex.

    Hex, because the log blacks out what looks like a token, and base64 may look like one.
    """

    corp_id: str
    seq: int
    hash: str
    at: str
    signature: str

    def content(self) -> bytes:
        """What is signed: canonical JSON (RFC 8785) of everything but the signature."""
        return rfc8785.dumps({"v": 1, "corp_id": self.corp_id, "seq": self.seq, "hash": self.hash, "at": self.at})


class HeadSigner:
    """Signs heads; holds the private key and shows it to nobody."""

    def __init__(self, secret_key: str) -> None:
        derive = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"tagwarden audit heads v1")
        self._key = Ed25519PrivateKey.from_private_bytes(derive.derive(secret_key.encode()))

    @property
    def public_key(self) -> str:
        """What checks the signatures, in base64; no secret."""
        return base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, corp_id: str, seq: int, head: bytes, at: datetime) -> SignedHead:
        """A head as it stands now."""
        unsigned = SignedHead(corp_id, seq, head.hex(), iso(at), "")
        return msgspec.structs.replace(unsigned, signature=self._key.sign(unsigned.content()).hex())


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Heads of one corp that were signed by us, and how many lines were not."""

    heads: dict[int, str]
    """Hash in hex by sequence number."""
    forged: int = 0
    contradicting: int | None = None
    """The first sequence number for which two different hashes were signed: the chain was written twice."""


def read_witnesses(lines: Iterable[str], public_key: str, corp_id: str) -> Witnesses:
    """The heads of one corp from JSON Lines; what cannot be read or is not signed by this key counts as forged."""
    key = _public_key(public_key)
    heads: dict[int, str] = {}
    forged, contradicting = 0, None
    for line in lines:
        if not line.strip():
            continue
        head = _checked(line, key)
        if head is None:
            forged += 1
        elif head.corp_id == corp_id and heads.setdefault(head.seq, head.hash) != head.hash:
            contradicting = min(head.seq, contradicting or head.seq)
    return Witnesses(heads, forged, contradicting)


def _public_key(text: str) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise PublicKeyInvalid() from error


def _checked(line: str, key: Ed25519PublicKey) -> SignedHead | None:
    try:
        head = msgspec.json.decode(line, type=SignedHead)
        key.verify(bytes.fromhex(head.signature), head.content())
    except (msgspec.MsgspecError, InvalidSignature, ValueError, RecursionError):
        return None
    return head
