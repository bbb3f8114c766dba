"""WeCom's callback envelope: signature, encryption and the outer XML or JSON (path/90968, path/90238).

Pure: no clock, no database. It looks for nothing inside the decrypted message, and refuses whatever is not exactly what
the page describes: an answer that tells kinds of failure apart would help an attacker, so there is one error.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

MAX_BODY_BYTES = 1024 * 1024
BLOCK = 32
PREFIX = 16
LENGTH = 4
KEY_CHARACTERS = re.compile(r"[A-Za-z0-9]{43}")
_ENCRYPT_FIELDS = ("Encrypt", "encrypt")


class BadEnvelope(ValueError):
    """Not a callback of WeCom's for this app. `reason` is for our log, never for the answer."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class CallbackKeys:
    """What the console shows for one app: Token, EncodingAESKey (43 characters) and whom messages are meant for."""

    token: str = field(repr=False)
    aes_key: str = field(repr=False)
    receive_id: str


@dataclass(frozen=True, slots=True)
class CallbackQuery:
    """The query of a callback; `timestamp` in seconds since 1970, as text."""

    signature: str
    timestamp: str
    nonce: str


def sign(token: str, timestamp: str, nonce: str, encrypted: str) -> str:
    """SHA-1 of the four values sorted as strings and joined, in lower-case hex."""
    joined = "".join(sorted((token, timestamp, nonce, encrypted)))
    return hashlib.sha1(joined.encode(), usedforsecurity=False).hexdigest()


def check_signature(keys: CallbackKeys, query: CallbackQuery, encrypted: str) -> None:
    """Raises BadEnvelope unless the signature covers exactly these values; compares in constant time."""
    wanted = sign(keys.token, query.timestamp, query.nonce, encrypted)
    if not hmac.compare_digest(wanted.encode(), query.signature.encode()):
        raise BadEnvelope("signature")


def check_time(query: CallbackQuery, seconds_now: float, window: float) -> float:
    """The time of sending in seconds since 1970; BadEnvelope when it is no number or off by more than `window`."""
    if not re.fullmatch(r"[0-9]{1,12}", query.timestamp):
        raise BadEnvelope("timestamp")
    sent = float(query.timestamp)
    if abs(seconds_now - sent) > window:
        raise BadEnvelope("timestamp out of the window")
    return sent


def decrypt(keys: CallbackKeys, encrypted: str) -> str:
    """The message: 16 random bytes, length, message and receive id, padded by PKCS#7 to multiples of 32 bytes."""
    try:
        cipher_text = base64.b64decode(encrypted, validate=True)
    except (binascii.Error, ValueError):
        raise BadEnvelope("base64") from None
    if not cipher_text or len(cipher_text) % BLOCK:
        raise BadEnvelope("length")
    decryptor = _cipher(keys.aes_key).decryptor()
    plain = _unpad(decryptor.update(cipher_text) + decryptor.finalize())
    start = PREFIX + LENGTH
    end = start + int.from_bytes(plain[PREFIX:start], "big")
    if len(plain) < start or len(plain) < end:
        raise BadEnvelope("length")
    if not hmac.compare_digest(plain[end:], keys.receive_id.encode()):
        raise BadEnvelope("receive id")
    try:
        return plain[start:end].decode()
    except UnicodeDecodeError:
        raise BadEnvelope("not UTF-8") from None


def encrypt(keys: CallbackKeys, message: str) -> str:
    """What `decrypt` opens: for trying keys out, before WeCom does."""
    body = message.encode()
    plain = os.urandom(PREFIX) + len(body).to_bytes(LENGTH, "big") + body + keys.receive_id.encode()
    pad = BLOCK - len(plain) % BLOCK
    encryptor = _cipher(keys.aes_key).encryptor()
    return base64.b64encode(encryptor.update(plain + bytes([pad]) * pad) + encryptor.finalize()).decode()


def encrypted_part(body: bytes) -> str:
    """The `Encrypt` field of an envelope in XML or JSON."""
    if len(body) > MAX_BODY_BYTES:
        raise BadEnvelope("too large")
    fields = _json_fields(body) if body.lstrip()[:1] == b"{" else xml_fields(body)
    for name in _ENCRYPT_FIELDS:
        value = fields.get(name)
        if isinstance(value, str) and value:
            return value
    raise BadEnvelope("nothing encrypted")


def xml_fields(body: bytes) -> dict[str, str]:
    """The texts of the elements right below the root. Declarations of types and entities are refused, not expanded."""
    reader = _FlatReader()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_declaration
    parser.EntityDeclHandler = _refuse_declaration
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, UnicodeError):
        raise BadEnvelope("not XML") from None
    return reader.fields


def _refuse_declaration(*_: object) -> None:
    raise BadEnvelope("declarations are not allowed")


class _FlatReader:
    """Collects the text of depth-two elements; what is nested deeper is passed over."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self._depth = 0
        self._name = ""
        self._parts: list[str] = []

    def start(self, name: str, _: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 2:
            self._name, self._parts = name, []

    def text(self, data: str) -> None:
        if self._depth == 2:
            self._parts.append(data)

    def end(self, _: str) -> None:
        if self._depth == 2:
            if self._name in self.fields:
                raise BadEnvelope("an element stands twice")
            self.fields[self._name] = "".join(self._parts).strip()
        self._depth -= 1


def _json_fields(body: bytes) -> Mapping[str, object]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise BadEnvelope("not JSON") from None
    if not isinstance(fields, dict):
        raise BadEnvelope("not an object")
    return fields


def _unpad(padded: bytes) -> bytes:
    pad = padded[-1]
    if not 1 <= pad <= BLOCK or not hmac.compare_digest(padded[-pad:], bytes([pad]) * pad):
        raise BadEnvelope("padding")
    return padded[:-pad]


def _cipher(aes_key: str) -> Cipher[modes.CBC]:
    if not KEY_CHARACTERS.fullmatch(aes_key):
        raise BadEnvelope("the app's EncodingAESKey is not 43 letters and digits")
    key = base64.b64decode(aes_key + "=")
    return Cipher(algorithms.AES(key), modes.CBC(key[:PREFIX]))
