"""A jump of the database's clock is told apart from a slow round trip and from slow drift."""

from __future__ import annotations

from tagwarden.wecom.clock_watch import ClockWatch


def test_first_reading_is_no_jump() -> None:
    assert not ClockWatch(1.0).jumped(1_000.0, 5.0, 5.1)


def test_jump_forward_and_backward() -> None:
    for moved in (-3600.0, -1.5, 1.5, 3600.0):
        watch = ClockWatch(1.0)
        watch.jumped(1_000.0, 5.0, 5.01)
        assert watch.jumped(1_010.0 + moved, 15.0, 15.01)
        assert not watch.jumped(1_011.0 + moved, 16.0, 16.01), "told once, then the new time is the time"


def test_slow_round_trip_is_no_jump_and_hides_none() -> None:
    watch = ClockWatch(1.0)
    watch.jumped(1_000.0, 0.0, 0.01)
    assert not watch.jumped(1_030.0, 10.0, 40.0), "the reading may have been taken at 30"
    assert watch.jumped(1_061.0, 41.0, 41.01), "the clock had moved by 20 s meanwhile"


def test_slow_drift_is_followed() -> None:
    watch = ClockWatch(1.0)
    for step in range(10_000):
        assert not watch.jumped(1_000.0 + step * 10 * 1.0005, step * 10.0, step * 10.0 + 0.002)


def test_readings_of_tasks_that_overlap_agree() -> None:
    watch = ClockWatch(0.05)
    watch.jumped(100.01, 0.01, 0.02)
    assert not watch.jumped(100.00, 0.0, 0.5)
    assert not watch.jumped(100.49, 0.4, 0.6)
