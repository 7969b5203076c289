"""Read the data of Keras 3 on the backends whose batches come from plain Python iterators."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from rekindle.jobs.bytecode import local_variable


class Reader:
    """Read batches as Keras' own iterator does.

    Args:
        iterator: Keras' iterator over the data of a ``fit``.
        begin: begins a pass as Keras does, over the adapter of an iterator.
    """

    def __init__(self, iterator: Any, begin: Callable[[Any], Iterator[Any]]) -> None:
        self._iterator = iterator
        self._begin = begin
        self._dataset: Any = None

    def opened(self, adapter: Any) -> tuple[Any, Any]:
        """Return the dataset of TensorFlow in an adapter, if any, and what a pass iterates over."""
        if type(adapter).__name__ == "TFDatasetAdapter":
            self._dataset = adapter._dataset
            return self._dataset, self._dataset
        return None, Passes(self.plain)

    def distributed(self, dataset: Any) -> Any:
        """Return the data as it is: Keras distributes each batch."""
        return dataset

    def converted(self, iterator: Any) -> Any:
        """Return an iterator over a dataset as Keras' step takes it."""
        if self._dataset is None:
            return iterator
        # Keras begins to read it with the first batch
        self._iterator.data_adapter._dataset = Begun(self._dataset, iterator)
        return self.plain()

    def plain(self) -> Iterator[Any]:
        """Begin a pass as Keras does."""
        return self._begin(self._iterator)


class Passes:
    """Begin a pass over data when Keras calls ``iter()`` on it."""

    def __init__(self, begin: Callable[[], Iterator[Any]]) -> None:
        self._begin = begin

    def __iter__(self) -> Iterator[Any]:
        return self._begin()


class Begun:
    """Data of which one iterator is begun already."""

    def __init__(self, dataset: Any, iterator: Any) -> None:
        self._dataset = dataset
        self._iterator = iterator

    def __iter__(self) -> Any:
        return self._iterator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)


def scope(model: Any) -> Any:
    """Return the context in which a model creates variables: any."""
    return contextlib.nullcontext()


def build(model: Any, data: Any) -> None:
    """Create the variables of a compiled model, its optimizer, loss and metrics; Keras' own way.

    Args:
        data: the iterator over training data, from which a batch is read if needed.
    """
    model._symbolic_build(iterator=data)
    data.reset()


def trace(model: Any, data: Any) -> None:
    """Do nothing: a step creates no variables."""


def bind_logs(module: Any) -> None:
    """Let ``fit``, which runs, have logs of the last batch in an epoch without a batch.

    An epoch may be resumed with all its batches trained; Keras on JAX would fail there.

    Args:
        module: of the trainer.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == "fit" and frame.f_globals is vars(module):
            if "logs" not in frame.f_locals:
                local_variable.bind(frame, "logs", {})
            return
        frame = frame.f_back


def begin_passes_by(iterator: Any, passes: Any) -> None:
    """Let Keras' own iterator begin each pass by ``iter(passes)``."""
    iterator._get_iterator = passes.__iter__


def iterator_arguments(model: Any) -> dict[str, Any]:
    """Return what ``fit`` passes to its iterator on this backend alone: nothing."""
    return {}
