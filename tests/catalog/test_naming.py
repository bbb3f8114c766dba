"""The house rules for names: what is refused, what is named as the reason, and what is offered instead."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tagwarden.catalog import naming
from tagwarden.catalog.model import NameRefused, NameTaken
from tagwarden.catalog.naming import NamingRules
from tagwarden.catalog.service import checked_name, naming_rules

RULES = NamingRules()


def test_the_shipped_rules_are_twenty_characters_of_three_kinds() -> None:
    assert naming_rules() == NamingRules(20, frozenset({"chinese", "latin", "digit"}))


@pytest.mark.parametrize(
    "name",
    [
        "高活跃",
        "VIP",
        "vip2",
        "A级",
        "2026",
        "〇七",
        "繁體字",
        "㐀",  # extension A
        "𠀀",  # extension B, outside the basic plane
        "𪜀",  # extension C
        "𫝀",  # extension D
        "𫠠",  # extension E
        "𬺰",  # extension F
        "\U00030000",  # extension G
        "é",
        "e\u0301",  # becomes é
        "Ä",
        "ß",
        "ñ",
        "金" * 20,
        "a" * 20,
        "𠀀" * 20,  # twenty code points, forty UTF-16 units
        "e\u0301" * 20,  # twenty after NFC
        "\uf900",  # becomes the unified ideograph
        "\U00031350",
        "\U0002ebf0",
    ],
)
def test_chinese_latin_and_digits_are_taken(name: str) -> None:
    assert checked_name(name, set()) == unicodedata.normalize("NFC", name)


REFUSED = [
    ("", "empty", "", ""),
    ("   ", "empty", "", ""),
    ("\u3000", "empty", "", ""),
    ("VIP/华东", "character", "“/” (U+002F)", "VIP华东"),
    ("高 活跃", "white_space", "U+0020", "高活跃"),
    ("高\u3000活跃", "white_space", "U+3000", "高活跃"),
    ("高\u00a0活跃", "white_space", "U+00A0", "高活跃"),
    ("高\t活跃", "white_space", "U+0009", "高活跃"),
    ("高\n活跃", "white_space", "U+000A", "高活跃"),
    ("高\u2028活跃", "white_space", "U+2028", "高活跃"),
    ("高\u200b活跃", "character", "U+200B", "高活跃"),  # zero width space is no white space
    ("高\ufeff活跃", "character", "U+FEFF", "高活跃"),
    ("高\u2060", "character", "U+2060", "高"),
    ("高\u202e活跃", "character", "U+202E", "高活跃"),  # right-to-left override
    ("\u2066高\u2069", "character", "U+2066", "高"),
    ("高\x00", "character", "U+0000", "高"),
    ("高\x7f", "character", "U+007F", "高"),
    ("高😀", "character", "“😀” (U+1F600)", "高"),
    ("👨\u200d👩\u200d👧家", "character", "“👨” (U+1F468)", "家"),  # one look, five code points
    ("👍🏽好", "character", "“👍” (U+1F44D)", "好"),
    ("1\ufe0f\u20e3级", "character", "“\ufe0f” (U+FE0F)", "1级"),
    ("🇨🇳", "character", "“🇨” (U+1F1E8)", ""),
    ("ＶＩＰ", "character", "“Ｖ” (U+FF36)", "VIP"),
    ("１级", "character", "“１” (U+FF11)", "1级"),
    ("（高）", "character", "“（” (U+FF08)", "高"),
    ("高。", "character", "“。” (U+3002)", "高"),
    ("高、低", "character", "“、” (U+3001)", "高低"),
    ("a-b", "character", "“-” (U+002D)", "ab"),
    ("a_b", "character", "“_” (U+005F)", "ab"),
    ("a'b", "character", "“'” (U+0027)", "ab"),
    ("100%", "character", "“%” (U+0025)", "100"),
    ("<b>高</b>", "character", "“<” (U+003C)", "b高b"),
    ("ひらがな", "character", "“ひ” (U+3072)", ""),
    ("カタ", "character", "“カ” (U+30AB)", ""),
    ("한국", "character", "“한” (U+D55C)", ""),
    ("Привет", "character", "“П” (U+041F)", ""),
    ("аbc", "character", "“а” (U+0430)", "bc"),  # a Cyrillic letter that looks Latin
    ("αβ", "character", "“α” (U+03B1)", ""),
    ("مرحبا", "character", "“م” (U+0645)", ""),
    ("שלום", "character", "“ש” (U+05E9)", ""),
    ("ไทย", "character", "“ไ” (U+0E44)", ""),
    ("हिन्दी", "character", "“ह” (U+0939)", ""),
    ("٣级", "character", "“٣” (U+0663)", "级"),  # an Arabic digit
    ("²级", "character", "“²” (U+00B2)", "2级"),
    ("½", "character", "“½” (U+00BD)", "12"),
    ("Ⅷ级", "character", "“Ⅷ” (U+2167)", "VIII级"),
    ("①级", "character", "“①” (U+2460)", "1级"),
    ("ﬁ", "character", "“ﬁ” (U+FB01)", "fi"),
    ("x\u0301", "character", "“\u0301” (U+0301)", "x"),  # no composed form
    ("高\ue000", "character", "U+E000", "高"),  # private use
    ("金" * 21, "too_long", "21", "金" * 20),
    ("𠀀" * 21, "too_long", "21", "𠀀" * 20),
    ("e\u0301" * 21, "too_long", "21", "é" * 20),
]


@pytest.mark.parametrize(("name", "reason", "what", "suggestion"), REFUSED, ids=[ascii(one[0])[:30] for one in REFUSED])
def test_a_refusal_names_the_reason_and_offers_a_cleaned_name(name: str, reason: str, what: str, suggestion: str) -> None:
    with pytest.raises(NameRefused) as refused:
        checked_name(name, set())
    facts = refused.value.facts
    assert (facts["reason"], facts["what"], facts["suggestion"]) == (reason, what, suggestion)


def test_names_that_look_the_same_are_the_same() -> None:
    for twin in ("Café", "Cafe\u0301"):
        with pytest.raises(NameTaken) as refused:
            checked_name(twin, {"Café"})
        assert (refused.value.facts["twin"], refused.value.facts["suggestion"]) == ("Café", "Café2")


@pytest.mark.parametrize(("name", "twin"), [("vip", "VIP"), ("VIP", "vip"), ("Straße", "STRASSE")])
def test_case_makes_no_other_name(name: str, twin: str) -> None:
    with pytest.raises(NameTaken) as refused:
        checked_name(name, {twin})
    assert refused.value.facts["twin"] == twin


def test_a_twin_of_full_length_is_offered_a_name_that_still_fits() -> None:
    name = "金" * 20
    with pytest.raises(NameTaken) as refused:
        checked_name(name, {name, "金" * 19 + "2"})
    assert refused.value.facts["suggestion"] == "金" * 19 + "3"


NAMES = st.text(alphabet=st.sampled_from("金级Vv2é /ſ\u0301Ａ①ß😀ﬁk\u212a"), max_size=24)


def offered(name: str, taken: set[str]) -> str | None:
    """The name offered instead, or None where the name itself is taken up."""
    try:
        checked_name(name, taken)
    except (NameRefused, NameTaken) as refused:
        return str(refused.facts["suggestion"])
    return None


@settings(max_examples=300, deadline=None)
@given(NAMES)
def test_a_name_offered_instead_is_a_good_one(name: str) -> None:
    suggestion = offered(name, set())
    assert suggestion in (None, "") or offered(suggestion or "", set()) is None


@settings(max_examples=300, deadline=None, database=None)
@example("V I P", {"vip"})
@example("Vip", {"VIP", "vip2"})
@given(NAMES, st.sets(NAMES, max_size=5))
def test_a_name_offered_instead_is_free(name: str, taken: set[str]) -> None:
    suggestion = offered(name, taken)
    assert suggestion in (None, "") or offered(suggestion or "", taken) is None


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_whatever_the_name_the_answer_is_a_name_or_a_refusal(name: str) -> None:
    fault = naming.fault(naming.normalised(name), RULES)
    if fault is not None:
        assert fault.reason in ("empty", "too_long", "white_space", "character")
        assert len(fault.suggestion) <= 20
        return
    taken = checked_name(name, set())
    assert 1 <= len(taken) <= 20
    assert not any(character.isspace() or character == "/" for character in taken)
