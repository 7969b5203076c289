"""Epoch iterator for an untested Keras: resumes at whole epochs only."""

from collections.abc import Callable
from typing import Any

import keras

from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Caveat, Json
from rekindle.jobs.data.py_dataset import listens_to_epochs
from rekindle.jobs.data.sources import DataEvents, plan_of
from rekindle.jobs.keras_compat import keras_support
from rekindle.jobs.keras_compat.keras3 import (
    PLAIN_ITERATOR,
    GeneratorDataAdapter,
    PyDatasetAdapter,
    TFDatasetAdapter,
)
from rekindle.state.run.training_state import IteratorState


class EpochwiseIterator(PLAIN_ITERATOR):  # type: ignore[misc]
    """Iterate over Keras' own batches, for a Keras with an unknown training loop.

    It counts the passes, so that after a relaunch a shuffle continues with the next one.
    Arguments and methods are those of :class:`rekindle.jobs.data.keras3.fit_iterator.FitIterator`.
    """

    exact = False
    _distributed_dataset: Any

    def __init__(self, seed: tuple[int, int], events: DataEvents, **arguments: Any) -> None:
        self.epoch_step = 0
        self._events = events
        self._created = 0
        super().__init__(**arguments)
        self._batches: Any = self._distributed_dataset
        self._distributed_dataset = Lazy(self._begin_pass)

    @property
    def element_spec(self) -> Any:
        return self._batches.element_spec

    def fingerprint(self) -> Json:
        return plan_of(self)

    def caveats(self) -> list[Caveat]:
        remedy = f"install Keras {keras_support.nearest(keras.__version__)}"
        found = [Caveat("Only whole epochs can be restored with this version of Keras", remedy)]
        if self.steps_per_epoch or isinstance(self.data_adapter, GeneratorDataAdapter):
            what = "Data that continues from one epoch into the next starts over with this version"
            found.append(Caveat(f"{what} of Keras", remedy))
        elif isinstance(self.data_adapter, PyDatasetAdapter) and listens_to_epochs(
            self.data_adapter.py_dataset
        ):
            what = "What a PyDataset changes when an epoch begins or ends starts over with this"
            found.append(Caveat(f"{what} version of Keras", remedy))
        return found

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
            "num_batches": self._num_batches,
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
        if replay and isinstance(self.data_adapter, TFDatasetAdapter):
            for _ in range(passes - self._created):
                self._events.beat()
                iter(self._batches)
        self._created = passes

    def trained(self, batch: int) -> None:
        self.epoch_step = batch + 1
        self._events.boundary()

    def stop_here(self) -> None:
        pass  # it is never resumed within an epoch

    def epoch_over(self) -> None:
        self.epoch_step = 0

    def _begin_pass(self) -> Any:
        self._created += 1
        return iter(self._batches)


class Lazy:
    """Begin a pass over data when Keras calls ``iter()`` on it."""

    def __init__(self, begin: Callable[[], Any]) -> None:
        self._begin = begin

    def __iter__(self) -> Any:
        return self._begin()
