"""Data handler for data, or a legacy Keras, that is resumed at whole epochs only."""

from collections.abc import Iterator
from typing import Any

from rekindle.jobs.capture.component import Caveat, Json
from rekindle.jobs.data.legacy.adapters import KnownHandler
from rekindle.jobs.data.sources import DataEvents
from rekindle.jobs.data.whole_epochs import WholeEpochs
from rekindle.jobs.keras_compat.legacy import data_adapter

_ONLY = Caveat(
    "Only whole epochs can be restored with this kind of data",
    "use arrays, a tf.data.Dataset, a Sequence or a generator, with a tested version of Keras",
)
_STARTS_OVER = Caveat(
    "The order of the data starts over after a relaunch",
    "use a tf.data.Dataset with its own shuffle, or shuffle=False",
)


class EpochwiseHandler(WholeEpochs, KnownHandler):
    """Iterate over Keras' own batches.

    Arguments and methods are those of
    :class:`rekindle.jobs.data.legacy.handler.TrainingHandler`.
    """

    reads = False

    def __init__(self, seed: tuple[int, int], events: DataEvents, **arguments: Any) -> None:
        self.epoch_step = 0
        self._events = events
        self._created = 0
        super().__init__(**arguments)

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

    @property
    def batches_known(self) -> int | None:
        return self.num_batches

    def skipped(self) -> Any:
        return self._dataset if isinstance(self._adapter, data_adapter.DatasetAdapter) else None

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
