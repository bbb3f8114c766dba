"""Signing and encrypting callbacks as WeCom does (path/90968), on `cryptography` alone.

Written apart from the client's side on purpose: what both sides share is the page, not the code. Plaintext is 16 random
bytes, a 4-byte big-endian length, the message and the receive id, padded by PKCS#7 to multiples of 32 bytes.
"""

from __future__ import annotations

import base64
import hashlib
import secrets

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_PAD_TO = 32
_PREFIX = 16
_LENGTH = 4


class BadCiphertext(ValueError):
    """The text cannot be decrypted, or was meant for another receiver."""


def sign(token: str, timestamp: str, nonce: str, encrypted: str) -> str:
    """Lower-case hex SHA-1 of the four values, sorted as strings and joined."""
    joined = "".join(sorted((token, timestamp, nonce, encrypted)))
    return hashlib.sha1(joined.encode(), usedforsecurity=False).hexdigest()


def encrypt(aes_key: str, receive_id: str, message: str) -> str:
    """Encrypt a message with an EncodingAESKey (43 characters) for a receive id; base64."""
    body = message.encode()
    plain = secrets.token_bytes(_PREFIX) + len(body).to_bytes(_LENGTH, "big") + body + receive_id.encode()
    pad = _PAD_TO - len(plain) % _PAD_TO
    encryptor = _cipher(aes_key).encryptor()
    return base64.b64encode(encryptor.update(plain + bytes([pad]) * pad) + encryptor.finalize()).decode()


def decrypt(aes_key: str, receive_id: str, encrypted: str) -> str:
    """The message inside; raises `BadCiphertext` where padding, length or receive id are wrong."""
    decryptor = _cipher(aes_key).decryptor()
    try:
        padded = decryptor.update(base64.b64decode(encrypted, validate=True)) + decryptor.finalize()
    except ValueError as error:
        raise BadCiphertext("not a ciphertext") from error
    plain = _unpad(padded)
    start = _PREFIX + _LENGTH
    end = start + int.from_bytes(plain[_PREFIX:start], "big")
    if len(plain) < end or plain[end:] != receive_id.encode():
        raise BadCiphertext("meant for another receiver")
    return plain[start:end].decode()


def _unpad(padded: bytes) -> bytes:
    pad = padded[-1] if padded else 0
    if not 1 <= pad <= _PAD_TO or padded[-pad:] != bytes([pad]) * pad:
        raise BadCiphertext("bad padding")
    return padded[:-pad]


def _cipher(aes_key: str) -> Cipher[modes.CBC]:
    key = base64.b64decode(aes_key + "=")
    return Cipher(algorithms.AES(key), modes.CBC(key[:16]))
