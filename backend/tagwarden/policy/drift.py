"""What becomes of a tag changed inside WeCom, as a revision says it, group by group. Pure; decides nothing.

A value tag changed there is never truth: it is put back, and where the policy says so also asked for. Of other kinds the
policy names who wins; where WeCom wins, the edit still has to pass the decision that its owner would meet here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tagwarden.policy.model import Kind

FEWEST_TO_STOP = 10
"""The brake never stops for so few follows: one per cent of a small corp is less than one person's morning."""


class DriftRule(StrEnum):
    """`put_back` and `ask` (put back, and asked for in the owner's name) for value groups; who wins for the others."""

    PUT_BACK = "put_back"
    ASK = "ask"
    WECOM = "wecom"
    TAGWARDEN = "tagwarden"


VALUE_RULES = frozenset({DriftRule.PUT_BACK, DriftRule.ASK})
OTHER_RULES = frozenset({DriftRule.WECOM, DriftRule.TAGWARDEN})


def fits(rule: DriftRule, kind: Kind) -> bool:
    """Whether a rule named for a group says anything about its kind."""
    return rule in (VALUE_RULES if kind is Kind.VALUE else OTHER_RULES)


@dataclass(frozen=True, slots=True)
class DriftRules:
    """`groups` by group id say otherwise than `value` or `others`; a rule that does not fit the group's kind says nothing."""

    value: DriftRule = DriftRule.PUT_BACK
    others: DriftRule = DriftRule.WECOM
    stop_above_percent: float = 1.0
    groups: Mapping[str, DriftRule] = field(default_factory=dict)

    def of(self, group_id: str, kind: Kind) -> DriftRule:
        """The rule of a group."""
        named = self.groups.get(group_id)
        if named is not None and fits(named, kind):
            return named
        return self.value if kind is Kind.VALUE else self.others

    def brake(self, follows: int) -> int:
        """How many follows one run may put back without asking."""
        return max(FEWEST_TO_STOP, int(follows * self.stop_above_percent / 100))


def read_drift(content: Mapping[str, Any]) -> DriftRules:
    """From the `drift` of a revision's content; what is not said is careful."""
    groups = {group: DriftRule(rule) for group, rule in content.get("groups", {}).items()}
    return DriftRules(
        DriftRule(content.get("value", DriftRule.PUT_BACK)),
        DriftRule(content.get("others", DriftRule.WECOM)),
        float(content.get("stop_above_percent", 1.0)),
        groups,
    )


def loosens_drift(before: DriftRules, after: DriftRules, kinds: Mapping[str, Kind]) -> bool:
    """Whether WeCom's edits of a value group would do more than before, or the guard stop at fewer of them."""
    if after.value is DriftRule.ASK and before.value is DriftRule.PUT_BACK:
        return True
    if after.stop_above_percent < before.stop_above_percent:
        return True
    return any(
        after.of(group, Kind.VALUE) is DriftRule.ASK and before.of(group, Kind.VALUE) is DriftRule.PUT_BACK
        for group, kind in kinds.items()
        if kind is Kind.VALUE
    )
