"""The position of a training, as one value."""

from dataclasses import dataclass

from rekindle.state.run.checkpoints import Position


@dataclass(frozen=True, slots=True)
class Progress:
    """Say how far a stage has come. Session, heartbeat and save policy are given this value.

    Attributes:
        stage: 0-based number of the ``fit`` or loop in the script.
        epoch: finished epochs, which is the 0-based number of the one that runs.
        step: batches trained in the whole run, over all stages.
        epoch_step: batches trained of the epoch that runs.
        ended: the stage is over.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    epoch_step: int = 0
    ended: bool = False

    @property
    def position(self) -> Position:
        """Give the part of it that names a checkpoint."""
        return Position(self.stage, self.epoch, self.step, self.ended)
