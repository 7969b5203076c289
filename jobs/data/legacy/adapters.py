"""Adapters of legacy Keras that read arrays, a ``Sequence`` or a generator at any batch."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from rekindle.jobs.capture.component import Json
from rekindle.jobs.data.shuffle import order
from rekindle.jobs.data.sources import GeneratorSource, OrderedSource, Pass, PyDatasetSource, Source
from rekindle.jobs.keras_compat import legacy
from rekindle.jobs.keras_compat.legacy import data_adapter

_ENDLESS = 2**40
"""Passes of a stream of arrays: more than any training has."""


class View:
    """Show an adapter of legacy Keras as sources see adapters.

    Args:
        mapped: maps its dataset, e.g. to weights of classes.

    Attributes:
        py_dataset, shuffle, has_workers: of a ``Sequence``.
        generator: returns an iterator over the batches of a generator.
    """

    enqueuer = None

    def __init__(self, mapped: Callable[[Any], Any]) -> None:
        self._mapped = mapped
        self.adapter: Any = None
        self.py_dataset: Any = None
        self.shuffle: Any = False
        self.has_workers = False
        self.generator: Callable[[], Iterator[Any]] = lambda: iter(())

    def get_tf_dataset(self) -> Any:
        """Return the dataset of batches."""
        return self.mapped(self.adapter.get_dataset())

    def mapped(self, dataset: Any) -> Any:
        """Map a dataset as the data handler does."""
        return self._mapped(dataset)


class OrderedArrays(data_adapter.TensorLikeDataAdapter):  # type: ignore[misc]
    """Keep the arrays as tensors; their order is that of :class:`StreamSource`."""

    arrays: Any = None

    def slice_inputs(self, indices_dataset: Any, inputs: Any) -> Any:
        self.arrays = inputs
        return super().slice_inputs(indices_dataset, inputs)


class FollowedGenerator(data_adapter.GeneratorDataAdapter):  # type: ignore[misc]
    """Read from a :class:`Relay`."""

    @staticmethod
    def _peek_and_restore(x: Any) -> tuple[Any, Any]:
        return x.first, x


class FollowedSequence(data_adapter.KerasSequenceAdapter):  # type: ignore[misc]
    """Read from a :class:`OrderedSequence`."""

    @staticmethod
    def _peek_and_restore(x: Any) -> tuple[Any, Any]:
        return x.first, x

    def get_size(self) -> int:
        return int(self._keras_sequence.whole)


class Relay:
    """Begin another iterator over the batches of a generator for each pass.

    Args:
        first: its first batch, which shows the shapes.
    """

    def __init__(self, first: Any, view: View) -> None:
        self.first = first
        self._view = view

    def __iter__(self) -> Iterator[Any]:
        return self._view.generator()

    def __next__(self) -> Any:
        raise NotImplementedError("Keras reads a generator by iterating over it")


class OrderedSequence(legacy.PyDataset):  # type: ignore[misc]
    """Read the batches of a ``Sequence`` in the order of the pass.

    Args:
        first: its first batch, which shows the shapes.
    """

    def __init__(self, first: Any, view: View) -> None:
        self.first = first
        self._view = view

    @property
    def whole(self) -> int:
        """Batches of a whole pass."""
        count: int = len(self._reordered.inner)
        return count

    @property
    def _reordered(self) -> Any:
        return self._view.py_dataset

    def __len__(self) -> int:
        return int(self._reordered.num_batches)

    def __getitem__(self, index: int) -> Any:
        return self._reordered[index]

    def on_epoch_end(self) -> None:
        self._reordered.on_epoch_end()


class StreamSource(OrderedSource):
    """Read arrays pass after pass, as one stream: legacy Keras keeps one iterator for a ``fit``."""

    @property
    def _adapter(self) -> OrderedArrays:
        kept: OrderedArrays = self.adapter.adapter
        return kept

    def plan(self) -> Json:
        kept = self._adapter
        return {
            "the number of samples": self._samples,
            "the batch size": kept.batch_size(),
            "shuffle": str(kept._shuffle),
        }

    @property
    def _samples(self) -> int:
        arrays = [one for one in tf.nest.flatten(self._adapter.arrays) if one is not None]
        return int(arrays[0].shape[0])

    def open(self) -> None:
        self.dataset = self._stream(0)

    def begin_pass(self, number: int, first: int) -> Pass:
        return Pass(iter(self.distribute(self.dataset if not first else self._stream(first))))

    def _stream(self, first: int) -> Any:
        """Build the dataset of all passes, from batch ``first`` of the first one on."""
        kept = self._adapter
        size, batches, samples = kept.batch_size(), kept.get_size(), self._samples
        begin, offset = divmod(first, batches)

        def rows(number: Any) -> Any:
            return order(self._seed, int(number), samples, size, kept._shuffle)

        def pass_of(number: Any) -> Any:
            chosen = tf.numpy_function(rows, [number], tf.int64, stateful=False)
            chosen = tf.ensure_shape(chosen, [samples])
            full = samples // size * size
            indices = tf.data.Dataset.from_tensor_slices(tf.reshape(chosen[:full], [-1, size]))
            if full < samples:
                indices = indices.concatenate(tf.data.Dataset.from_tensors(chosen[full:]))
            return indices

        indices = tf.data.Dataset.range(begin, _ENDLESS).flat_map(pass_of).skip(offset)
        inputs = tf.data.Dataset.from_tensors(kept.arrays).repeat()

        def gather(chosen: Any, data: Any) -> Any:
            return tf.nest.map_structure(
                lambda one: None if one is None else tf.gather(one, chosen, axis=0), data
            )

        data = tf.data.Dataset.zip((indices, inputs))
        data = data.map(gather, num_parallel_calls=tf.data.AUTOTUNE)
        options = tf.data.Options()
        options.experimental_optimization.apply_default_optimizations = False
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.DATA
        )
        return self.adapter.mapped(data.with_options(options).prefetch(tf.data.AUTOTUNE))


class Choice:
    """Choose how the data of a ``fit`` is read.

    Args:
        view: the adapter as sources see it.
        arguments: those of ``get_data_handler``.

    Attributes:
        arguments: those of Keras' data handler.
        kind: the adapter that Keras would choose.
        source: reads the data; set once Keras has chosen.
    """

    def __init__(self, view: View, arguments: Json) -> None:
        x = arguments["x"]
        self.arguments = arguments
        self._kinds: dict[Any, tuple[type[Any], type[Source]]] = {
            data_adapter.TensorLikeDataAdapter: (OrderedArrays, StreamSource),
            data_adapter.GeneratorDataAdapter: (FollowedGenerator, GeneratorSource),
            data_adapter.KerasSequenceAdapter: (FollowedSequence, PyDatasetSource),
        }
        self.source: type[Source] = Source
        workers, processes = arguments.get("workers", 1), arguments.get("use_multiprocessing")
        view.has_workers = workers > 1 or (workers > 0 and bool(processes))
        kind = data_adapter.select_data_adapter(x, arguments.get("y"))
        if kind is data_adapter.KerasSequenceAdapter:
            view.py_dataset, view.shuffle = x, arguments.get("shuffle", False)
            # Keras would shuffle with Python's global generator, in a thread
            self.arguments = {**arguments, "x": OrderedSequence(x[0], view), "shuffle": False}
        elif kind is data_adapter.GeneratorDataAdapter:
            first = next(x)
            rest = itertools.chain([first], x)
            view.generator = lambda: rest
            self.arguments = {**arguments, "x": Relay(first, view)}
        self.kind = kind

    def select(self, x: Any, y: Any) -> Any:
        """Return the class of the adapter, in place of Keras' own choice."""
        chosen, self.source = self._kinds.get(self.kind, (self.kind, Source))
        return chosen


class KnownHandler(data_adapter.DataHandler):  # type: ignore[misc]
    """Name what a data handler has as the iterators for Keras 3 do."""

    @property
    def data_adapter(self) -> Any:
        """Keras' adapter of the data."""
        return self._adapter

    @property
    def num_batches(self) -> int | None:
        """Batches of an epoch, as far as known."""
        number: int | None = self._inferred_steps
        return number

    @property
    def steps_per_execution(self) -> int:
        """Batches of one execution."""
        return int(self._steps_per_execution.numpy())
