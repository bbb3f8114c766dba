"""The engine against the plain model on random organisations.

TAGWARDEN_TEST_DECISIONS sets how many decisions; of the long one, where a round is a decision, TAGWARDEN_SOAK_ROUNDS.
"""

from __future__ import annotations

import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from support import soak
from tagwarden.policy.enforcer import PolicyEngine
from tagwarden.policy.model import (
    Action,
    Capability,
    Decision,
    Effect,
    Grant,
    Kind,
    Question,
    Reach,
    Relation,
    Role,
    Step,
    Subject,
    read_capabilities,
)

from .brute_force import expected

POLICIES = Path(__file__).parents[2] / "policies"
MODEL = (POLICIES / "model.conf").read_text(encoding="utf-8")
BUNDLE = read_capabilities((POLICIES / "roles.toml").read_text(encoding="utf-8"))

DECISIONS = int(os.environ.get("TAGWARDEN_TEST_DECISIONS", "20000"))
PER_ORGANISATION = 500
LANES = 4
SEED = int(os.environ.get("TAGWARDEN_TEST_SEED", "0")) or secrets.randbits(32)


class Organisation:
    """A department tree that is often deep, a sparse matrix, and people with odd combinations of roles."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.parents: dict[int, int | None] = {1: None}
        for number in range(2, random.choice([2, 6, 20, 40]) + 1):
            self.parents[number] = number - 1 if random.random() < 0.5 else random.randrange(1, number)
        self.groups = ["g,1", "组[2]", "", *(str(number) for number in range(1, random.choice([1, 4])))]
        self.capabilities = BUNDLE if random.random() < 0.5 else self.some_capabilities()
        self.grants = [self.some_grant(number) for number in range(random.choice([0, 3, 30, 120]))]
        self.people = [self.someone(number) for number in range(30)]

    def some(self, values: type[Relation] | type[Role], most: int) -> list[str]:
        return self.random.sample(list(values), self.random.randint(0, most))

    def some_capabilities(self) -> tuple[Capability, ...]:
        return tuple(
            Capability(
                self.random.choice(list(Role)),
                self.random.choice([Kind.VALUE, Kind.STANDARD]),
                self.random.choice(list(Action)),
                frozenset(Relation(name) for name in self.some(Relation, 4)),
                needs_grant=self.random.random() < 0.7,
            )
            for _ in range(25)
        )

    def some_grant(self, number: int) -> Grant:
        return Grant(
            f"grant-{self.random.randrange(10**6)}-{number}",
            self.random.choice(list(self.parents)),
            self.random.choice(self.groups),
            self.random.choice(list(Action)),
            Effect.DENY if self.random.random() < 0.15 else Effect.ALLOW,
            inherit=self.random.random() < 0.7,
            reach=self.random.choice([None, *Reach]),
        )

    def someone(self, number: int) -> Subject:
        home = frozenset(self.random.sample(list(self.parents), min(self.random.choice([0, 1, 1, 1, 2, 3]), len(self.parents))))
        above: set[int] = set()
        for department in home:
            parent = self.parents[department]
            while parent is not None:
                above.add(parent)
                parent = self.parents[parent]
        userid = "" if self.random.random() < 0.03 else f"user-{number}"
        return Subject(userid, frozenset(Role(name) for name in self.some(Role, 3)), home, frozenset(above))

    def question(self) -> Question:
        choice = self.random.choice
        group = "nobody's" if self.random.random() < 0.02 else choice(self.groups)
        kind = choice([Kind.VALUE, Kind.VALUE, Kind.STANDARD, *Kind])
        return Question(choice(self.people), group, kind, choice(list(Action)), choice([None, *Relation]))

    def engine(self, memo_limit: int = 1_000_000) -> PolicyEngine:
        return PolicyEngine(self.capabilities, self.grants, MODEL, memo_limit=memo_limit)


def play(first: int, decisions: int) -> dict[Step | None, int]:
    """Compares so many decisions on organisations made of this number; how they ended, counted by step."""
    outcomes: dict[Step | None, int] = {}
    for number in range(max(1, decisions // PER_ORGANISATION)):
        seed = f"{first}/{number}"
        organisation = Organisation(Random(seed))
        engine = organisation.engine(memo_limit=organisation.random.choice([1, 50, 1_000_000]))
        for _ in range(PER_ORGANISATION):
            question = organisation.question()
            decision = engine.decide(question)
            compare(organisation, question, decision, seed)
            outcomes[decision.step] = outcomes.get(decision.step, 0) + 1
    return outcomes


def test_engine_agrees_with_the_plain_model() -> None:
    print(f"TAGWARDEN_TEST_SEED={SEED}")
    outcomes = play(SEED, DECISIONS)
    assert set(outcomes) == {None, *Step}, f"the organisations are too dull: {outcomes}"


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("lane", range(LANES))
def test_engine_agrees_with_the_plain_model_for_long(lane: int) -> None:
    play(soak.seed() + lane, soak.rounds(12_000_000) // LANES)


def compare(organisation: Organisation, question: Question, decision: Decision, seed: str) -> None:
    want = expected(organisation.capabilities, organisation.grants, organisation.parents, question)
    place = f"seed {seed}, {question}, {decision}"
    assert (decision.allowed, decision.step) == (want.allowed, want.step), place
    assert decision.row in want.rows if want.rows else decision.row is None, place
    assert [step.passed for step in decision.trace[:-1]] == [True] * (len(decision.trace) - 1), place
    assert decision.trace[-1].passed == decision.allowed, place
    assert decision.trace[-1].row == decision.row, place


@pytest.mark.parametrize("memo_limit", [10, 1_000_000])
def test_threads_get_the_answers_that_one_alone_gets(memo_limit: int) -> None:
    print(f"TAGWARDEN_TEST_SEED={SEED}")
    organisation = Organisation(Random(SEED))
    questions = [organisation.question() for _ in range(400)]
    alone = organisation.engine()
    answers = [alone.decide(question) for question in questions]
    shared = organisation.engine(memo_limit)

    def ask_all(offset: int) -> bool:
        order = questions[offset:] + questions[:offset]
        return [shared.decide(question) for question in order] == answers[offset:] + answers[:offset]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask_all, [0, 100, 200, 300, 0, 50]))
