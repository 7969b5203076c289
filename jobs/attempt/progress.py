"""The position of a training, as one value."""

from dataclasses import dataclass

from rekindle.state.run.checkpoints import Position


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
