"""A second oracle: stock Casbin with every row in one enforcer, asked with plain `enforce`, says what the engine says."""

from __future__ import annotations

from random import Random

from bench.stock import Stock

from .test_brute_force import SEED, Organisation

ORGANISATIONS = 60
QUESTIONS = 100


def test_engine_agrees_with_stock_casbin() -> None:
    print(f"TAGWARDEN_TEST_SEED={SEED}")
    outcomes = set()
    for number in range(ORGANISATIONS):
        organisation = Organisation(Random(f"stock/{SEED}/{number}"))
        engine, stock = organisation.engine(), Stock(organisation.capabilities, organisation.grants)
        for _ in range(QUESTIONS):
            question = organisation.question()
            if not question.subject.userid or not question.subject.roles:
                continue  # nobody is refused before any row is asked
            ready = stock.prepared(question.subject, question.group, question.kind, question.action, question.relation)
            allowed = engine.decide(question).allowed
            assert stock.enforce(ready) is allowed, f"organisation {number}: {question}"
            outcomes.add(allowed)
    assert outcomes == {True, False}
