"""The callback envelope against WeCom's published vector (path/90968) and against tampering."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tagwarden.wecom import envelope
from tagwarden.wecom.callback import CallbackRefused, open_envelope, reopen, verify_url
from tagwarden.wecom.envelope import BadEnvelope, CallbackKeys, CallbackQuery, encrypted_part, sign, xml_fields

CORP = "wx5823bf96d3bd56c7"
KEYS = CallbackKeys("QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C", CORP)
QUERY = CallbackQuery("477715d11cdb4164915debcba66cb864d751f3e6", "1409659813", "1372623149")
ENCRYPTED = (
    "RypEvHKD8QQKFhvQ6QleEB4J58tiPdvo+rtK1I9qca6aM/wvqnLSV5zEPeusUiX5L5X/0lWfrf0QADHHhGd3QczcdCUpj911L3vg3W/sYYvuJTs3TUUk"
    "SUXxaccAS0qhxchrRYt66wiSpGLYL42aM6A8dTT+6k4aSknmPj48kzJs8qLjvd4Xgpue06DOdnLxAUHzM6+kDZ+HMZfJYuR+LtwGc2hgf5gsijff0ekU"
    "NXZiqATP7PF5mZxZ3Izoun1s4zG4LUMnvw2r+KqCKIw+3IQH03v+BCA9nMELNqbSf6tiWSrXJB3LAVGUcallcrw8V2t9EL4EhzJWrQUax5wLVMNS0+rU"
    "PA3k22Ncx4XXZS9o0MBH27Bo6BpNelZpS+/uh9KsNlY6bHCmJU9p8g7m3fVKn28H3KDYA5Pl/T8Z1ptDAVe0lXdQ2YoyyH2uyPIGHBZZIs2pDBS8R07+"
    "qN+E7Q=="
)
BODY = (
    f"<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><Encrypt><![CDATA[{ENCRYPTED}]]></Encrypt>"
    "<AgentID><![CDATA[218]]></AgentID></xml>"
).encode()
SENT = datetime.fromtimestamp(1409659813, UTC)


def encrypt(plain: bytes, *, pad: bytes | None = None) -> str:
    """An independent encryption for tampered plaintexts; pads to 32 unless told what to append."""
    padding = bytes([32 - len(plain) % 32]) * (32 - len(plain) % 32) if pad is None else pad
    key = base64.b64decode(KEYS.aes_key + "=")
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    return base64.b64encode(encryptor.update(plain + padding) + encryptor.finalize()).decode()


def framed(message: bytes, receive_id: bytes = CORP.encode()) -> bytes:
    return b"r" * 16 + len(message).to_bytes(4, "big") + message + receive_id


def signed(encrypted: str, *, timestamp: str = "1409659813") -> CallbackQuery:
    return CallbackQuery(sign(KEYS.token, timestamp, "n", encrypted), timestamp, "n")


def test_published_vector() -> None:
    opened = open_envelope(KEYS, QUERY, BODY, SENT)
    fields = xml_fields(opened.message.encode())
    assert len(opened.message.encode()) == 284
    assert (fields["Content"], fields["MsgId"], fields["AgentID"]) == ("hello", "4561255354251345929", "218")
    assert opened.envelope == BODY
    assert "hello" not in repr(opened)
    assert reopen(KEYS, BODY) == opened.message


def test_json_form() -> None:
    body = json.dumps({"tousername": CORP, "agentid": 218, "encrypt": ENCRYPTED}).encode()
    assert "hello" in open_envelope(KEYS, QUERY, body, SENT).message


def test_echo_of_a_verification() -> None:
    echo = encrypt(framed(b"4561255354251345929"))
    assert verify_url(KEYS, signed(echo), echo, SENT) == "4561255354251345929"
    with pytest.raises(CallbackRefused):
        verify_url(KEYS, CallbackQuery("0" * 40, "1409659813", "n"), echo, SENT)


def test_every_flipped_character_of_signature_query_or_body_is_refused() -> None:
    flip = str.maketrans("0123456789abcdefABCDEFZ", "1234567890bcdefaBCDEFAY")
    for index in range(40):
        flipped = QUERY.signature[:index] + QUERY.signature[index].translate(flip) + QUERY.signature[index + 1 :]
        with pytest.raises(CallbackRefused):
            open_envelope(KEYS, CallbackQuery(flipped, QUERY.timestamp, QUERY.nonce), BODY, SENT)
    for query in (
        CallbackQuery(QUERY.signature, "1409659814", QUERY.nonce),
        CallbackQuery(QUERY.signature, QUERY.timestamp, "1372623148"),
        CallbackQuery("", QUERY.timestamp, QUERY.nonce),
        CallbackQuery("签名", QUERY.timestamp, QUERY.nonce),
    ):
        with pytest.raises(CallbackRefused):
            open_envelope(KEYS, query, BODY, SENT)
    raw = base64.b64decode(ENCRYPTED)
    for index in range(0, len(raw), 7):
        bent = base64.b64encode(raw[:index] + bytes([raw[index] ^ 1]) + raw[index + 1 :]).decode()
        with pytest.raises(CallbackRefused):
            open_envelope(KEYS, QUERY, BODY.replace(ENCRYPTED.encode(), bent.encode()), SENT)


@pytest.mark.parametrize("seconds", [-301, 301, 86400 * 365 * 25])
def test_timestamp_outside_the_window(seconds: int) -> None:
    with pytest.raises(CallbackRefused):
        open_envelope(KEYS, QUERY, BODY, SENT + timedelta(seconds=seconds))
    assert open_envelope(KEYS, QUERY, BODY, SENT + timedelta(seconds=seconds), window=abs(seconds) + 1)


@pytest.mark.parametrize("timestamp", ["", "abc", "1e9", "-5", "１４０９６５９８１３", "9" * 40, "1409659813 "])
def test_timestamp_that_is_no_number(timestamp: str) -> None:
    encrypted = encrypt(framed(b"x"))
    body = f"<xml><Encrypt>{encrypted}</Encrypt></xml>".encode()
    with pytest.raises(CallbackRefused):
        open_envelope(KEYS, signed(encrypted, timestamp=timestamp), body, SENT)


@pytest.mark.parametrize("pad", range(1, 33))
def test_padding_of_every_length(pad: int) -> None:
    message = b"m" * (32 - pad + 64 - (20 + len(CORP)) % 32)
    encrypted = encrypt(framed(message))
    assert envelope.decrypt(KEYS, encrypted) == message.decode()


def test_wrong_padding_length_receiver_and_text() -> None:
    plain = framed(b"m" * 26)
    assert len(plain) % 32 == 0
    bad = [
        encrypt(plain, pad=b"\x00" * 32),
        encrypt(plain, pad=b"\x21" * 32),
        encrypt(plain, pad=b"\x1f" + b"\x20" * 31),
        encrypt(plain[:-1], pad=b"\x01" * 17),
        encrypt(framed(b"m", b"ww_other")),
        encrypt(framed(b"m", CORP.encode() + b"x")),
        encrypt(framed(b"m", b"")),
        encrypt(b"r" * 16 + (2**31).to_bytes(4, "big") + b"m"),
        encrypt(b"short"),
        encrypt(framed(b"\xff\xfe")),
        "not base64!",
        "",
        base64.b64encode(b"x" * 31).decode(),
        base64.b64encode(b"x" * 16).decode(),
    ]
    for encrypted in bad:
        with pytest.raises(BadEnvelope):
            envelope.decrypt(KEYS, encrypted)


def test_a_signed_message_for_another_receiver_is_refused() -> None:
    encrypted = encrypt(framed(b"<xml/>", b"ww_other"))
    with pytest.raises(CallbackRefused):
        open_envelope(KEYS, signed(encrypted), f"<xml><Encrypt>{encrypted}</Encrypt></xml>".encode(), SENT)


@pytest.mark.parametrize(
    "body",
    [
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><xml><Encrypt>&b;</Encrypt></xml>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><xml><Encrypt>x</Encrypt></xml>',
        '<!DOCTYPE x [<!ENTITY a "a">]><xml><Encrypt>&a;</Encrypt></xml>'.encode("utf-16"),
        b"<xml><Encrypt>a</Encrypt><Encrypt>b</Encrypt></xml>",
        b"<xml><Deep><Encrypt>a</Encrypt></Deep></xml>",
        b"<xml><Encrypt></Encrypt></xml>",
        b"<xml><Encrypt>a</xml>",
        b"",
        b"[]",
        b"{",
        b'{"encrypt": 5}',
        b'{"encrypt": {"a": "b"}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"<xml><Encrypt>" + b"A" * 2_000_000 + b"</Encrypt></xml>",
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_body_that_is_no_envelope(body: bytes) -> None:
    with pytest.raises(BadEnvelope):
        encrypted_part(body)
    with pytest.raises(CallbackRefused):
        open_envelope(KEYS, QUERY, body, SENT)


def test_keys_are_not_shown() -> None:
    assert KEYS.token not in repr(KEYS)
    assert KEYS.aes_key not in repr(KEYS)


def test_agrees_with_wechatpy() -> None:
    from wechatpy.work.crypto import WeChatCrypto

    reference = WeChatCrypto(KEYS.token, KEYS.aes_key, CORP)
    made = reference.encrypt_message("<xml><Event>标签</Event></xml>", "nonce", "1409659813")
    encrypted = encrypted_part(made.encode())
    query = CallbackQuery(sign(KEYS.token, "1409659813", "nonce", encrypted), "1409659813", "nonce")
    assert query.signature in made
    assert "标签" in open_envelope(KEYS, query, made.encode(), SENT).message
