"""The callback crypto against WeCom's published vector (path/90968) and against its own round trip."""

from __future__ import annotations

import base64

import pytest

from tagwarden.simulator import crypto

from .driver import AES_KEY, TOKEN

RECEIVE_ID = "wx5823bf96d3bd56c7"
CIPHERTEXT = (
    "RypEvHKD8QQKFhvQ6QleEB4J58tiPdvo+rtK1I9qca6aM/wvqnLSV5zEPeusUiX5L5X/0lWfrf0QADHHhGd3QczcdCUpj911L3vg3W/sYYvuJTs3TUUk"
    "SUXxaccAS0qhxchrRYt66wiSpGLYL42aM6A8dTT+6k4aSknmPj48kzJs8qLjvd4Xgpue06DOdnLxAUHzM6+kDZ+HMZfJYuR+LtwGc2hgf5gsijff0ekU"
    "NXZiqATP7PF5mZxZ3Izoun1s4zG4LUMnvw2r+KqCKIw+3IQH03v+BCA9nMELNqbSf6tiWSrXJB3LAVGUcallcrw8V2t9EL4EhzJWrQUax5wLVMNS0+rU"
    "PA3k22Ncx4XXZS9o0MBH27Bo6BpNelZpS+/uh9KsNlY6bHCmJU9p8g7m3fVKn28H3KDYA5Pl/T8Z1ptDAVe0lXdQ2YoyyH2uyPIGHBZZIs2pDBS8R07+"
    "qN+E7Q=="
)


def test_published_signature() -> None:
    signature = crypto.sign(TOKEN, "1409659813", "1372623149", CIPHERTEXT)
    assert signature == "477715d11cdb4164915debcba66cb864d751f3e6"


def test_published_ciphertext() -> None:
    message = crypto.decrypt(AES_KEY, RECEIVE_ID, CIPHERTEXT)
    assert len(message.encode()) == 284
    assert "<Content><![CDATA[hello]]></Content>" in message
    assert "<MsgId>4561255354251345929</MsgId>" in message
    assert "<AgentID>218</AgentID>" in message


@pytest.mark.parametrize("length", range(70))
def test_round_trip_pads_to_32_bytes(length: int) -> None:
    encrypted = crypto.encrypt(AES_KEY, RECEIVE_ID, "x" * length)
    assert len(base64.b64decode(encrypted)) % 32 == 0
    assert crypto.decrypt(AES_KEY, RECEIVE_ID, encrypted) == "x" * length


def test_equal_messages_do_not_look_alike() -> None:
    assert crypto.encrypt(AES_KEY, RECEIVE_ID, "客户") != crypto.encrypt(AES_KEY, RECEIVE_ID, "客户")


@pytest.mark.parametrize("encrypted", ["", "????", "QUJD", base64.b64encode(bytes(64)).decode()])
def test_refuses_what_is_no_ciphertext(encrypted: str) -> None:
    with pytest.raises(crypto.BadCiphertext):
        crypto.decrypt(AES_KEY, RECEIVE_ID, encrypted)


def test_refuses_another_receiver() -> None:
    with pytest.raises(crypto.BadCiphertext):
        crypto.decrypt(AES_KEY, "ww0", crypto.encrypt(AES_KEY, RECEIVE_ID, "hello"))
