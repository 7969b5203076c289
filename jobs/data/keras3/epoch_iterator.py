"""Epoch iterator for an untested Keras: resumes at whole epochs only."""

from collections.abc import Callable
from typing import Any

import keras

from rekindle.jobs.capture.component import Caveat, Json
from rekindle.jobs.data.loader_random import LoaderRandom
from rekindle.jobs.data.py_dataset import listens_to_epochs
from rekindle.jobs.data.sources import DataEvents, plan_of
from rekindle.jobs.data.whole_epochs import WholeEpochs
from rekindle.jobs.keras_compat import keras_support
from rekindle.jobs.keras_compat.keras3 import (
    BACKEND,
    BACKEND_PARTS,
    PLAIN_ITERATOR,
    TENSORFLOW,
    GeneratorDataAdapter,
    PyDatasetAdapter,
    TFDatasetAdapter,
)


class EpochwiseIterator(WholeEpochs, PLAIN_ITERATOR):  # type: ignore[misc]
    """Iterate over Keras' own batches, for a Keras with an unknown training loop.

    Arguments and methods are those of :class:`rekindle.jobs.data.keras3.fit_iterator.FitIterator`.
    """

    def __init__(self, seed: tuple[int, int], events: DataEvents, **arguments: Any) -> None:
        self.epoch_step = 0
        self._events = events
        self._created = 0
        super().__init__(**arguments)
        self._batches: Any = BACKEND_PARTS.batches_of(self)
        BACKEND_PARTS.begin_passes_by(self, Lazy(self._begin_pass))

    @property
    def element_spec(self) -> Any:
        return self._batches.element_spec

    def fingerprint(self) -> Json:
        return plan_of(self)

    def caveats(self) -> list[Caveat]:
        nearest = keras_support.nearest(keras.__version__, keras_support.BACKENDS[BACKEND])
        remedy = f"install Keras {nearest}"
        found = [Caveat("Only whole epochs can be restored with this version of Keras", remedy)]
        if self.steps_per_epoch or isinstance(self.data_adapter, GeneratorDataAdapter):
            what = "Data that continues from one epoch into the next starts over with this version"
            found.append(Caveat(f"{what} of Keras", remedy))
        elif isinstance(self.data_adapter, PyDatasetAdapter) and listens_to_epochs(
            self.data_adapter.py_dataset
        ):
            what = "What a PyDataset changes when an epoch begins or ends starts over with this"
            found.append(Caveat(f"{what} version of Keras", remedy))
        elif LoaderRandom(getattr(self.data_adapter, "_dataloader", None)).capture({}, ""):
            what = "The generator of a DataLoader starts over with this version of Keras"
            found.append(Caveat(what, remedy))
        return found

    @property
    def batches_known(self) -> int | None:
        number: int | None = self._num_batches
        return number

    def skipped(self) -> Any:
        if not isinstance(self.data_adapter, TFDatasetAdapter):
            return None
        return self._batches if BACKEND == TENSORFLOW else self.data_adapter.get_tf_dataset()

    def _begin_pass(self) -> Any:
        self._created += 1
        return iter(self._batches)


class Lazy:
    """Begin a pass over data when Keras calls ``iter()`` on it."""

    def __init__(self, begin: Callable[[], Any]) -> None:
        self._begin = begin

    def __iter__(self) -> Any:
        return self._begin()
