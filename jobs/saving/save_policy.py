"""Save policy: when a checkpoint is due. Pure: counts steps and times, does no I/O."""

import math
from dataclasses import dataclass, field

from rekindle.jobs.job import CheckpointPolicy
from rekindle.jobs.metrics import higher_is_better
from rekindle.jobs.saving import cadence
from rekindle.jobs.saving.cadence import Costs


@dataclass(slots=True)
class SavePolicy:
    """Count steps, epochs and seconds since the last checkpoint of one run.

    Attributes:
        between: mean time between two failures, in seconds.
        step: batches trained in the whole run at the last checkpoint.
        epoch: epochs finished at the last checkpoint.
        at: monotonic seconds of the last checkpoint.
        costs: what saves cost; that of earlier attempts, until this process has saved.
    """

    policy: CheckpointPolicy
    between: float = cadence.PRIOR
    step: int = 0
    epoch: int = 0
    at: float = 0.0
    costs: Costs = field(default_factory=Costs)

    def saved(self, epoch: int, step: int, now: float) -> None:
        """Record that a snapshot was taken, or training was resumed from a checkpoint."""
        self.epoch, self.step, self.at = epoch, step, now

    def due_in_epoch(self, step: int, now: float) -> bool:
        """Return whether a checkpoint is due between two batches of an epoch."""
        policy = self.policy
        if policy.every_steps is not None:
            return step - self.step >= policy.every_steps
        if policy.every_seconds is not None:
            return now - self.at >= policy.every_seconds
        return policy.every_epochs is None and now - self.at >= self.costs.interval(self.between)

    def due_after_epoch(self, epoch: int, step: int, now: float) -> bool:
        """Return whether a checkpoint is due after an epoch; ``epoch`` counts finished ones."""
        policy = self.policy
        if policy.every_epochs is not None:
            return epoch - self.epoch >= policy.every_epochs
        if policy.every_steps is not None or policy.every_seconds is not None:
            return self.due_in_epoch(step, now)
        return now - self.at >= self.costs.least()


def is_better(value: float, best: float | None, monitor: str, mode: str) -> bool:
    """Return whether ``value`` of the monitored metric beats ``best``; NaN never does."""
    if math.isnan(value):
        return False
    if best is None:
        return True
    return value > best if higher_is_better(monitor, mode) else value < best
