"""Windows open and close with the wall clock, on the odd days of the year as well."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.daemon.queueing import window

BERLIN = ZoneInfo("Europe/Berlin")  # 2026: forward 29 March 02:00, back 25 October 03:00
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # half an hour of summer time
zones = st.sampled_from(
    [BERLIN, LORD_HOWE, ZoneInfo("UTC"), ZoneInfo("America/New_York"), ZoneInfo("Asia/Kathmandu")]
)


def at(text: str, tz: ZoneInfo = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=tz, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("text", "now", "is_open", "until"),
    [
        ("22:00-07:00", "06-10 21:59", False, "06-10 22:00"),
        ("22:00-07:00", "06-10 22:00", True, "06-11 07:00"),
        ("22:00-07:00", "06-11 06:59", True, "06-11 07:00"),
        ("22:00-07:00", "06-11 07:00", False, "06-11 22:00"),
        ("12:00-13:00", "06-11 12:30", True, "06-11 13:00"),
        ("12:00-13:00", "06-11 13:00", False, "06-12 12:00"),
        ("00:00-23:59", "06-11 23:59", False, "06-12 00:00"),
    ],
)
def test_an_ordinary_day(text: str, now: str, is_open: bool, until: str) -> None:
    """From the first minute to the last, over midnight too."""
    assert window.look(text, at(now), BERLIN) == window.Look(is_open, at(until))


def test_a_night_in_which_summer_time_begins_is_an_hour_shorter() -> None:
    """The wall clock counts: the window closes at seven, not eight."""
    look = window.look("22:00-07:00", at("03-28 22:00"), BERLIN)
    assert look == window.Look(open=True, until=at("03-29 07:00"))
    assert look.until - at("03-28 22:00") == 8 * 3600


def test_a_window_whose_start_the_clock_jumps_over_opens_at_the_jump() -> None:
    """02:30 does not exist on that day; 03:00 is the first that shows it or more."""
    jump = at("03-29 03:00")
    assert window.look("02:30-05:00", jump - 1, BERLIN) == window.Look(open=False, until=jump)
    assert window.look("02:30-05:00", jump, BERLIN).open


def test_a_window_whose_end_the_clock_jumps_over_closes_at_the_jump() -> None:
    """Not an hour later."""
    jump = at("03-29 03:00")
    assert window.look("22:00-02:30", jump - 1, BERLIN) == window.Look(open=True, until=jump)
    assert not window.look("22:00-02:30", jump, BERLIN).open


def test_a_window_that_lies_in_the_jump_is_left_out_that_day() -> None:
    """And opens on the next."""
    look = window.look("02:10-02:50", at("03-29 00:00"), BERLIN)
    assert look == window.Look(open=False, until=at("03-30 02:10"))


def test_an_hour_that_comes_twice_neither_opens_nor_closes_twice() -> None:
    """The first 02:30 counts; the second hour is neither flapping nor extra time."""
    first, second = at("10-25 02:30"), at("10-25 02:30", fold=1)
    assert second - first == 3600
    assert window.look("22:00-02:30", first - 1, BERLIN).until == first
    assert not window.look("22:00-02:30", second - 1, BERLIN).open
    assert window.look("02:30-04:00", first, BERLIN) == window.Look(True, at("10-25 04:00"))
    assert window.look("02:30-04:00", second - 1, BERLIN).open


times = st.integers(0, 24 * 60 - 1).map(lambda n: f"{n // 60:02d}:{n % 60:02d}")


@given(times, times, st.integers(0, 366 * 24 * 60), zones)
def test_what_a_look_says_holds_until_the_instant_it_names(
    start: str, end: str, minute: int, tz: ZoneInfo
) -> None:
    """Anywhere in a year, in any zone: no change before it, and a change at it."""
    if start == end:
        return
    text, now = f"{start}-{end}", at("01-01 00:00", tz) + minute * 60
    look = window.look(text, now, tz)
    assert now < look.until <= now + 4 * 86400
    for share in (0.25, 0.5, 0.99):
        assert window.look(text, now + (look.until - now) * share, tz) == look
    after = window.look(text, look.until, tz)
    # adjacent only where a jump swallowed what lay between
    assert after.open != look.open or after.until > look.until


def test_the_zone_of_the_machine_counts_where_none_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A spec says 22:00 as its reader's wall clock shows it."""
    import time

    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        now = at("06-10 22:30", ZoneInfo("Asia/Kathmandu"))
        assert window.look("22:00-07:00", now).open
        assert not window.look("22:00-07:00", now - 3600).open
    finally:
        monkeypatch.undo()
        time.tzset()
