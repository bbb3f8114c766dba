"""The table of transitions, pair by pair, and who is answered what in which order."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from typing import Any
from uuid import UUID

import pytest

from tagwarden.approvals.chain import Chain, Signer
from tagwarden.approvals.chain import signs_now as turn_of
from tagwarden.approvals.model import (
    Approval,
    ApprovalClosed,
    Event,
    NotASigner,
    NotYourTurn,
    Signature,
    State,
    Verdict,
    next_state,
)
from tagwarden.identity.model import Directory, Employee, RoleName
from tagwarden.policy.chains import ChainRules

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AFTER = {
    ("pending_level1", "sign"): "pending_level2",
    ("pending_level2", "sign"): "applied",
    ("pending_level1", "edit"): "pending_level1",
    ("pending_level2", "edit"): "pending_level1",
    ("pending_level1", "refuse"): "rejected",
    ("pending_level2", "refuse"): "rejected",
    ("pending_level1", "withdraw"): "withdrawn",
    ("pending_level2", "withdraw"): "withdrawn",
    ("pending_level1", "expire"): "expired",
    ("pending_level2", "expire"): "expired",
    ("pending_level1", "go_stale"): "stale",
    ("pending_level2", "go_stale"): "stale",
}
CHAIN = Chain(("east",), ("boss", "hq"))
BY_EAST = Signature(1, "east", "east", False, Verdict.APPROVE, "", NOW)


ROLES = {"east": RoleName.MANAGER, "boss": RoleName.SUPERVISOR, "hq": RoleName.SUPERVISOR}


def signs_now(asked: Approval, chain: Chain, userid: str, person: str, signatures: list[Signature]) -> int:
    """The level this person may sign now, in an organisation of three signers."""
    people = {name: Employee(name, name, name, True, frozenset(), frozenset(), frozenset({role})) for name, role in ROLES.items()}
    me = Employee(userid, userid, person, True, frozenset(), frozenset(), frozenset())
    return turn_of(Directory({}, people), asked, chain, Signer(me), signatures, ChainRules()).level


def approval(state: State) -> Approval:
    values: dict[str, Any] = dict.fromkeys(Approval.__dataclass_fields__, "")
    values |= {"id": UUID(int=1), "state": state, "requester": "ann"}
    return Approval(**values)


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_pair(state: State, event: Event) -> None:
    wanted = AFTER.get((state.value, event.value))
    if wanted is None:
        with pytest.raises(ApprovalClosed):
            next_state(state, event)
    else:
        assert next_state(state, event) == wanted


def test_each_level_is_signed_by_its_own() -> None:
    assert signs_now(approval(State.PENDING_LEVEL1), CHAIN, "east", "east", []) == 1
    assert signs_now(approval(State.PENDING_LEVEL2), CHAIN, "hq", "hq", [BY_EAST]) == 2


def test_too_early_is_told_to_level2_only() -> None:
    with pytest.raises(NotYourTurn):
        signs_now(approval(State.PENDING_LEVEL1), CHAIN, "hq", "hq", [])
    for stranger in ("ann", "south", ""):
        with pytest.raises(NotASigner):
            signs_now(approval(State.PENDING_LEVEL1), CHAIN, stranger, stranger, [])


def test_whoever_signed_level1_does_not_sign_level2() -> None:
    both = Chain(("boss", "east"), ("boss", "hq"))
    by_boss = Signature(1, "boss", "boss", False, Verdict.APPROVE, "", NOW)
    with pytest.raises(NotASigner):
        signs_now(approval(State.PENDING_LEVEL2), both, "boss", "boss", [by_boss])
    with pytest.raises(NotASigner):
        signs_now(approval(State.PENDING_LEVEL2), CHAIN, "east", "east", [BY_EAST])


def test_who_asked_and_signed_by_asking_signs_nothing_more() -> None:
    asked = Chain(("east",), ("boss", "hq"), asking_signs=True)
    for state in (State.PENDING_LEVEL1, State.PENDING_LEVEL2):
        with pytest.raises(NotASigner):
            signs_now(approval(state), asked, "east", "east", [])


@pytest.mark.parametrize("state", [State.APPLIED, State.REJECTED, State.WITHDRAWN, State.EXPIRED, State.STALE])
def test_closed_is_told_to_signers_and_hidden_from_others(state: State) -> None:
    for signer in ("east", "boss", "hq"):
        with pytest.raises(ApprovalClosed):
            signs_now(approval(state), CHAIN, signer, signer, [BY_EAST])
    with pytest.raises(ApprovalClosed):
        signs_now(approval(state), Chain((), ()), "east", "east", [BY_EAST])
    for stranger in ("ann", "south"):
        with pytest.raises(NotASigner):
            signs_now(approval(state), CHAIN, stranger, stranger, [BY_EAST])
