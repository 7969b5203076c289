"""A count of `enumerate` in a relaunch begins where the resumed pass does."""

from collections.abc import Iterator

import pytest

from rekindle.jobs.bytecode import enumerations

tqdm = pytest.importorskip("tqdm")


def rest(first: int) -> Iterator[str]:
    enumerations.advance(first)
    yield from "abcdef"[first:]


def own(source: Iterator[str]) -> Iterator[str]:
    yield from source


@pytest.mark.parametrize("first", [0, 4])
@pytest.mark.parametrize("start", [0, 1])
def test_the_count_begins_where_the_pass_does(first: int, start: int) -> None:
    wanted = list(enumerate("abcdef", start))[first:]
    assert list(enumerate(rest(first), start)) == wanted
    bar = tqdm.tqdm(rest(first), disable=False, file=open("/dev/null", "w"))
    assert list(enumerate(bar, start)) == wanted


def test_other_counts_are_left() -> None:
    """One that is not taken from now, one around a generator of the script, and one outside."""
    waiting = enumerate("xyz")
    next(waiting)
    outside = []
    for number, _ in enumerate(own(iter("pq"))):
        outside.append((number, [count for count, _ in enumerate(rest(4))]))
    assert outside == [(0, [4, 5]), (1, [4, 5])]
    assert next(waiting) == (1, "y")
