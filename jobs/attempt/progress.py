"""The position of a training, as one value, and its pace."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from rekindle.state.run.checkpoints import Position

_CHUNKS: Final = 31
_CHUNK_S: Final = 0.25


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
    """Follow the duration of the latest steps, in chunks of them within an epoch.

    What lies between two epochs, a validation, is in none of them; the median leaves out those with
    a save or a compilation.

    Attributes:
        median: seconds of a step; None before some were trained.
    """

    def __init__(self) -> None:
        self.median: float | None = None
        self._chunks: deque[float] = deque(maxlen=_CHUNKS)
        self._begun = self._latest = (0, 0.0)
        self._epoch_step = -1

    def passed(self, step: int, epoch_step: int, now: float) -> None:
        """Record that so many batches are trained, in all and in the epoch."""
        if epoch_step < self._epoch_step or self._epoch_step < 0:
            self._end_chunk()
            self._begun = (step, now)
        self._latest = (step, now)
        self._epoch_step = epoch_step
        if now - self._begun[1] >= _CHUNK_S:
            self._end_chunk()
            self._begun = self._latest

    def _end_chunk(self) -> None:
        (first, began), (last, ended) = self._begun, self._latest
        if last <= first:
            return
        self._chunks.append((ended - began) / (last - first))
        if len(self._chunks) > 2:  # the first one has the compilation in it
            self.median = sorted(self._chunks)[len(self._chunks) // 2]
