"""What an audit line says and how the chain is closed over it; knows no database.

A line holds ids only, never names or phone numbers: erasing a person must not break the chain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GENESIS = bytes(32)
"""The hash before the first line of every corp."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact to record; becomes a line when its command closes."""

    action: str
    object: str
    detail: dict[str, Any] = field(default_factory=dict)
    decision: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """What walking the chain found; `first_bad` is None when every link holds."""

    lines: int
    first_bad: int | None = None
    reason: str | None = None

    @property
    def sound(self) -> bool:
        return self.first_bad is None


def link(previous: bytes, seq: int, body: bytes) -> bytes:
    """sha256(previous hash ‖ eight-byte big-endian sequence ‖ stored bytes); the same formula stands in the database."""
    return hashlib.sha256(previous + seq.to_bytes(8, "big") + body).digest()


class Walker:
    """Follows a chain line by line; feed it in order, then ask for the verdict against the stored head.

    `witnessed` are hashes in hex by sequence number that left the database before.
    """

    def __init__(self, witnessed: Mapping[int, str] | None = None) -> None:
        self.seq = 0
        self.hash = GENESIS
        self._witnessed = witnessed or {}
        self._bad: tuple[int, str] | None = None

    def feed(self, seq: int, body: bytes, stored: bytes) -> bool:
        """Whether this line continues the chain; the first that does not is remembered."""
        if self._bad:
            return False
        expected = self.seq + 1
        if seq < 1:
            self._bad = (seq, "stray")
            return False
        if seq != expected:
            self._bad = (expected, "missing")
            return False
        self.hash = link(self.hash, seq, body)
        self.seq = seq
        if self.hash != stored:
            self._bad = (seq, "altered")
            return False
        if self._witnessed.get(seq, stored.hex()) != stored.hex():
            self._bad = (seq, "rewritten")
            return False
        return True

    def verdict(self, head_seq: int, head_hash: bytes) -> Verification:
        """The result, once all lines were fed."""
        if self._bad:
            return Verification(self.seq, *self._bad)
        if self.seq < head_seq:
            return Verification(self.seq, self.seq + 1, "missing")
        if (self.seq, self.hash) != (head_seq, head_hash):
            return Verification(self.seq, head_seq, "head")
        if any(seq > self.seq for seq in self._witnessed):
            return Verification(self.seq, self.seq + 1, "cut")
        return Verification(self.seq)
