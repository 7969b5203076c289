"""When a checkpoint is due. Pure: takes steps and times, keeps count, does no I/O."""

import math
from dataclasses import dataclass
from typing import Final

from rekindle.jobs.job import CheckpointPolicy

AUTO_SECONDS: Final = 600.0
"""``every = "auto"``: each epoch, and within an epoch when this long has passed."""
AUTO_COST: Final = 10.0
"""``every = "auto"``: an epoch is passed over while less than this many times the last save's
own duration has passed, so that saving takes at most about a tenth of the time."""


@dataclass(slots=True)
class SavePolicy:
    """Counts since the last checkpoint of one run.

    Attributes:
        step: batches trained in the whole run when it was taken.
        epoch: epochs finished then.
        at: monotonic seconds when it was taken.
        cost: seconds that the last save of this process took.
    """

    policy: CheckpointPolicy
    step: int = 0
    epoch: int = 0
    at: float = 0.0
    cost: float = 0.0

    def saved(self, epoch: int, step: int, now: float, cost: float = 0.0) -> None:
        """A checkpoint was taken here, or training goes on from one."""
        self.epoch, self.step, self.at = epoch, step, now
        self.cost = cost

    def due_in_epoch(self, step: int, now: float) -> bool:
        """Between two batches of an epoch."""
        policy = self.policy
        if policy.every_steps is not None:
            return step - self.step >= policy.every_steps
        if policy.every_seconds is not None:
            return now - self.at >= policy.every_seconds
        return policy.every_epochs is None and now - self.at >= AUTO_SECONDS

    def due_after_epoch(self, epoch: int, step: int, now: float) -> bool:
        """After an epoch; ``epoch`` counts the finished ones."""
        policy = self.policy
        if policy.every_epochs is not None:
            return epoch - self.epoch >= policy.every_epochs
        if policy.every_steps is not None or policy.every_seconds is not None:
            return self.due_in_epoch(step, now)
        return now - self.at >= AUTO_COST * self.cost


_HIGHER_IS_BETTER: Final = (
    "acc",
    "auc",
    "precision",
    "recall",
    "f1",
    "fbeta",
    "fmeasure",
    "iou",
    "dice",
    "r2",
    "similarity",
    "sensitivity",
    "specificity",
)


def is_better(value: float, best: float | None, monitor: str, mode: str) -> bool:
    """Whether ``value`` of the monitored metric beats ``best``; ``mode`` as in Keras.

    ``auto`` takes names of accuracies, scores and the like as better when higher, all others
    as losses. NaN never beats anything.
    """
    if math.isnan(value):
        return False
    if best is None:
        return True
    if mode == "auto":
        name = monitor.lower()
        mode = "max" if any(part in name for part in _HIGHER_IS_BETTER) else "min"
    return value > best if mode == "max" else value < best
