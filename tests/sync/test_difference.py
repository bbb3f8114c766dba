"""The one call that makes WeCom hold what we want, whatever became of the calls before it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tagwarden.sync.model import BACKOFF_AT_MOST, backoff, difference, settles_at

TAGS = st.sets(st.sampled_from("abcdef"))
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@given(desired=TAGS, observed=TAGS, uncertain=TAGS, happened=TAGS)
def test_whatever_was_uncertain_ends_right(
    desired: set[str], observed: set[str], uncertain: set[str], happened: set[str]
) -> None:
    # WeCom holds what was observed, except that anything may have become of the uncertain ones.
    held = (observed - uncertain) | (happened & uncertain)
    call = difference(desired, observed, uncertain)
    assert (held | set(call.add)) - set(call.remove) == desired
    assert not set(call.add) & set(call.remove)


@given(desired=TAGS, observed=TAGS)
def test_nothing_is_named_without_need(desired: set[str], observed: set[str]) -> None:
    call = difference(desired, observed)
    assert set(call.add) == desired - observed
    assert set(call.remove) == observed - desired
    assert call.empty == (desired == observed)
    assert (list(call.add), list(call.remove)) == (sorted(call.add), sorted(call.remove))


@given(desired=TAGS, observed=TAGS, uncertain=TAGS)
def test_a_call_that_was_answered_leaves_nothing_to_do(desired: set[str], observed: set[str], uncertain: set[str]) -> None:
    call = difference(desired, observed, uncertain)
    held = (observed | set(call.add)) - set(call.remove)
    assert difference(desired, held).empty


@given(st.lists(st.floats(0, 5, allow_nan=False), min_size=1, max_size=8))
def test_a_change_leaves_a_second_after_the_last_edit_and_three_after_the_first(pauses: list[float]) -> None:
    edited = MOMENT
    for pause in pauses:
        edited += timedelta(seconds=pause)
    due = settles_at(MOMENT, edited)
    assert due <= MOMENT + timedelta(seconds=3)
    assert due <= edited + timedelta(seconds=1)
    assert due in (MOMENT + timedelta(seconds=3), edited + timedelta(seconds=1))


@given(attempts=st.integers(0, 10_000), least=st.floats(0, 3600))
def test_waiting_grows_to_its_limit_and_never_below_what_wecom_says(attempts: int, least: float) -> None:
    wait = backoff(attempts, least)
    assert wait >= timedelta(seconds=least)
    assert wait <= max(BACKOFF_AT_MOST, timedelta(seconds=least))
    assert backoff(attempts + 1) >= backoff(attempts)
