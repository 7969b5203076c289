"""Save policy: when a checkpoint is due, and which one is the best."""

import pytest

from rekindle.jobs.job import CheckpointPolicy
from rekindle.jobs.saving.save_policy import AUTO_SECONDS, SavePolicy, is_better


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


def test_auto_saves_each_epoch_and_within_a_long_one() -> None:
    """At most ten minutes of training are repeated."""
    cadence = SavePolicy(CheckpointPolicy())
    cadence.saved(0, 0, 0.0)
    cadence.wrote(0.1)
    assert cadence.due_after_epoch(1, 10, 1.0)
    assert not cadence.due_in_epoch(10, AUTO_SECONDS - 1)
    assert cadence.due_in_epoch(10, AUTO_SECONDS)


def test_auto_limits_the_time_spent_on_saving() -> None:
    """If saving takes longer than a tenth of an epoch, some epochs are not saved."""
    cadence = SavePolicy(CheckpointPolicy())
    cadence.saved(0, 0, 0.0)
    cadence.wrote(5.0)
    assert not cadence.due_after_epoch(1, 10, 20.0)
    assert not cadence.due_after_epoch(2, 20, 40.0)
    assert cadence.due_after_epoch(3, 30, 60.0)


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
