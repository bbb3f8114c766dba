"""Reading a policy bundle: each mistake is told with the file and the place, and nothing of it is guessed."""

from __future__ import annotations

from typing import Any

import pytest

from tagwarden.governance.bundle import Bundle, BundleInvalid, read_bundle
from tagwarden.governance.operator import default_texts
from tagwarden.kernel.resources import folder

GRANT = 'department = 10\ngroup = "客户价值"\naction = "use"\n'
GROUP = 'name = "客户价值"\nkind = "value"\nchoice = "single"\n'
PERSON = 'userid = "li.na"\nroles = ["staff"]\n'


def read(**files: str) -> Bundle:
    """A bundle of files named without their ending."""
    return read_bundle({f"{name}.toml": text for name, text in files.items()}, default_texts())


def test_the_shipped_and_the_demonstration_bundles_are_read() -> None:
    assert read().grants == ()
    assert len(read().capabilities) > 20
    demo = {path.name: path.read_text(encoding="utf-8") for path in (folder("policies") / "demo").glob("*.toml")}
    bundle = read_bundle(demo, default_texts())
    assert bundle.groups
    assert bundle.people
    assert bundle.grants


def test_a_grant_is_read_with_its_defaults() -> None:
    (grant,) = read(grants=f"[[grant]]\n{GRANT}").grants
    assert (grant.id, grant.effect, grant.inherit, grant.reach) == ("10:客户价值:use", "allow", True, None)


MISTAKES: list[Any] = [
    ("grants", "[[grant]", "grants.toml", ""),
    ("grants", "[grant]\n" + GRANT, "grants.toml", "two brackets"),
    ("grants", "grant = 5", "grants.toml", "two brackets"),
    ("grants", "grant = [1]", "grants.toml", "two brackets"),
    ("grants", "[[grants]]\n" + GRANT, "grants.toml", "[[grant]]"),
    ("grants", "[[grant]]\n" + GRANT + "reech = 'own'", "grants.toml #1: 10 客户价值", "reech"),
    ("grants", "[[grant]]\n" + GRANT.replace("10", "'ten'"), "grants.toml #1: ten 客户价值", "department"),
    ("grants", "[[grant]]\ngroup = 'x'\naction = 'use'", "grants.toml #1: ? x", "department"),
    ("grants", "[[grant]]\n" + GRANT.replace("use", "own"), "grants.toml #1: 10 客户价值", "own"),
    ("grants", "[[grant]]\n" + GRANT + "effect = 'maybe'", "grants.toml #1: 10 客户价值", "maybe"),
    ("grants", "[[grant]]\n" + GRANT + "reach = 'world'", "grants.toml #1: 10 客户价值", "world"),
    ("grants", "[[grant]]\n" + GRANT + "inherit = 'yes'", "grants.toml #1: 10 客户价值", "inherit"),
    ("grants", "[[grant]]\n" + GRANT + "inherit = 1", "grants.toml #1: 10 客户价值", "inherit"),
    ("grants", "[[grant]]\n" + GRANT + "effect = 'deny'\nreach = 'own'", "grants.toml #1: 10 客户价值", "deny"),
    ("grants", ("[[grant]]\n" + GRANT) * 2, "grants.toml", "stands twice"),
    ("groups", "[[group]]\nname = 'x'\nkind = 'value'", "groups.toml #1: x", "choice"),
    ("groups", "[[group]]\n" + GROUP.replace("value", "precious"), "groups.toml #1: 客户价值", "precious"),
    ("groups", "[[group]]\n" + GROUP.replace("single", "one"), "groups.toml #1: 客户价值", "one"),
    ("groups", "[[group]]\nkind = 'value'\nchoice = 'single'", "groups.toml #1: ?", "name"),
    ("groups", "[group]\n" + GROUP, "groups.toml", "two brackets"),
    ("groups", "version = 1", "groups.toml", "[[group]]"),
    ("people", "[[person]]\nuserid = 'x'", "people.toml #1: x", "roles"),
    ("people", "[[person]]\n" + PERSON.replace("staff", "boss"), "people.toml #1: li.na", "boss"),
    ("people", "[[person]]\n" + PERSON.replace('["staff"]', '"staff"'), "people.toml #1: li.na", ""),
    ("people", "[[person]]\n" + PERSON.replace('["staff"]', "5"), "people.toml #1: li.na", ""),
    ("people", "[[person]]\n" + PERSON + "modules = ['all']", "people.toml #1: li.na", "all"),
    ("roles", "[[boss]]\nmay = []", "roles.toml", "boss"),
    ("roles", "[[staff]]\nmay = ['fly']\nkinds = []\non = []", "roles.toml", "fly"),
    ("roles", "[[staff]]\nmay = ['use']\nkinds = ['unclassified']\non = ['own']", "roles.toml", "unclassified"),
    ("roles", "not toml", "roles.toml", "TOML"),
    ("approvals", "not toml", "approvals.toml", ""),
    ("approvals", "asking_is_level1 = true", "approvals.toml", "expires_after_days"),
    ("approvals", "asking_is_level1 = 1\nexpires_after_days = 7", "approvals.toml", "true or false"),
    ("approvals", "asking_is_level1 = true\nexpires_after_days = 0", "approvals.toml", "1 to 90"),
    ("approvals", "asking_is_level1 = true\nexpires_after_days = 91", "approvals.toml", "1 to 90"),
    ("approvals", "asking_is_level1 = true\nexpires_after_days = 7\nlevels = 1", "approvals.toml", "levels"),
    ("others", "", "others.toml", "unknown file"),
    ("approvals", "asking_is_level1 = true\nexpires_after_days = 'soon'", "approvals.toml", "1 to 90"),
    ("approvals", "asking_is_level1 = true\nexpires_after_days = [7]", "approvals.toml", "1 to 90"),
    ("approvals", "asking_is_level1 = true\nexpires_after_days = '7'", "approvals.toml", "1 to"),
    ("approvals", "asking_is_level1 = true\nexpires_after_days = true", "approvals.toml", "1 to 90"),
    ("grants", "[[grant]]\n" + GRANT.replace("10", "10.9"), "grants.toml #1: 10.9 客户价值", "department"),
    ("grants", "[[grant]]\n" + GRANT.replace("10", "true"), "grants.toml #1: True 客户价值", "department"),
    ("groups", "[[group]]\n" + GROUP + "chioce = 'single'", "groups.toml #1: 客户价值", "chioce"),
    ("people", "[[person]]\n" + PERSON + "module = ['sync']", "people.toml #1: li.na", "module"),
    ("groups", ("[[group]]\n" + GROUP) * 2, "groups.toml", "twice"),
    ("people", ("[[person]]\n" + PERSON) * 2, "people.toml", "twice"),
    ("people", "[[person]]\nuserid = 5\nroles = ['staff']", "people.toml #1: 5", "userid"),
]


@pytest.mark.parametrize(("file", "text", "where", "why"), MISTAKES)
def test_a_mistake_is_told_with_its_place(file: str, text: str, where: str, why: str) -> None:
    with pytest.raises(BundleInvalid) as refused:
        read(**{file: text})
    assert refused.value.facts["where"] == where
    assert why in refused.value.facts["why"]
    assert where in refused.value.text("zh")


def test_every_mistake_is_told_at_once_in_both_languages() -> None:
    with pytest.raises(BundleInvalid) as refused:
        read(
            groups="[[group]]\nname = 'x'\nkind = 'valu'\nchoice = 'single'",
            people="[[person]]\nuserid = 'li.na'\nrole = ['staff']",
            grants=f"[[grant]]\n{GRANT}[[grant]]\n{GRANT.replace('use', 'uses')}",
            approvals="nonsense",
        )
    told = refused.value.facts["items"]
    assert [(one["code"], one["where"]) for one in told] == [
        ("value_invalid", "groups.toml #1: x"),
        ("field_unknown", "people.toml #1: li.na"),
        ("value_invalid", "grants.toml #2: 10 客户价值"),
        ("not_toml", "approvals.toml"),
    ]
    for one in told:
        assert one["zh"] != one["en"]
        assert any("\u4e00" <= letter <= "\u9fff" for letter in one["zh"])
    assert "temporary" in told[0]["zh"], "what to write instead"
    assert "roles" in told[1]["zh"], "did you mean"
    assert refused.value.text("zh") != refused.value.text("en")


@pytest.mark.parametrize(("file", "text", "where", "why"), MISTAKES)
def test_what_a_mistake_says_is_chinese_too(file: str, text: str, where: str, why: str) -> None:
    with pytest.raises(BundleInvalid) as refused:
        read(**{file: text})
    for one in refused.value.mistakes:
        assert any("\u4e00" <= letter <= "\u9fff" for letter in one.zh), one
        assert one.code.isidentifier()
