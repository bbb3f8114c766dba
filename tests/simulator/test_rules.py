"""The pure rules of `model.py` that are awkward to reach over HTTP."""

from __future__ import annotations

import pytest

from tagwarden.simulator.model import FrequencyLimit, Refused, Switches, check_name, decide_marking, worst_window

SWITCHES = Switches()


@pytest.mark.parametrize(("name", "passes"), [("客" * 30, True), ("客" * 31, False), ("😀" * 15, True), ("😀" * 16, False)])
def test_thirty_characters_counted_as_utf16(name: str, passes: bool) -> None:
    if passes:
        assert check_name(name, SWITCHES) == name
        return
    with pytest.raises(Refused, match="40072"):
        check_name(name, SWITCHES)


def test_thirty_characters_counted_as_code_points() -> None:
    assert check_name("😀" * 30, Switches(name_length_unit="code_points"))


def test_marking_is_atomic_by_default_and_partial_by_switch() -> None:
    with pytest.raises(Refused, match="40068"):
        decide_marking([], ["a", "ghost"], [], ["a"], SWITCHES)
    partial = decide_marking([], ["a", "ghost"], [], ["a"], Switches(mark_atomic=False))
    assert (set(partial.add), partial.code) == ({"a"}, 40068)


def test_marking_again_is_accepted_unless_switched() -> None:
    assert decide_marking(["a"], ["a"], ["b"], ["a", "b"], SWITCHES).add == frozenset()
    with pytest.raises(Refused, match="45001"):
        decide_marking(["a"], ["a"], [], ["a"], Switches(repeat_mark_code=45001))


def test_a_tag_in_both_lists() -> None:
    with pytest.raises(Refused, match="40058"):
        decide_marking([], ["a"], ["a"], ["a"], SWITCHES)
    assert decide_marking([], ["a"], ["a"], ["a"], Switches(mark_in_both_lists="add")).add == {"a"}
    assert decide_marking(["a"], ["a"], ["a"], ["a"], Switches(mark_in_both_lists="remove")).remove == {"a"}


def test_three_thousand_tags_on_a_customer() -> None:
    held = [f"t{number}" for number in range(3000)]
    with pytest.raises(Refused, match="40144"):
        decide_marking(held, ["one more"], [], ["one more"], SWITCHES)
    assert decide_marking(held, ["one more"], ["t0"], ["one more", "t0"], SWITCHES).add == {"one more"}
    assert decide_marking(held, [], ["t0"], ["t0"], SWITCHES).remove == {"t0"}


def test_worst_window_against_counting_every_window() -> None:
    for seed in range(200):
        arrivals = sorted((seed * step * step) % 97 for step in range(seed % 30))
        slow = max((sum(start <= arrival < start + 10 for arrival in arrivals) for start in arrivals), default=0)
        assert worst_window(arrivals, 10) == slow


def test_frequency_block_lasts_as_long_as_the_window() -> None:
    limit = FrequencyLimit(60)
    assert [limit.admit(second, 3) for second in (0, 1, 2, 3, 62.9)] == [True, True, True, False, False]
    assert limit.admit(63, 3)
