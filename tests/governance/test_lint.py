"""Each warning of `policy lint`: raised where it should be, silent beside it, in both languages and with a stable code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tagwarden.governance.bundle import Bundle, read_bundle
from tagwarden.governance.lint import CODES, Known, lint
from tagwarden.governance.mistakes import Mistake
from tagwarden.governance.operator import default_texts
from tagwarden.governance.organisation import organisation_text, read_organisation
from tagwarden.identity.model import Directory
from tagwarden.policy.model import Kind
from tagwarden.policy.service import model_text

ORGANISATION = """
[[department]]
id = 1
name = "HQ"
[[department]]
id = 10
name = "East"
parent = 1
[[department]]
id = 11
name = "Shanghai"
parent = 10
[[department]]
id = 12
name = "Empty"
parent = 10
[[employee]]
userid = "boss"
departments = [1]
leads = [1]
[[employee]]
userid = "east"
departments = [10]
leads = [10]
[[employee]]
userid = "ann"
departments = [11]
"""
PEOPLE = """
[[person]]
userid = "boss"
roles = ["supervisor"]
[[person]]
userid = "east"
roles = ["manager"]
[[person]]
userid = "ann"
roles = ["staff"]
"""
DEFAULTS = frozenset(read_bundle({}, default_texts()).capabilities)


def group(name: str, kind: str = "standard") -> str:
    return f'[[group]]\nname = "{name}"\nkind = "{kind}"\nchoice = "single"\n'


def grant(department: int, group: str, action: str = "use", **more: Any) -> str:
    fields = {"department": department, "group": f'"{group}"', "action": f'"{action}"'}
    fields |= {name: f'"{value}"' if isinstance(value, str) else str(value).lower() for name, value in more.items()}
    return "[[grant]]\n" + "".join(f"{name} = {value}\n" for name, value in fields.items())


# No warning at all: the root sees, the east uses.
CLEAN = {
    "groups": group("a") + group("b"),
    "people": PEOPLE,
    "grants": grant(10, "a") + grant(10, "b") + grant(1, "a", "view", inherit=False),
}


def read(**files: str) -> Bundle:
    return read_bundle({f"{name}.toml": text for name, text in {**CLEAN, **files}.items()}, default_texts())


def known(directory: str | None = ORGANISATION, kinds: dict[str, Kind] | None = None) -> Known:
    told = read_organisation(directory) if directory is not None else None
    return Known(model_text(), DEFAULTS, told, kinds)


def warned(found: list[Mistake], code: str) -> list[str]:
    """Where a warning points; AssertionError where its words are not of both languages."""
    for one in found:
        assert one.code in CODES
        assert any("\u4e00" <= letter <= "\u9fff" for letter in one.zh), one
        assert one.en.isascii() or "“" in one.en, one
    return [one.where for one in found if one.code == code]


def test_a_clean_bundle_is_clean_with_and_without_an_organisation() -> None:
    assert lint(read(), known()) == []
    assert lint(read(), known(None)) == []
    assert lint(read(), known(kinds={"a": Kind.STANDARD, "b": Kind.STANDARD})) == []


G = CLEAN["grants"]
CASES: list[tuple[str, str, dict[str, str]]] = [
    ("root_inherits", "grants.toml 1:b:use", {"grants": G + grant(1, "b")}),
    ("department_unknown", "grants.toml 99:a:use", {"grants": G + grant(99, "a")}),
    ("group_unknown", "grants.toml 10:c:use", {"grants": G + grant(10, "c")}),
    ("group_unused", "groups.toml c", {"groups": CLEAN["groups"] + group("c")}),
    ("group_unused", "groups.toml c", {"groups": CLEAN["groups"] + group("c"), "grants": G + grant(10, "c", "view")}),
    ("group_unused", "groups.toml c", {"groups": CLEAN["groups"] + group("c"), "grants": G + grant(12, "c")}),
    (
        "unclassified_granted",
        "grants.toml 10:c:view",
        {"groups": CLEAN["groups"] + group("c", "unclassified"), "grants": G + grant(10, "c", "view")},
    ),
    ("contradicting_rows", "grants.toml 10:a:use", {"grants": G + grant(10, "a", effect="deny")}),
    ("allow_never_wins", "grants.toml 11:b:use", {"grants": G + grant(11, "b") + grant(10, "b", "view", effect="deny")}),
    ("allow_never_wins", "grants.toml 10:a:use", {"grants": G + grant(10, "a", "view", effect="deny")}),
    ("row_shadowed", "grants.toml 11:a:use", {"grants": G + grant(11, "a")}),
    ("row_shadowed", "grants.toml 10:a:view", {"grants": G + grant(10, "a", "view")}),
    ("row_shadowed", "grants.toml 11:a:use", {"grants": G + grant(11, "a", reach="own")}),
    (
        "row_shadowed",
        "grants.toml 11:b:use:deny",
        {"grants": grant(10, "a") + grant(10, "b", "view", effect="deny") + grant(11, "b", effect="deny")},
    ),
    ("grant_without_role", "grants.toml 1:b:manage", {"grants": G + grant(1, "b", "manage", inherit=False)}),
    ("grant_reaches_nobody", "grants.toml 12:a:manage", {"grants": G + grant(12, "a", "manage")}),
    ("department_without_group", "grants.toml", {"grants": grant(10, "a") + grant(10, "b")}),
    ("person_unknown", "people.toml gone", {"people": PEOPLE + '[[person]]\nuserid = "gone"\nroles = ["staff"]\n'}),
    (
        "subadmin_without_modules",
        "people.toml ann",
        {"people": PEOPLE.replace('["staff"]', '["staff", "subadmin"]')},
    ),
    (
        "modules_without_subadmin",
        "people.toml ann",
        {"people": PEOPLE.replace('["staff"]', '["staff"]\nmodules = ["policy"]')},
    ),
    (
        "level2_without_supervisor",
        "approvals.toml",
        {"approvals": "asking_is_level1 = true\nexpires_after_days = 7\nlevel2_departments = [10]"},
    ),
    (
        "level2_without_supervisor",
        "approvals.toml",
        {"approvals": "asking_is_level1 = true\nexpires_after_days = 7\n[kinds.adopt_marks]\nlevel2_departments = [11]"},
    ),
    ("group_unknown", "drift.toml c", {"drift": '[groups]\nc = "ask"\n'}),
    ("drift_rule_unfit", "drift.toml a", {"drift": '[groups]\na = "ask"\n'}),
]


@pytest.mark.parametrize(("code", "where", "files"), CASES)
def test_a_warning_points_at_its_row(code: str, where: str, files: dict[str, str]) -> None:
    assert where in warned(lint(read(**files), known()), code)


SILENT: list[tuple[str, dict[str, str]]] = [
    ("root_inherits", {"grants": G + grant(1, "b", inherit=False)}),
    ("contradicting_rows", {"grants": G + grant(10, "a", effect="deny", inherit=False)}),  # those below keep it
    ("allow_never_wins", {"grants": G + grant(11, "b", "view", effect="deny")}),  # the allow works elsewhere
    ("row_shadowed", {"grants": grant(10, "a", reach="own") + grant(11, "a") + grant(10, "b")}),
    ("row_shadowed", {"grants": grant(10, "a") + grant(11, "a", "view", reach="corp") + grant(10, "b")}),
    ("row_shadowed", {"grants": grant(10, "a", inherit=False) + grant(11, "a") + grant(10, "b")}),
    ("row_shadowed", {"grants": G + grant(11, "a", "manage")}),
    ("grant_without_role", {"grants": G + grant(11, "b", "view", reach="corp")}),
    ("level2_without_supervisor", {"approvals": "asking_is_level1 = true\nexpires_after_days = 7\nlevel2_departments = [1]"}),
    ("capability_unreachable", {}),
    ("drift_rule_unfit", {"drift": '[groups]\na = "tagwarden"\n'}),
]


@pytest.mark.parametrize(("code", "files"), SILENT)
def test_what_only_looks_like_it_is_not_warned_of(code: str, files: dict[str, str]) -> None:
    assert warned(lint(read(**files), known()), code) == []


def test_every_code_has_a_case() -> None:
    told = {code for code, _, _ in CASES} | {"capability_unreachable", "group_unclassified", "person_unlisted"}
    assert told == set(CODES)


def test_a_capability_of_ones_own_that_no_grant_reaches() -> None:
    roles = '[[staff]]\nmay = ["view", "use", "manage"]\nkinds = ["standard"]\non = ["own"]\n'
    found = lint(read(roles=roles), known())
    (one,) = [one for one in found if one.code == "capability_unreachable"]
    assert "staff may manage" in one.en
    assert warned(lint(read(roles=roles, grants=G + grant(11, "a", "manage")), known()), "capability_unreachable") == []


def test_against_a_corp_its_own_groups_and_people_count() -> None:
    kinds = {"a": Kind.STANDARD, "b": Kind.STANDARD, "new": Kind.UNCLASSIFIED}
    found = lint(read(), known(kinds=kinds))
    assert warned(found, "group_unclassified") == ["groups.toml"]
    missing = lint(read(), known(kinds={"a": Kind.STANDARD}))
    assert warned(missing, "group_unknown") == ["grants.toml 10:b:use", "groups.toml b"]
    told = read_organisation(ORGANISATION + '[[employee]]\nuserid = "x"\ndepartments = [11]\nroles = ["admin"]\n')
    here = replace(known(kinds={"a": Kind.STANDARD, "b": Kind.STANDARD}), directory=told)
    assert warned(lint(read(), here), "person_unlisted") == ["people.toml"]


def test_what_is_not_known_is_not_guessed() -> None:
    files = {"grants": G + grant(99, "a") + grant(11, "b") + grant(10, "b", "view", effect="deny")}
    codes = {one.code for one in lint(read(**files), known(None))}
    assert codes == {"allow_never_wins"}, "of departments nothing is known, but one row meets its own deny"


def test_an_organisation_written_out_is_read_back_the_same() -> None:
    told = read_organisation(ORGANISATION)
    again = read_organisation(organisation_text(told))
    assert again == told
    hostile = Directory({1: replace(told.departments[1], name='"\n[[employee]]\nuserid = "x"')}, {})
    assert read_organisation(organisation_text(hostile)) == hostile
