"""When somebody is reminded, and when the next leader is let in. Pure; takes *now*."""

from __future__ import annotations

from datetime import datetime, timedelta

from tagwarden.approvals.model import Approval
from tagwarden.policy.chains import ChainRules


def reminder_moment(approval: Approval, rules: ChainRules) -> datetime:
    """From when on the level that is due is overdue."""
    return approval.level_since + timedelta(hours=rules.remind_after_hours)


def reminder_due(approval: Approval, rules: ChainRules, now: datetime) -> bool:
    """Whether who is due now should be reminded: once a level."""
    if approval.reminded_at is not None and approval.reminded_at >= approval.level_since:
        return False
    return now >= reminder_moment(approval, rules)


def escalation_due(approval: Approval, rules: ChainRules, now: datetime) -> bool:
    """Whether level 1 has waited long enough for the next leader to be let in: once every so many hours."""
    waited = timedelta(hours=rules.escalate_after_hours) * (approval.escalations + 1)
    return approval.level == 1 and now - approval.level_since >= waited
