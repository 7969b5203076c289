"""Each second of an attempt belongs to one class."""

import dataclasses
import time

import pytest

from rekindle.jobs import environment
from rekindle.jobs.attempt.time_count import TimeCount
from rekindle.jobs.heartbeat import Times


@pytest.fixture
def began(monkeypatch: pytest.MonkeyPatch) -> float:
    """The keeper began 3 s before the trainer counts."""
    now = time.monotonic()
    monkeypatch.setenv(environment.BEGAN, f"{now - 3:.3f}")
    return now


def test_the_start_ends_with_the_first_batch_and_repeated_steps_with_their_last(
    began: float,
) -> None:
    times = TimeCount(began)
    times.look("start", 0, began, trained=False)
    times.look("seek", 0, began + 1, trained=False)
    times.look("step", 10, began + 3, trained=False)
    times.repeats(12)
    times.look("step", 11, began + 7, trained=True)
    times.look("step", 12, began + 8, trained=True)
    times.look("save", 13, began + 9, trained=True)
    times.look("step", 13, began + 9.5, trained=True)
    times.look("script", 14, began + 10.5, trained=True)
    found = times.look("ended", 14, began + 60, trained=True)
    # what the script does after its training is in none of them
    assert found == Times(
        useful=pytest.approx(2.0, abs=0.01),
        repeat=pytest.approx(1.0, abs=0.01),
        init=pytest.approx(8.0, abs=0.01),
        seek=pytest.approx(2.0, abs=0.01),
        save=pytest.approx(0.5, abs=0.01),
    )


def test_what_is_done_within_counts_whatever_sections_begin_in_it(began: float) -> None:
    """A copy of an iterator beats `seek` while a state is captured."""
    times = TimeCount(began)
    times.look("step", 1, time.monotonic(), trained=True)
    times.look("step", 2, time.monotonic(), trained=True)
    with pytest.raises(KeyError), times.spending("save"):
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            times.look("seek", 2, time.monotonic(), trained=True)
        raise KeyError
    found = times.look("step", 3, time.monotonic() + 6, trained=True)
    assert found.seek == 0
    assert 0.2 <= found.save <= 2
    # the section before continues
    assert found.useful == pytest.approx(6, abs=0.5)


@pytest.mark.parametrize("said", ["", "x", "nan", "1e30", "-5"])
def test_without_a_keeper_the_attempt_begins_now(
    said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(environment.BEGAN, said)
    now = time.monotonic()
    found = TimeCount(now).look("start", 0, now + 1, trained=False)
    assert sum(dataclasses.astuple(found)) == pytest.approx(1)
