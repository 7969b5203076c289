"""Data handler for data, or a legacy Keras, that is resumed at whole epochs only."""

from collections.abc import Callable, Iterator
from typing import Any

from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Caveat, Json
from rekindle.jobs.data.sources import DataEvents
from rekindle.jobs.keras_compat.legacy import data_adapter
from rekindle.state.run.training_state import IteratorState

_ONLY = Caveat(
    "Only whole epochs can be restored with this kind of data",
    "use arrays, a tf.data.Dataset, a Sequence or a generator, with a tested version of Keras",
)
_STARTS_OVER = Caveat(
    "The order of the data starts over after a relaunch",
    "use a tf.data.Dataset with its own shuffle, or shuffle=False",
)


class EpochwiseHandler(data_adapter.DataHandler):  # type: ignore[misc]
    """Iterate over Keras' own batches.

    It counts the passes, so that after a relaunch a shuffle continues with the next one.
    Arguments and methods are those of
    :class:`rekindle.jobs.data.legacy.handler.TrainingHandler`.
    """

    exact = False
    reads = False

    def __init__(self, seed: tuple[int, int], events: DataEvents, **arguments: Any) -> None:
        self.epoch_step = 0
        self._events = events
        self._created = 0
        super().__init__(**arguments)

    @property
    def data_adapter(self) -> Any:
        return self._adapter

    @property
    def num_batches(self) -> int | None:
        number: int | None = self._inferred_steps
        return number

    @property
    def steps_per_execution(self) -> int:
        return int(self._steps_per_execution.numpy())

    @property
    def element_spec(self) -> Any:
        return self._dataset.element_spec

    def fingerprint(self) -> Json:
        return {
            "the kind of data": type(self._adapter).__name__.removesuffix("DataAdapter"),
            "steps_per_execution": self.steps_per_execution,
        }

    def caveats(self) -> list[Caveat]:
        again = isinstance(self._adapter, data_adapter.DatasetAdapter)
        return [_ONLY] if again and self._steps_per_epoch is None else [_ONLY, _STARTS_OVER]

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
            "num_batches": self._inferred_steps,
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
        if replay and isinstance(self._adapter, data_adapter.DatasetAdapter):
            for _ in range(passes - self._created):
                self._events.beat()
                iter(self._dataset)
        self._created = passes

    def trained(self, batch: int) -> None:
        self.epoch_step = batch + 1
        self._events.boundary()

    def stop_here(self) -> None:
        pass  # it is never resumed within an epoch

    def epoch_over(self) -> None:
        self.epoch_step = 0

    def enumerate_epochs(self) -> Iterator[tuple[int, Any]]:
        with self._truncate_execution_to_epoch():
            iterator = self._begin_pass() if self._created == 0 else None
            for epoch in range(self._initial_epoch, self._epochs):
                if self._insufficient_data:
                    break
                if iterator is None or self._adapter.should_recreate_iterator():
                    iterator = self._begin_pass()
                yield epoch, iterator
                self._adapter.on_epoch_end()

    def _begin_pass(self) -> Any:
        self._created += 1
        return iter(self._dataset)
