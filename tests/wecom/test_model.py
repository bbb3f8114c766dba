"""The error table: complete for the documented codes, and never success for anything else."""

from __future__ import annotations

import pytest

from tagwarden.wecom.model import NO_ANSWER, VERDICTS, NoAnswer, VerdictKind, WecomRefused, verdict

# Every code of the documented lists this house meets (global error list 90313, frequency limits 90312).
DOCUMENTED = {
    VerdictKind.RETRY: {-1, 6000, 45035, 41063},
    VerdictKind.REFRESH: {40014, 42001},
    VerdictKind.SLOW_DOWN: {45009, 45033, 45036},
    VerdictKind.STOP: {
        40001, 40013, 40091, 41002, 41004, 41005, 45031, 48002, 48004, 48006, 48009, 48010, 50003, 50006, 60020,
        2000002,
    },
    VerdictKind.DROP: {
        41001, 48011, 50001, 50002, 60011, 60021, 60030, 60111, 301002, 45029, 45011, 40003, 40031, 40032, 40058, 40063,
        40068, 40071, 40072, 40096, 40097, 40098, 40099, 40100, 40126, 40128, 40129, 40130, 40131, 40143, 40144, 40205,
        41006, 41017, 41018, 41035, 41048, 41093, 41094, 41110, 41111, 50100, 81011, 81013, 84061, 84074, 84083, 84084,
        610004, 701008, 60140, *range(42014, 42020), *range(42027, 42052),
    },
}  # fmt: skip


@pytest.mark.parametrize(("kind", "code"), [(kind, code) for kind, codes in DOCUMENTED.items() for code in sorted(codes)])
def test_documented_code_has_its_verdict_and_words(kind: VerdictKind, code: int) -> None:
    assert code in VERDICTS
    meaning = verdict(code)
    assert meaning.kind is kind
    assert any("\u4e00" <= character <= "\u9fff" for character in meaning.words_zh)
    assert meaning.words_en.isascii()


def test_unknown_code_is_tried_a_few_times_and_never_success() -> None:
    for code in (1, 99999, -2, 40000, 2**31):
        meaning = verdict(code)
        assert meaning.kind is VerdictKind.RETRY
        assert 1 < meaning.tries <= 5


def test_zero_has_no_verdict() -> None:
    with pytest.raises(ValueError, match="no refusal"):
        verdict(0)


def test_frequency_limit_names_how_long_to_wait() -> None:
    assert verdict(45009).seconds == 60.0
    assert all(verdict(code).seconds > 0 for code in (45033, 45036))


def test_41005_asks_for_the_credential() -> None:
    assert "凭据" in verdict(41005).words_zh
    assert "credential" in verdict(41005).words_en


def test_errors_speak_both_languages_and_carry_the_code() -> None:
    refused = WecomRefused(84061, verdict(84061))
    assert refused.wecom_code == 84061
    assert "84061" in refused.text("zh")
    assert refused.text("zh") != refused.text("en")
    for reason in NO_ANSWER:
        assert "结果未知" in NoAnswer(reason).text("zh")
        assert "unknown" in NoAnswer(reason).text("en")
