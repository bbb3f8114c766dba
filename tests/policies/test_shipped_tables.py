"""The decision tables that ship, asked of the real engine; and that a table fails when the policy it speaks of is broken."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tagwarden.app import policy_folder
from tagwarden.app.demo import sample
from tagwarden.governance.bundle import Bundle, BundleInvalid, GrantLine
from tagwarden.governance.decision_tables import read_table
from tagwarden.governance.table_runner import Asked, coverage, run
from tagwarden.identity.model import Directory
from tagwarden.kernel.resources import folder
from tagwarden.policy.model import Action, Effect
from tagwarden.policy.service import model_text

DEFAULT, DEMO = folder("policies"), folder("policies") / "demo"
MODEL = model_text()


def asked(of: Path, bundle: Bundle | None = None) -> list[Asked]:
    """Every table of a folder, over its bundle or another one."""
    bundle = bundle or policy_folder.bundle_of(of)
    return [run(table, MODEL) for table in policy_folder.tables_of(of, bundle)]


@pytest.mark.parametrize("of", [DEFAULT, DEMO], ids=["default", "demo"])
def test_shipped_tables_hold_and_meet_every_row(of: Path) -> None:
    done = asked(of)
    assert [failure for one in done for failure in one.failures] == []
    assert len(done) >= 2
    assert sum(one.cells for one in done) > 250
    assert coverage(policy_folder.bundle_of(of), done).percent == 100


def test_the_demos_organisation_is_the_demos() -> None:
    company = sample.load().company
    told = policy_folder.organisation_of(DEMO)
    assert told is not None
    assert {one.id: (one.name, one.parent_id) for one in told.departments.values()} == {
        one["id"]: (one["name"], one["parentid"]) for one in company["departments"]
    }
    assert {one.userid: (sorted(one.departments), sorted(one.leads)) for one in told.employees.values()} == {
        one["userid"]: (
            sorted(one["department"]),
            sorted(home for home, leads in zip(one["department"], one["is_leader_in_dept"], strict=True) if leads),
        )
        for one in company["employees"]
    }


def without_each_grant() -> list[Any]:
    grants = policy_folder.bundle_of(DEMO).grants
    return [pytest.param(row, id=row.id) for row in grants]


@pytest.mark.parametrize("row", without_each_grant())
def test_the_demos_tables_see_every_grant_that_is_taken_away(row: GrantLine) -> None:
    bundle = policy_folder.bundle_of(DEMO)
    broken = replace(bundle, grants=tuple(one for one in bundle.grants if one != row))
    assert [failure for one in asked(DEMO, broken) for failure in one.failures], row.id


@pytest.mark.parametrize("department", [1, 10, 11, 60])
@pytest.mark.parametrize("action", [Action.USE, Action.VIEW])
def test_the_demos_matrix_sees_a_grant_too_many(department: int, action: Action) -> None:
    bundle = policy_folder.bundle_of(DEMO)
    more = GrantLine(department, "客户来源", action)
    broken = replace(bundle, grants=(*bundle.grants, more))
    assert [failure for one in asked(DEMO, broken) for failure in one.failures]


def test_the_default_tables_see_each_capability_that_is_taken_away() -> None:
    bundle = policy_folder.bundle_of(DEFAULT)
    for capability in bundle.capabilities:
        broken = replace(bundle, capabilities=tuple(one for one in bundle.capabilities if one is not capability))
        assert [failure for one in asked(DEFAULT, broken) for failure in one.failures], capability


# -- reading and failing ------------------------------------------------------------------------------------------------

SMALL = """
[[department]]
id = 1
[[department]]
id = 2
parent = 1
[[employee]]
userid = "ann"
departments = [2]
roles = ["staff"]
[[employee]]
userid = "eve"
departments = [1]
leads = [1]
roles = ["manager"]
[[group]]
name = "g"
kind = "standard"
choice = "single"
[[grant]]
department = 2
group = "g"
action = "use"
"""
CASE = '[[case]]\nwho = "ann"\ngroup = "g"\n'


def table(text: str) -> Asked:
    bundle = policy_folder.bundle_of(DEFAULT)
    return run(read_table("t.toml", SMALL + text, bundle, Directory({}, {})), MODEL)


def test_what_comes_out_as_written_is_silent() -> None:
    done = table(CASE + 'may = "use"\non = "own"\n')
    assert (done.cells, done.failures) == (1, ())
    crossed = table('[[case]]\nwho = ["ann", "eve"]\ngroup = "*"\nmay_not = ["view", "use", "manage"]\non = ["none"]\n')
    assert (crossed.cells, crossed.failures) == (6, ())


FAILING = [
    ('may = "use"\non = "subordinate"', ["ann use g (subordinate)", "relation"]),
    ('may_not = "use"\non = "own"', ["was allowed", "2:g:use"]),
    ('may_not = "use"\non = "none"\nstep = "grant"', ["not at grant"]),
    ('may_not = "use"\non = "none"\nreason = "denied"', ["not_your_customer, not denied"]),
    ('may = "manage"', ["capability"]),
    ('may = "use"\ncustomer_of = "eve"', ["customer of eve"]),
]


@pytest.mark.parametrize(("case", "said"), FAILING)
def test_what_comes_out_otherwise_is_named(case: str, said: list[str]) -> None:
    (failure,) = table(CASE + case).failures
    assert failure.where.startswith("t.toml case #1")
    for words in said:
        assert words in failure.en


def test_who_can_is_exact() -> None:
    listed = '[[who_can]]\naction = "use"\ngroup = "g"\non = "own"\nare = {}\n'
    assert table(listed.format('["ann"]')).failures == ()
    (more,) = table(listed.format("[]")).failures
    assert "ann can as well" in more.en
    (fewer,) = table(listed.format('["ann", "eve"]')).failures
    assert "eve cannot" in fewer.en


def test_a_complete_matrix_refuses_what_it_does_not_list() -> None:
    whole = '[matrix]\ncomplete = {}\naction = ["view", "use"]\non = ["own", "none"]\n'
    allow = '[[matrix.allow]]\nwho = "ann"\nmay = {}\non = "own"\n'
    assert table(whole.format("true") + allow.format('["view", "use"]')).failures == ()
    (missing,) = table(whole.format("true") + allow.format('["view"]')).failures
    assert "ann use g (own) was allowed" in missing.en
    assert table(whole.format("false") + allow.format('["view"]')).failures == ()
    (beyond,) = table(whole.format("true") + allow.format('["view", "use", "manage"]')).failures
    assert "outside" in beyond.en


MISTAKES = [
    ('[[case]]\nwho = "anne"\nmay = "use"', "person_unknown", "ann"),
    ('[[case]]\nwho = "ann"\ngroup = "h"\nmay = "use"', "group_unknown", "h"),
    ('[[case]]\nwho = "ann"\nmay = "fly"', "action_unknown", "fly"),
    ('[[case]]\nwho = "ann"\nmay = "use"\non = "mine"', "relation_unknown", "mine"),
    ('[[case]]\nwho = "ann"\nmay = "use"\non = "own"\ncustomer_of = "eve"', "relation_twice", "customer_of"),
    ('[[case]]\nwho = "ann"', "case_empty", "may"),
    ('[[case]]\nwho = "ann"\nmay = "use"\nstep = "grant"', "step_without_refusal", "may_not"),
    ('[[case]]\nwho = "ann"\nmay = "use"\nsteps = "grant"', "field_unknown", "step"),
    ('[[cases]]\nwho = "ann"', "entry_unknown", "[[case]]"),
    ('[[who_can]]\naction = "use"\ngroup = "g"', "field_missing", "are"),
    ("[[case]", "not_toml", ""),
    ('[[employee]]\nuserid = "x"\ndepartments = [7]', "department_unknown", "7"),
    ('[[employee]]\nuserid = "ann"', "stands_twice", "ann"),
]


@pytest.mark.parametrize(("text", "code", "said"), MISTAKES)
def test_a_mistake_in_a_table_is_told_and_is_no_refusal(text: str, code: str, said: str) -> None:
    with pytest.raises(BundleInvalid) as refused:
        table(text)
    assert code in [one.code for one in refused.value.mistakes]
    assert said in json.dumps([one.en + one.zh for one in refused.value.mistakes], ensure_ascii=False)


def test_a_table_in_yaml_is_no_silent_pass(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a.yaml").write_text("on: own")
    with pytest.raises(BundleInvalid, match="TOML"):
        policy_folder.tables_of(tmp_path, policy_folder.bundle_of(DEFAULT))


def test_a_row_no_cell_met_is_listed() -> None:
    bundle = policy_folder.bundle_of(DEMO)
    extra = GrantLine(99, "咨询类", Action.USE, Effect.ALLOW)
    met = coverage(replace(bundle, grants=(*bundle.grants, extra)), asked(DEMO))
    assert (met.unmet, met.percent) == (("99:咨询类:use",), 94)
