"""Sends the audit's signed heads out of the database: to the log, to a file, to a web hook.

Once in ten minutes for every corp, over all workers once. A place that does not take one gets the next: a head is never
held back for another's sake, and never kept in the database, which is what it watches.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import aiohttp
import msgspec
import structlog

from tagwarden.audit import service as audit
from tagwarden.audit.heads import HeadSigner, SignedHead
from tagwarden.corps import repository as corps
from tagwarden.kernel import clock
from tagwarden.kernel.settings import Settings

log = structlog.get_logger(__name__)
HEADS = "audit-heads.jsonl"
"""Where heads are kept beside an embedded database."""
PATIENCE = aiohttp.ClientTimeout(total=10)


class Witness:
    """Where this installation's heads go."""

    def __init__(self, signer: HeadSigner, file: Path | None, url: str | None) -> None:
        self._signer = signer
        self._file = file
        self._url = url

    @classmethod
    def of(cls, settings: Settings) -> Witness | None:
        """As the settings say; None without a secret key."""
        if settings.secret_key is None:
            return None
        url = settings.audit_heads_url.get_secret_value() if settings.audit_heads_url else None
        return cls(HeadSigner(settings.secret_key.get_secret_value()), heads_file(settings), url)

    async def witness(self) -> None:
        """Signs the head of every corp and sends them out; outside any transaction."""
        heads = []
        for corp_id in await corps.corp_ids():
            found = await audit.head(corp_id)
            if found is not None and found[0] > 0:
                heads.append(self._signer.sign(corp_id, *found, clock.now()))
        for head in heads:
            log.info("audit.head", **msgspec.to_builtins(head))
        if self._file is not None and heads:
            await asyncio.to_thread(_append, self._file, heads)
        if self._url is not None and heads:
            await _post(self._url, heads)


def heads_file(settings: Settings) -> Path | None:
    """The file of heads: the one that is set, else one beside an embedded database."""
    if settings.audit_heads_file is not None:
        return settings.audit_heads_file
    own = settings.data_dir / HEADS
    return own if settings.data_dir.is_dir() and (settings.data_dir / "keys.json").exists() else None


def _append(file: Path, heads: Sequence[SignedHead]) -> None:
    try:
        # Beside an embedded database everything is its owner's alone; a file that is there already stays as it is.
        with open(file, "ab+", opener=lambda name, flags: os.open(name, flags, 0o600)) as lines:
            # What a full disk once cut short must not take the next head along.
            begin = b"" if lines.tell() == 0 or _last_byte(lines) == b"\n" else b"\n"
            lines.write(begin + b"".join(msgspec.json.encode(head) + b"\n" for head in heads))
    except OSError as error:
        log.error("audit.heads_file_failed", error=type(error).__name__)


def _last_byte(lines: BinaryIO) -> bytes:
    lines.seek(-1, os.SEEK_END)
    return lines.read(1)


async def _post(url: str, heads: Sequence[SignedHead]) -> None:
    try:
        async with (
            aiohttp.ClientSession(timeout=PATIENCE) as session,
            session.post(url, json={"heads": _plain(heads)}, allow_redirects=False) as answer,
        ):
            if answer.status >= 300:
                log.error("audit.heads_hook_refused", status=answer.status)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        log.error("audit.heads_hook_failed", error=type(error).__name__)


def _plain(heads: Sequence[SignedHead]) -> list[dict[str, object]]:
    return [msgspec.to_builtins(head) for head in heads]
