"""Who stands in for whom at which level, and whom one may name. Pure: no database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.organisation import BOSS, HQ, LEAD, OWNER, UPPER, USUAL, one, request, signed, town, turn
from tagwarden.approvals.chain import Turn, may_stand_in
from tagwarden.approvals.delegations import crosses_the_line, why_not
from tagwarden.approvals.model import ApprovalClosed, NotASigner, NotYourTurn, State
from tagwarden.identity.model import Employee, RoleName
from tagwarden.policy.chains import ChainRules

DEPUTY = one("deputy", "9", roles="m")
CHIEF = one("chief", "20", roles="s")


def test_a_delegate_signs_level1_in_both_names() -> None:
    assert turn((*USUAL, DEPUTY), "deputy", stands_for=("lead",)) == Turn(1, "lead")
    with pytest.raises(NotASigner):
        turn((*USUAL, DEPUTY), "deputy")


@pytest.mark.parametrize(
    "deputy",
    [
        one("deputy", "9"),  # lost the role
        one("deputy", "9", roles="m", same="owner"),  # the requester's and owner's second account
        one("deputy", "9", roles="m", same="lead"),  # a second account of the one who is away
    ],
)
def test_who_does_not_stand_in(deputy: Employee) -> None:
    with pytest.raises(NotASigner):
        turn((*USUAL, deputy), "deputy", stands_for=("lead",))


def test_requester_owner_and_editor_stand_in_for_nobody() -> None:
    asker = one("asker", "9", roles="m")
    about = request(requester="asker", requester_person="asker")
    for userid, people in (("asker", USUAL), ("owner", (one("owner", "10", roles="m"), *USUAL[1:]))):
        with pytest.raises(NotASigner):
            turn((*people, asker), userid, stands_for=("lead",), approval=about)
    for barred in ("deputy", "DEPUTY"):
        with pytest.raises(NotASigner):
            turn((*USUAL, DEPUTY), "deputy", stands_for=("lead",), approval=request(barred=(barred,)))
    twin = one("twin", "9", roles="m", same="deputy")
    with pytest.raises(NotASigner):
        turn((*USUAL, DEPUTY, twin), "twin", stands_for=("lead",), approval=request(barred=("deputy",)))


def test_nobody_stands_in_for_an_editor_a_requester_or_somebody_who_left() -> None:
    with pytest.raises(NotASigner):
        turn((*USUAL, DEPUTY), "deputy", stands_for=("lead",), approval=request(barred=("lead",)))
    asked = request(State.PENDING_LEVEL2, requester="lead", requester_person="lead", level1=("lead",))
    with pytest.raises(NotASigner):
        turn((*USUAL, DEPUTY), "deputy", stands_for=("lead",), approval=asked)
    gone = one("lead", leads="9", roles="m", active=False)
    with pytest.raises(NotASigner):
        turn((OWNER, BOSS, HQ, UPPER, gone, DEPUTY), "deputy", stands_for=("lead",))


def test_a_chain_of_two_delegations_reaches_nobody() -> None:
    """`deputy` stands in for `lead`, `other` for `deputy`: `other` signs nothing."""
    other = one("other", "9", roles="m")
    with pytest.raises(NotASigner):
        turn((*USUAL, DEPUTY, other), "other", stands_for=("deputy",))


def test_a_delegate_and_the_one_he_stood_for_are_one_signer() -> None:
    at2 = request(State.PENDING_LEVEL2)
    people = (OWNER, HQ, one("top", leads="10", roles="s"), CHIEF)
    by_chief = [signed("chief", behalf="top")]
    for userid, stands_for in (("chief", ()), ("top", ()), ("chief", ("hq",))):
        with pytest.raises(NotASigner):
            turn(people, userid, stands_for=stands_for, signatures=by_chief, approval=at2)
    assert turn(people, "hq", signatures=by_chief, approval=at2) == Turn(2)


def test_a_delegate_does_not_sign_where_nobody_is_left_for_level2() -> None:
    people = (OWNER, LEAD, CHIEF)  # chief is the only supervisor
    assert turn(people, "lead") == Turn(1)
    with pytest.raises(NotYourTurn):
        turn(people, "chief", stands_for=("lead",))
    assert turn((*people, HQ), "chief", stands_for=("lead",)) == Turn(1, "lead")


def test_a_manager_stands_in_for_no_supervisor_at_level2() -> None:
    at2, first = request(State.PENDING_LEVEL2), [signed("lead")]
    with pytest.raises(NotASigner):
        turn((*USUAL, DEPUTY), "deputy", stands_for=("hq",), signatures=first, approval=at2)
    assert turn((*USUAL, CHIEF), "chief", signatures=first, approval=at2) == Turn(2)


def test_a_delegate_from_outside_does_not_widen_a_narrowed_level2() -> None:
    narrow = ChainRules(level2_departments=frozenset({20}))
    fin, at2 = one("fin", "20", roles="s"), request(State.PENDING_LEVEL2)
    assert not may_stand_in(town((*USUAL, fin)), at2, HQ, 2, narrow)
    with pytest.raises(NotASigner):
        turn((*USUAL, fin), "hq", stands_for=("fin",), signatures=[signed("lead")], rules=narrow, approval=at2)


def test_a_narrowed_level1_role_narrows_delegates_too() -> None:
    only = ChainRules(level1_roles=frozenset({RoleName.SUPERVISOR}))
    with pytest.raises(NotASigner):
        turn((*USUAL, DEPUTY), "deputy", stands_for=("boss",), rules=only)
    assert turn((*USUAL, CHIEF), "chief", stands_for=("boss",), rules=only) == Turn(1, "boss")


def test_the_order_of_answers() -> None:
    stranger = one("stranger", "20")
    with pytest.raises(NotASigner):
        turn((*USUAL, stranger), "stranger")
    with pytest.raises(NotYourTurn):
        turn(USUAL, "hq")
    for state in (State.APPLIED, State.REJECTED, State.WITHDRAWN, State.EXPIRED, State.STALE):
        with pytest.raises(ApprovalClosed):
            turn(USUAL, "lead", approval=request(state))
        with pytest.raises(NotASigner):
            turn((*USUAL, stranger), "stranger", approval=request(state))


# -- who can be named a delegate ----------------------------------------------------------------------------------------


def test_who_can_be_named() -> None:
    people = {each.userid: each for each in (*USUAL, DEPUTY, CHIEF)}
    directory = town(people.values())
    assert why_not(directory, LEAD, DEPUTY) is None
    assert why_not(directory, LEAD, CHIEF) is None, "a supervisor may sign level 1"
    assert why_not(directory, HQ, CHIEF) is None
    assert why_not(directory, HQ, DEPUTY) == "delegate_holds_no_signing_role", "a manager signs no level 2"
    assert why_not(directory, LEAD, OWNER) == "delegate_holds_no_signing_role"
    assert why_not(directory, OWNER, LEAD) == "nothing_to_delegate"
    assert why_not(directory, LEAD, None) == "delegate_unknown"
    assert why_not(directory, LEAD, replace(DEPUTY, active=False)) == "delegate_unknown"
    for self_again in (LEAD, one("LEAD", "9", roles="m"), one("lead2", "9", roles="m", same="lead")):
        assert why_not(directory, LEAD, self_again) == "delegate_is_you"


def test_what_crosses_the_line() -> None:
    directory = town((*USUAL, DEPUTY, CHIEF))
    for inside in (DEPUTY, UPPER, BOSS, one("deep", "10", roles="m")):
        assert not crosses_the_line(directory, LEAD, inside), inside.userid
    for outside in (CHIEF, one("side", leads="20", roles="m"), one("nowhere", roles="m")):
        assert crosses_the_line(directory, LEAD, outside), outside.userid
    assert not crosses_the_line(directory, HQ, CHIEF), "who leads nothing has no line to cross"
