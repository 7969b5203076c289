"""Save policy: when a checkpoint is due, and which one is the best."""

import math
from typing import Any

import numpy as np
import pytest

from rekindle.jobs.job import CheckpointPolicy
from rekindle.jobs.saving.cadence import FIRST, MOST, PRIOR, RATE, Costs, Save, time_between
from rekindle.jobs.saving.save_policy import SavePolicy, is_better

Array = np.ndarray[Any, Any]


def test_every_n_steps_counts_from_the_last_checkpoint_over_epochs() -> None:
    """A checkpoint for another reason resets the count."""
    cadence = SavePolicy(CheckpointPolicy(every_steps=500))
    assert not cadence.due_in_epoch(499, 0.0)
    assert cadence.due_in_epoch(500, 0.0)
    cadence.saved(1, 620, 0.0)
    assert not cadence.due_in_epoch(1119, 0.0)
    assert cadence.due_after_epoch(2, 1120, 0.0)


def test_every_n_minutes_depends_on_the_clock_alone() -> None:
    """Within an epoch and after it."""
    cadence = SavePolicy(CheckpointPolicy(every_seconds=600.0))
    cadence.saved(0, 0, 100.0)
    assert not cadence.due_in_epoch(10**6, 699.0)
    assert cadence.due_in_epoch(1, 700.0)
    assert not cadence.due_after_epoch(5, 10**6, 699.0)


def test_every_epoch_never_saves_within_one() -> None:
    """Whatever its length: the spec says so."""
    cadence = SavePolicy(CheckpointPolicy(every_epochs=2))
    assert not cadence.due_in_epoch(10**6, 10.0**6)
    assert not cadence.due_after_epoch(1, 10, 0.0)
    assert cadence.due_after_epoch(2, 20, 0.0)


def auto(delay: float, write: float, size: int = 0, between: float = PRIOR) -> SavePolicy:
    """Make the policy after a save with these costs at 0 s."""
    policy = SavePolicy(CheckpointPolicy(), between)
    policy.saved(0, 0, 0.0)
    policy.costs.stalled(delay)
    policy.costs.wrote(write, size)
    return policy


def test_auto_saves_at_the_optimum_of_the_measured_costs() -> None:
    """12 s for a delay of 3 ms, and four times as often for failures that are 16 times as often."""
    policy = auto(0.003, 0.02)
    assert not policy.due_in_epoch(10, 11.0)
    assert policy.due_in_epoch(10, 12.0)
    assert auto(0.003, 0.02, between=PRIOR / 16).due_in_epoch(10, 3.0)


def test_auto_repeats_at_most_ten_minutes() -> None:
    """Also where a save is expensive and failures are rare."""
    policy = auto(20.0, 20.0, between=30 * 86400.0)
    assert not policy.due_in_epoch(10, MOST - 1)
    assert policy.due_in_epoch(10, MOST)


def test_auto_waits_a_minute_until_a_save_has_shown_its_costs() -> None:
    """An attempt that resumes has not saved anything."""
    policy = SavePolicy(CheckpointPolicy())
    policy.saved(0, 0, 0.0)
    assert not policy.due_in_epoch(1, FIRST - 1)
    assert policy.due_in_epoch(1, FIRST)
    assert policy.due_after_epoch(1, 10, 0.1)


def test_auto_saves_each_epoch_while_that_takes_at_most_a_tenth_of_the_time() -> None:
    policy = auto(0.003, 5.0)
    assert not policy.due_after_epoch(2, 20, 49.0)
    assert policy.due_after_epoch(3, 30, 50.0)
    assert not policy.due_in_epoch(3, 49.0)


def test_auto_spares_the_disk() -> None:
    """1.2 GB are written every 72 s at most, not every 12 s."""
    policy = auto(0.003, 2.0, size=72 * RATE)
    assert not policy.due_after_epoch(2, 20, 71.0)
    assert not policy.due_in_epoch(20, 71.0)
    assert policy.due_in_epoch(20, 72.0)


def test_the_delay_is_the_stall_and_what_the_steps_take_longer_during_the_write() -> None:
    costs = Costs()
    for _ in range(9):
        costs.stepped(0.1, writing=False)
    costs.stalled(0.005)
    costs.stepped(0.15, writing=True)
    costs.stepped(0.11, writing=True)
    costs.stepped(0.09, writing=True)
    assert costs.delay == pytest.approx(0.065)
    for _ in range(2):
        costs.stalled(0.01)
    assert costs.delay == pytest.approx(0.01), "one slow save is no reason to save rarely"


def carried(*saves: Save, between: float = PRIOR) -> SavePolicy:
    """Make the policy of an attempt after earlier ones with these saves; it resumes at 0 s."""
    policy = SavePolicy(CheckpointPolicy(), between, costs=Costs.of(saves))
    policy.saved(0, 0, 0.0)
    return policy


def test_a_relaunch_begins_with_the_costs_that_earlier_attempts_measured() -> None:
    """Its first save comes after 12 s, not after a minute; the newest attempt decides."""
    policy = carried(Save(1, 9.0, 0, 2.0), Save(2, 0.02, 0, None), Save(2, 0.02, 0, 0.003))
    assert not policy.due_in_epoch(10, 11.0)
    assert policy.due_in_epoch(10, 12.0)
    assert policy.due_after_epoch(1, 10, 0.1)
    assert policy.costs.measured == 0.003, "the next attempt gets it, too"


def test_saves_of_an_older_version_say_how_long_they_took_on_disk() -> None:
    """The duration of the write stands for the delay, as in the first attempt."""
    policy = carried(Save(1, 0.003, 0), Save(1, 0.003, 0), Save(1, 900.0, 0))
    assert not policy.due_in_epoch(10, 11.0)
    assert policy.due_in_epoch(10, 12.0), "a write while the host was frozen is left out"
    assert policy.costs.measured is None, "it is not passed on as a measurement"


@pytest.mark.parametrize("save", [Save(1, 60.0, 0, 60.0), Save(1, 1.0, 100 * 2**30, 0.01)])
def test_costs_of_earlier_attempts_put_no_save_off(save: Save) -> None:
    """The disk may be another one: without them it is a minute."""
    policy = carried(save)
    assert not policy.due_in_epoch(1, FIRST - 1)
    assert policy.due_in_epoch(1, FIRST)
    assert policy.due_after_epoch(1, 10, 0.1)


def test_what_an_attempt_measures_replaces_what_it_began_with() -> None:
    costs = Costs.of([Save(1, 0.01, 10, 0.001)])
    costs.stalled(0.5)
    costs.wrote(2.0, 72 * RATE)
    assert (costs.delay, costs.measured, costs.write, costs.size) == (0.5, 0.5, 2.0, 72 * RATE)
    assert costs.interval(PRIOR) == pytest.approx(147, abs=2), "no longer at most a minute"
    assert costs.least() == 72
    unmeasured = Costs.of([Save(1, 0.01, 10)])
    unmeasured.wrote(2.0, 20)
    assert (unmeasured.delay, unmeasured.measured) == (2.0, None)


def expected(interval: Array, delay: float, between: float, restart: float) -> Array:
    """Expected seconds per second of training (Daly 2006, equation 20)."""
    return between * math.exp(restart / between) * np.expm1((interval + delay) / between) / interval


@pytest.mark.parametrize("between", [600.0, 3600.0, 6 * 3600.0, 86400.0, 30 * 86400.0])
@pytest.mark.parametrize("delay", [0.001, 0.01, 0.1, 1.0, 10.0])
def test_auto_is_within_five_percent_of_the_best_interval(delay: float, between: float) -> None:
    """Over failure rates and costs, with 20 failures seen: the estimate is not exact."""
    guessed = time_between(20, 20 * between)
    ours = auto(delay, delay, between=guessed).costs.interval(guessed)
    grid = np.geomspace(0.001, 10 * between, 4000)
    best = expected(grid, delay, between, 5.0).min()
    assert expected(np.array([ours]), delay, between, 5.0)[0] <= 1.05 * best


def test_a_simulated_night_agrees_with_the_formula() -> None:
    """Failures at random times, counted step by step."""
    dice = np.random.default_rng(5)
    between, delay, restart, interval = 900.0, 1.0, 5.0, 42.0
    need, clock, saved, until = 200_000.0, 0.0, 0.0, dice.exponential(between)
    while saved < need:
        if clock + interval + delay <= until:
            clock, saved = clock + interval + delay, saved + interval
            continue
        clock = until
        until += dice.exponential(between)
        while clock + restart > until:
            clock, until = until, until + dice.exponential(between)
        clock += restart
    formula = expected(np.array([interval]), delay, between, restart)[0]
    assert clock / need == pytest.approx(formula, rel=0.02)


@pytest.mark.parametrize(
    ("value", "best", "monitor", "mode", "better"),
    [
        (0.9, 0.8, "val_accuracy", "auto", True),
        (0.9, 0.8, "val_loss", "auto", False),
        (0.9, 0.8, "speed", "max", True),
        (0.7, 0.8, "val_accuracy", "min", True),
        (float("nan"), None, "val_loss", "auto", False),
        (0.5, None, "val_loss", "auto", True),
    ],
)
def test_better_means_the_same_as_in_keras(
    value: float, best: float | None, monitor: str, mode: str, better: bool
) -> None:
    """By name if the mode is auto; NaN is never better."""
    assert better is is_better(value, best, monitor, mode)
