"""Durations, sizes, ranges and windows are parsed as a person reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.jobs import quantities


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("30s", 30),
        ("10 min", 600),
        ("8h", 28800),
        ("1.5 hours", 5400),
        (" 250 ms ", 0.25),
        ("2 days", 172800),
        ("1 MIN", 60),
        (".5h", 1800),
        ("1 second", 1),
    ],
)
def test_durations(text: str, value: float) -> None:
    """With or without a space, in either case."""
    assert quantities.seconds(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("16GiB", 16 * 2**30), ("16 GB", 16 * 10**9), ("512MiB", 2**29), ("1.5kib", 1536), ("1b", 1)],
)
def test_sizes(text: str, value: int) -> None:
    """Powers of 1000 and of 1024 are distinguished."""
    assert quantities.size(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("22:00-07:00", "22:00-07:00"),
        ("22:00 - 7:00", "22:00-07:00"),
        ("0:00-23:59", "00:00-23:59"),
    ],
)
def test_windows(text: str, value: str) -> None:
    """The result has one spelling."""
    assert quantities.window(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "-5s",
        "0s",
        "0.0 min",
        "5 weeks",
        "1e3s",
        "nan s",
        "inf h",
        "5s5s",
        "\uff15 s",
        "1" * 400 + "h",
        "5 s s",
        "1,5h",
    ],
)
def test_an_invalid_duration_is_refused(text: str) -> None:
    """A number without a unit, too: it could be seconds or minutes."""
    with pytest.raises(ValueError):
        quantities.seconds(text)


@pytest.mark.parametrize("text", ["", "5", "GiB", "-1GB", "0B", "0.5B", "9" * 400 + "TiB"])
def test_an_invalid_size_is_refused(text: str) -> None:
    """A number without a unit, too."""
    with pytest.raises(ValueError):
        quantities.size(text)


@pytest.mark.parametrize("text", ["", "10s", "10s..", "..10s", "10s...20s", "20s..10s", "0s..5s"])
def test_an_invalid_range_is_refused(text: str) -> None:
    """Also a range whose end is before its start."""
    with pytest.raises(ValueError):
        quantities.duration_range(text)
    assert quantities.duration_range("10s..10min") == (10, 600)


@pytest.mark.parametrize("text", ["", "22-7", "24:00-07:00", "22:60-07:00", "22:00-22:00", "22:00"])
def test_an_invalid_window_is_refused(text: str) -> None:
    """Also a window of no length."""
    with pytest.raises(ValueError):
        quantities.window(text)


@given(st.text(max_size=30))
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    """The parsers raise nothing but ValueError."""
    for read in (quantities.seconds, quantities.size, quantities.duration_range, quantities.window):
        try:
            assert read(text)
        except ValueError:
            pass
