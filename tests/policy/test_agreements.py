"""Agreements between departments: whom they join, in which direction, for how long, and that they give a relation only.

The random part compares whole decisions with the plain model; TAGWARDEN_TEST_DECISIONS and TAGWARDEN_SOAK_ROUNDS as there.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from support import soak
from tagwarden.identity.model import Department, Directory, Employee
from tagwarden.policy.agreements import Agreement, Agreements
from tagwarden.policy.chains import ApprovalRules
from tagwarden.policy.enforcer import PolicyEngine
from tagwarden.policy.explain import explain
from tagwarden.policy.matrix import Matrix
from tagwarden.policy.model import Action, Effect, Grant, Group, Kind, Question, Reach, Relation, Role
from tagwarden.policy.service import Picture

from .brute_force import Person, expected, related
from .test_brute_force import BUNDLE, DECISIONS, LANES, MODEL, PER_ORGANISATION, SEED, Organisation

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)
#        1
#    10      20      30
#   11 12   21 22      31
PARENTS = {1: None, 10: 1, 11: 10, 12: 10, 20: 1, 21: 20, 22: 20, 30: 1, 31: 30}


def someone(userid: str, home: Iterable[int], leads: Iterable[int] = (), roles: Iterable[Role] = (Role.STAFF,)) -> Employee:
    return Employee(userid, userid, userid, True, frozenset(home), frozenset(leads), frozenset(roles))


PEOPLE = {
    one.userid: one
    for one in (
        someone("a", [11]),
        someone("a_head", [10], [10]),
        someone("b", [21]),
        someone("b_other", [22]),
        someone("c", [31]),
        someone("both", [11, 21]),
        someone("lost", [99]),
        someone("manager", [10], [20], [Role.MANAGER]),
        someone("leads_as_staff", [11], [21]),
        someone("admin", [11], [], [Role.ADMIN]),
        someone("auditor", [1], [], [Role.AUDITOR]),
    )
}


def picture(agreements: Iterable[Agreement], grants: Iterable[Grant] = (), parents: Any = None, people: Any = None) -> Picture:
    """A corp's picture without a database."""
    tree = PARENTS if parents is None else parents
    departments = {number: Department(number, str(number), parent or 0) for number, parent in tree.items()}
    matrix = Matrix(grants)
    engine = PolicyEngine(BUNDLE, matrix, MODEL)
    directory = Directory(departments, PEOPLE if people is None else people)
    return Picture("corp", 1, 1, directory, engine, ApprovalRules(), matrix, agreements=Agreements(agreements))


def agreed(department: int, partner: int, **more: Any) -> Agreement:
    return Agreement(more.pop("id", "one"), department, partner, more.pop("group", "g"), **more)


def use(group: str = "g", reach: Reach | None = None, department: int = 1, effect: Effect = Effect.ALLOW) -> Grant:
    return Grant(f"{department}:{group}:{effect}:{reach}", department, group, Action.USE, effect, True, reach)


def relation(of: Picture, actor: str, owner: str, group: str = "g", at: datetime = NOON) -> Relation:
    return of.relation(actor, owner, group, at)


def test_a_department_is_meant_with_all_below_it_on_both_sides() -> None:
    wide = picture([agreed(10, 20)])
    assert {owner: relation(wide, "a", owner) for owner in ("b", "b_other", "c", "a_head")} == {
        "b": "collaborating",
        "b_other": "collaborating",
        "c": "none",
        "a_head": "none",
    }
    narrow = picture([agreed(11, 21)])
    assert relation(narrow, "a", "b") == "collaborating"
    assert relation(narrow, "a", "b_other") == "none"
    assert relation(narrow, "a_head", "b") == "none", "what a department below may, the one above may not"


def test_one_direction_and_one_group_only() -> None:
    of = picture([agreed(10, 20)])
    assert relation(of, "b", "a") == "none"
    assert relation(of, "a", "b", "another group") == "none"
    both = picture([agreed(10, 20), agreed(20, 10, id="two")])
    assert (relation(both, "a", "b"), relation(both, "b", "a")) == ("collaborating", "collaborating")


def test_two_agreements_make_no_third() -> None:
    of = picture([agreed(10, 20), agreed(20, 30, id="two")])
    assert (relation(of, "a", "b"), relation(of, "b", "c"), relation(of, "a", "c")) == ("collaborating", "collaborating", "none")


def test_the_nearest_relation_holds() -> None:
    of = picture([agreed(10, 20), agreed(11, 11, id="two")])
    assert relation(of, "a", "a") == "own"
    assert relation(of, "manager", "b") == "subordinate"
    assert relation(of, "both", "b") == "collaborating", "in both departments"
    assert relation(of, "both", "a") == "collaborating", "a department may agree with itself"
    assert relation(of, "leads_as_staff", "b") == "subordinate", "who leads never merely collaborates"


def test_it_counts_from_its_beginning_and_no_more_at_its_end() -> None:
    of = picture([agreed(10, 20, since=NOON, until=NOON + HOUR)])
    at = {moment: relation(of, "a", "b", at=moment) for moment in (NOON - INSTANT, NOON, NOON + HOUR - INSTANT, NOON + HOUR)}
    assert list(at.values()) == ["none", "collaborating", "collaborating", "none"]


def test_the_answer_changes_at_the_end_though_the_epoch_does_not() -> None:
    of = picture([agreed(10, 20, until=NOON)], [use()])
    answers = []
    for at in (NOON - INSTANT, NOON, NOON - INSTANT, NOON):
        answers.append(of.may("a", "g", Kind.STANDARD, Action.USE, relation(of, "a", "b", at=at)))
    assert answers == [True, False, True, False], "what is memoised knows no time"


def test_who_is_nowhere_and_a_department_that_is_gone_join_nobody() -> None:
    of = picture([agreed(99, 20), agreed(10, 99, id="two"), agreed(10, 20, id="three")])
    assert relation(of, "lost", "b") == "none"
    assert relation(of, "a", "lost") == "none"
    assert relation(of, "a", "unknown") == relation(of, "unknown", "b") == "none"
    without = {number: parent for number, parent in PARENTS.items() if number not in (20, 21, 22)}
    assert relation(picture([agreed(10, 20)], parents=without), "a", "b") == "none"


def test_it_gives_a_relation_and_no_more() -> None:
    one = [agreed(10, 20)]

    def may(actor: str, *grants: Grant, action: Action = Action.USE) -> bool:
        of = picture(one, grants)
        return of.may(actor, "g", Kind.STANDARD, action, relation(of, actor, "b"))

    assert not may("a"), "no grant"
    assert may("a", use())
    assert may("a", use(reach=Reach.COLLABORATING))
    assert not may("a", use(reach=Reach.OWN)), "the grant ends at one's own customers"
    assert not may("a", use(reach=Reach.SUBORDINATE))
    assert not may("a", use(), use(department=10, effect=Effect.DENY)), "a deny wins"
    assert not may("admin", use()), "an admin never tags"
    assert may("admin", use(), action=Action.VIEW)
    assert not may("admin", action=Action.VIEW), "and sees customers by a grant alone"
    assert may("auditor", action=Action.VIEW)
    assert not may("auditor", use())
    assert not may("a", Grant("v", 1, "g", Action.VIEW, Effect.ALLOW)), "to view is not to use"
    assert may("a", Grant("v", 1, "g", Action.VIEW, Effect.ALLOW), action=Action.VIEW)


def test_an_agreement_is_named_as_the_way_only_where_it_is_one() -> None:
    def nearest(actor: str, owner: str, *grants: Grant) -> str:
        of = picture([], grants)
        stands = relation(of, actor, owner)
        decision = of.decide(actor, "g", Kind.STANDARD, Action.USE, stands)
        assert (decision.step, decision.allowed) == ("relation", False)
        group = Group("g", "G", Kind.STANDARD)
        said = explain(of, decision, actor=actor, group=group, action=Action.USE, relation=stands)
        assert ("agreement" in str(said.nearest_en)) == ("协作约定" in str(said.nearest_zh))
        assert not {"20", "21", owner} & set(str(said.nearest_en).split()), "nothing about the owner"
        return str(said.nearest_en)

    assert "an admin records an agreement" in nearest("a", "b", use())
    assert "then an admin widens" in nearest("a", "b", use(reach=Reach.OWN)), "the grant ends before it: one is not enough"
    assert "agreement" not in nearest("leads_as_staff", "b", use()), "who leads is not helped by one"


class Neighbourhood(Organisation):
    """An organisation with leaders, and departments that agree with each other at one time or another."""

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self.persons = [self.person(number) for number in range(30)]
        self.agreements = [self.some_agreement(number) for number in range(random.choice([0, 1, 5, 40]))]

    def places(self, most: int) -> frozenset[int]:
        known = [*self.parents, 999]
        return frozenset(self.random.sample(known, min(self.random.randint(0, most), len(known))))

    def person(self, number: int) -> Person:
        leads = self.places(2) if self.random.random() < 0.15 else frozenset()
        return Person(f"user-{number}", self.places(2), leads)

    def moment(self) -> datetime:
        return NOON + HOUR * self.random.randint(-3, 3)

    def some_agreement(self, number: int) -> Agreement:
        since = self.moment() if self.random.random() < 0.4 else None
        until = (since or NOON) + HOUR * self.random.randint(1, 4) if self.random.random() < 0.5 else None
        department, partner = (self.random.choice([*self.parents, 999]) for _ in range(2))
        return Agreement(f"a-{number}", department, partner, self.random.choice(self.groups), since, until)

    def picture(self) -> Picture:
        people = {
            one.userid: Employee(
                one.userid, "", one.userid, True, one.home, one.leads, frozenset(Role(name) for name in self.some(Role, 3))
            )
            for one in self.persons
        }
        departments = {number: Department(number, "", parent or 0) for number, parent in self.parents.items()}
        engine = self.engine(self.random.choice([1, 50, 1_000_000]))
        standing = Agreements(self.agreements)
        return Picture(
            "corp", 1, 1, Directory(departments, people), engine, ApprovalRules(), Matrix(self.grants), agreements=standing
        )


def play(first: object, decisions: int) -> dict[Relation, int]:
    """Compares relation and decision on neighbourhoods made of this number; how often each relation came out."""
    counted = dict.fromkeys(Relation, 0)
    for number in range(max(1, decisions // PER_ORGANISATION)):
        seed = f"{first}/{number}/agreements"
        there = Neighbourhood(Random(seed))
        of = there.picture()
        for _ in range(PER_ORGANISATION):
            counted[_compare(there, of, seed)] += 1
    return counted


def _compare(there: Neighbourhood, of: Picture, seed: str) -> Relation:
    choice = there.random.choice
    actor, owner, group, at = choice(there.persons), choice(there.persons), choice(there.groups), there.moment()
    kind, action = choice([Kind.VALUE, Kind.STANDARD]), choice(list(Action))
    place = f"seed {seed}, {actor}, {owner}, {group!r}, {at}"
    want = related(actor, owner, group, at, there.agreements, there.parents)
    found = of.relation(actor.userid, owner.userid, group, at)
    assert found is want, place
    question = Question(of.subject(actor.userid), group, kind, action, want)
    plain = expected(there.capabilities, there.grants, {**there.parents, 999: None}, question)
    decision = of.decide(actor.userid, group, kind, action, found)
    assert (decision.allowed, decision.step) == (plain.allowed, plain.step), f"{place}, {decision}"
    named = of.agreement(actor.userid, owner.userid, group, at)
    assert want is not Relation.COLLABORATING or named in there.agreements, place
    return want


def test_relations_and_decisions_agree_with_the_plain_model() -> None:
    print(f"TAGWARDEN_TEST_SEED={SEED}")
    counted = play(SEED, DECISIONS)
    assert all(counted.values()), f"the neighbourhoods are too dull: {counted}"


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("lane", range(LANES))
def test_relations_and_decisions_agree_with_the_plain_model_for_long(lane: int) -> None:
    play(soak.seed() + lane, soak.rounds(4_000_000) // LANES)
