"""What Casbin does that would hurt, pinned, beside what our engine does instead.

The first half of a test states Casbin's behaviour: when an upgrade changes it, the test says so and the engine's
precaution can be reconsidered. The second half must hold whatever Casbin does.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import casbin  # type: ignore[import-untyped]
import pytest

from tagwarden.policy.enforcer import PolicyEngine
from tagwarden.policy.model import (
    Action,
    Effect,
    Grant,
    InvalidPolicy,
    Kind,
    Question,
    Relation,
    Role,
    Step,
    Subject,
    read_capabilities,
)

POLICIES = Path(__file__).parents[2] / "policies"
MODEL = (POLICIES / "model.conf").read_text(encoding="utf-8")
BUNDLE = read_capabilities((POLICIES / "roles.toml").read_text(encoding="utf-8"))
ALLOW, DENY = Effect

CLASSIC = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, eft
[policy_effect]
e = {effect}
[matchers]
m = r.sub == p.sub && r.obj == p.obj && r.act == p.act
"""
PRIORITY = "priority(p.eft) || deny"
NO_DENY = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"


def classic(effect: str = PRIORITY, *rows: list[str]) -> Any:
    model = casbin.Enforcer.new_model(text=CLASSIC.format(effect=effect))
    model["p"]["p"].policy.extend(rows)
    return casbin.Enforcer(model)


def decide(*grants: Grant, roles: frozenset[Role] = frozenset({Role.STAFF}), group: str = "g") -> Any:
    subject = Subject("zhang", roles, frozenset({7}), frozenset({1, 3}))
    question = Question(subject, group, Kind.VALUE, Action.USE, Relation.OWN)
    return PolicyEngine(BUNDLE, grants, MODEL).decide(question)


def test_an_empty_set_of_rows_says_yes_to_empty_strings() -> None:
    assert classic().enforce("", "", "") is True
    nobody = Subject("", frozenset(), frozenset(), frozenset())
    for capabilities in ((), BUNDLE):
        engine = PolicyEngine(capabilities, (), MODEL)
        assert not engine.decide(Question(nobody, "", Kind.VALUE, Action.USE, None)).allowed
        someone = Subject("zhang", frozenset({Role.STAFF}), frozenset(), frozenset())
        assert not engine.decide(Question(someone, "", Kind.VALUE, Action.USE, Relation.OWN)).allowed


def test_casbin_is_not_asked_over_an_empty_set_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = Grant("1", 8, "g", Action.USE, ALLOW)
    rows_met: list[int] = []
    ask = casbin.Enforcer.enforce_ex

    def counting_ask(enforcer: Any, *request: Any) -> Any:
        rows_met.append(len(enforcer.model["p"][request[0].ptype].policy))
        return ask(enforcer, *request)

    monkeypatch.setattr(casbin.Enforcer, "enforce_ex", counting_ask)
    assert decide(elsewhere).step == Step.GRANT
    assert decide(elsewhere, roles=frozenset({Role.SERVICE}), group="").step == Step.CAPABILITY
    assert decide(*(Grant(f"far-{number}", number, "g", Action.USE, ALLOW) for number in range(100, 1000))).row is None
    assert rows_met
    assert 0 not in rows_met
    assert max(rows_met) < 100, "rows of other departments need not be read"


def test_an_empty_set_of_rows_would_say_yes_under_our_model_too() -> None:
    enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=MODEL))
    context = casbin.core_enforcer.EnforceContext("r2", "p2", "e", "m4")
    assert enforcer.enforce(context, {""}, set(), "", "", "no") is True


def test_our_effect_names_the_row_of_a_refusal() -> None:
    deny = ["u", "o", "a", "deny"]
    assert classic(PRIORITY, deny, ["u", "o", "a", "allow"]).enforce_ex("u", "o", "a") == (False, deny)
    assert classic(PRIORITY, ["u", "o", "a", "allow"]).enforce_ex("u", "o", "x") == (False, [])
    assert decide(Grant("yes", 7, "g", Action.USE, ALLOW), Grant("no", 1, "g", Action.USE, DENY)).row.id == "no"
    assert decide(Grant("yes", 7, "g", Action.USE, ALLOW)).row.id == "yes"


def test_the_first_matching_row_wins_so_order_is_ours_to_keep() -> None:
    rows = (["u", "o", "a", "allow"], ["u", "o", "a", "deny"])
    assert classic(PRIORITY, *rows).enforce("u", "o", "a") is True
    assert classic(NO_DENY, *rows).enforce("u", "o", "a") is False
    grants = Grant("1", 7, "g", Action.USE, ALLOW), Grant("2", 7, "g", Action.USE, DENY)
    assert not decide(*grants).allowed
    assert not decide(*reversed(grants)).allowed


def test_the_effect_named_in_a_context_is_ignored() -> None:
    text = CLASSIC.format(effect=PRIORITY) + f"\n[policy_effect]\ne2 = {NO_DENY}\n"
    model = casbin.Enforcer.new_model(text=text)
    model["p"]["p"].policy.extend([["u", "o", "a", "allow"], ["u", "o", "a", "deny"]])
    context = casbin.core_enforcer.EnforceContext("r", "p", "e2", "m")
    assert casbin.Enforcer(model).enforce(context, "u", "o", "a") is True


def test_rows_without_an_effect_allow() -> None:
    text = CLASSIC.format(effect=PRIORITY).replace(", eft", "")
    model = casbin.Enforcer.new_model(text=text)
    model["p"]["p"].policy.append(["u", "o", "a"])
    assert casbin.Enforcer(model).enforce_ex("u", "o", "a") == (True, ["u", "o", "a"])


def test_a_matcher_must_answer_with_a_truth_value() -> None:
    text = CLASSIC.format(effect=PRIORITY).replace("r.sub == p.sub &&", "p.sub ||")
    model = casbin.Enforcer.new_model(text=text)
    model["p"]["p"].policy.append(["u", "o", "a", "allow"])
    with pytest.raises(RuntimeError, match="matcher result"):
        casbin.Enforcer(model).enforce("u", "o", "a")


@pytest.mark.parametrize(
    ("removed", "put", "named"),
    [
        ("\nm5 =", "\nm6 =", "m5"),
        ("p.eft", "p2.eft", "e must be"),
        (PRIORITY, NO_DENY, "e must be"),
        ("inherit, action", "action, inherit", "p2"),
        ("p.role in r.roles", "p.role in (", "matcher"),
        ("[matchers]", "[matcher]", "missing"),
        ("r  = roles, action", "roles, action", "model.conf"),
    ],
)
def test_a_model_that_casbin_would_take_without_a_word_is_refused(removed: str, put: str, named: str) -> None:
    assert removed in MODEL
    with pytest.raises(InvalidPolicy, match=named):
        PolicyEngine(BUNDLE, (), MODEL.replace(removed, put))


def test_text_lines_break_on_commas_and_lists_of_fields_do_not() -> None:
    model = casbin.Enforcer.new_model(text=CLASSIC.format(effect=PRIORITY))
    casbin.persist.load_policy_line("p, u, a,b, a, allow", model)
    assert len(model["p"]["p"].policy[0]) == 5
    assert decide(Grant("1", 7, "a,b", Action.USE, ALLOW), group="a,b").allowed


def test_hierarchies_deeper_than_ten_are_cut_without_a_word() -> None:
    text = CLASSIC.format(effect=PRIORITY).replace("r.sub == p.sub", "g(r.sub, p.sub)")
    enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=text + "\n[role_definition]\ng = _, _\n"))
    enforcer.add_policy("d0", "o", "a", "allow")
    for number in range(20):
        enforcer.add_grouping_policy(f"d{number + 1}", f"d{number}")
    assert enforcer.enforce("d9", "o", "a") is True
    assert enforcer.enforce("d15", "o", "a") is False

    above = frozenset(range(1, 16))
    deep = Question(Subject("u", frozenset({Role.STAFF}), frozenset({16}), above), "g", Kind.VALUE, Action.USE, None)
    assert PolicyEngine(BUNDLE, [Grant("1", 1, "g", Action.USE, ALLOW)], MODEL).decide(deep).allowed


def test_a_role_named_like_a_person_is_that_person() -> None:
    text = CLASSIC.format(effect=PRIORITY).replace("r.sub == p.sub", "g(r.sub, p.sub)")
    enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=text + "\n[role_definition]\ng = _, _\n"))
    enforcer.add_policy("admin", "o", "a", "allow")
    assert enforcer.enforce("admin", "o", "a") is True
    named_admin = Subject("admin", frozenset({Role.STAFF}), frozenset({7}), frozenset())
    question = Question(named_admin, "g", Kind.VALUE, Action.MANAGE, None)
    assert PolicyEngine(BUNDLE, (), MODEL).decide(question).step == Step.CAPABILITY


def test_casbin_parses_the_matcher_for_every_question_and_we_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    stock = classic(PRIORITY, ["u", "o", "a", "allow"])
    engine = PolicyEngine(BUNDLE, [Grant("1", 7, "g", Action.USE, ALLOW)], MODEL)
    parsed: list[str] = []
    parse = ast.parse

    def counting_parse(source: str) -> ast.Module:
        parsed.append(source)
        return parse(source)

    monkeypatch.setattr(ast, "parse", counting_parse)
    stock.enforce("u", "o", "a")
    assert len(parsed) == 1
    subject = Subject("zhang", frozenset({Role.STAFF}), frozenset({7}), frozenset())
    assert engine.decide(Question(subject, "g", Kind.VALUE, Action.USE, Relation.OWN)).allowed
    assert len(parsed) == 1
