"""Names of groups and tags: what the house rules make of one that is asked for, and of one that came from WeCom."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from tagwarden.catalog import naming
from tagwarden.catalog.model import NameRefused, NameTaken
from tagwarden.kernel.resources import folder


@cache
def naming_rules() -> naming.NamingRules:
    """The shipped house rules."""
    return naming.NamingRules.read((folder("policies") / "naming.toml").read_text(encoding="utf-8"))


def checked_name(name: str, taken: set[str]) -> str:
    """The normalised name, or NameRefused / NameTaken with a cleaned name that is free."""
    wanted, rules = naming.normalised(name), naming_rules()
    found = naming.fault(wanted, rules)
    if found:
        raise NameRefused(reason=found.reason, what=found.what, suggestion=_free(found.suggestion, taken))
    folded = {naming.folded(known): known for known in taken}
    twin = folded.get(naming.folded(wanted))
    if twin is not None:
        raise NameTaken(twin=twin, suggestion=naming.without_twin(wanted, taken, rules))
    return wanted


def _free(suggestion: str, taken: Iterable[str]) -> str:
    if suggestion and naming.folded(suggestion) in {naming.folded(known) for known in taken}:
        return naming.without_twin(suggestion, set(taken), naming_rules())
    return suggestion


@dataclass(frozen=True, slots=True)
class Offer:
    """Why a name that came from WeCom breaks the rules, and a cleaned one that is free (empty where none can be made)."""

    reason: str
    what: str
    name: str


def offer(name: str, others: Iterable[str]) -> Offer:
    """What is wrong with a marked name, and what it could be called among these others."""
    found = naming.fault(naming.normalised(name), naming_rules())
    if found is None:
        return Offer("not_composed", "NFC", _free(naming.normalised(name), others))
    return Offer(found.reason, found.what, _free(found.suggestion, others))
