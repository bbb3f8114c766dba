"""House rules for names, from the users' guides; pure.

WeCom itself allows 30 characters of any kind (92117): names that exist there come in as they are and are marked. A
name made here that breaks a rule is refused with the character named and a cleaned name offered.
"""

from __future__ import annotations

import tomllib
import unicodedata
from dataclasses import dataclass

HAN = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2EE5D),  # extensions B to F and I
    (0x30000, 0x33479),  # extensions G, H and J
)
IDEOGRAPHIC_ZERO = "〇"
LONGEST_IN_WECOM = 30
"""Characters of a name there (92117); what is made here is shorter."""


@dataclass(frozen=True, slots=True)
class NamingRules:
    longest: int = 20
    allowed: frozenset[str] = frozenset({"chinese", "latin", "digit"})

    @classmethod
    def read(cls, text: str) -> NamingRules:
        """From the text of `naming.toml`."""
        table = tomllib.loads(text)
        return cls(int(table["longest"]), frozenset(table["allowed"]))


@dataclass(frozen=True, slots=True)
class NameFault:
    """Why a name is refused: `empty`, `too_long`, `white_space`, `character` (named by `what`)."""

    reason: str
    what: str
    suggestion: str


def normalised(name: str) -> str:
    """NFC, so that one look is one name."""
    return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """What two names share that are twins: neither case nor composition tells them apart."""
    return normalised(name).casefold()


def breaks_rules(name: str, rules: NamingRules) -> bool:
    """Whether a name that exists already would be refused if it were given now."""
    return name != normalised(name) or fault(name, rules) is not None


def fault(name: str, rules: NamingRules) -> NameFault | None:
    """The first fault of a normalised name, or None."""
    cleaned = clean(name, rules)
    if not name.strip():
        return NameFault("empty", "", cleaned)
    for character in name:
        if character.isspace() or unicodedata.category(character) in ("Zs", "Zl", "Zp"):
            return NameFault("white_space", describe(character), cleaned)
        if not _allowed(character, rules):
            return NameFault("character", describe(character), cleaned)
    if len(name) > rules.longest:
        return NameFault("too_long", str(len(name)), cleaned)
    return None


def clean(name: str, rules: NamingRules) -> str:
    """The name without what the rules forbid, cut to length; may be empty."""
    kept = [character for character in unicodedata.normalize("NFKC", name) if _allowed(character, rules)]
    return "".join(kept)[: rules.longest]


def without_twin(name: str, taken: set[str], rules: NamingRules) -> str:
    """The nearest free name: a number behind it, within the length."""
    twins = {folded(known) for known in taken}
    for number in range(2, 10_000):
        suffix = str(number)
        candidate = name[: rules.longest - len(suffix)] + suffix
        if folded(candidate) not in twins:
            return candidate
    return ""


def describe(character: str) -> str:
    """The character itself where it can be read, its code point where it cannot."""
    point = f"U+{ord(character):04X}"
    return f"“{character}” ({point})" if character.isprintable() and not character.isspace() else point


def _allowed(character: str, rules: NamingRules) -> bool:
    if "digit" in rules.allowed and character in "0123456789":
        return True
    if "latin" in rules.allowed and ((character.isascii() and character.isalpha()) or _is_latin(character)):
        return True
    return "chinese" in rules.allowed and (character == IDEOGRAPHIC_ZERO or _is_han(character))


def _is_latin(character: str) -> bool:
    return character.isalpha() and ord(character) < 0x250 and unicodedata.name(character, "").startswith("LATIN")


def _is_han(character: str) -> bool:
    point = ord(character)
    return any(low <= point <= high for low, high in HAN)
