"""What the doctor finds: one sentence in two languages, how bad it is, and what to do. Pure.

`broken`: something does not work for somebody now. `attention`: it works, and somebody should look. Facts hold ids,
counts and codes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    OK = "ok"
    ATTENTION = "attention"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Text:
    """The same sentence in Chinese and in English."""

    zh: str = ""
    en: str = ""

    def of(self, language: str) -> str:
        """The sentence in `zh` or `en`."""
        return self.zh if language == "zh" else self.en

    def filled(self, facts: dict[str, Any]) -> Text:
        """With its placeholders replaced."""
        return Text(self.zh.format(**facts), self.en.format(**facts))

    def __add__(self, other: Text) -> Text:
        return Text(self.zh + other.zh, f"{self.en} {other.en}".strip())


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw; `todo` is empty where there is nothing to do."""

    check: str
    level: Level
    text: Text
    todo: Text = Text()
    corp_id: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For machines: both languages, and the facts by themselves."""
        return {
            "check": self.check,
            "corp_id": self.corp_id,
            "level": self.level.value,
            "zh": self.text.zh,
            "en": self.text.en,
            "todo_zh": self.todo.zh,
            "todo_en": self.todo.en,
            "facts": self.facts,
        }


def ok(check: str, text: Text, corp_id: str | None = None, **facts: Any) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, text.filled(facts), Text(), corp_id, facts)


def attention(check: str, text: Text, todo: Text, corp_id: str | None = None, **facts: Any) -> Finding:
    """It works, and somebody should look."""
    return Finding(check, Level.ATTENTION, text.filled(facts), todo.filled(facts), corp_id, facts)


def broken(check: str, text: Text, todo: Text, corp_id: str | None = None, **facts: Any) -> Finding:
    """Something does not work for somebody now."""
    return Finding(check, Level.BROKEN, text.filled(facts), todo.filled(facts), corp_id, facts)


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level among them."""
    order = list(Level)
    return max((finding.level for finding in findings), key=order.index, default=Level.OK)


def listed(names: Iterable[str], most: int = 5) -> str:
    """Some names in one line, with a word about the rest."""
    every = list(names)
    rest = len(every) - most
    return "、".join(every[:most]) + (f" … (+{rest})" if rest > 0 else "")


def span(seconds: float) -> str:
    """A length of time as a person would say it, in either language: `90 s`, `5 min`, `3 h`, `4 d`."""
    for unit, length in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
