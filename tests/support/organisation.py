"""Organisations as a test draws them, a request in one, and who may sign it. Pure: no database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tagwarden.approvals.chain import Chain, Signer, Turn, chain_for, signs_now
from tagwarden.approvals.model import Approval, NoApprover, Signature, State, Verdict
from tagwarden.identity.model import Department, Directory, Employee, RoleName
from tagwarden.policy.chains import ChainRules

# A tree ten deep (1 → 2 → … → 10) with a branch 20 → 21 beside it.
DEEP = {1: 0, **{number: number - 1 for number in range(2, 11)}, 20: 1, 21: 20}
ROLES = {"m": RoleName.MANAGER, "s": RoleName.SUPERVISOR, "a": RoleName.ADMIN, "-": RoleName.STAFF}
NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
RULES = ChainRules()


def one(userid: str, homes: str = "", leads: str = "", roles: str = "-", same: str = "", active: bool = True) -> Employee:
    """Departments as numbers with spaces between; `same`: the person whose account this is too."""
    led = frozenset(map(int, leads.split()))
    home = frozenset(map(int, homes.split())) | led
    return Employee(userid, userid, same or userid.lower(), active, home, led, frozenset(ROLES[letter] for letter in roles))


OWNER = one("owner", "10")
BOSS = one("boss", leads="1", roles="s")
HQ = one("hq", "1", roles="s")
LEAD = one("lead", leads="9", roles="m")
UPPER = one("upper", leads="5", roles="m")
USUAL = (OWNER, BOSS, HQ, LEAD, UPPER)


def town(people: Iterable[Employee], tree: dict[int, int] = DEEP) -> Directory:
    departments = {number: Department(number, str(number), parent) for number, parent in tree.items()}
    return Directory(departments, {each.userid: each for each in people})


def chain(*people: Employee, **more: Any) -> Chain:
    wanted: dict[str, Any] = {"owner": "owner", "requester": "owner", "asking_is_level1": True, **more}
    return chain_for(town(people), **wanted)


def nobody(*people: Employee, **more: Any) -> str:
    with pytest.raises(NoApprover) as none:
        chain(*people, **more)
    return str(none.value.facts["why"])


def request(state: State = State.PENDING_LEVEL1, **more: Any) -> Approval:
    """A request of the owner about an own follow."""
    plain = Approval(
        id=uuid4(),
        kind="tag_change",
        state=state,
        round=1,
        payload={},
        fingerprint="",
        content_hash="",
        requester="owner",
        requester_person="owner",
        act=None,
        reason="",
        about_userid="owner",
        about_customer=None,
        level1=("lead",),
        level2=("boss", "hq"),
        barred=(),
        closed_reason=None,
        version=1,
        created_at=NOW,
        updated_at=NOW,
        expires_at=NOW + timedelta(days=7),
        escalations=0,
        level_since=NOW,
    )
    return replace(plain, **more)


def signed(userid: str, person: str = "", level: int = 1, behalf: str | None = None) -> Signature:
    return Signature(level, userid, person or userid, False, Verdict.APPROVE, "", NOW, behalf)


def turn(
    people: Iterable[Employee],
    userid: str,
    *,
    stands_for: tuple[str, ...] = (),
    signatures: Iterable[Signature] = (),
    rules: ChainRules = RULES,
    approval: Approval | None = None,
) -> Turn:
    """What one person may sign of a request, by the chain as it is now."""
    asked, directory = approval or request(), town(people)
    found = chain_for(
        directory,
        owner=asked.about_userid,
        requester=asked.requester,
        asking_is_level1=asked.level1 == (asked.requester,),
        barred=asked.barred,
        rules=rules,
        escalations=asked.escalations,
    )
    return signs_now(directory, asked, found, Signer(directory.employee(userid), stands_for), signatures, rules)
