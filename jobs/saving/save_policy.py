"""Save policy: when a checkpoint is due. Pure: counts steps and times, does no I/O."""

import math
from dataclasses import dataclass
from typing import Final

from rekindle.jobs.job import CheckpointPolicy
from rekindle.jobs.metrics import higher_is_better

AUTO_SECONDS: Final = 600.0
"""Seconds between saves within an epoch for ``every = "auto"``, which also saves each epoch."""
AUTO_COST: Final = 10.0
"""Least time between saves for ``every = "auto"``, in durations of the last save.

Earlier epoch ends are not saved, so that saving takes at most about a tenth of the time.
"""


@dataclass(slots=True)
class SavePolicy:
    """Count steps, epochs and seconds since the last checkpoint of one run.

    Attributes:
        step: batches trained in the whole run at the last checkpoint.
        epoch: epochs finished at the last checkpoint.
        at: monotonic seconds of the last checkpoint.
        cost: seconds that the last save of this process took.
    """

    policy: CheckpointPolicy
    step: int = 0
    epoch: int = 0
    at: float = 0.0
    cost: float = 0.0

    def saved(self, epoch: int, step: int, now: float) -> None:
        """Record that a snapshot was taken, or training was resumed from a checkpoint."""
        self.epoch, self.step, self.at = epoch, step, now

    def wrote(self, seconds: float) -> None:
        """Record how long the last write took."""
        self.cost = seconds

    def due_in_epoch(self, step: int, now: float) -> bool:
        """Return whether a checkpoint is due between two batches of an epoch."""
        policy = self.policy
        if policy.every_steps is not None:
            return step - self.step >= policy.every_steps
        if policy.every_seconds is not None:
            return now - self.at >= policy.every_seconds
        return policy.every_epochs is None and now - self.at >= AUTO_SECONDS

    def due_after_epoch(self, epoch: int, step: int, now: float) -> bool:
        """Return whether a checkpoint is due after an epoch; ``epoch`` counts finished ones."""
        policy = self.policy
        if policy.every_epochs is not None:
            return epoch - self.epoch >= policy.every_epochs
        if policy.every_steps is not None or policy.every_seconds is not None:
            return self.due_in_epoch(step, now)
        return now - self.at >= AUTO_COST * self.cost


def is_better(value: float, best: float | None, monitor: str, mode: str) -> bool:
    """Return whether ``value`` of the monitored metric beats ``best``; NaN never does."""
    if math.isnan(value):
        return False
    if best is None:
        return True
    return value > best if higher_is_better(monitor, mode) else value < best
