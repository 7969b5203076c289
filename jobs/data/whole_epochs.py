"""Common part of iterators that are resumed at whole epochs only, whatever the Keras."""

from collections.abc import Callable
from typing import Any

from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Json
from rekindle.jobs.data.sources import DataEvents
from rekindle.state.run.training_state import IteratorState


class WholeEpochs:
    """Count the passes, so that after a relaunch a shuffle continues with the next one.

    Arguments and methods are those of an iterator that can begin at any batch.
    """

    exact = False

    _events: DataEvents
    _created: int
    epoch_step: int

    @property
    def batches_known(self) -> int | None:
        """Batches of an epoch, as far as Keras knows."""
        raise NotImplementedError

    def skipped(self) -> Any:
        """Return the dataset of which a finished pass draws a shuffle; None for other data."""
        raise NotImplementedError

    def draws(self, arrays: Tensors) -> None:
        return None

    def drawn(self) -> dict[str, Any]:
        return {}

    def abandon(self) -> bool:
        return False

    def put_values(self, draws: Json, arrays: Tensors) -> None:
        pass

    def check_again(self) -> None:
        pass

    def close(self) -> None:
        pass

    def position(self) -> IteratorState:
        return {
            "created": self._created,
            "taken": 0,
            "epoch_step": 0,
            "steps_seen": 0,
            "num_batches": self.batches_known,
            "live": False,
            "epochs_begun": 0,
        }

    def seek(
        self,
        position: IteratorState,
        before_live: Callable[[], None],
        draws: Json | None,
        arrays: Tensors,
        *,
        replay: bool,
    ) -> None:
        self._skip_passes(position["created"], replay=replay)

    def restore_ended(
        self, position: IteratorState, draws: Json | None, arrays: Tensors, *, replay: bool
    ) -> None:
        self._skip_passes(position["created"], replay=replay)

    def _skip_passes(self, passes: int, *, replay: bool) -> None:
        dataset = self.skipped() if replay else None
        if dataset is not None:
            for _ in range(passes - self._created):
                self._events.beat()
                iter(dataset)
        self._created = passes

    def trained(self, batch: int) -> None:
        self.epoch_step = batch + 1
        self._events.boundary()

    def stop_here(self) -> None:
        pass  # it is never resumed within an epoch

    def epoch_over(self) -> None:
        self.epoch_step = 0
