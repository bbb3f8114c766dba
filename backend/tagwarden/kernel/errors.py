"""The shapes of a refusal.

Rules raise these where they live; only `app/problems.py` knows HTTP. Every concrete error has a stable `code`, and a
sentence in Chinese and English whose placeholders are its `facts`. Facts hold ids, names of tags and numbers: never a
secret, a token or a phone number.
"""

from __future__ import annotations

from typing import Any, ClassVar


class TagwardenError(Exception):
    """The root; `facts` fill the sentences and travel in the problem document beside `code`."""

    code: ClassVar[str] = "internal"
    zh: ClassVar[str] = "系统内部错误"
    en: ClassVar[str] = "Internal error"

    def __init__(self, **facts: Any) -> None:
        self.facts = facts
        super().__init__(self.text("en"))

    def text(self, language: str) -> str:
        """The sentence in `zh` or `en`; a missing fact never hides the sentence."""
        template = self.zh if language == "zh" else self.en
        try:
            return template.format(**self.facts)
        except (KeyError, IndexError):
            return template


class Malformed(TagwardenError):
    """What came cannot be read at all (400)."""


class UnsupportedMedia(TagwardenError):
    """A body of a kind that is not read here (415)."""


class Unauthenticated(TagwardenError):
    """Nobody is established (401); the answer never says why."""


class Refused(TagwardenError):
    """Somebody is established and may not (403). `audit` is recorded and outlives the rollback."""

    def __init__(self, *, audit: dict[str, Any] | None = None, **facts: Any) -> None:
        self.audit = audit
        super().__init__(**facts)


class NotFound(TagwardenError):
    """No such thing in this corp (404); another corp's things are not found."""

    code = "not_found"
    zh = "找不到{what}"
    en = "No such {what}"


class Conflict(TagwardenError):
    """The state of things does not allow it now (409)."""


class Outdated(TagwardenError):
    """The caller's ETag is not the current one (412)."""


class Invalid(TagwardenError):
    """Readable, and not acceptable (422)."""


class Required(TagwardenError):
    """A precondition header is missing (428)."""


class Limited(TagwardenError):
    """Too many (429)."""


class Unavailable(TagwardenError):
    """Something we stand on is not there (503); nothing was half-done."""

    code = "unavailable"
    zh = "服务暂时不可用，请稍后再试"
    en = "The service is not available right now; try again later"
