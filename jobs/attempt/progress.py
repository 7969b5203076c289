"""The position of a training, as one value, and its pace."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from rekindle.state.run.checkpoints import Position

_STEPS: Final = 31
_RENEW_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Hold the position of a stage; session, heartbeat and save policy use this one value.

    Attributes:
        stage: 0-based number of the ``fit`` or loop in the script.
        epoch: finished epochs, i.e. the 0-based number of the current one.
        step: batches trained in the whole run, over all stages.
        epoch_step: batches trained in the current epoch.
        ended: the stage is over.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    epoch_step: int = 0
    ended: bool = False

    @classmethod
    def at(cls, position: Position) -> "Progress":
        """Return the progress that a checkpoint's name states; the stage is not ended by it."""
        return cls(position.stage, position.epoch, position.step)

    @property
    def position(self) -> Position:
        """The part of it that names a checkpoint."""
        return Position(self.stage, self.epoch, self.step, self.ended)


class Pace:
    """Follow the duration of the latest steps.

    The median leaves out what is no step: a save, a validation, the first compilation.

    Attributes:
        median: seconds of a step; None before two were trained.
    """

    def __init__(self) -> None:
        self.median: float | None = None
        self._latest: deque[float] = deque(maxlen=_STEPS)
        self._step: int | None = None
        self._at = 0.0
        self._renewed = 0.0

    def passed(self, step: int, now: float) -> None:
        """Record that ``step`` batches are trained; of an execution of several, its last one."""
        if self._step is not None and step > self._step:
            self._latest.append((now - self._at) / (step - self._step))
            # sorting at each step would cost more than the rest of the heartbeat
            if self.median is None or now - self._renewed >= _RENEW_S:
                self.median = sorted(self._latest)[len(self._latest) // 2]
                self._renewed = now
        if step != self._step:
            self._step, self._at = step, now
