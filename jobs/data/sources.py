"""Where the batches of a ``fit`` come from: one class for each kind of data.

A source begins passes over its data at any batch:

- arrays and ``PyDataset``: the order of each pass is drawn from (seed, stage, pass), so that
  any batch can be the first one, at no cost;
- ``tf.data``: as many iterators are made as before (each draws the next shuffle), and the
  batches that were taken are read again from the last one, and dropped;
- generators: the batches that were taken are drawn again, from the random state that the
  first one was drawn from (:mod:`rekindle.jobs.data.rng_tracker`).
"""

import functools
import types
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import keras
import tensorflow as tf

from rekindle.jobs import keras_compat
from rekindle.jobs.capture import rng
from rekindle.jobs.capture.component import Caveat, Json
from rekindle.jobs.data import fast_forward
from rekindle.jobs.data.py_dataset import Reordered
from rekindle.jobs.data.rng_tracker import RngTracker, differing
from rekindle.jobs.data.shuffle import order
from rekindle.jobs.keras_compat import array_slicing, tree

_IN_WORKERS: Final = Caveat(
    "The PyDataset draws random numbers in several workers, in whatever order they run",
    "draw from a generator made from the index in __getitem__, or leave out workers and "
    "use_multiprocessing",
)
_given: "weakref.WeakSet[Any]" = weakref.WeakSet()
"""Generators that were given to a `fit` of this process."""

Beat = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Pass:
    """Hold a pass over the data that has begun.

    Attributes:
        iterator: gives the batches.
        begin_later: makes the iterator, where it must begin only after the random state was
            restored, since what reads ahead draws from it.
    """

    iterator: Any = None
    begin_later: Callable[[], Any] | None = None


class Source:
    """A ``tf.data.Dataset``; other kinds of data derive from it.

    Args:
        adapter: Keras' own for the data.
        strategy: distributes datasets.
        beat: called while data is read again; may end the process.
    """

    own_order = False
    """Passes are ordered by (seed, stage, pass), not by making iterators."""
    tracker: RngTracker | None = None
    reordered: Reordered | None = None

    def __init__(self, adapter: Any, strategy: Any, beat: Beat) -> None:
        self.adapter = adapter
        self._strategy = strategy
        self._beat = beat
        self.dataset: Any = None
        self._distributed: Any = None

    def open(self) -> None:
        """Make the dataset; Keras then has seen the data."""
        self.dataset = self.adapter.get_tf_dataset()
        self._distributed = self.distribute(self.dataset)

    @property
    def element_spec(self) -> Any:
        """Shapes and types of a batch, as ``tf.TensorSpec``."""
        return self.dataset.element_spec

    def plan(self) -> Json:
        """Describe what of the data must be the same in every attempt, as JSON."""
        return {}

    def skip_pass(self) -> None:
        """Pass over one pass that is over: make an iterator, which draws the next shuffle."""
        self._beat()
        iter(self._distributed)

    def begin_pass(self, number: int, first: int) -> Pass:
        """Begin pass ``number`` at batch ``first``."""
        iterator = iter(self._distributed)
        if first:
            fast_forward.forward(iterator, first, self._beat)
        return Pass(iterator)

    def caveats(self, steps_per_epoch: int | None, num_batches: int | None) -> list[Caveat]:
        """List what of the data cannot be restored exactly, as far as it is known now."""
        return []

    def distribute(self, dataset: Any) -> Any:
        if isinstance(dataset, tf.distribute.DistributedDataset):
            return dataset
        return self._strategy.experimental_distribute_dataset(dataset)


class ArraySource(Source):
    """Arrays, in an order of our own; Keras' would put a second copy of them into memory."""

    own_order = True

    def __init__(self, adapter: Any, strategy: Any, beat: Beat, seed: tuple[int, int]) -> None:
        super().__init__(adapter, strategy, beat)
        self._seed = seed
        self._inputs: Any = None

    def open(self) -> None:
        pass

    @property
    def element_spec(self) -> Any:
        return self._batches(0, 0).element_spec

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
        """Batches of the arrays in the order of pass ``number``, from batch ``first`` on."""
        adapter = self.adapter
        size = adapter._batch_size
        rows = order(self._seed, number, adapter._num_samples, size, adapter._shuffle)
        rows = rows[first * size :]
        full = len(rows) // size * size
        indices = tf.data.Dataset.from_tensor_slices(rows[:full].reshape(-1, size))
        if full < len(rows):
            indices = indices.concatenate(tf.data.Dataset.from_tensors(rows[full:]))
        if self._inputs is None:
            # converted once: a new pass must not copy all of the data
            inputs = array_slicing.convert_to_sliceable(
                adapter._inputs, target_backend="tensorflow"
            )
            self._inputs = tree.lists_to_tuples(inputs)
        data = tf.data.Dataset.zip((indices, tf.data.Dataset.from_tensors(self._inputs).repeat()))
        data = data.map(_gather, num_parallel_calls=tf.data.AUTOTUNE)
        options = tf.data.Options()
        options.experimental_optimization.apply_default_optimizations = False
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.DATA
        )
        return data.with_options(options).prefetch(tf.data.AUTOTUNE)


class TrackedSource(Source):
    """Data that may draw from Python's random generators, batch by batch.

    Args:
        tracker: made before Keras has seen the data.
        before: states of Keras' and TensorFlow's generators then.
    """

    def __init__(
        self, adapter: Any, strategy: Any, beat: Beat, tracker: RngTracker, before: dict[str, bytes]
    ) -> None:
        super().__init__(adapter, strategy, beat)
        self.tracker: RngTracker = tracker
        self._inside_before = before
        self._found: list[Caveat] = []

    def open(self) -> None:
        before = self.tracker.now()
        super().open()
        # Keras has drawn two batches, in this thread, to know their shapes. Also a generator
        # that was made meanwhile counts: Keras makes its global one at the first use
        if any(self._inside_before.get(key) != state for key, state in rng.fingerprint().items()):
            self._found.append(
                Caveat(
                    "The data draws random numbers through Keras or TensorFlow, and is read "
                    "ahead to a place that differs each time",
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
            *[
                Caveat(
                    f"Both the data and the script draw from {kind} during the training, in "
                    "an order that differs each time",
                    "give the data a generator of its own, numpy.random.default_rng(seed)",
                )
                for kind in sorted(self.tracker.moved & self.tracker.foreign)
            ],
        ]


class GeneratorSource(TrackedSource):
    """A Python generator, which is drawn again from the state that a pass began with."""

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
                    "An earlier fit was given the same generator and has read it ahead to a "
                    "place that differs each time",
                    "make another one for each fit",
                )
            )
        _given.add(given)
        made = adapter.generator

        def follow() -> Iterator[Any]:
            ready, self._ready = self._ready, None
            return tracker.follow(made()) if ready is None else ready

        adapter.generator = follow

    def skip_pass(self) -> None:
        pass  # the generator is the same in all passes

    def begin_pass(self, number: int, first: int) -> Pass:
        tracker = self.tracker
        if not first:
            tracker.begin_pass(0, remember=True)
            return Pass(iter(self._distributed))
        tracker.put(tracker.begin)
        tracker.begin_pass(0)
        self._ready = self.adapter.generator()
        fast_forward.draw(self._ready, first, self._beat, tracker.passed)
        self._again = tracker.behind(first)
        tracker.begin_pass(first)
        return Pass(begin_later=functools.partial(iter, self._distributed))

    def check_again(self) -> None:
        """Once the random state is restored: has the generator come to it when drawn again?"""
        if differing(self._again, self.tracker.now()):
            self._found.append(
                Caveat(
                    "The generator drew other random numbers when it was drawn again than it "
                    "had at first",
                    "let it depend on nothing but its own state and Python's and numpy's",
                )
            )
        self._again = {}

    def caveats(self, steps_per_epoch: int | None, num_batches: int | None) -> list[Caveat]:
        found = super().caveats(steps_per_epoch, num_batches)
        if not steps_per_epoch:
            found.append(
                Caveat(
                    "A generator without steps_per_epoch is read ahead to an unknown place",
                    "give steps_per_epoch, or use a tf.data.Dataset or a PyDataset",
                )
            )
        return found


class PyDatasetSource(TrackedSource):
    """A ``PyDataset``, whose batches come in an order of our own."""

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
                    "The PyDataset is told of an epoch's end while its next batches are being "
                    "read, since steps_per_epoch is not its length",
                    "leave out steps_per_epoch, or change nothing in on_epoch_begin and "
                    "on_epoch_end",
                )
            )
        return found


class Opening:
    """Make the source of a ``fit``: begun before Keras has seen the data, ended after.

    Args:
        data: what ``fit`` was given as ``x``.
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

    def source(self, adapter: Any, strategy: Any) -> Source:
        """Make the source, once Keras has made its adapter for the data."""
        source = self._kind(adapter, strategy)
        source.open()
        return source

    def _kind(self, adapter: Any, strategy: Any) -> Source:
        tracker, before = self._tracker, self._before
        if isinstance(adapter, keras_compat.ArrayDataAdapter):
            return ArraySource(adapter, strategy, self._beat, self._seed)
        if tracker is not None and isinstance(adapter, keras_compat.PyDatasetAdapter):
            return PyDatasetSource(adapter, strategy, self._beat, tracker, before, self._seed)
        if tracker is not None and isinstance(adapter, keras_compat.GeneratorDataAdapter):
            return GeneratorSource(adapter, strategy, self._beat, tracker, before, self._data)
        return Source(adapter, strategy, self._beat)


def _gather(indices: Any, data: Any) -> Any:
    def one(x: Any) -> Any:
        if isinstance(x, array_slicing.TensorflowSparseWrapper):
            return array_slicing.slice_tensorflow_sparse_wrapper(x, indices)
        if isinstance(x, list | tuple | dict):
            return None
        return tf.gather(x, indices, axis=0) if tf.is_tensor(x) else x

    return tree.traverse(one, data)
