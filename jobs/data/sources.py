"""Sources of batches of a ``fit``: one class for each kind of data.

A source can begin a pass over its data at any batch:

- arrays and ``PyDataset``: the order of each pass is derived from (seed, stage, pass), so that
  a pass can begin at any batch, at no cost;
- ``tf.data``: the same number of iterators is created (each draws the next shuffle), and the
  batches already taken are read again from the last one and dropped;
- generators: the batches already taken are read again, with the random state of the start of
  the pass (:mod:`rekindle.jobs.data.rng_tracker`).
"""

import functools
import types
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from rekindle.jobs.capture import rng
from rekindle.jobs.capture.component import Caveat, Json
from rekindle.jobs.data import rng_tracker
from rekindle.jobs.data.pipeline import fast_forward
from rekindle.jobs.data.py_dataset import Reordered
from rekindle.jobs.data.rng_tracker import RngTracker, differing, generators
from rekindle.jobs.data.shuffle import order
from rekindle.jobs.keras_compat import internals
from rekindle.jobs.keras_compat.internals import array_slicing, tree

_IN_WORKERS: Final = Caveat(
    "The PyDataset draws random numbers in several workers, in an order that differs each time",
    "draw from a generator that __getitem__ creates from the index, or remove workers and "
    "use_multiprocessing",
)
_given: "weakref.WeakSet[Any]" = weakref.WeakSet()
"""Generators that were passed to a `fit` of this process."""

Beat = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Pass:
    """Hold a pass over the data.

    Attributes:
        iterator: iterates over the batches.
        begin_later: creates the iterator, if it must begin only after the random state was
            restored, since prefetching draws from it.
    """

    iterator: Any = None
    begin_later: Callable[[], Any] | None = None


class Source:
    """Read batches from a ``tf.data.Dataset``; other kinds of data derive from it.

    Args:
        adapter: Keras' adapter of the data.
        strategy: distributes datasets.
        beat: called while data is read again; may end the process.
    """

    own_order = False
    """True if the order of a pass is derived from (seed, stage, pass)."""
    tracker: RngTracker | None = None
    reordered: Reordered | None = None

    def __init__(self, adapter: Any, strategy: Any, beat: Beat) -> None:
        self.adapter = adapter
        self._strategy = strategy
        self._beat = beat
        self.dataset: Any = None
        self._distributed: Any = None

    def open(self) -> None:
        """Create the dataset; Keras then has read from the data."""
        self.dataset = self.adapter.get_tf_dataset()
        self._distributed = self.distribute(self.dataset)

    @property
    def element_spec(self) -> Any:
        """Shapes and types of a batch, as ``tf.TensorSpec``."""
        return self.dataset.element_spec

    def plan(self) -> Json:
        """Describe, as JSON, what of the data must be the same in every attempt."""
        return {}

    def skip_pass(self) -> None:
        """Skip a finished pass: create an iterator, which draws the next shuffle."""
        self._beat()
        iter(self._distributed)

    def begin_pass(self, number: int, first: int) -> Pass:
        """Begin pass ``number`` at batch ``first``."""
        iterator = iter(self._distributed)
        if first:
            fast_forward.forward(iterator, first, self._beat)
        return Pass(iterator)

    def caveats(self, steps_per_epoch: int | None, num_batches: int | None) -> list[Caveat]:
        """List what of the data cannot be restored exactly, as far as known now."""
        return []

    def distribute(self, dataset: Any) -> Any:
        if isinstance(dataset, tf.distribute.DistributedDataset):
            return dataset
        return self._strategy.experimental_distribute_dataset(dataset)


class ArraySource(Source):
    """Read arrays in an order of our own; Keras' adapter would hold a second copy in memory."""

    own_order = True

    def __init__(self, adapter: Any, strategy: Any, beat: Beat, seed: tuple[int, int]) -> None:
        super().__init__(adapter, strategy, beat)
        self._seed = seed
        self._inputs: Any = None

    def open(self) -> None:
        pass

    @property
    def element_spec(self) -> Any:
        inputs, size = self._converted(), self.adapter._batch_size
        if not all(map(_is_dense, tf.nest.flatten(inputs))):
            return self._batches(0, 0).element_spec
        # a pipeline that tells the same costs 0.1 s, for the model of each of hundreds of folds
        rows = None if self.adapter._num_samples % size else size
        return tf.nest.map_structure(
            lambda one: tf.TensorSpec([rows, *one.shape[1:]], tf.as_dtype(one.dtype)), inputs
        )

    def plan(self) -> Json:
        return {
            "the number of samples": self.adapter._num_samples,
            "the batch size": self.adapter._batch_size,
            "shuffle": str(self.adapter._shuffle),
        }

    def skip_pass(self) -> None:
        pass

    def begin_pass(self, number: int, first: int) -> Pass:
        return Pass(iter(self.distribute(self._batches(number, first))))

    def _batches(self, number: int, first: int) -> Any:
        """Build the dataset of pass ``number``, from batch ``first`` on."""
        adapter = self.adapter
        size = adapter._batch_size
        rows = order(self._seed, number, adapter._num_samples, size, adapter._shuffle)
        rows = rows[first * size :]
        full = len(rows) // size * size
        indices = tf.data.Dataset.from_tensor_slices(rows[:full].reshape(-1, size))
        if full < len(rows):
            indices = indices.concatenate(tf.data.Dataset.from_tensors(rows[full:]))
        inputs = tf.data.Dataset.from_tensors(self._converted())
        data = tf.data.Dataset.zip((indices, inputs.repeat()))
        data = data.map(_gather, num_parallel_calls=tf.data.AUTOTUNE)
        options = tf.data.Options()
        options.experimental_optimization.apply_default_optimizations = False
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.DATA
        )
        return data.with_options(options).prefetch(tf.data.AUTOTUNE)

    def _converted(self) -> Any:
        """Return the data as tensors, converted once: a new pass must not copy all of it."""
        if self._inputs is None:
            inputs = array_slicing.convert_to_sliceable(
                self.adapter._inputs, target_backend="tensorflow"
            )
            self._inputs = tree.lists_to_tuples(inputs)
        return self._inputs


class TrackedSource(Source):
    """Read data that may draw from Python's random generators, and track that per batch.

    Args:
        tracker: created before Keras has read from the data.
        before: states of Keras' and TensorFlow's generators at that time.
    """

    def __init__(
        self, adapter: Any, strategy: Any, beat: Beat, tracker: RngTracker, before: dict[str, bytes]
    ) -> None:
        super().__init__(adapter, strategy, beat)
        self.tracker: RngTracker = tracker
        self._inside_before = before
        self._found: list[Caveat] = []

    def open(self) -> None:
        before = generators(self.tracker.now())
        super().open()
        # Keras has read two batches, in this thread, to know their shapes. A generator created
        # meanwhile counts, too: Keras creates its global one at the first use
        if any(self._inside_before.get(key) != state for key, state in rng.fingerprint().items()):
            self._found.append(
                Caveat(
                    "The data draws random numbers through Keras or TensorFlow, and is "
                    "prefetched to a position that differs each time",
                    "let it draw from numpy",
                )
            )
        if getattr(self.adapter, "enqueuer", None) is not None and differing(
            before, self.tracker.now()
        ):
            self._found.append(_IN_WORKERS)

    def caveats(self, steps_per_epoch: int | None, num_batches: int | None) -> list[Caveat]:
        return [
            *self._found,
            *[_raced(kind, is_value=is_value) for kind, is_value in self.tracker.raced],
        ]


class GeneratorSource(TrackedSource):
    """Read a Python generator, again if needed, from the random state of the start of a pass."""

    def __init__(
        self,
        adapter: Any,
        strategy: Any,
        beat: Beat,
        tracker: RngTracker,
        before: dict[str, bytes],
        given: Any,
    ) -> None:
        super().__init__(adapter, strategy, beat, tracker, before)
        self._ready: Iterator[Any] | None = None
        self._again: dict[str, Any] = {}
        if given in _given:
            self._found.append(
                Caveat(
                    "An earlier fit used the same generator and has prefetched from it to a "
                    "position that differs each time",
                    "create a new generator for each fit",
                )
            )
        _given.add(given)
        made = internals.generator_of(adapter)

        def follow() -> Iterator[Any]:
            ready, self._ready = self._ready, None
            return tracker.follow(made()) if ready is None else ready

        self._follow = follow
        internals.replace_generator(adapter, follow)

    def skip_pass(self) -> None:
        pass  # the generator is the same in all passes

    def begin_pass(self, number: int, first: int) -> Pass:
        tracker = self.tracker
        if not first:
            tracker.begin_pass(0, remember=True)
            return Pass(iter(self._distributed))
        tracker.put(tracker.begin)
        tracker.begin_pass(0)
        self._ready = self._follow()
        fast_forward.draw(self._ready, first, self._beat, tracker.passed)
        self._again = tracker.behind(first)
        tracker.begin_pass(first)
        return Pass(begin_later=functools.partial(iter, self._distributed))

    def check_again(self) -> None:
        """Check that the generator, read again, reached the restored random state."""
        if differing(self._again, self.tracker.now()):
            self._found.append(
                Caveat(
                    "The generator drew different random numbers when it was read again",
                    "let it depend on nothing but its own state and Python's and numpy's",
                )
            )
        self._again = {}

    def caveats(self, steps_per_epoch: int | None, num_batches: int | None) -> list[Caveat]:
        found = super().caveats(steps_per_epoch, num_batches)
        if not steps_per_epoch:
            found.append(
                Caveat(
                    "A generator without steps_per_epoch is prefetched to an unknown position",
                    "set steps_per_epoch, or use a tf.data.Dataset or a PyDataset",
                )
            )
        return found


class PyDatasetSource(TrackedSource):
    """Read a ``PyDataset`` in an order of our own."""

    own_order = True

    def __init__(
        self,
        adapter: Any,
        strategy: Any,
        beat: Beat,
        tracker: RngTracker,
        before: dict[str, bytes],
        seed: tuple[int, int],
    ) -> None:
        super().__init__(adapter, strategy, beat, tracker, before)
        self.reordered: Reordered = Reordered(adapter, seed, tracker)

    def name_outside(self, names: set[str]) -> None:
        """Name generators outside of the data that reading it has advanced."""
        for name in sorted(names):
            self._found.append(
                Caveat(
                    f"The data draws from {name}, a random generator outside of it, and is "
                    "prefetched to a position that differs each time",
                    "make the generator an attribute of the PyDataset",
                )
            )

    def skip_pass(self) -> None:
        pass

    def begin_pass(self, number: int, first: int) -> Pass:
        self.reordered.begin_pass(number, first)
        self.tracker.begin_pass(first)
        if not first:
            return Pass(iter(self._distributed))
        return Pass(begin_later=functools.partial(iter, self._distributed))

    def caveats(self, steps_per_epoch: int | None, num_batches: int | None) -> list[Caveat]:
        found = super().caveats(steps_per_epoch, num_batches)
        if self.reordered.drawn_in_threads and _IN_WORKERS not in found:
            found.append(_IN_WORKERS)
        if self.reordered.listens and steps_per_epoch and steps_per_epoch != num_batches:
            found.append(
                Caveat(
                    "on_epoch_end of the PyDataset is called while its next batches are being "
                    "read, since steps_per_epoch is not its length",
                    "remove steps_per_epoch, or change nothing in on_epoch_begin and on_epoch_end",
                )
            )
        return found


class Opening:
    """Create the source of a ``fit``: begin before Keras reads from the data, finish after.

    Args:
        data: the argument ``x`` of ``fit``.
        seed: of the job, and the stage.
    """

    def __init__(self, data: Any, seed: tuple[int, int], beat: Beat) -> None:
        self._data = data
        self._seed = seed
        self._beat = beat
        self._tracker = (
            RngTracker(data if isinstance(data, keras.utils.PyDataset) else None)
            if isinstance(data, types.GeneratorType | keras.utils.PyDataset)
            else None
        )
        self._before = rng.fingerprint() if self._tracker is not None else {}
        of_class = isinstance(data, keras.utils.PyDataset)
        self._outside = rng_tracker.outside(data) if of_class else {}

    def source(self, adapter: Any, strategy: Any) -> Source:
        """Create the source, once Keras has created its adapter of the data."""
        source = self._kind(adapter, strategy)
        source.open()
        if isinstance(source, PyDatasetSource):
            # Keras has read two batches
            source.name_outside(differing(self._outside, rng_tracker.outside(self._data)))
        return source

    def _kind(self, adapter: Any, strategy: Any) -> Source:
        tracker, before = self._tracker, self._before
        if isinstance(adapter, internals.ArrayDataAdapter):
            return ArraySource(adapter, strategy, self._beat, self._seed)
        if tracker is not None and isinstance(adapter, internals.PyDatasetAdapter):
            return PyDatasetSource(adapter, strategy, self._beat, tracker, before, self._seed)
        if tracker is not None and isinstance(adapter, internals.GeneratorDataAdapter):
            return GeneratorSource(adapter, strategy, self._beat, tracker, before, self._data)
        return Source(adapter, strategy, self._beat)


def _raced(kind: str, *, is_value: bool) -> Caveat:
    if is_value:
        return Caveat(
            f"Both reading the PyDataset and the script change {kind} during the training, in an "
            "order that differs each time",
            "change it in __getitem__ alone, or not there",
        )
    return Caveat(
        f"Both the data and the script draw from {kind} during the training, in an order that "
        "differs each time",
        "let the data draw from its own generator, numpy.random.default_rng(seed)",
    )


def plan_of(iterator: Any) -> Json:
    """Describe the data of a Keras iterator: what must be the same in every attempt."""
    return {
        "the kind of data": type(iterator.data_adapter).__name__.removesuffix("Adapter"),
        "the number of batches": iterator.num_batches,
        "steps_per_execution": iterator.steps_per_execution,
    }


def _is_dense(array: Any) -> bool:
    return isinstance(array, tf.Tensor) or (
        type(array) is np.ndarray and array.dtype.kind in "biuf"
    )


def _gather(indices: Any, data: Any) -> Any:
    def one(x: Any) -> Any:
        if isinstance(x, array_slicing.TensorflowSparseWrapper):
            return array_slicing.slice_tensorflow_sparse_wrapper(x, indices)
        if isinstance(x, list | tuple | dict):
            return None
        return tf.gather(x, indices, axis=0) if tf.is_tensor(x) else x

    return tree.traverse(one, data)
