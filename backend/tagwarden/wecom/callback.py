"""What WeCom calls us with: proven, decrypted, stored as it came, and read later.

WeCom waits one second for the echo of a verification and five for the rest, and repeats what it thinks was lost; so
nothing is worked on here, and a repeat is stored once. What is inside may name people: the envelope stays encrypted.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tagwarden.corps import credentials
from tagwarden.kernel import db
from tagwarden.kernel.errors import Unauthenticated
from tagwarden.kernel.ids import new_id
from tagwarden.kernel.sealing import Sealer
from tagwarden.wecom.envelope import (
    BadEnvelope,
    CallbackKeys,
    CallbackQuery,
    check_signature,
    check_time,
    decrypt,
    encrypted_part,
)

LOG = logging.getLogger(__name__)

WINDOW_SECONDS = 300.0
"""How far a callback's timestamp may be from ours. WeCom documents no figure; it resends within seconds."""


class CallbackRefused(Unauthenticated):
    """One answer for every reason; the reason stands in our log alone."""

    code = "callback_refused"
    zh = "回调校验失败"
    en = "The callback could not be verified"


@dataclass(frozen=True, slots=True)
class OpenedCallback:
    """A proven callback: `envelope` as it came, `message` as it was inside (XML or JSON), not yet understood."""

    query: CallbackQuery
    envelope: bytes = field(repr=False)
    message: str = field(repr=False)


async def keys_of(sealer: Sealer, corp_id: str, app: str) -> CallbackKeys:
    """The app's callback keys; CallbackRefused when the corp, the app or the keys are not there."""
    try:
        credential = await credentials.load(sealer, corp_id, app)
    except (credentials.CredentialMissing, db.ValueRefused):
        raise CallbackRefused() from None
    if not credential.token or not credential.aes_key:
        raise CallbackRefused()
    return CallbackKeys(credential.token, credential.aes_key, corp_id)


def verify_url(keys: CallbackKeys, query: CallbackQuery, echo: str, now: datetime, *, window: float = WINDOW_SECONDS) -> str:
    """The text to answer a GET with, bare and within one second (path/90930); CallbackRefused."""
    try:
        check_signature(keys, query, echo)
        check_time(query, now.timestamp(), window)
        return decrypt(keys, echo)
    except BadEnvelope as bad:
        raise _refused(keys, bad) from None


def open_envelope(
    keys: CallbackKeys, query: CallbackQuery, body: bytes, now: datetime, *, window: float = WINDOW_SECONDS
) -> OpenedCallback:
    """Proves and decrypts a POST in XML or JSON; CallbackRefused."""
    try:
        encrypted = encrypted_part(body)
        check_signature(keys, query, encrypted)
        check_time(query, now.timestamp(), window)
        return OpenedCallback(query, body, decrypt(keys, encrypted))
    except BadEnvelope as bad:
        raise _refused(keys, bad) from None


def reopen(keys: CallbackKeys, envelope: bytes) -> str:
    """The message of a stored envelope, which was proven when it came; CallbackRefused if the keys changed since."""
    try:
        return decrypt(keys, encrypted_part(envelope))
    except BadEnvelope as bad:
        raise _refused(keys, bad) from None


async def store(corp_id: str, app: str, signature: str, timestamp: str, nonce: str, envelope: bytes) -> bool:
    """Keeps a proven callback for later work; False when this very one is already there."""
    row = await db.fetch_one(
        "insert into wecom_callback (corp_id, id, app, signature, sent_at, nonce, envelope) values"
        " ($1, $2, $3, $4, $5, $6, $7) on conflict (corp_id, app, signature) do nothing returning id",
        corp_id,
        new_id(),
        app,
        signature,
        datetime.fromtimestamp(int(timestamp), UTC),
        nonce,
        envelope,
    )
    return row is not None


def _refused(keys: CallbackKeys, bad: BadEnvelope) -> CallbackRefused:
    LOG.warning("callback refused for %s: %s", keys.receive_id, bad.reason)
    return CallbackRefused()
