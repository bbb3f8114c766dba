"""The nearest change, made, allows it: checked by the plain model on random organisations, never by the engine itself."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from random import Random

from tagwarden.policy.enforcer import PolicyEngine
from tagwarden.policy.model import Change, ChangeKind, Grant, Kind, Question, Reach, Relation, Subject
from tagwarden.policy.nearest import BUSINESS_ROLES, nearest

from .brute_force import expected
from .test_brute_force import BUNDLE, Organisation

SEED = int(os.environ.get("TAGWARDEN_TEST_SEED", "0")) or secrets.randbits(32)
ORGANISATIONS = 12
QUESTIONS = 60


def made(change: Change, question: Question, grants: list[Grant]) -> tuple[Question, list[Grant]]:
    """The question and the matrix after an admin made the change."""
    subject = question.subject
    if change.kind is ChangeKind.GIVE_ROLE:
        assert change.role is not None
        return question_of(question, Subject(subject.userid, subject.roles | {change.role}, subject.home, subject.above)), grants
    if change.kind is ChangeKind.CLASSIFY_GROUP:
        return replace(question, kind=Kind.STANDARD), grants
    if change.kind is ChangeKind.RECORD_AGREEMENT:
        assert question.relation is Relation.NONE
        return replace(question, relation=Relation.COLLABORATING), grants
    assert change.grant is not None
    if change.kind is ChangeKind.ADD_GRANT:
        return question, [*grants, change.grant]
    kept = [row for row in grants if row.id != change.grant.id]
    wider = [replace(change.grant, reach=Reach.CORP)] if change.kind is ChangeKind.WIDEN_GRANT else []
    return question, [*kept, *wider]


def question_of(question: Question, subject: Subject) -> Question:
    return replace(question, subject=subject)


def test_what_is_named_is_enough() -> None:
    print(f"TAGWARDEN_TEST_SEED={SEED}")
    kinds: set[ChangeKind] = set()
    for number in range(ORGANISATIONS):
        organisation = Organisation(Random(f"{SEED}/{number}"))
        organisation.capabilities = BUNDLE
        engine = organisation.engine()
        for _ in range(QUESTIONS):
            kinds |= check(organisation, engine, organisation.question())
    assert kinds == set(ChangeKind), f"every kind of change is met: {set(ChangeKind) - kinds}"


def check(organisation: Organisation, engine: PolicyEngine, question: Question) -> set[ChangeKind]:
    place = engine.place(question.subject.standing)
    changes = nearest(engine, place, question.group, question.kind, question.action, question.relation)
    told = f"seed {SEED}, {question}: {changes}"
    allowed = expected(organisation.capabilities, organisation.grants, organisation.parents, question).allowed
    if allowed:
        assert changes == (), told
        return set()
    asked, grants = question, list(organisation.grants)
    for change in changes:
        before = expected(organisation.capabilities, grants, organisation.parents, asked)
        assert not before.allowed, f"{told}: one change too many"
        asked, grants = made(change, asked, grants)
    if changes and question.subject.userid:
        assert expected(organisation.capabilities, grants, organisation.parents, asked).allowed, told
    assert {change.role for change in changes} - {None} <= set(BUSINESS_ROLES), told
    return {change.kind for change in changes}
