"""Deep and odd organisations: who signs, when the next one is let in, and what a policy may narrow. Pure: no database."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from support.organisation import BOSS, DEEP, HQ, LEAD, NOW, OWNER, RULES, UPPER, USUAL, chain, nobody, one, request, town
from tagwarden.approvals.chain import chain_for
from tagwarden.approvals.model import NoApprover, State
from tagwarden.approvals.timing import escalation_due, reminder_due
from tagwarden.identity.model import Employee
from tagwarden.policy.chains import loosens, read_rules

# -- deep lines ---------------------------------------------------------------------------------------------------------


def test_a_line_ten_deep_is_climbed_over_empty_levels() -> None:
    assert chain(OWNER, BOSS, HQ).level1 == ("boss",)
    assert chain(OWNER, BOSS, HQ, UPPER).level1 == ("upper",)
    assert chain(*USUAL).level1 == ("lead",)


def test_a_leader_without_the_role_hides_nobody_and_a_role_without_leadership_helps_nobody() -> None:
    idle, loose = one("idle", leads="10"), one("loose", "10", roles="m")
    assert chain(*USUAL, idle, loose).level1 == ("lead",)
    assert nobody(OWNER, HQ, loose, one("hq2", "1", roles="s")) == "level1"


def test_several_leaders_sign_for_one_another_even_where_one_is_the_supervisor() -> None:
    also, top = one("also", leads="9", roles="m"), one("top", leads="9", roles="s")
    assert chain(*USUAL, also).level1 == ("also", "lead")
    found = chain(OWNER, LEAD, top)
    assert (found.level1, found.level2) == (("lead",), ("top",)), "the only supervisor is kept for level 2"


def test_a_leader_of_himself_is_signed_for_by_the_next_one_up() -> None:
    owner = one("owner", leads="10", roles="m")
    assert chain(owner, BOSS, HQ, LEAD).level1 == ("lead",)
    again = one("owner", leads="10 9", roles="ms")
    found = chain(again, BOSS, HQ, UPPER)
    assert (found.level1, found.level2) == (("upper",), ("boss", "hq"))


def test_an_owner_in_three_departments_asks_the_nearest_of_all_three() -> None:
    owner, side = one("owner", "10 3 21"), one("side", leads="20", roles="m")
    assert chain(owner, BOSS, HQ, UPPER, side).level1 == ("side",), "one step up beats five"
    assert chain(owner, BOSS, HQ, UPPER, side, one("third", leads="3", roles="m")).level1 == ("third",)


def test_an_owner_in_the_root_asks_its_leader_and_its_leader_asks_nobody() -> None:
    assert chain(one("owner", "1"), BOSS, HQ, LEAD).level1 == ("boss",)
    assert nobody(BOSS, HQ, LEAD, owner="boss", requester="boss") == "level1"
    both = (BOSS, one("coboss", leads="1", roles="s"), HQ)
    assert chain(*both, owner="boss", requester="boss").level1 == ("coboss",)


def test_a_supervisor_who_is_the_nearest_leader_signs_once() -> None:
    near = one("near", leads="10", roles="s")
    found = chain(OWNER, near, HQ)
    assert (found.level1, found.level2) == (("near",), ("hq",))
    assert nobody(OWNER, near) == "level1"


def test_unknown_departments_and_cycles_end_the_line() -> None:
    loop = {10: 9, 9: 10, 1: 0}
    directory = town((OWNER, LEAD, HQ), loop)
    assert chain_for(directory, owner="owner", requester="owner", asking_is_level1=True).level1 == ("lead",)
    assert nobody(one("owner", "404"), LEAD, HQ) == "level1"


# -- one person, many accounts ------------------------------------------------------------------------------------------


def test_large_and_small_letters_are_one_person() -> None:
    shout = one("OWNER", leads="10", roles="m")
    assert chain(*USUAL, shout).level1 == ("lead",)
    assert "OWNER" not in chain(*USUAL, one("OWNER", "1", roles="s")).level2
    assert nobody(OWNER, one("top", leads="10", roles="s"), one("TOP", "1", roles="s")) == "level1"
    assert chain(*USUAL, barred=["LEAD"]).level1 == ("upper",)


def test_userids_that_fold_to_the_same_do_not_sign_for_one_another() -> None:
    """The person comes from the mirror; what a userid folds to bars too, in case a mirror wrote two persons."""
    owner, other = one("straße", "10", same="p1"), one("STRASSE", leads="10", roles="m", same="p2")
    assert chain(owner, other, LEAD, BOSS, HQ, owner="straße", requester="straße").level1 == ("lead",)
    assert chain(*USUAL, one("ﬁnn", leads="10", roles="m"), barred=["FINN"]).level1 == ("lead",)


@pytest.mark.parametrize("place", [{"leads": "10", "roles": "m"}, {"homes": "1", "roles": "s"}])
def test_the_second_account_of_whoever_edited_signs_nothing(place: dict[str, str]) -> None:
    twin = one("zwilling", same="lead", **place)
    found = chain(*USUAL, twin, barred=["lead"])
    assert "zwilling" not in (*found.level1, *found.level2)
    assert found.level1 == ("upper",)


def test_the_second_account_of_whoever_edited_is_nobodys_partner() -> None:
    twin = one("boss2", "1", roles="s", same="boss")
    assert nobody(OWNER, BOSS, twin, LEAD, barred=["boss"]) == "level2"


def test_a_second_account_of_the_requester_or_the_owner_signs_nothing() -> None:
    for same in ("owner", "asker"):
        twin = one("zwilling", leads="10", roles="ms", same=same)
        found = chain(*USUAL, one("asker", "9"), twin, requester="asker")
        assert "zwilling" not in (*found.level1, *found.level2)


def test_asking_by_the_second_account_of_level1_is_no_signature() -> None:
    asking = one("lead2", "9", same="lead")
    found = chain(*USUAL, asking, requester="lead2")
    assert (found.asking_signs, found.level1) == (False, ("upper",))


# -- escalation ---------------------------------------------------------------------------------------------------------


def test_escalation_lets_the_next_one_in_past_empty_levels_and_keeps_the_first() -> None:
    assert chain(*USUAL, escalations=1).level1 == ("lead", "upper")
    assert chain(*USUAL, escalations=2).level1 == ("boss", "lead", "upper")
    assert chain(*USUAL, escalations=99).level1 == ("boss", "lead", "upper")


def test_escalation_never_reaches_the_requester_nor_leaves_level2_empty() -> None:
    found = chain(*USUAL, requester="upper", escalations=5)
    assert (found.asking_signs, found.level1) == (False, ("boss", "lead"))
    alone = chain(OWNER, LEAD, UPPER, BOSS, escalations=5)
    assert (alone.level1, alone.level2) == (("lead", "upper"), ("boss",)), "the only supervisor stays for level 2"


def test_escalation_does_not_make_asking_a_signature() -> None:
    for step in range(4):
        assert chain(*USUAL, requester="upper", escalations=step).asking_signs is False
        assert chain(*USUAL, requester="lead", escalations=step).asking_signs is True


def test_the_clock_escalates_level1_only_and_each_step_anew() -> None:
    waiting = request()
    hours = RULES.escalate_after_hours
    for steps, after, due in ((0, hours - 1, False), (0, hours, True), (1, hours, False), (1, 2 * hours, True)):
        assert escalation_due(replace(waiting, escalations=steps), RULES, NOW + timedelta(hours=after)) is due
    late = NOW + timedelta(days=300)
    assert not escalation_due(replace(waiting, state=State.PENDING_LEVEL2), RULES, late)


def test_a_level_is_reminded_once() -> None:
    waiting, due = request(), NOW + timedelta(hours=RULES.remind_after_hours)
    assert not reminder_due(waiting, RULES, due - timedelta(seconds=1))
    assert reminder_due(waiting, RULES, due)
    reminded = replace(waiting, reminded_at=due)
    assert not reminder_due(reminded, RULES, due + timedelta(days=3))
    next_level = replace(reminded, state=State.PENDING_LEVEL2, level_since=due + timedelta(hours=1))
    assert reminder_due(next_level, RULES, due + timedelta(days=3))


# -- what a policy narrows ----------------------------------------------------------------------------------------------


def test_level1_roles_narrow_and_never_widen() -> None:
    only = read_rules({"level1_roles": ["supervisor"]}).default
    assert chain(*USUAL, rules=only).level1 == ("boss",)
    wide = read_rules({"level1_roles": ["staff", "admin", "auditor", "service"]}).default
    assert wide.level1_roles == frozenset()
    assert nobody(*USUAL, one("idle", leads="10", roles="a"), rules=wide) == "level1"


def test_asking_counts_only_for_a_role_the_policy_names() -> None:
    only = read_rules({"level1_roles": ["supervisor"]}).default
    assert chain(*USUAL, requester="lead", rules=only).asking_signs is False
    assert chain(*USUAL, requester="boss", rules=only).asking_signs is True


def test_level2_departments_narrow_to_those_there_or_below() -> None:
    finance, below = one("fin", "20", roles="s"), one("sub", "21", roles="s")
    rules = read_rules({"level2_departments": [20]}).default
    assert chain(*USUAL, finance, below, rules=rules).level2 == ("fin", "sub")
    assert chain(*USUAL, finance, below, rules=replace(rules, level2_departments=frozenset({21}))).level2 == ("sub",)
    assert nobody(*USUAL, rules=rules) == "level2"
    assert chain(*USUAL, rules=replace(rules, level2_departments=frozenset({1}))).level2 == ("boss", "hq")


def test_rules_of_a_kind_stand_before_those_of_protected_changes() -> None:
    rules = read_rules(
        {"expires_after_days": 3, "protected": {"remind_after_hours": 1}, "kinds": {"roles_give": {"expires_after_days": 30}}}
    )
    assert rules.of("tag_change").expires_after_days == 3
    assert (rules.of("x", protected=True).remind_after_hours, rules.of("x", protected=True).expires_after_days) == (1, 3)
    assert rules.of("x", protected=True).asking_is_level1 is False
    assert rules.of("roles_give", protected=True).expires_after_days == 30


def test_rules_of_one_protected_kind_do_not_let_asking_sign() -> None:
    rules = read_rules({"kinds": {"roles_give": {"expires_after_days": 30}}})
    assert rules.of("roles_give", protected=True).asking_is_level1 is False


def test_what_lets_more_sign_loosens_and_what_lets_fewer_does_not() -> None:
    plain = read_rules({})
    narrow = read_rules({"level1_roles": ["supervisor"], "level2_departments": [20], "escalate_after_hours": 96})
    assert not loosens(plain, narrow)
    assert loosens(narrow, plain)
    for looser in ({"level1_roles": ["manager", "supervisor"]}, {"level2_departments": []}, {"level2_departments": [20, 21]}):
        base = {"level1_roles": ["supervisor"], "level2_departments": [20]}
        assert loosens(read_rules(base), read_rules({**base, **looser}))


# -- every organisation -------------------------------------------------------------------------------------------------


def test_in_any_organisation_no_forbidden_person_stands_in_a_chain() -> None:
    """Random organisations: whoever asks, owns, edited, or is one of them by another account, never stands in a chain;
    and each signer of level 1 leaves somebody else for level 2."""
    dice = random.Random(20260302)
    found_some = 0
    for _ in range(3000):
        people = _random_people(dice)
        names = [each.userid for each in people]
        owner, requester = dice.choice(names), dice.choice(names)
        barred = dice.sample(names, dice.randint(0, 2))
        directory = town(people)
        try:
            found = chain_for(
                directory,
                owner=owner,
                requester=requester,
                asking_is_level1=dice.random() < 0.5,
                barred=barred,
                escalations=dice.randint(0, 3),
            )
        except NoApprover:
            continue
        found_some += 1
        persons = {userid: directory.employee(userid).person for userid in names}
        never = {persons[owner], *(persons[userid] for userid in barred)}
        may_ask = set() if found.asking_signs else {persons[requester]}
        assert not {persons[userid] for userid in found.level1} & (never | may_ask)
        assert not {persons[userid] for userid in found.level2} & (never | {persons[requester]})
        for userid in found.level1:
            assert {persons[two] for two in found.level2} - {persons[userid]}
    assert found_some > 300


def _random_people(dice: random.Random) -> list[Employee]:
    people = []
    for number in range(dice.randint(3, 9)):
        homes = " ".join(map(str, dice.sample(sorted(DEEP), dice.randint(1, 3))))
        leads = " ".join(map(str, dice.sample(sorted(DEEP), dice.randint(0, 2))))
        roles = dice.choice(["-", "m", "s", "ms", "a", "as"])
        people.append(one(f"u{number}", homes, leads, roles, same=f"p{dice.randint(0, 6)}"))
    return people
